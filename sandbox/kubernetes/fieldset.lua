--- Sets of field paths in the form of managedFields' `fieldsV1`: nested objects whose empty objects are the members.
---
--- `f:NAME` is a field, `k:{"name":"x"}` an item of a list with keys, `v:VALUE` an element of a set, `.` the item
--- itself.
local json = require "ws.json"
local values = require "sandbox.kubernetes.values"

local M = {}

local LEAF = values.object() -- shared; sets are never changed in place

--- The key of a list's item as it stands in a set, nil when the item lacks one.
---@param item any
---@param keys string[]
---@return string?
function M.item_key(item, keys)
  if not values.is_object(item) then return nil end
  local key = {}
  for _, k in ipairs(keys) do
    local v = item[k]
    if v == nil and k == "protocol" then v = "TCP" end -- the API's default of this key
    if v == nil and #keys == 1 then return nil end
    key[k] = v
  end
  return "k:" .. values.canonical(key)
end

--- The node of an object's member; `nil` is a member of unknown type, whose objects are taken apart.
---@param node? kubernetes.Node
---@param name string
---@return kubernetes.Node?
function M.child(node, name)
  if not node then return nil end
  if node.type == "map" then return node.elem end
  return node.fields and node.fields[name]
end

local function is_leaf(value, node)
  if type(value) ~= "table" or value == json.null or next(value) == nil then return true end
  if node and (node.atomic or node.type == "raw") then return true end
  if values.is_array(value) then return not (node and (node.keys or node.set)) end
  return false
end

--- The set of all leaves of a value.
---@param value any
---@param node? kubernetes.Node
---@return table
function M.of(value, node)
  if is_leaf(value, node) then return LEAF end
  local set = values.object()
  if not values.is_array(value) then
    for k, v in pairs(value) do set["f:" .. k] = M.of(v, M.child(node, k)) end
    return set
  end
  for i = 1, #value do
    local item = value[i]
    if node.set then
      set["v:" .. json.encode(item)] = LEAF
    else
      local key = M.item_key(item, node.keys)
      if not key then return LEAF end
      local inner = M.of(item, node.elem)
      local own = values.object()
      for k, v in pairs(inner) do own[k] = v end
      own["."] = LEAF
      set[key] = own
    end
  end
  return set
end

--- What a path element means in a value: the member, its node, and its index or name. Nil when it is not there.
---@param value any
---@param element string
---@param node? kubernetes.Node
---@return any member
---@return kubernetes.Node? node
---@return string|integer? at
function M.member(value, element, node)
  if type(value) ~= "table" then return nil end
  local kind, rest = element:sub(1, 2), element:sub(3)
  if kind == "f:" then
    if values.is_array(value) then return nil end
    return value[rest], M.child(node, rest), rest
  elseif kind == "k:" and node and node.keys then
    for i = 1, #value do
      if M.item_key(value[i], node.keys) == element then return value[i], node.elem, i end
    end
  elseif kind == "v:" then
    for i = 1, #value do
      if json.encode(value[i]) == rest then return value[i], nil, i end
    end
  end
  return nil
end

--- Members of either set.
---@param a table
---@param b table
---@return table
function M.union(a, b)
  local out = values.object()
  for k, v in pairs(a) do out[k] = v end
  for k, v in pairs(b) do out[k] = out[k] and M.union(out[k], v) or v end
  return out
end

--- Members of `a` that are not in `b`; nil when none is left.
---@param a table
---@param b table
---@return table?
function M.without(a, b)
  local out = values.object()
  for k, v in pairs(a) do
    if not b[k] then
      out[k] = v
    elseif next(v) ~= nil then
      out[k] = M.without(v, b[k])
    end
  end
  return next(out) and out or nil
end

--- The leaves of `new` that are absent from `old` or differ there, and the leaves of `old` that are gone.
---@param old any
---@param new any
---@param node? kubernetes.Node
---@return table? changed
---@return table? removed
function M.difference(old, new, node)
  local old_set, new_set = M.of(old, node), M.of(new, node)
  local function changed(a, b, set, at_node)
    local out = values.object()
    for element, inner in pairs(set) do
      if element ~= "." then
        local left, child = M.member(a, element, at_node)
        local right, right_child = M.member(b, element, at_node)
        child = child or right_child
        if left == nil then
          out[element] = inner
        elseif next(inner) == nil then
          if not values.equal(left, right) then out[element] = inner end
        else
          out[element] = changed(left, right, inner, child)
        end
      end
    end
    return next(out) and out or nil
  end
  return changed(old, new, new_set, node), M.without(old_set, new_set)
end

--- Takes what `gone` names and `keep` does not know out of a value, in place. A member that nothing under it keeps goes
--- as a whole, with what was defaulted inside it; a container left empty stays for the caller's defaults to fill.
---@param value table
---@param gone table
---@param keep table
---@param node? kubernetes.Node
function M.prune(value, gone, keep, node)
  local removed_items = {}
  for element, inner in pairs(gone) do
    local member, child, at = M.member(value, element, node)
    if at and member ~= nil then
      if not keep[element] then
        if type(at) == "number" then removed_items[#removed_items + 1] = at else value[at] = nil end
      elseif next(inner) ~= nil and type(member) == "table" then
        M.prune(member, inner, keep[element], child)
      end
    end
  end
  table.sort(removed_items, function(a, b) return a > b end)
  for _, i in ipairs(removed_items) do table.remove(value, i) end
end

local function element_text(element)
  local kind, rest = element:sub(1, 2), element:sub(3)
  if kind == "f:" then return "." .. rest end
  if kind == "v:" then return "[=" .. rest .. "]" end
  local parts = {}
  local key = json.decode(rest)
  for i, k in ipairs(values.keys(key)) do parts[i] = k .. "=" .. json.encode(key[k]) end
  return "[" .. table.concat(parts, ",") .. "]"
end

--- Calls `each(path, left, right)` for the leaves in both sets, with the two values' members there.
---@param a table
---@param b table
---@param left any
---@param right any
---@param node? kubernetes.Node
---@param each function
---@param path? string
---@param trail? string[]  elements so far
function M.common(a, b, left, right, node, each, path, trail)
  path, trail = path or "", trail or {}
  for element, inner in pairs(a) do
    local other = b[element]
    if other and element ~= "." then
      local l, child = M.member(left, element, node)
      local r, right_child = M.member(right, element, node)
      local here = { table.unpack(trail) }
      here[#here + 1] = element
      if next(inner) == nil and next(other) == nil then
        each(path .. element_text(element), l, r, here)
      elseif next(inner) ~= nil and next(other) ~= nil then
        M.common(inner, other, l, r, child or right_child, each, path .. element_text(element), here)
      end
    end
  end
end

--- The set with one member, from its elements.
---@param trail string[]
---@return table
function M.single(trail)
  local set = LEAF
  for i = #trail, 1, -1 do
    local outer = values.object()
    outer[trail[i]] = set
    set = outer
  end
  return set
end

return M
