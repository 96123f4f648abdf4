--- Between a resource's attributes and the JSON of its REST API.
---
--- Most names only change from snake_case to camelCase, and a block that may occur once is an object there. What
--- differs
--- is said by the resource's file: `names`, `client`, `links`, `arrays` (see resource.lua). Reading follows what is
--- managed: a computed attribute is read always; one that is only optional is read when the state has a value for it,
--- so that defaults which the cloud fills in make no change. An import reads everything.
local json = require "ws.json"
local values = require "sandbox.provider.values"

local M = {}

local unknown = values.unknown

local function api_name(spec, path, name)
  local given = spec.names and spec.names[path]
  if given ~= nil then return given end
  return values.camel(name)
end

local function get(object, name)
  for part in name:gmatch("[^.]+") do
    if type(object) ~= "table" then return nil end
    object = object[part]
  end
  if object == json.null then return nil end
  return object
end

--- Stores a value under a dotted name; two attributes may put their values into one object.
local function put(object, name, value)
  local first, rest = name:match("^([^.]+)%.(.+)$")
  if not first then
    local there = object[name]
    if type(there) == "table" and type(value) == "table" then
      for k, v in pairs(value) do put(there, k, v) end
    else
      object[name] = value
    end
    return
  end
  object[first] = object[first] or json.object()
  put(object[first], rest, value)
end

local function is_single(spec, path, of)
  return of.block and of.max == 1 and not (spec.arrays and spec.arrays[path])
end

-- ---- towards the API -----------------------------------------------------------------------------------------------

--- A link from what the configuration says: a bare name becomes a path from "projects/" on.
local function link(spec, path, value, context)
  local kind = spec.links and spec.links[path]
  if not kind or value == "" or value:find("^https?://") or value:find("^projects/") then return value end
  if value:find("/") then return "projects/" .. context.params.project .. "/" .. value end
  return ("projects/%s/%s/%s"):format(context.params.project, context.fill(kind), value)
end

local object_to_api

local function to_api(spec, of, value, path, context)
  if of.kind == "object" then return object_to_api(spec, of, value, path, context) end
  if of.kind == "string" then return link(spec, path, value, context) end
  if of.kind == "map" then
    local object = json.object()
    for k, v in pairs(value) do object[k] = v ~= values.null and v or nil end
    return object
  end
  if of.kind == "list" or of.kind == "set" then
    if is_single(spec, path, of) then
      if value[1] == nil then return nil end
      return object_to_api(spec, of.elem, type(value[1]) == "table" and value[1] or {}, path, context)
    end
    local list = json.array {}
    for i, element in ipairs(value) do
      if element == values.null then element = of.block and {} or json.null end
      list[i] = element == json.null and element or to_api(spec, of.elem, element, path, context)
    end
    return list
  end
  return value
end

function object_to_api(spec, of, value, path, context)
  local object = json.object()
  for name, attribute_type in pairs(of.attributes) do
    local at = path == "" and name or path .. "." .. name
    local attribute = of.block and of.block.attributes[name]
    local v = value[name]
    local to = api_name(spec, at, name)
    if v ~= nil and v ~= unknown and to and not (spec.client and spec.client[at])
      and not (attribute and attribute.computed and not attribute.optional) then
      local sent = to_api(spec, attribute_type, v, at, context)
      if sent ~= nil then put(object, to, sent) end
    end
  end
  return object
end

--- The body that says what a resource should be. Attributes that are only computed are left out.
---@param spec sandbox.provider.Resource
---@param planned table
---@param context table
---@return table body
function M.body(spec, planned, context)
  return object_to_api(spec, spec.block.type, planned, "", context)
end

--- The name in the body of an attribute or block at the top; nil when it is never sent.
---@param spec sandbox.provider.Resource
---@param name string
---@return string?
function M.body_key(spec, name)
  local to = api_name(spec, name, name)
  if not to or (spec.client and spec.client[name]) then return nil end
  return (to:match("^[^.]+"))
end

-- ---- from the API --------------------------------------------------------------------------------------------------

local function scalar(kind, v)
  if kind == "string" then
    if type(v) == "string" then return v end
    if math.type(v) == "float" and v == math.floor(v) then return ("%.0f"):format(v) end
    if type(v) == "table" then return nil end
    return tostring(v)
  elseif kind == "bool" then
    if type(v) == "boolean" then return v end
    return v == "true"
  end
  local n = tonumber(v)
  return math.tointeger(n) or n
end

local object_from_api

--- How much of an API's object is taken: "managed" follows the state, "all" takes everything.
local function from_api(spec, of, v, prior, path, mode)
  if prior == unknown then prior, mode = nil, "all" end
  if v == nil then
    if prior ~= nil and values.is_zero(prior) then return prior end
    return nil
  end
  if of.kind == "object" then return object_from_api(spec, of, v, prior, path, mode) end
  if of.kind == "map" then
    local map = {}
    if type(v) ~= "table" then return nil end
    for k, element in pairs(v) do map[k] = scalar(of.elem.kind, element) end
    return map
  end
  if of.kind ~= "list" and of.kind ~= "set" then
    local found = scalar(of.kind, v)
    if values.same_reference(prior, found) then return prior end
    return found
  end
  if type(v) ~= "table" then return nil end
  if is_single(spec, path, of) or (of.elem.kind == "object" and not of.block and #v == 0 and next(v)) then v = { v } end
  local list, used = {}, {}
  for i, element in ipairs(v) do
    if of.kind == "list" then
      list[i] = from_api(spec, of.elem, element, type(prior) == "table" and prior[i] or nil, path,
        type(prior) == "table" and prior[i] and mode or "all")
    else
      for k, candidate in ipairs(type(prior) == "table" and prior or {}) do
        local found = not used[k] and from_api(spec, of.elem, element, candidate, path, mode)
        if found and values.equal(of.elem, found, candidate == unknown and found or values.known(candidate)) then
          list[i], used[k] = found, true
          break
        end
      end
      if list[i] == nil then list[i] = from_api(spec, of.elem, element, nil, path, "all") end
    end
  end
  return list
end

local function is_empty(object)
  for _, v in pairs(object) do
    if not values.is_zero(v) then return false end
  end
  return true
end

local function block_from_api(spec, of, v, prior, at, mode)
  if of.kind == "object" then return prior end -- timeouts
  if prior == unknown then
    prior, mode = nil, "all"
  elseif mode == "managed" and values.is_zero(prior) then
    return {}
  end
  local list = from_api(spec, of, v, prior, at, mode) or {}
  -- A block that is off, such as {"enable": false}, is the same as none.
  local given = type(v) == "table" and next(v) ~= nil
  if mode == "all" and given and is_single(spec, at, of) and #list == 1 and is_empty(list[1]) then return {} end
  return list
end

--- A new element of a set that the configuration describes has unknowns where the cloud decides.
function object_from_api(spec, of, object, prior, path, mode)
  local result, block = {}, of.block
  if prior == nil then prior, mode = {}, "all" end
  if type(object) ~= "table" then object = {} end
  for name, attribute_type in pairs(of.attributes) do
    local at = path == "" and name or path .. "." .. name
    local before = prior[name]
    local from = api_name(spec, at, name)
    local attribute = block and block.attributes[name]
    if not from or (spec.client and spec.client[at]) then
      if before ~= unknown then result[name] = before end
    elseif block and not attribute then
      result[name] = block_from_api(spec, attribute_type, get(object, from), before, at, mode)
    elseif not attribute or attribute.computed or before ~= nil or mode == "all" then
      local v = get(object, from)
      result[name] = from_api(spec, attribute_type, v, before, at, mode)
    end
  end
  return result
end

--- The state that an object of the API describes.
---@param spec sandbox.provider.Resource
---@param object table
---@param prior table?  the plan or the state before; nil for an import
---@return table state
function M.state(spec, object, prior)
  return object_from_api(spec, spec.block.type, object, prior, "", prior and "managed" or "all")
end

return M
