-- The part of GitHub's expressions that ci/github uses: names, 'text', ==, !=, &&, ||, always().
local M = {}

local function truthy(v) return v ~= nil and v ~= false and v ~= "" end

local function split(text, operator)
  local at = text:find(operator, 1, true)
  if at then return text:sub(1, at - 1), text:sub(at + #operator) end
end

--- The value of an expression; a name that the context lacks raises.
---@param text string
---@param context table<string, table<string, any>>
---@return any
function M.value(text, context)
  local left, right = split(text, "||")
  if left then
    local value = M.value(left, context)
    if truthy(value) then return value end
    return M.value(right, context)
  end
  left, right = split(text, "&&")
  if left then
    local value = M.value(left, context)
    if not truthy(value) then return value end
    return M.value(right, context)
  end
  left, right = split(text, "==")
  if left then return M.value(left, context) == M.value(right, context) end
  left, right = split(text, "!=")
  if left then return M.value(left, context) ~= M.value(right, context) end
  text = text:match("^%s*(.-)%s*$")
  if text == "always()" then return true end
  local literal = text:match("^'([^']*)'$")
  if literal then return literal end
  local object, name = text:match("^([%w_]+)%.([%w_-]+)$")
  local known = object and context[object]
  if not known then error("no GitHub expression that this test knows: " .. text, 0) end
  if known[name] == nil and object ~= "inputs" then error("GitHub's context has no " .. text, 0) end
  return known[name] or ""
end

--- A text with its ${{ expressions }} filled in.
---@param text string
---@param context table
---@return string
function M.fill(text, context)
  return (tostring(text):gsub("%${{(.-)}}", function(inside) return tostring(M.value(inside, context)) end))
end

return M
