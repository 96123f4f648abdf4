--- Values of the plugin protocol as Lua has them: a null attribute is absent, `unknown` and `null` are marks.
local provider = require "ws.provider"

local M = {}

M.unknown = provider.unknown
M.null = provider.null

--- Whether a value is nothing: absent or a null element.
---@param v any
---@return boolean
function M.is_null(v)
  return v == nil or v == M.null
end

--- Whether a value is nothing, or what an API leaves out because it is the default: false, 0, "", an empty list or map.
---@param v any
---@return boolean
function M.is_zero(v)
  return v == nil or v == M.null or v == false or v == 0 or v == "" or (type(v) == "table" and next(v) == nil)
end

--- Whether nothing in the value is unknown.
---@param v any
---@return boolean
function M.is_known(v)
  if v == M.unknown then return false end
  if type(v) == "table" then
    for _, element in pairs(v) do
      if not M.is_known(element) then return false end
    end
  end
  return true
end

--- The part of a link that identifies a resource: everything after `/v1/` or the like, from "projects/" on.
---@param text string
---@return string
function M.tail(text)
  return text:match("^https?://.-/(projects/.+)$") or text:match("^https?://.-/(b/.+)$") or text
end

--- Whether two spellings name the same resource: a self link, a path from "projects/" on, or the bare name.
---@param a any
---@param b any
---@return boolean
function M.same_reference(a, b)
  if a == b then return true end
  if type(a) ~= "string" or type(b) ~= "string" then return false end
  local x, y = M.tail(a), M.tail(b)
  if x == y then return true end
  if #x < #y then x, y = y, x end
  return x:sub(1, 9) == "projects/" and y ~= "" and x:sub(-#y - 1) == "/" .. y
end

--- The last part of a link or path.
---@param text string
---@return string
function M.last(text)
  return (text:match("([^/]*)$"))
end

local function equal_sets(of, a, b)
  if #a ~= #b then return false end
  local used = {}
  for _, x in ipairs(a) do
    local found
    for i, y in ipairs(b) do
      if not used[i] and M.equal(of, x, y) then
        found = i
        break
      end
    end
    if not found then return false end
    used[found] = true
  end
  return true
end

--- Whether two values of a type are the same to Terraform; the order of a set does not count.
---@param of table  type
---@param a any
---@param b any
---@return boolean
function M.equal(of, a, b)
  if M.is_null(a) or M.is_null(b) then return M.is_null(a) and M.is_null(b) end
  if a == M.unknown or b == M.unknown then return false end
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  if of.kind == "set" then return equal_sets(of.elem, a, b) end
  if of.kind == "list" and #a ~= #b then return false end
  for k, v in pairs(a) do
    if not M.equal(of.elem or of.attributes[k], v, b[k]) then return false end
  end
  for k, v in pairs(b) do
    if a[k] == nil and not M.is_null(v) then return false end
  end
  return true
end

--- A deep copy.
---@generic T
---@param v T
---@return T
function M.copy(v)
  if type(v) ~= "table" then return v end
  local t = {}
  for k, element in pairs(v) do t[k] = M.copy(element) end
  return t
end

--- The value with everything unknown made null: what an apply leaves behind that never learnt a value.
---@param v any
---@return any
function M.known(v)
  if v == M.unknown then return nil end
  if type(v) ~= "table" then return v end
  local t = {}
  if #v > 0 then
    for _, element in ipairs(v) do
      if element ~= M.unknown then t[#t + 1] = M.known(element) end
    end
  else
    for k, element in pairs(v) do t[k] = M.known(element) end
  end
  return t
end

--- A set of names from a list, for look-ups.
---@param list? string[]
---@return table<string, boolean>
function M.set(list)
  local t = {}
  for _, name in ipairs(list or {}) do t[name] = true end
  return t
end

--- The camelCase name by which the REST APIs know an attribute.
---@param name string
---@return string
function M.camel(name)
  return (name:gsub("_(%w)", string.upper))
end

return M
