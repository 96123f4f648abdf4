-- One platform in the hands of a workflow: its manifest, its Terraform layers, its folder, its lock.
local errors = require "ws.error"
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local inputs = require "lib.inputs"
local project = require "ws.project"
local secret = require "ws.secret"
local terraform = require "ws.terraform"
local ws = require "ws"
local yaml = require "ws.yaml"

local M = {}

---@class Platform
---@field w ws.Run
---@field manifest table
---@field name string
---@field dir string                     private folder of the platform: Terraform's data, kubeconfig
---@field outputs table<string, table>   outputs of the layers applied in this run
local Platform = {}
Platform.__index = Platform

--- Makes the object that the other files of lib/ work on.
---@param w ws.Run
---@param m table  a loaded manifest
---@return Platform
function M.open(w, m)
  return setmetatable({
    w = w, manifest = m, name = m.name, outputs = {},
    dir = project.state_dir() .. "/platforms/" .. m.name,
  }, Platform)
end

--- Takes the platform's lock for as long as the run lasts; it is released when it is closed.
---@return table lock
function Platform:lock()
  local m = self.manifest
  return self.w:step("lock", function()
    return require "ws.lock".acquire {
      bucket = m["remote-bucket"], name = m.name, run = self.w.id,
      wait = self.w.options["wait-lock"] or 0,
      on_wait = function(text) self.w:progress(text) end,
    }
  end)
end

--- Refuses to go on unless the platform's name was said again.
---@param said? string
function Platform:confirm(said)
  if said == self.name then return end
  ws.fail(said and ("--confirm says '%s', the platform is '%s'"):format(said, self.name)
    or ("destroying %s cannot be undone"):format(self.name),
    { kind = "invalid", hint = ("say --confirm=%s"):format(self.name), exit = 64 })
end

--- Refuses while the manifest protects something from deletion: Terraform would refuse as well, after it has destroyed
--- what stands around it.
function Platform:refuse_protected()
  for _, what in ipairs { "gke", "cloudsql" } do
    if (self.manifest.infrastructure[what] or {})["deletion-protection"] then
      ws.fail(("%s is protected from deletion"):format(self.name), {
        kind = "denied",
        where = require "lib.manifest".where(self.manifest, { "infrastructure", what, "deletion-protection" }),
        hint = "say false there, run create_platform so that it holds, then destroy",
      })
    end
  end
end

--- What must be there before anything is changed: the tools, the account, the bucket of the states.
function Platform:check()
  local tool = assert(terraform.find())
  assert(require "ws.helm".find())
  assert(fs.mkdir(self.dir, { parents = true, mode = 448 }))
  local bucket = self.manifest["remote-bucket"]
  local ok, err = gcs.stat_bucket(bucket, { api = "backend_storage" })
  if not ok then
    if err.kind == "not_found" then
      err.message = ("the bucket of the Terraform states, gs://%s, does not exist"):format(bucket)
      err.hint = ("create it with versioning, or correct remote-bucket in %s"):format(self.manifest.path)
    end
    error(err, 0)
  end
  self.w:summary(("%s %s, states in gs://%s"):format(tool.name, tool.version, bucket))
end

--- The Terraform layer of this platform.
---@param name string
---@param vars? table  the layer's variables; not needed for reading outputs
function Platform:layer(name, vars)
  return terraform.layer(project.path("layers/" .. name), {
    platform = self.name, workspace = inputs.workspace(self.manifest, name),
    backend = inputs.backend(self.manifest, name), vars = vars, state_dir = self.dir, run_dir = self.w.dir,
    on_event = function(event)
      if event.total then self.w:progress(event.text, event.done, event.total) else self.w:progress(event.text) end
    end,
  })
end

local function count(result)
  local parts = {}
  for _, what in ipairs { { "add", "added" }, { "change", "changed" }, { "remove", "removed" } } do
    local n = result[what[1]]
    if n and n > 0 then parts[#parts + 1] = ("%d %s"):format(n, what[2]) end
  end
  return table.concat(parts, ", ")
end

--- Applies a layer and returns its outputs.
---@param name string
---@param ... any  what the layer's inputs need beside the manifest
---@return table outputs
function Platform:apply(name, ...)
  local layer = self:layer(name, inputs[name](self.manifest, ...))
  local result = assert(layer:apply())
  if result.unchanged then
    self.w:summary("no change")
  else
    self.w:changed(count(result))
  end
  self.outputs[name] = result.outputs or assert(layer:outputs())
  return self.outputs[name]
end

--- Outputs of a layer, from this run or from its state; an empty table when it was never applied.
---@param name string
---@return table outputs
function Platform:read_outputs(name)
  if not self.outputs[name] then
    local outputs, err = self:layer(name):outputs()
    if not outputs and err.kind ~= "not_found" then error(err, 0) end
    self.outputs[name] = outputs or {}
  end
  return self.outputs[name]
end

--- Variables of a layer for destroying it: as for applying, with stand-ins for what is not known any more.
local function vars_to_destroy(self, name)
  if name ~= "data" then return inputs[name](self.manifest) end
  local passwords = {}
  for _, db in ipairs(inputs.databases(self.manifest)) do passwords[db.user] = secret.new("unused-at-destroy") end
  if self.manifest.infrastructure.cloudsql and not self.manifest.infrastructure.cloudsql["instance-num"] then
    return nil -- no server was ever made, or it is destroyed already
  end
  return inputs.data(self.manifest, passwords)
end

--- Destroys a layer; one that does not exist is fine.
---@param name string
function Platform:destroy(name)
  local vars = vars_to_destroy(self, name)
  local layer = self:layer(name, vars)
  local known, err = layer:state_list()
  if not known and err.kind ~= "not_found" then error(err, 0) end
  if not known or #known == 0 then
    self.w:summary("not there")
    return
  end
  if not vars then
    ws.fail(("layer %s has %d resources, but the manifest has lost what it needs to destroy them"):format(name, #known),
      { hint = "put infrastructure.cloudsql.instance-num back from git's history, then run again" })
  end
  local result = assert(layer:destroy())
  self.w:changed(count(result))
end

--- Removes what is left in the state bucket and on this machine: empty states, Terraform's data, the kubeconfig.
function Platform:remove_state()
  local removed = 0
  for _, name in ipairs(inputs.layers(self.manifest)) do
    local backend = inputs.backend(self.manifest, name)
    local url = ("gs://%s/%s/%s.tfstate"):format(backend.bucket, backend.prefix, self.name)
    local ok, err = gcs.delete(url, { api = "backend_storage" })
    if ok then removed = removed + 1 elseif err.kind ~= "not_found" then error(err, 0) end
  end
  assert(fs.remove(self.dir, { recursive = true, missing_ok = true }))
  if removed > 0 then self.w:changed(("%d state objects removed"):format(removed)) end
end

--- Changes one value in a manifest's file. A value that somebody else has set there meanwhile stays.
local function edit_file(file, path, value)
  local text, err = fs.read(file)
  if not text then return nil, err end
  local there = assert(yaml.decode(text, { filename = file }))
  for _, key in ipairs(path) do there = type(there) == "table" and there[key] or nil end
  if value ~= nil and there ~= nil and there ~= yaml.null then return true end
  local changed
  if value ~= nil then
    changed, err = yaml.edit(text, path, value, { filename = file })
  else
    changed, err = yaml.remove(text, path, { filename = file })
    if not changed and err.kind == "not_found" then return true end
  end
  if not changed then return nil, err end
  return fs.write(file, changed)
end

--- The value that the manifest's file has at a path now.
local function value_in_file(file, path)
  local value = assert(yaml.decode(assert(fs.read(file)), { filename = file }))
  for _, key in ipairs(path) do value = type(value) == "table" and value[key] or nil end
  return value
end

--- Writes one value of the manifest (nil removes it), and when it lies in a git repository commits and pushes it.
---
--- In the sandbox only a remote that is a local path is pushed to, unless --push was given.
---@param path string[]
---@param value any
---@param message string  of the commit
---@return any value  what stands there now: another one when somebody else set it first
function Platform:write_manifest(path, value, message)
  local git = require "ws.git"
  local manifest = require "lib.manifest"
  local m, w = self.manifest, self.w
  local repository = git.root(fs.dirname(m.path))
  local remote = repository and git.remote(repository)
  local pushable = remote and (not w.sandbox or remote.is_local or w.options.push)
  if pushable then
    local inside = fs.relative(assert(fs.realpath(m.path)), repository)
    assert(git.commit_push {
      dir = repository, paths = { m.path }, message = message, attempts = 10,
      apply = function(root) return edit_file(fs.join(root, inside), path, value) end,
    })
    if value ~= nil then value = value_in_file(m.path, path) end
  end
  if value == nil then assert(manifest.unset(m, path)) else assert(manifest.set(m, path, value)) end
  if not pushable then
    w:note(not repository and ("%s was written; it is in no git repository"):format(m.path)
      or not remote and ("%s was written; the repository has no remote to push to"):format(m.path)
      or ("%s was written and not pushed: the sandbox pushes to %s only with --push"):format(m.path, remote.url))
  end
  return value
end

--- Raises what a failed look at something gave, unless it is only missing.
---@param err ws.Error
function M.unless_missing(err)
  if not errors.is(err) or err.kind ~= "not_found" then error(err, 0) end
end

return M
