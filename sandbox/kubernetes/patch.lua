--- JSON patch (RFC 6902) and JSON merge patch (RFC 7386).
local json = require "ws.json"
local errors = require "sandbox.kubernetes.errors"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The value that a merge patch makes of another; neither argument is changed.
---@param target any
---@param patch any
---@return any
function M.merge(target, patch)
  if not values.is_object(patch) then return values.copy(patch) end
  local out = values.is_object(target) and values.copy(target) or values.object()
  for k, v in pairs(patch) do
    if v == json.null then out[k] = nil else out[k] = M.merge(out[k], v) end
  end
  return out
end

local function steps_of(pointer)
  if pointer == "" then return {} end
  if pointer:sub(1, 1) ~= "/" then errors.bad_request("invalid JSON pointer %q", pointer) end
  local steps = {}
  for step in pointer:gmatch "/([^/]*)" do
    steps[#steps + 1] = step:gsub("~1", "/"):gsub("~0", "~")
  end
  return steps
end

local function failed(operation, why)
  errors.raise("Invalid", ("the server rejected our request due to an error in our request: %s operation does not "
    .. "apply: %s")
    :format(operation.op, why))
end

--- The index of an array that a step means. `insert`: one past the end is allowed too.
local function index_of(array, step, insert, operation)
  if step == "-" and insert then return #array + 1 end
  local n = step:match "^%d+$" and math.tointeger(tonumber(step))
  if not n or n + 1 > #array + (insert and 1 or 0) then
    failed(operation, ("doc is missing index: %s: missing value"):format(operation.path))
  end
  return n + 1
end

local function parent_of(doc, steps, operation)
  for i = 1, #steps - 1 do
    if values.is_array(doc) then
      doc = doc[index_of(doc, steps[i], false, operation)]
    else
      doc = doc[steps[i]]
    end
    if type(doc) ~= "table" or doc == json.null then
      failed(operation, ("doc is missing path: %q: missing value"):format(operation.path))
    end
  end
  return doc, steps[#steps]
end

local function read(doc, pointer, operation)
  local steps = steps_of(pointer)
  if #steps == 0 then return doc end
  local parent, last = parent_of(doc, steps, operation)
  if values.is_array(parent) then return parent[index_of(parent, last, false, operation)] end
  return parent[last]
end

local function add(doc, pointer, value, operation)
  local steps = steps_of(pointer)
  if #steps == 0 then return value end
  local parent, last = parent_of(doc, steps, operation)
  if values.is_array(parent) then
    table.insert(parent, index_of(parent, last, true, operation), value)
  else
    parent[last] = value
  end
  return doc
end

local function remove(doc, pointer, operation)
  local steps = steps_of(pointer)
  local parent, last = parent_of(doc, steps, operation)
  if values.is_array(parent) then
    table.remove(parent, index_of(parent, last, false, operation))
  else
    if parent[last] == nil then
      failed(operation, ("Unable to remove nonexistent key: %s: missing value"):format(last))
    end
    parent[last] = nil
  end
  return doc
end

local OPERATIONS = {}

function OPERATIONS.add(doc, o)
  return add(doc, o.path, values.copy(o.value), o)
end

function OPERATIONS.remove(doc, o)
  return remove(doc, o.path, o)
end

function OPERATIONS.replace(doc, o)
  local steps = steps_of(o.path)
  if #steps == 0 then return values.copy(o.value) end
  local parent, last = parent_of(doc, steps, o)
  if values.is_array(parent) then
    parent[index_of(parent, last, false, o)] = values.copy(o.value)
  else
    if parent[last] == nil then failed(o, ("doc is missing key: %s: missing value"):format(o.path)) end
    parent[last] = values.copy(o.value)
  end
  return doc
end

function OPERATIONS.test(doc, o)
  local found = read(doc, o.path, o)
  if found == nil then found = json.null end
  local wanted = o.value == nil and json.null or o.value
  if not values.equal(found, wanted) then
    errors.raise("Invalid", ("the server rejected our request due to an error in our request: "
      .. "testing value %s failed: test failed"):format(o.path))
  end
  return doc
end

function OPERATIONS.move(doc, o)
  local value = read(doc, o.from, o)
  if value == nil then failed(o, "missing value at " .. o.from) end
  return add(remove(doc, o.from, o), o.path, value, o)
end

function OPERATIONS.copy(doc, o)
  local value = read(doc, o.from, o)
  if value == nil then failed(o, "missing value at " .. o.from) end
  return add(doc, o.path, values.copy(value), o)
end

--- The value after a list of JSON patch operations. Raises 422 when one does not apply, 400 when it is none.
---@param target table  not changed
---@param operations table[]
---@return any
function M.json(target, operations)
  if type(operations) ~= "table" or (next(operations) and not values.is_array(operations)) then
    errors.bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
  end
  local doc = values.copy(target)
  for _, o in ipairs(operations) do
    local apply = type(o) == "table" and OPERATIONS[o.op]
    if not apply or type(o.path) ~= "string" then
      errors.bad_request("Unexpected kind of JSON patch operation: %s", tostring(type(o) == "table" and o.op or o))
    end
    doc = apply(doc, o)
  end
  return doc
end

return M
