-- Plans of a platform's Terraform layers: made for real, and without a trace in the bucket of the states.
--
-- A layer without a state is planned in a copy with a backend on this machine: Terraform would make an empty state in
-- the bucket only to look at it. A layer that reads the outputs of one that does not exist, or that would change them,
-- is deferred: what it would be given is not known.
local changes = require "lib.plan.changes"
local errors = require "ws.error"
local fs = require "ws.fs"
local inputs = require "lib.inputs"
local project = require "ws.project"
local state = require "ws.terraform.state"
local task = require "ws.task"
local terraform = require "ws.terraform"

local M = {}

local OVERRIDE = 'terraform {\n  backend "local" {}\n}\n'

local function on_event(p)
  return function(event)
    if event.total then p.w:progress(event.text, event.done, event.total) else p.w:progress(event.text) end
  end
end

--- A private copy of a layer's files whose state is on this machine.
local function local_copy(p, name)
  local from, to = project.path("layers/" .. name), ("%s/new/%s"):format(p.w.dir, name)
  assert(fs.mkdir(to, { parents = true, mode = 448 })) -- 0700
  local function enter(_, entry) return entry.name ~= ".terraform" end -- of a terraform that was run by hand
  for file, entry in fs.walk(from, { enter = enter }) do
    local target = to .. file:sub(#from + 1)
    if entry.type == "directory" then
      assert(fs.mkdir(target, { parents = true }))
    elseif entry.type == "file" then
      assert(fs.mkdir(fs.dirname(target), { parents = true }))
      assert(fs.copy(file, target))
    end
  end
  assert(fs.write(to .. "/wsrun_plan_override.tf", OVERRIDE, { durable = false }))
  return to
end

local function open(p, name, vars, is_new)
  local dir, backend, state_dir = project.path("layers/" .. name), inputs.backend(p.manifest, name), p.dir .. "/plan"
  if is_new then
    dir, state_dir = local_copy(p, name), p.w.dir .. "/new/data"
    backend = { path = ("%s/%s.tfstate"):format(state_dir, name) }
  end
  assert(fs.mkdir(state_dir, { parents = true, mode = 448 }))
  return terraform.layer(dir, { platform = p.name, workspace = inputs.workspace(p.manifest, name), backend = backend,
    vars = vars, state_dir = state_dir, run_dir = p.w.dir, on_event = on_event(p) })
end

--- The state of a layer, or nil when it was never applied.
---@async
---@param p Platform
---@param name string
---@return table?
function M.state(p, name)
  local found, err = state.read(inputs.backend(p.manifest, name), inputs.workspace(p.manifest, name))
  if not found and err.kind ~= "not_found" then error(err, 0) end
  return found
end

--- Whether a layer has anything: a state without resources and outputs is what a destroyed layer leaves.
local function exists(found)
  return found ~= nil and (#(found.resources or {}) > 0 or next(found.outputs or {}) ~= nil)
end

--- Why a layer cannot be planned yet, or nil.
local function why_deferred(p, name)
  for _, needed in ipairs(inputs.needs[name]) do
    if not exists(M.state(p, needed)) then
      return ("its inputs come from %s, which does not exist yet"):format(needed)
    end
    local outputs = (p.planned_outputs or {})[needed]
    if outputs and #outputs > 0 then
      return ("its inputs come from %s, whose outputs would change: %s"):format(needed, table.concat(outputs, ", "))
    end
  end
end

--- The resources that a layer's files declare, in order of their files: what a deferred one would hold, as far as its
--- counts allow.
local function declared(name)
  local list = {}
  local files = assert(fs.glob(project.path("layers/" .. name) .. "/*.tf"))
  table.sort(files)
  for _, file in ipairs(files) do
    for kind, id in ("\n" .. assert(fs.read(file))):gmatch('\nresource%s+"([%w_]+)"%s+"([%w_-]+)"') do
      list[#list + 1] = kind .. "." .. id
    end
  end
  return list
end

local function defer(p, name, why)
  local outcome = { deferred = why }
  if not exists(M.state(p, name)) then
    local list = declared(name)
    outcome.note = ("declares %d kinds of resources: %s"):format(#list, table.concat(list, ", "))
  end
  return outcome
end

--- The plan rests on the state: it is refused when somebody else has applied the layer meanwhile.
local function pin_state(p, step, name)
  assert(p.w.plan:pin(step, { kind = "state", layer = name, backend = inputs.backend(p.manifest, name),
    workspace = inputs.workspace(p.manifest, name) }))
end

--- A plan function for applying a layer. `more` gives what its inputs need beside the manifest; it is called when the
--- layer can be planned. It may return nil and why it cannot.
---@param p Platform
---@param name string
---@param more? fun(): any
---@return fun(): table, table?
function M.apply(p, name, more)
  return function(step)
    local why = why_deferred(p, name)
    if why then return defer(p, name, why) end
    local extra = table.pack(true)
    if more then extra = table.pack(more()) end
    if extra[1] == nil then return defer(p, name, extra[2]) end
    pin_state(p, step, name)
    local before = M.state(p, name)
    local layer = open(p, name, inputs[name](p.manifest, table.unpack(extra, 2, extra.n)), before == nil)
    local file = ("%s/%s.tfplan"):format(p.w.dir, name)
    local result = assert(layer:plan { out = file, lock = false })
    local document = assert(layer:show(file))
    local list = changes.of(document)
    p.planned_outputs = p.planned_outputs or {}
    p.planned_outputs[name] = changes.outputs(document)
    -- Passwords that were drawn are not those that will be drawn: such a plan is made anew when it is applied.
    local lasting = before and not (name == "data" and p.passwords_drawn)
    p.w.plan:keep(step, { file = lasting and file or nil, wanted = changes.fingerprint(document),
      unchanged = result.unchanged })
    if #list == 0 and #p.planned_outputs[name] > 0 then
      list[1] = { what = "terraform", action = "change", name = "outputs of layer " .. name,
        detail = table.concat(p.planned_outputs[name], ", ") }
    end
    if exists(before) and #p.planned_outputs[name] == 0 then return list, state.outputs(before) end
    return list
  end
end

--- A plan function for destroying a layer.
---@param p Platform
---@param name string
---@return fun(step: ws.Step): table
function M.destroy(p, name)
  return function(step)
    local found = M.state(p, name)
    if not found or #state.addresses(found) == 0 then return {} end
    local values = p:vars_to_destroy(name)
    if not values then return { deferred = "the manifest has lost what it needs to destroy this layer" } end
    local layer = open(p, name, values, false)
    local file = ("%s/%s.tfplan"):format(p.w.dir, name)
    pin_state(p, step, name)
    local result = assert(layer:plan { out = file, lock = false, destroy = true })
    local document = assert(layer:show(file))
    p.w.plan:keep(step, { file = file, wanted = changes.fingerprint(document), unchanged = result.unchanged })
    return changes.of(document)
  end
end

local function conflict(name, text, ...)
  error(errors.new { kind = "conflict", op = "apply", message = ("layer %s: "):format(name) .. text:format(...),
    hint = "plan again, look at what would change now, and apply that" }, 0)
end

--- Refuses a plan that was made anew unless it does what was planned: exactly that, or of a layer that an earlier
--- attempt of this run had begun, what is left of it.
local function compare(name, wanted, document, begun)
  local now = changes.fingerprint(document)
  for address, change in pairs(now) do
    local planned = wanted[address]
    if not planned then conflict(name, "%s would be changed now, and was not planned to be", address) end
    if planned.action ~= change.action or (not begun and planned.sum ~= change.sum) then
      conflict(name, "%s would be changed in another way than was planned", address)
    end
  end
  for address in pairs(begun and {} or wanted) do
    if not now[address] then conflict(name, "%s was planned to be changed, and would not be now", address) end
  end
end

--- Applies or destroys a layer; in a run that applies a saved plan, as it was planned.
---@async
---@param p Platform
---@param name string
---@param layer ws.terraform.Layer
---@param destroy? boolean
---@return ws.terraform.Result
function M.carry_out(p, name, layer, destroy)
  local saved = p.w:saved_plan()
  if not saved then
    if destroy then return assert(layer:destroy()) end
    return assert(layer:apply())
  end
  if saved.unchanged and not saved.begun then return { unchanged = true } end
  if saved.file and not saved.begun then return assert(layer:apply { plan = saved.file }) end
  local file = ("%s/%s.tfplan"):format(p.w.dir, name)
  local _ <close> = setmetatable({}, { __close = function() task.shield(fs.remove, file, { missing_ok = true }) end })
  local result = assert(layer:plan { out = file, destroy = destroy })
  if result.unchanged then return result end
  compare(name, saved.wanted, assert(layer:show(file)), saved.begun)
  return assert(layer:apply { plan = file })
end

return M
