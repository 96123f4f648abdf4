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

--- Takes the platform's lock for as long as the run lasts; it is released when it is closed. When it is lost, the run
--- ends.
---@return table lock
function Platform:lock()
  local m = self.manifest
  local lock = self.w:step("lock", { always = true, plan = false }, function()
    return require "ws.lock".acquire {
      bucket = m["remote-bucket"], name = m.name, run = self.w.id,
      wait = self.w.options["wait-lock"] or 0, ttl = self.w.options["lock-ttl"],
      on_wait = function(text) self.w:progress(text) end,
    }
  end)
  self.w:hold(lock)
  return lock
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

--- What a layer is made from: its variables and its files. A resumed run applies it again when either has changed.
---@async
---@param name string
---@return table
function Platform:facts(name)
  local files = {}
  for i, file in ipairs(assert(fs.glob(project.path("layers/" .. name) .. "/*.tf"))) do
    files[i] = fs.basename(file) .. " " .. assert(require "ws.crypto".sha256_file(file))
  end
  table.sort(files)
  return { inputs[name](self.manifest), files }
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
  local result = require "lib.plan.layers".carry_out(self, name, layer)
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
---@param name string
---@return table? vars  nil when the manifest has lost what is needed
function Platform:vars_to_destroy(name)
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
  local vars = self:vars_to_destroy(name)
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
  local result = require "lib.plan.layers".carry_out(self, name, layer, true)
  self.w:changed(count(result))
end

--- Removes what is left in the state bucket and on this machine: empty states, Terraform's data, the kubeconfig.
function Platform:remove_state()
  local removed = 0
  for _, name in ipairs(inputs.layers(self.manifest)) do
    local backend = inputs.backend(self.manifest, name)
    local url = ("gs://%s/%s/%s.tfstate"):format(backend.bucket, backend.prefix, self.name)
    -- Only the state that was seen: late, this must not remove the one of a platform that was created anew.
    local ok, err = gcs.stat(url, { api = "backend_storage" })
    if ok then ok, err = gcs.delete(url, { api = "backend_storage", if_generation = ok.generation }) end
    if ok then removed = removed + 1 elseif err.kind ~= "not_found" then error(err, 0) end
  end
  assert(fs.remove(self.dir, { recursive = true, missing_ok = true }))
  if removed > 0 then self.w:changed(("%d state objects removed"):format(removed)) end
end

--- The place of an application in the manifest's list.
---@param app table  one of its applications
---@return integer?
function Platform:index_of(app)
  for i, other in ipairs(self.manifest.applications or {}) do
    if other == app then return i end
  end
end

--- "manifests/dev-seb.yaml:99:5" of a key of an application.
---@param app table
---@param key string
---@return string?
function Platform:where(app, key)
  local i = self:index_of(app)
  return i and require "lib.manifest".where(self.manifest, { "applications", i, key })
end

--- A path in a file's value, as keys and indices: a step { name = N } is the entry of a list that is called N, wherever
--- it stands there. Returns the value at the path and the path; nil when an entry is not there.
local function resolve(root, path)
  local value, found = root, {}
  for i, step in ipairs(path) do
    if type(step) == "table" then
      local at
      for j, entry in ipairs(type(value) == "table" and value or {}) do
        if type(entry) == "table" and entry.name == step.name then at = j end
      end
      if not at then return nil end
      step = at
    end
    found[i] = step
    value = type(value) == "table" and value[step] or nil
  end
  if value == yaml.null then value = nil end
  return value, found
end

--- The text of a manifest's file, the value that it has at a path, and the path as `resolve` gives it.
local function look(file, path)
  local text = assert(fs.read(file))
  return text, resolve(assert(yaml.decode(text, { filename = file })), path)
end

--- Changes one value in a manifest's file. A value that somebody else has set there meanwhile stays.
local function edit_file(file, path, value)
  local text, there = look(file, path)
  if value ~= nil and there ~= nil then return true end
  local changed, err
  if value ~= nil then
    changed, err = yaml.edit(text, path, value, { filename = file })
  else
    changed, err = yaml.remove(text, path, { filename = file })
    if not changed and err.kind == "not_found" then return true end
  end
  if not changed then return nil, err end
  return fs.write(file, changed)
end

--- Replaces a value in a manifest's file when it is the expected one.
---@return true? ok
---@return any there  the value that the file has now; or the error
local function replace_in_file(file, path, expect, value)
  local text, there, found = look(file, path)
  if there ~= expect or not found then return true, there end
  local changed, err = yaml.edit(text, found, value, { filename = file })
  if not changed then return nil, err end
  local ok, write_err = fs.write(file, changed)
  if not ok then return nil, write_err end
  return true, value
end

--- Where the manifest's file lies in a git repository that may be pushed: the repository and the file's path in it; nil
--- when it is not to be pushed, with why.
local function repository_of(self)
  local git = require "ws.git"
  local m, w = self.manifest, self.w
  local repository = git.root(fs.dirname(m.path))
  if not repository then return nil, m.path .. " was written; it is in no git repository" end
  local remote = git.remote(repository)
  if not remote then return nil, m.path .. " was written; the repository has no remote to push to" end
  if w.sandbox and not remote.is_local and not w.options.push then
    return nil, ("%s was written and not pushed: the sandbox pushes to %s only with --push"):format(m.path, remote.url)
  end
  return repository, fs.relative(assert(fs.realpath(m.path)), repository)
end

--- Commits and pushes a change of the manifest's file on top of what others have pushed. `change` is called with the
--- file: for copies of the newest upstream file, and at the end, with true, for the checkout.
local function commit(self, repository, inside, message, change)
  assert(require "ws.git".commit_push {
    dir = repository, paths = { self.manifest.path }, message = message, attempts = 10,
    apply = function(root) return change(fs.join(root, inside), root == repository) end,
  })
end

--- Notes in the journal that this run wrote a key of the manifest, for reports and `wsrun why`.
local function remember(self, path, value)
  if not self.w.journal then return end
  local step = require "ws.task".get("step")
  self.w.journal:event("manifest", step and step.path, { platform = self.name, value = value,
    key = require "ws.schema".path_text(path) })
end

--- Writes one value of the manifest (nil removes it), and when it lies in a git repository commits and pushes it.
---
--- In the sandbox only a remote that is a local path is pushed to, unless --push was given.
---@param path string[]
---@param value any
---@param message string  of the commit
---@return any value  what stands there now: another one when somebody else set it first
function Platform:write_manifest(path, value, message)
  local manifest = require "lib.manifest"
  local m = self.manifest
  local repository, inside = repository_of(self)
  if repository then
    local wanted = value
    commit(self, repository, inside, message, function(file, is_checkout)
      local ok, err = edit_file(file, path, wanted)
      if ok and value ~= nil and not is_checkout then wanted = select(2, look(file, path)) end
      return ok, err
    end)
    if value ~= nil then value = select(2, look(m.path, path)) end
  end
  if value == nil then assert(manifest.unset(m, path)) else assert(manifest.set(m, path, value)) end
  remember(self, path, value)
  if not repository then self.w:note(inside) end
  return value
end

--- Replaces one value of the manifest when it is the expected one, also in the newest file upstream: what somebody else
--- has set there meanwhile stays. Commits and pushes as `write_manifest` does.
---@param path (string|{ name: string })[]  { name = N }: the entry of that name in a list
---@param expect any
---@param value any
---@param message string  of the commit
---@return any value  what stands there now, upstream where there is one; nil: the entry is gone
function Platform:replace_in_manifest(path, expect, value, message)
  local m, there = self.manifest, nil
  local repository, inside = repository_of(self)
  local function replace(file, is_checkout)
    if is_checkout and there ~= value then return true end -- it was left alone upstream, so it is here
    local ok, result = replace_in_file(file, path, expect, value)
    if not ok then return nil, result end
    if not is_checkout then there = result end
    return true
  end
  if repository then
    commit(self, repository, inside, message, replace)
  else
    assert(replace(m.path, false))
    if there == value then self.w:note(inside) end
  end
  local _, here, found = look(m.path, path)
  if there == value and found then remember(self, found, value) end
  if here == value then assert(require "lib.manifest".set(m, found, value)) end -- the table, as the file is already
  return there
end

--- Raises what a failed look at something gave, unless it is only missing.
---@param err ws.Error
function M.unless_missing(err)
  if not errors.is(err) or err.kind ~= "not_found" then error(err, 0) end
end

return M
