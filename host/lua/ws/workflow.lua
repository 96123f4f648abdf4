--- Declared workflows: what a workflow file returns, checked, and its arguments read from a command line.
local errors = require "ws.error"
local flags = require "ws.flags"

local M = {}

---@class ws.WorkflowSpec
---@field summary string
---@field args? ws.Arg[]
---@field options? ws.Option[]
---@field run fun(w: ws.Run, args: table)

---@class ws.Arg
---@field [1] string        name
---@field type? string      "string" (default), "manifest", "integer", "path"
---@field optional? boolean
---@field default? any
---@field doc string

---@class ws.Workflow: ws.WorkflowSpec
local Workflow = {}
Workflow.__index = Workflow

local spec_fields = { summary = "string", args = "table", options = "table", run = "function" }
local arg_types = { string = true, manifest = true, integer = true, path = true }

--- Raises an error that names the script's line and ends wsrun with the code for an invalid script.
local function misuse(message, ...)
  local where = require "ws.caller" ()
  error(errors.new { kind = "invalid", exit = 65,
    message = (where and where .. ": " or "") .. message:format(...) }, 0)
end

--- Checks a workflow's declaration; see `ws.workflow`.
---@param spec ws.WorkflowSpec
---@return ws.Workflow
function M.define(spec)
  if type(spec) ~= "table" then misuse("ws.workflow takes a table, not %s", type(spec)) end
  for field, value in pairs(spec) do
    if not spec_fields[field] then misuse("ws.workflow: unknown field '%s'", tostring(field)) end
    if type(value) ~= spec_fields[field] then
      misuse("ws.workflow: %s must be a %s, not %s", field, spec_fields[field], type(value))
    end
  end
  if not spec.summary or not spec.run then misuse("ws.workflow needs a summary and a run function") end
  for i, arg in ipairs(spec.args or {}) do
    if type(arg[1]) ~= "string" then misuse("ws.workflow: argument %d has no name", i) end
    if not arg_types[arg.type or "string"] then misuse("ws.workflow: %s: unknown type '%s'", arg[1], arg.type) end
  end
  return setmetatable({
    summary = spec.summary, args = spec.args or {}, options = spec.options or {}, run = spec.run,
  }, Workflow)
end

--- Whether a value is a declared workflow.
---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == Workflow
end

local converters = {
  string = function(text) return text end,
  path = function(text) return text end,
  integer = function(text, name)
    local n = math.tointeger(tonumber(text))
    if n then return n end
    return nil, errors.new { kind = "invalid", usage = true,
      message = ("%s must be a whole number, not '%s'"):format(name, text) }
  end,
  manifest = function(text)
    return require "lib.manifest".load(text, { root = require "ws.project".root() })
  end,
}

--- Reads a workflow's own arguments and options.
---@async
---@param words string[]
---@return table? args  by name; an argument of type manifest is the loaded manifest
---@return ws.Error? err  kind `invalid` with `usage`, or what loading a manifest gave
function Workflow:read_args(words)
  local values, positional = flags.parse(self.options, words)
  if not values then return nil, positional end
  for i, arg in ipairs(self.args) do
    local text = positional[i] or arg.default
    if text == nil and not arg.optional then
      return nil, errors.new { kind = "invalid", usage = true,
        message = ("argument %s is missing"):format(arg[1]:upper()) }
    end
    if text == "" and not arg.optional then -- a CI's parameter that nobody filled in
      return nil, errors.new { kind = "invalid", usage = true,
        message = ("argument %s is empty"):format(arg[1]:upper()) }
    end
    if text ~= nil then
      local value, err = converters[arg.type or "string"](text, arg[1]:upper())
      if value == nil then return nil, err end
      values[arg[1]] = value
    end
  end
  if #positional > #self.args then
    return nil, errors.new { kind = "invalid", usage = true,
      message = ("unexpected argument '%s'"):format(positional[#self.args + 1]) }
  end
  return values
end

--- The help text of a workflow.
---@param command string  how it was called
---@return string
function Workflow:help(command)
  local usage, lines = { "Usage: " .. command }, {}
  for _, arg in ipairs(self.args) do
    local name = arg[1]:upper()
    usage[#usage + 1] = (arg.optional or arg.default) and "[" .. name .. "]" or name
    lines[#lines + 1] = ("  %-14s  %s"):format(name, arg.doc or "")
  end
  if #self.options > 0 then usage[#usage + 1] = "[options]" end
  local parts = { self.summary, "", table.concat(usage, " ") }
  if #lines > 0 then table.move({ "", "Arguments", table.concat(lines, "\n") }, 1, 3, #parts + 1, parts) end
  if #self.options > 0 then
    table.move({ "", "Options", flags.help(self.options) }, 1, 3, #parts + 1, parts)
  end
  parts[#parts + 1] = "\nwsrun's own options: wsrun help run"
  return table.concat(parts, "\n")
end

return M
