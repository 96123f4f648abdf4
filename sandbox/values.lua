--- JSON values as the services keep them: copies, merges, update masks, links.
---
--- Stored values never hold `json.null`: a null in a request removes the field (`M.merge`) or is dropped (`M.clean`).
local json = require "ws.json"

local M = {}

--- Whether a table is a JSON list: it was decoded as one, made by `json.array`, or has a first element.
---@param v any
---@return boolean
function M.is_array(v)
  return type(v) == "table" and json.kind(v) == "array"
end

local function copy(v, drop_nulls)
  if type(v) ~= "table" or v == json.null then return v end
  if M.is_array(v) then
    local t = {}
    for i, item in ipairs(v) do t[i] = copy(item, drop_nulls) end
    return json.array(t)
  end
  local t = {}
  for k, item in pairs(v) do
    if not (drop_nulls and item == json.null) then t[k] = copy(item, drop_nulls) end
  end
  if next(t) == nil then return json.object(t) end
  return t
end

--- A deep copy.
---@param v any
---@return any
function M.copy(v) return copy(v, false) end

--- A deep copy without the fields that are null.
---@param v any
---@return any
function M.clean(v) return copy(v, true) end

--- Changes `target` as RFC 7396 (JSON merge patch) says: objects are merged, null removes, the rest replaces.
---@param target table
---@param patch table
---@return table target
function M.merge(target, patch)
  for k, v in pairs(patch) do
    if v == json.null then
      target[k] = nil
    elseif type(v) == "table" and not M.is_array(v) and type(target[k]) == "table" and not M.is_array(target[k]) then
      M.merge(target[k], v)
    else
      target[k] = copy(v, true)
    end
  end
  return target
end

--- The lowerCamelCase form of a field name, which masks may give in snake_case.
---@param name string
---@return string
function M.camel(name)
  return (name:gsub("_(%l)", string.upper))
end

local function set_path(target, body, path)
  local head, rest = path:match("^([^.]+)%.?(.*)$")
  local value = type(body) == "table" and body[head] or nil
  if value == json.null then value = nil end
  if rest == "" then
    target[head] = copy(value, true)
  else
    if type(target[head]) ~= "table" then
      if value == nil then return end
      target[head] = {}
    end
    set_path(target[head], value, rest)
    if next(target[head]) == nil then target[head] = nil end
  end
end

--- Changes in `target` exactly the fields that the mask names, to what `body` has there; absent means removed.
---@param target table
---@param body table
---@param mask string  comma-separated paths, e.g. "labels,serviceConfig.timeoutSeconds"
---@return table target
function M.apply_mask(target, body, mask)
  for path in mask:gmatch("[^,%s]+") do
    set_path(target, body, M.camel(path))
  end
  return target
end

--- The last segment of a path or link.
---@param link string
---@return string
function M.last(link)
  return link:match("([^/]*)$")
end

--- The keys of a table as text, sorted.
---@param t table
---@return string[]
function M.keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

--- A JSON list of `fn(item)` for the items; nils are left out.
---@param items any[]
---@param fn function
---@return any[]
function M.map(items, fn)
  local t = {}
  for _, item in ipairs(items) do t[#t + 1] = fn(item) end
  return json.array(t)
end

--- A boolean of a query: gcloud writes True, Go true, and an empty value means absent.
---@param text string?
---@return boolean
function M.flag(text)
  return text ~= nil and (text:lower() == "true" or text == "1")
end

--- A parameter of a query, nil when absent or empty.
---@param text string?
---@return string?
function M.given(text)
  if text == "" then return nil end
  return text
end

local counter = 0

--- A number of 19 digits that was never given before, as text: what Google calls an id.
---@return string
function M.id()
  local time = require "ws.time"
  counter = (counter + 1) % 1000
  return ("%d%03d"):format(math.floor(time.now() * 1e6), counter)
end

return M
