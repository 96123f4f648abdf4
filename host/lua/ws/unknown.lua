--- A value that is not known yet: what a step would return that is not run, in a plan.
---
--- It can be indexed, called and closed, and gives unknowns; it is true in conditions. Whatever would make it text or a
--- number raises an error of kind `unsupported`, so that no unknown slips into a name or a command.
local errors = require "ws.error"

local M = {}

local meta = {}
local unknowns = setmetatable({}, { __mode = "k" })

--- Makes an unknown; `what` says of what, for messages.
---@param what string
---@return any
function M.new(what)
  local value = setmetatable({}, meta)
  unknowns[value] = what
  return value
end

--- What an unknown stands for; nil for any other value.
---@param value any
---@return string?
function M.what(value)
  return unknowns[value]
end

local function refuse(a, b)
  local what = unknowns[a] or unknowns[b]
  error(errors.new { kind = "unsupported", unknown = what,
    message = ("%s is not known before it is made"):format(what) }, 2)
end

function meta.__index(self, key)
  return M.new(("%s.%s"):format(unknowns[self], tostring(key)))
end

function meta.__call(self)
  return M.new(unknowns[self] .. "()")
end

function meta.__tostring(self)
  return ("<%s, known after it is made>"):format(unknowns[self])
end

function meta.__close() end

for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor", "bxor", "bnot", "shl",
  "shr", "concat", "len", "lt", "le", "newindex" } do
  meta["__" .. event] = refuse
end
meta.__metatable = false

return M
