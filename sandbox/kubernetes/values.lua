--- Plain operations on decoded JSON: what the API server does to objects that is no matter of their kind.
---
--- Objects in the store are never changed in place: whoever wants another one copies first. Absent and null mean the
--- same in a stored object, so nulls are dropped at the door (`without_nulls`); patches keep them.
local json = require "ws.json"

local M = {}

local ARRAY = getmetatable(json.array {})

--- Whether the value is a JSON array. A table literal with elements counts as one.
---@param v any
---@return boolean
function M.is_array(v)
  return type(v) == "table" and (getmetatable(v) == ARRAY or v[1] ~= nil)
end

--- Whether the value is a JSON object.
---@param v any
---@return boolean
function M.is_object(v)
  return type(v) == "table" and v ~= json.null and not M.is_array(v)
end

--- An empty JSON object, or `t` as it is: a table that is no array is written as an object.
---@param t? table
---@return table
function M.object(t)
  return t or {}
end

--- An empty JSON array, or `t` marked as one.
---@param t? any[]
---@return table
function M.array(t)
  return json.array(t or {})
end

--- A deep copy whose every part may be changed.
---@generic T
---@param v T
---@return T
function M.copy(v)
  if type(v) ~= "table" or v == json.null then return v end
  if M.is_array(v) then
    local out = json.array {}
    for i = 1, #v do out[i] = M.copy(v[i]) end
    return out
  end
  local out = {}
  for k, item in pairs(v) do out[k] = M.copy(item) end
  return out
end

--- Whether two values are the same JSON.
---@param a any
---@param b any
---@return boolean
function M.equal(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" or a == json.null or b == json.null then return false end
  if M.is_array(a) ~= M.is_array(b) then return false end
  for k, v in pairs(a) do
    if not M.equal(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

--- Removes null members of objects, in place and at every depth. Nulls in arrays stay.
---@param v any
---@return any v
function M.without_nulls(v)
  if type(v) ~= "table" or v == json.null then return v end
  if M.is_array(v) then
    for i = 1, #v do M.without_nulls(v[i]) end
    return v
  end
  local nulls = {}
  for k, item in pairs(v) do
    if item == json.null then nulls[#nulls + 1] = k else M.without_nulls(item) end
  end
  for _, k in ipairs(nulls) do v[k] = nil end
  return v
end

--- What lies at a path of keys, or nil.
---@param v any
---@param ... string|integer
---@return any
function M.get(v, ...)
  for i = 1, select("#", ...) do
    if type(v) ~= "table" then return nil end
    v = v[(select(i, ...))]
  end
  if v == json.null then return nil end
  return v
end

--- Puts a value at a path of keys, making the objects on the way.
---@param t table
---@param path (string|integer)[]
---@param value any  nil removes
function M.set(t, path, value)
  for i = 1, #path - 1 do
    local step = path[i]
    if type(t[step]) ~= "table" or t[step] == json.null then
      if value == nil then return end
      t[step] = {}
    end
    t = t[step]
  end
  t[path[#path]] = value
end

--- The member of an object, made when it is missing: `sub(o, "metadata", "labels")`.
---@param t table
---@param ... string
---@return table
function M.sub(t, ...)
  for i = 1, select("#", ...) do
    local key = select(i, ...)
    if type(t[key]) ~= "table" or t[key] == json.null then t[key] = {} end
    t = t[key]
  end
  return t
end

--- Whether a table holds nothing.
---@param t any
---@return boolean
function M.is_empty(t)
  return type(t) ~= "table" or next(t) == nil
end

--- The keys of a table, sorted.
---@param t table
---@return string[]
function M.keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

--- JSON with sorted keys: equal values give equal bytes.
---@param v any
---@return string
function M.canonical(v)
  if type(v) ~= "table" or v == json.null then return json.encode(v) end
  local parts = {}
  if M.is_array(v) then
    for i = 1, #v do parts[i] = M.canonical(v[i]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for i, k in ipairs(M.keys(v)) do parts[i] = json.encode(k) .. ":" .. M.canonical(v[k]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

return M
