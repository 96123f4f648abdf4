--- One layer of one platform, and the commands on it.
---
--- Invariants
--- - TF_WORKSPACE and TF_DATA_DIR are this layer's own: nothing is selected for others, parallel platforms never share
---   `.terraform`.
--- - One plan per apply: what was planned is what is applied; without changes nothing is applied.
--- - Variables go by a tfvars.json of mode 0600 in the run's private folder, removed when the command has ended.
--- - terraform writes to a file that is read along, not to a pipe: when this process is killed it goes on, saves the
---   state and gives back its lock.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local events = require "ws.terraform.events"
local fs = require "ws.fs"
local fence = require "ws.fence"
local json = require "ws.json"
local native = require "ws.engine".native
local orphan = require "ws.terraform.orphan"
local process = require "ws.process"
local secret = require "ws.secret"
local state = require "ws.terraform.state"
local task = require "ws.task"

local M = {}

local COMMAND_TIMEOUT = 7200 -- seconds; a Cloud SQL replica alone can take half an hour
local INIT_TIMEOUT = 900     -- seconds
local INIT_ATTEMPTS = 8
local GRACE = 60             -- seconds between the stop signal and KILL
local TAIL = 0.1             -- seconds between looks at the output
local ORPHAN_WAIT = 1800     -- seconds to wait for what a killed run left working

---@class ws.terraform.LayerOptions
---@field platform string
---@field workspace string
---@field backend table                keys of -backend-config: bucket, prefix
---@field vars? table                  values may be secrets
---@field state_dir string             private folder of the platform
---@field run_dir string               private folder of the run
---@field on_event? fun(event: table)  { text, done?, total? }
---@field env? table<string, string|false>

---@class ws.terraform.Result
---@field unchanged boolean
---@field add integer
---@field change integer
---@field remove integer
---@field resources table<string, { action: string, seconds: number }>
---@field outputs table<string, any>
---@field seconds number

---@class ws.terraform.Layer
local Layer = {}
Layer.__index = Layer

local known = { platform = "string", workspace = "string", backend = "table", vars = "table", state_dir = "string",
  run_dir = "string", on_event = "function", env = "table" }
local needed = { "platform", "workspace", "backend", "state_dir", "run_dir" }

--- Makes a layer; see ws.terraform.layer.
---@param dir string
---@param opts ws.terraform.LayerOptions
---@param find fun(): ws.terraform.Tool?, ws.Error?
---@return ws.terraform.Layer
function M.new(dir, opts, find)
  for key, value in pairs(opts) do
    if not known[key] then error(("terraform.layer: unknown option '%s'"):format(tostring(key)), 3) end
    if type(value) ~= known[key] then
      error(("terraform.layer: %s must be a %s, not a %s"):format(key, known[key], type(value)), 3)
    end
  end
  for _, key in ipairs(needed) do
    if not opts[key] then error(("terraform.layer needs %s"):format(key), 3) end
  end
  local name = dir:match("([^/]+)/*$")
  return setmetatable({ dir = dir, name = name, opts = opts, find = find,
    data_dir = ("%s/%s"):format(opts.state_dir, name) }, Layer)
end

local function environment(self, workspace)
  local env = { TF_WORKSPACE = workspace, TF_DATA_DIR = self.data_dir, TF_IN_AUTOMATION = "1", TF_INPUT = "0",
    CHECKPOINT_DISABLE = "1", TF_CLI_ARGS = false, TF_LOG = os.getenv "TF_LOG" or false }
  for _, command in ipairs { "init", "plan", "apply", "destroy", "output", "show", "state", "state_pull", "version",
    "force-unlock", "force_unlock", "workspace", "validate" } do
    env["TF_CLI_ARGS_" .. command] = false
  end
  -- Terraform before 1.6 refuses an emulator together with a token; the backend's own variable says the same.
  if os.getenv "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT" then env.STORAGE_EMULATOR_HOST = false end
  for key, value in pairs(self.opts.env or {}) do env[key] = value end
  return env
end

local commands = 0

--- Masks secrets in a log that has been written to the end.
local function redact_file(path)
  local text = fs.read(path)
  local masked = text and secret.redact(text)
  if masked ~= text then fs.write(path, masked, { mode = 384, durable = false }) end
end

--- Runs terraform with its output in a log file of the run; `reader` is fed with it as it comes.
local function run(self, name, args, opts, reader)
  local tool, err = self.find()
  if not tool then return nil, err end
  commands = commands + 1
  local log = ("%s/terraform-%s-%s-%d.log"):format(self.opts.run_dir, self.name, name, commands)
  local ok, problem = fs.write(log, "", { mode = 384, durable = false })
  if not ok then return nil, problem end
  local argv = { tool.path, "-chdir=" .. self.dir, name, table.unpack(args) }
  local offset, finished = 0, false
  local function pump()
    local chunk = fs.read(log, { offset = offset })
    if chunk and #chunk > 0 then
      offset = offset + #chunk
      reader:feed(chunk)
    end
  end
  local tail = task.spawn(function()
    while not finished do
      pump()
      task.sleep(TAIL)
    end
  end)
  local _ <close> = setmetatable({}, { __close = function() tail:cancel() end })
  local result
  ok, problem = orphan.begin(self.data_dir)
  if not ok then return nil, problem end
  local env = environment(self, opts.workspace or self.opts.workspace)
  for key, value in pairs(opts.env or {}) do env[key] = value end
  result, err = process.run(argv, { stdout = { file = log, append = true }, stderr = "stdout", env = env,
    stop_signal = "INT", grace = GRACE, timeout = opts.timeout or COMMAND_TIMEOUT })
  if result and result.code then orphan.finish(self.data_dir) end
  finished = true
  tail:cancel() -- rather than to wait for its next look
  tail:join()
  pump()
  redact_file(log)
  reader:feed("\n")
  return result, err
end

--- What an init depends on: when it is the same as last time, init has nothing to do.
local function init_key(self, tool)
  local parts = { tool.path, tool.version, json.encode(self.opts.backend), os.getenv "TF_REATTACH_PROVIDERS" or "",
    os.getenv "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT" or "" }
  local files, err = fs.glob(self.dir .. "/{*.tf,*.tf.json,.terraform.lock.hcl}")
  if not files then return nil, err end
  table.sort(files)
  if #files == 0 then
    return nil, errors.new { kind = "not_found", op = "terraform", message = self.dir .. " holds no Terraform files" }
  end
  for _, file in ipairs(files) do
    local text, problem = fs.read(file)
    if not text then return nil, problem end
    parts[#parts + 1] = file .. "\0" .. text
  end
  return crypto.sha256(table.concat(parts, "\0"))
end

--- Waits until a terraform that a killed run left working in this layer has ended.
local function wait_for_orphan(self)
  local deadline = native.monotonic() + ORPHAN_WAIT
  while true do
    local pid = orphan.find(self.data_dir)
    if not pid then return true end
    if native.monotonic() >= deadline then
      return nil, errors.new { kind = "locked", op = "terraform",
        message = ("terraform (process %d) of an earlier run still works on layer %s"):format(pid, self.name),
        hint = "look what it waits for; end it with SIGINT, once" }
    end
    if self.opts.on_event then
      self.opts.on_event { text = ("waiting for terraform of an earlier run (process %d)"):format(pid) }
    end
    task.sleep(0.5)
  end
end

--- Calls fn(environment) with the plugin cache that all layers share, alone: it does not bear two that fill it at once.
--- With providers that are attached nothing is downloaded and nothing has to be waited for.
local function with_plugin_cache(fn)
  if os.getenv "TF_REATTACH_PROVIDERS" then return fn {} end
  local dir = os.getenv "TF_PLUGIN_CACHE_DIR" or require "ws.project".state_dir() .. "/plugins"
  local ok, err = fs.mkdir(dir)
  if not ok then return nil, err end
  local lock <close>, lock_err = fs.lock(dir .. "/lock", { wait = INIT_TIMEOUT }) -- luacheck: ignore 211
  if lock_err then return nil, lock_err end
  return fn { TF_PLUGIN_CACHE_DIR = dir }
end

--- Runs init. The first one of a layer makes the empty state of the default workspace, under that state's lock: when
--- two platforms begin at once, one of them finds the lock taken for a moment and tries again.
local function run_init(self, args, env)
  local result, reader, err
  for attempt = 1, INIT_ATTEMPTS do
    reader = events.new(self.opts.on_event)
    result, err = run(self, "init", args, { workspace = "default", timeout = INIT_TIMEOUT, env = env }, reader)
    if not result then return nil, err end
    local text = table.concat(reader.other, "\n")
    if result.code == 0 or not text:find("default%.tflock") then return result, text end
    task.sleep(attempt * (0.25 + math.random() / 4))
  end
  return result, table.concat(reader.other, "\n")
end

--- What matters of what a failed init said: from its error on, without the steps and warnings before it; else its last
--- words.
local function init_failure(text)
  local from = text:find("Error[: ]")
  if from then return text:match("^Error: ([^\n]+)", from) or text:match("^[^\n]+", from), text:sub(from) end
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  return lines[#lines] or "terraform init failed and said nothing", table.concat(lines, "\n", math.max(1, #lines - 5))
end

--- Prepares the data folder: backend and providers. Does nothing when nothing changed since the last time.
---@async
---@return true? ok
---@return ws.Error? err  kinds: `missing_tool`, `failed`, `locked` (an earlier run's terraform still works)
function Layer:init()
  if self.ready then return true end
  local free, busy = wait_for_orphan(self)
  if not free then return nil, busy end
  local tool, err = self.find()
  if not tool then return nil, err end
  local key, problem = init_key(self, tool)
  if not key then return nil, problem end
  local stamp = self.data_dir .. "/wsrun-init"
  if fs.read(stamp) == key and fs.exists(self.data_dir .. "/terraform.tfstate") then
    self.ready = true
    return true
  end
  local made, failure = fs.mkdir(self.data_dir, { parents = true, mode = 448 })
  if not made then return nil, failure end
  local args = { "-input=false", "-no-color", "-reconfigure" }
  for name, value in pairs(self.opts.backend) do args[#args + 1] = ("-backend-config=%s=%s"):format(name, value) end
  table.sort(args)
  if self.opts.on_event then self.opts.on_event { text = "terraform init" } end
  -- The default workspace always exists; ours is made by the first apply.
  local result, text = with_plugin_cache(function(env) return run_init(self, args, env) end)
  if not result then return nil, text end
  if result.code ~= 0 then
    local message, detail = init_failure(text)
    return nil, errors.new { kind = "failed", op = "terraform init", status = result.code, where = self:shown(),
      message = message, detail = detail }
  end
  local written
  written, err = fs.write(stamp, key)
  if not written then return nil, err end
  self.ready = true
  return true
end

--- The layer's folder as people know it.
---@return string
function Layer:shown()
  return self.dir:match("(layers/[^/]+)/*$") or self.dir
end

--- Calls `fn` with the path of a private file that is removed afterwards.
local function with_private_file(self, suffix, content, fn)
  local path = ("%s/%s-%s%s"):format(self.opts.run_dir, self.name, crypto.random_hex(4), suffix)
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(fs.remove, path, { missing_ok = true })
  end })
  if content then
    local ok, err = fs.write(path, content, { mode = 384, durable = false })
    if not ok then return nil, err end
  end
  return fn(path)
end

local function counts(changes)
  return changes and changes.add or 0, changes and changes.change or 0, changes and changes.remove or 0
end

--- Runs a command; a state lock whose holder is proven dead is given back once.
local function run_unlocking(self, name, args, total)
  if name == "apply" then
    local ok, err = fence.check { long = true }
    if not ok then return nil, err end
  end
  for attempt = 1, 2 do
    local reader = events.new(self.opts.on_event, total)
    local result, err = run(self, name, args, {}, reader)
    if not result then return nil, err end
    if result.code == 0 or result.code == 2 then
      orphan.settle(self.data_dir)
      return result, reader
    end
    local failure = reader:failure(self:shown(), result.code)
    if result.signal then
      failure = errors.new { kind = "interrupted", op = "terraform", where = self:shown(),
        message = ("terraform %s was ended by SIG%s"):format(name, result.signal) }
    end
    if attempt == 2 or failure.kind ~= "locked" or not orphan.is_dead(failure.lock, self.data_dir) then
      return nil, failure
    end
    local unlocked, problem = run(self, "force-unlock", { "-force", failure.lock.id }, {}, events.new())
    if not unlocked then return nil, problem end
  end
end

--- Plans into `path`. Returns the counts, or nil, err.
local function plan(self, path, vars_path, flags)
  local args = { "-input=false", "-json", "-detailed-exitcode", "-out=" .. path }
  if vars_path then args[#args + 1] = "-var-file=" .. vars_path end
  table.move(flags or {}, 1, #(flags or {}), #args + 1, args)
  local result, reader = run_unlocking(self, "plan", args)
  if not result then return nil, reader end
  local add, change, remove = counts(reader.changes)
  return { add = add, change = change, remove = remove, unchanged = result.code == 0, seconds = result.seconds,
    resources = {} }
end

local function plan_and_apply(self, flags)
  local ok, err = self:init()
  if not ok then return nil, err end
  local vars = json.encode(self.opts.vars or json.object {}, { secrets = true })
  return with_private_file(self, ".tfvars.json", vars, function(vars_path)
    return with_private_file(self, ".tfplan", nil, function(plan_path)
      local planned, problem = plan(self, plan_path, vars_path, flags)
      if not planned or planned.unchanged then return planned, problem end
      local total = planned.add + planned.change + planned.remove
      local result, reader = run_unlocking(self, "apply", { "-input=false", "-json", plan_path }, total)
      if not result then return nil, reader end
      planned.add, planned.change, planned.remove = counts(reader.changes)
      planned.resources, planned.seconds = reader.resources, planned.seconds + result.seconds
      return planned
    end)
  end)
end

local function check(name, opts, options)
  for key in pairs(opts or {}) do
    if not options[key] then error(("Layer:%s: unknown option '%s'"):format(name, tostring(key)), 3) end
  end
  return opts or {}
end

--- Plans without applying. With `out` the plan is kept there, for Layer:apply and Layer:show; it holds secrets. With
--- `lock = false` the state's lock is not taken: nothing at all is written to the backend then.
---@async
---@param opts? { out?: string, destroy?: boolean, lock?: boolean }
---@return ws.terraform.Result? result
---@return ws.Error? err
function Layer:plan(opts)
  opts = check("plan", opts, { out = true, destroy = true, lock = true })
  local ok, err = self:init()
  if not ok then return nil, err end
  local vars = json.encode(self.opts.vars or json.object {}, { secrets = true })
  local flags = {}
  if opts.destroy then flags[1] = "-destroy" end
  if opts.lock == false then flags[#flags + 1] = "-lock=false" end
  return with_private_file(self, ".tfvars.json", vars, function(vars_path)
    if not opts.out then
      return with_private_file(self, ".tfplan", nil, function(path) return plan(self, path, vars_path, flags) end)
    end
    local out = fs.absolute(opts.out)
    local made, problem = fs.write(out, "", { mode = 384, durable = false }) -- 0600 before terraform fills it
    if not made then return nil, problem end
    local result, failure = plan(self, out, vars_path, flags)
    if result then fs.chmod(out, 384) end
    return result, failure
  end)
end

--- Applies a plan that was kept.
local function apply_plan(self, path)
  local ok, err = self:init()
  if not ok then return nil, err end
  local result, reader = run_unlocking(self, "apply", { "-input=false", "-json", fs.absolute(path) })
  if not result then return nil, reader end
  local add, change, remove = counts(reader.changes)
  return { add = add, change = change, remove = remove, unchanged = add + change + remove == 0,
    seconds = result.seconds, resources = reader.resources }
end

--- Brings the layer to what its files and variables say; without changes only a plan is made. With `plan` exactly that
--- kept plan is applied; terraform refuses one that the state has left behind.
---@async
---@param opts? { plan?: string }
---@return ws.terraform.Result? result
---@return ws.Error? err  kind `failed` with `where` (file:line and resource) and `detail`, `locked`, `missing_tool`,
---  `interrupted`, `timeout`
function Layer:apply(opts)
  opts = check("apply", opts, { plan = true })
  local result, err
  if opts.plan then result, err = apply_plan(self, opts.plan) else result, err = plan_and_apply(self) end
  if not result then return nil, err end
  result.outputs, err = self:outputs()
  if not result.outputs then return nil, err end
  return result
end

--- Destroys everything of the layer in this workspace.
---@async
---@return ws.terraform.Result? result
---@return ws.Error? err
function Layer:destroy()
  return plan_and_apply(self, { "-destroy" })
end

--- The outputs, read from the state; sensitive strings are secrets.
---@async
---@return table<string, any>? outputs
---@return ws.Error? err  kind `not_found` when the layer was never applied
function Layer:outputs()
  if self.opts.backend.bucket then
    local read, err = state.read(self.opts.backend, self.opts.workspace)
    if not read then return nil, err end
    return state.outputs(read)
  end
  local found, err = self:pull()
  if not found then return nil, err end
  return state.outputs(found)
end

--- Addresses of the resources in the state.
---@async
---@return string[]? addresses
---@return ws.Error? err  kind `not_found` when the layer was never applied
function Layer:state_list()
  local read, err
  if self.opts.backend.bucket then
    read, err = state.read(self.opts.backend, self.opts.workspace)
  else
    read, err = self:pull()
  end
  if not read then return nil, err end
  return state.addresses(read)
end

--- Runs a command that only reads and returns what it prints.
local function ask(self, args)
  local ok, err = self:init()
  if not ok then return nil, err end
  local tool = assert(self.find())
  local result
  result, err = process.run(table.move(args, 1, #args, 3, { tool.path, "-chdir=" .. self.dir }),
    { env = environment(self, self.opts.workspace), timeout = INIT_TIMEOUT, max_output = 1 << 28 })
  if not result then return nil, err end
  if result.code ~= 0 then
    return nil, errors.new { kind = "failed", op = "terraform " .. args[1], message = secret.redact(result.stderr),
      status = result.code }
  end
  return result.stdout
end

--- The state, or a plan that was kept, in terraform's own form (`terraform show -json`). It shows secrets.
---@async
---@param plan_file? string
---@return table? document
---@return ws.Error? err
function Layer:show(plan_file)
  local text, err = ask(self, { "show", "-json", "-no-color", plan_file and fs.absolute(plan_file) })
  if not text then return nil, err end
  return json.decode(text)
end

--- The state of a backend that is not a bucket, through terraform.
---@async
---@return table? state
---@return ws.Error? err
function Layer:pull()
  local text, err = ask(self, { "state", "pull" })
  if not text then return nil, err end
  if not text:find("%S") then
    return nil, errors.new { kind = "not_found", op = "terraform state pull", message = "there is no state" }
  end
  return json.decode(text)
end

return M
