--- Strategic merge patch: a merge patch that knows the keys of lists and carries directives.
---
--- `$patch: delete|replace|merge` on an object or a list's item, `$retainKeys`, `$setElementOrder/LIST` and
--- `$deleteFromPrimitiveList/LIST`. Lists without a merge key are replaced as a whole.
local json = require "ws.json"
local errors = require "sandbox.kubernetes.errors"
local values = require "sandbox.kubernetes.values"

local M = {}

local merge_object

local function child(node, key)
  if not node then return nil end
  if node.type == "map" then return node.elem end
  return node.fields and node.fields[key]
end

local function find_item(list, key, value)
  for i = 1, #list do
    if type(list[i]) == "table" and list[i][key] == value then return i end
  end
end

local function id_of(item, key)
  if key and type(item) == "table" then return item[key] end
  return item
end

--- Orders a merged list: the items that `order` names in its order; each other item goes before the first of them
--- that it
--- preceded in the list as it was, and else behind.
local function reorder(merged, order, before, key)
  local place, wanted, named, others = {}, {}, {}, {}
  for i = 1, #before do place[id_of(before[i], key)] = i end
  for i = 1, #order do wanted[id_of(order[i], key)] = wanted[id_of(order[i], key)] or i end
  for i = 1, #merged do
    local list = wanted[id_of(merged[i], key)] and named or others
    list[#list + 1] = merged[i]
  end
  local function by(rank)
    return function(x, y) return (rank[id_of(x, key)] or math.huge) < (rank[id_of(y, key)] or math.huge) end
  end
  table.sort(named, by(wanted))
  table.sort(others, by(place))
  local out, i, j = values.array(), 1, 1
  while i <= #others or j <= #named do
    local left, right = others[i], named[j]
    local left_place = left ~= nil and place[id_of(left, key)]
    local right_place = right ~= nil and place[id_of(right, key)]
    if right == nil or (left_place and right_place and left_place < right_place) then
      out[#out + 1] = left
      i = i + 1
    else
      out[#out + 1] = right
      j = j + 1
    end
  end
  return out
end

local function merge_primitives(target, patch)
  local out, seen = values.array(), {}
  for _, list in ipairs { target, patch } do
    for i = 1, #list do
      if not seen[list[i]] then
        seen[list[i]] = true
        out[#out + 1] = list[i]
      end
    end
  end
  return reorder(out, patch, target)
end

local function merge_items(target, patch, node)
  local key = node.merge
  for i = 1, #patch do
    if type(patch[i]) == "table" and patch[i]["$patch"] == "replace" then
      local out = values.array()
      for j = 1, #patch do
        if patch[j]["$patch"] ~= "replace" then out[#out + 1] = merge_object(values.object(), patch[j], node.elem) end
      end
      return out
    end
  end
  local out = values.copy(target)
  for i = 1, #patch do
    local item = patch[i]
    local value = type(item) == "table" and item[key]
    if value == nil or value == false then
      errors.raise("", ("map: %s does not contain declared merge key: %s"):format(values.canonical(item), key))
    end
    local at = find_item(out, key, value)
    if item["$patch"] == "delete" then
      while at do
        table.remove(out, at)
        at = find_item(out, key, value)
      end
    elseif at then
      out[at] = merge_object(out[at], item, node.elem)
    else
      out[#out + 1] = merge_object(values.object(), item, node.elem)
    end
  end
  return reorder(out, patch, target, key)
end

local function merge_list(target, patch, node)
  if not node or not node.merge or not values.is_array(target) then
    local out = values.array()
    for i = 1, #patch do
      local item = patch[i]
      if not (values.is_object(item) and item["$patch"] == "delete") and
        not (values.is_object(item) and item["$patch"] == "replace") then
        out[#out + 1] = values.is_object(item) and merge_object(values.object(), item, node and node.elem) or item
      end
    end
    return out
  end
  if node.merge == true then return merge_primitives(target, patch) end
  return merge_items(target, patch, node)
end

local function without(list, gone)
  local drop, out = {}, values.array()
  for i = 1, #gone do drop[gone[i]] = true end
  for i = 1, #list do
    if not drop[list[i]] then out[#out + 1] = list[i] end
  end
  return out
end

function merge_object(target, patch, node)
  local directive = patch["$patch"]
  if directive == "delete" then return values.object() end
  local out = values.is_object(target) and directive ~= "replace" and values.copy(target) or values.object()
  local retain = patch["$retainKeys"]
  if retain then
    local keep = {}
    for i = 1, #retain do keep[retain[i]] = true end
    for _, k in ipairs(values.keys(out)) do
      if not keep[k] then out[k] = nil end
    end
  end
  for k, v in pairs(patch) do
    local list = k:match "^%$deleteFromPrimitiveList/(.+)$"
    if list and values.is_array(out[list]) then out[list] = without(out[list], v) end
  end
  for k, v in pairs(patch) do
    if k:sub(1, 1) ~= "$" then
      local field = child(node, k)
      if v == json.null then
        out[k] = nil
      elseif values.is_array(v) then
        out[k] = merge_list(out[k], v, field)
      elseif values.is_object(v) then
        if v["$patch"] == "delete" then out[k] = nil else out[k] = merge_object(out[k], v, field) end
      else
        out[k] = v
      end
    end
  end
  for k, v in pairs(patch) do
    local list = k:match "^%$setElementOrder/(.+)$"
    if list and values.is_array(out[list]) then
      local field = child(node, list)
      local key = field and type(field.merge) == "string" and field.merge or nil
      local before = values.is_object(target) and target[list]
      out[list] = reorder(out[list], v, values.is_array(before) and before or {}, key)
    end
  end
  return out
end

--- The object after a strategic merge patch; neither argument is changed.
---@param target table
---@param patch table
---@param node? kubernetes.Node  the kind's type
---@return table
function M.merge(target, patch, node)
  return merge_object(target, patch, node)
end

return M
