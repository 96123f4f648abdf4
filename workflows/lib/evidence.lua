-- What is kept of a deployment that failed, in the run's folder, before anything is taken back: pods, workloads,
-- events, logs (also of containers that ended), the rendered manifest and the objects as the cluster has them.
--
-- Secrets stay out: of an object of kind Secret only the names of its keys are kept, and all text goes through the
-- redactor. What cannot be fetched is said in the summary and holds nothing up: the rollback waits for this.
local fs = require "ws.fs"
local json = require "ws.json"
local secret = require "ws.secret"
local task = require "ws.task"
local time = require "ws.time"
local yaml = require "ws.yaml"

local M = {}

local TIMEOUT = 45     -- seconds for everything
local JOBS = 8         -- requests at once
local LOG_LINES = 2000 -- of a container

local LISTS = {
  { "pods", "v1", "Pod" }, { "events", "v1", "Event" }, { "deployments", "apps/v1", "Deployment" },
  { "replicasets", "apps/v1", "ReplicaSet" }, { "statefulsets", "apps/v1", "StatefulSet" },
  { "daemonsets", "apps/v1", "DaemonSet" }, { "jobs", "batch/v1", "Job" }, { "services", "v1", "Service" },
}

--- An object without what is secret in it, and without what only machines read.
---@param object table
---@return table
function M.presentable(object)
  local shown = json.object()
  for key, value in json.pairs(object) do shown[key] = value end
  if type(shown.metadata) == "table" then
    local meta = json.object()
    for key, value in json.pairs(shown.metadata) do
      if key ~= "managedFields" then meta[key] = value end
    end
    if type(meta.annotations) == "table" then
      local annotations = json.object()
      for key, value in json.pairs(meta.annotations) do
        -- kubectl's copy of the whole object, secret data included
        if key ~= "kubectl.kubernetes.io/last-applied-configuration" then annotations[key] = value end
      end
      meta.annotations = annotations
    end
    shown.metadata = meta
  end
  if shown.kind == "Secret" then
    for _, field in ipairs { "data", "stringData" } do
      if type(shown[field]) == "table" then
        local keys = json.object()
        for key in json.pairs(shown[field]) do keys[key] = "***" end
        shown[field] = keys
      end
    end
  end
  return shown
end

--- Objects as one YAML text.
---@param objects table[]
---@return string
function M.text(objects)
  local parts = {}
  for i, object in ipairs(objects) do parts[i] = yaml.encode(M.presentable(object)) end
  return secret.redact(table.concat(parts, "---\n"))
end

---@class Evidence
---@field dir string
---@field problems string[]
local Evidence = {}
Evidence.__index = Evidence

function Evidence:write(name, text)
  local path = self.dir .. "/" .. name
  local ok, err = fs.mkdir(fs.dirname(path), { parents = true, mode = 448 }) -- 0700
  if ok then ok, err = fs.write(path, text, { mode = 384, durable = false }) end -- 0600
  if not ok then self:miss(name, err) end
end

function Evidence:miss(name, err)
  self.problems[#self.problems + 1] = ("%s: %s"):format(name, secret.redact(tostring(err)))
end

function Evidence:all(functions)
  local ok, err = task.all(functions, { jobs = JOBS })
  if not ok then self:miss("a part", err) end
end

local function of_release(object, release)
  local meta = object.metadata
  local labels, annotations = meta.labels or {}, meta.annotations or {}
  return labels["app.kubernetes.io/instance"] == release or annotations["meta.helm.sh/release-name"] == release
end

--- The kinds of the namespace; events and pods of the release only where that can be told from their names and labels.
local function list(self, what)
  local name, version, kind = table.unpack(what)
  local found, err = self.api:list { api_version = version, kind = kind, namespace = self.namespace }
  if not found then
    if err.kind ~= "not_found" then self:miss(name .. ".yaml", err) end
    return
  end
  local objects = {}
  for _, object in ipairs(found.items) do
    object.apiVersion, object.kind = version, kind -- items of lists go without
    if kind == "Event" or kind == "Pod" and not object.metadata.labels or of_release(object, self.release)
      or self.members[kind .. "/" .. object.metadata.name] then
      objects[#objects + 1] = object
    end
  end
  if #objects > 0 then self:write(name .. ".yaml", M.text(objects)) end
  if kind == "Pod" then self.pods = objects end
end

local function logs_of(self, pod, container, previous)
  local name = ("logs/%s.%s%s.log"):format(pod, container, previous and ".previous" or "")
  local text, err = self.api:logs { name = pod, namespace = self.namespace, container = container,
    previous = previous, tail = LOG_LINES }
  if text then
    if text ~= "" then self:write(name, secret.redact(text)) end
  elseif err.status ~= 400 and err.kind ~= "not_found" then -- 400: it never started, and so has no log
    self:miss(name, err)
  end
end

local function collect_logs(self)
  local functions = {}
  for _, pod in ipairs(self.pods or {}) do
    for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
      for _, status in ipairs((pod.status or {})[field] or {}) do
        local function add(previous)
          functions[#functions + 1] = function() logs_of(self, pod.metadata.name, status.name, previous) end
        end
        add(false)
        if (status.restartCount or 0) > 0 then add(true) end
      end
    end
  end
  self:all(functions)
end

--- The objects of the manifest as the cluster has them now.
local function collect_objects(self, objects)
  local live, functions = {}, {}
  for i, object in ipairs(objects) do
    functions[i] = function()
      local found, err = self.api:get { api_version = object.apiVersion, kind = object.kind,
        name = object.metadata.name, namespace = object.metadata.namespace or self.namespace }
      if found then live[#live + 1] = found
      elseif err.kind ~= "not_found" then self:miss(("%s %s"):format(object.kind, object.metadata.name), err) end
    end
  end
  self:all(functions)
  table.sort(live, function(a, b)
    return a.kind .. "/" .. a.metadata.name < b.kind .. "/" .. b.metadata.name
  end)
  if #live > 0 then self:write("objects.yaml", M.text(live)) end
end

local function parse_manifest(text)
  local objects = {}
  for _, object in ipairs(yaml.decode_all(text or "", { filename = "manifest" }) or {}) do
    if type(object) == "table" and object.kind and type(object.metadata) == "table" and object.metadata.name then
      objects[#objects + 1] = object
    end
  end
  return objects
end

local function collect(self, manifest)
  local objects = parse_manifest(manifest)
  for _, object in ipairs(objects) do self.members[object.kind .. "/" .. object.metadata.name] = true end
  if #objects > 0 then self:write("manifest.yaml", M.text(objects)) end
  local functions = { function() collect_objects(self, objects) end }
  for _, what in ipairs(LISTS) do functions[#functions + 1] = function() list(self, what) end end
  self:all(functions)
  collect_logs(self)
end

--- Keeps what there is to know of a release that failed.
---@async
---@param p Platform
---@param opts { release: string, namespace: string, version: string, err: ws.Error, manifest?: string }
---@return string dir  the folder
function M.keep(p, opts)
  local self = setmetatable({ api = p.api, release = opts.release, namespace = opts.namespace, problems = {},
    members = {}, dir = ("%s/evidence/%s-%s"):format(p.w.dir, opts.release, opts.version) }, Evidence)
  local done, problem = task.timeout(TIMEOUT, function()
    collect(self, opts.manifest)
    return true
  end)
  if not done then self:miss("not everything was kept", problem) end
  local lines = { ("%s %s: %s"):format(opts.release, opts.version, secret.redact(tostring(opts.err.message))) }
  if opts.err.detail then lines[2] = secret.redact(tostring(opts.err.detail)) end
  lines[#lines + 1] = "kept at " .. time.rfc3339()
  for _, text in ipairs(self.problems) do lines[#lines + 1] = "missing: " .. text end
  self:write("summary.txt", table.concat(lines, "\n") .. "\n")
  return self.dir
end

return M
