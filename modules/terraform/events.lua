--- The event stream of `terraform -json`, line by line, into progress, counts and diagnostics.
--- https://developer.hashicorp.com/terraform/internals/machine-readable-ui
local errors = require "ws.error"
local json = require "ws.json"

local M = {}

---@class ws.terraform.Events
---@field changes? table         the last change_summary: add, change, remove
---@field resources table<string, { action: string, seconds: number }>  what was applied
---@field outputs table<string, any>  values that the stream showed (sensitive ones are not)
---@field diagnostics table[]    errors, in order
local Events = {}
Events.__index = Events

local doing = { create = "creating", update = "updating", delete = "deleting", replace = "replacing", read = "reading" }

--- Makes a reader; `on_event` gets { text, done?, total? }.
---@param on_event? fun(event: table)
---@param total? integer  changes that are expected
---@return ws.terraform.Events
function M.new(on_event, total)
  return setmetatable({ on_event = on_event or function() end, total = total, done = 0, resources = {}, outputs = {},
    diagnostics = {}, rest = "", other = {} }, Events)
end

local handlers = {
  change_summary = function(self, event) self.changes = event.changes end,
  refresh_start = function(self, event) self.on_event { text = "reading " .. event.hook.resource.addr } end,
  apply_start = function(self, event)
    local hook = event.hook
    self.on_event { text = ("%s %s"):format(doing[hook.action] or hook.action, hook.resource.addr),
      done = self.done, total = self.total }
  end,
  apply_progress = function(self, event)
    local hook = event.hook
    self.on_event { text = ("%s %s (%ds)"):format(doing[hook.action] or hook.action, hook.resource.addr,
      hook.elapsed_seconds or 0), done = self.done, total = self.total }
  end,
  apply_complete = function(self, event)
    local hook = event.hook
    self.done = self.done + 1
    self.resources[hook.resource.addr] = { action = hook.action, seconds = hook.elapsed_seconds or 0 }
    self.on_event { text = hook.resource.addr .. " done", done = self.done, total = self.total }
  end,
  outputs = function(self, event)
    for name, output in pairs(event.outputs or {}) do
      if output.value ~= nil then self.outputs[name] = output.value end
    end
  end,
  diagnostic = function(self, event)
    if event.diagnostic.severity == "error" then self.diagnostics[#self.diagnostics + 1] = event.diagnostic end
  end,
}

--- Reads one line; what is no JSON (a crash, a wrapper script's words) is kept for the error message.
---@param line string
function Events:line(line)
  local event = line:find("^{") and json.decode(line)
  if type(event) ~= "table" then
    if line:find("%S") then self.other[#self.other + 1] = line end
    return
  end
  local handler = handlers[event.type]
  if handler then handler(self, event) end
end

--- Reads a piece of the stream.
---@param chunk string
function Events:feed(chunk)
  self.rest = self.rest .. chunk
  local at = 1
  for line, next_at in self.rest:gmatch("([^\n]*)\n()") do
    self:line(line)
    at = next_at
  end
  self.rest = self.rest:sub(at)
end

--- The holder that terraform names in a lock error, or nil.
local function lock_info(detail)
  local info = {}
  for key, value in detail:gmatch("\n%s*(%a+):%s+([^\n]+)") do info[key:lower()] = value end
  return info.id and info or nil
end

--- Each error with its place in the layer's files.
local function places(diagnostics, folder)
  local list = {}
  for i, d in ipairs(diagnostics) do
    local text = d.summary .. (d.detail and d.detail ~= "" and "\n" .. d.detail or "")
    list[i] = { text = text }
    if d.range then
      list[i] = { file = folder .. "/" .. d.range.filename, line = d.range.start.line, col = d.range.start.column,
        text = text }
    end
  end
  return list
end

--- What a command failed with.
---@param folder string  the layer's folder, as it is shown
---@param code integer?
---@return ws.Error
function Events:failure(folder, code)
  local first = self.diagnostics[1]
  if not first then
    local last = self.other[#self.other]
    return errors.new { kind = "failed", op = "terraform", status = code,
      message = last and last or ("terraform ended with code %s and said nothing"):format(tostring(code)),
      detail = #self.other > 1 and table.concat(self.other, "\n") or nil }
  end
  local range = first.range
  local where = range and ("%s/%s:%d"):format(folder, range.filename, range.start.line)
  if first.address then where = (where and where .. " " or "") .. first.address end
  local lock = first.summary:find("state lock") and lock_info("\n" .. (first.detail or ""))
  local more = #self.diagnostics - 1
  return errors.new {
    kind = lock and "locked" or "failed", op = "terraform", status = code, where = where, lock = lock or nil,
    places = places(self.diagnostics, folder),
    message = first.summary .. (more > 0 and (" (and %d more)"):format(more) or ""),
    detail = first.detail ~= "" and first.detail or nil,
    hint = lock and ("%s has held the state's lock since %s; when nobody runs terraform there any more: "
      .. "terraform force-unlock %s"):format(lock.who or "somebody", lock.created or "an unknown time", lock.id) or nil,
  }
end

return M
