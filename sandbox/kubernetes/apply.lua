--- Server-side apply, and the bookkeeping of managedFields for every other write.
---
--- Each manager owns a set of field paths by operation (`Apply`, `Update`) and subresource. An apply takes what it
--- names; refuses (409) when another manager owns a named field with a different value, unless forced; and removes
--- what it
--- named before and no longer does, where nobody else owns it. Any other write takes what it changes.
local errors = require "sandbox.kubernetes.errors"
local fieldset = require "sandbox.kubernetes.fieldset"
local values = require "sandbox.kubernetes.values"

local M = {}

local SYSTEM_METADATA = {
  "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink",
    "deletionTimestamp",
  "deletionGracePeriodSeconds", "managedFields",
}

--- The part of an object whose fields can be owned.
local function ownable(object, without_status)
  local out = values.object()
  for k, v in pairs(object or {}) do out[k] = v end
  out.apiVersion, out.kind = nil, nil
  if without_status then out.status = nil end
  if out.metadata then
    local meta = values.object()
    for k, v in pairs(out.metadata) do meta[k] = v end
    for _, k in ipairs(SYSTEM_METADATA) do meta[k] = nil end
    out.metadata = next(meta) and meta or nil
  end
  return out
end

local function merge_list(live, applied, node)
  local out = values.array()
  if node.set then
    local seen = {}
    for _, list in ipairs { live, applied } do
      for i = 1, #list do
        if not seen[list[i]] then out[#out + 1] = list[i] end
        seen[list[i]] = true
      end
    end
    return out
  end
  local index, named = {}, 0
  for i = 1, #live do
    out[i] = live[i]
    index[fieldset.item_key(live[i], node.keys) or i] = i
  end
  for i = 1, #applied do
    local key = fieldset.item_key(applied[i], node.keys)
    local at = index[key]
    if at then
      out[at] = M.merge(out[at], applied[i], node.elem)
      named = named + 1
    else
      out[#out + 1] = values.copy(applied[i])
    end
  end
  if named < #live then return out end
  -- The manager names every item: its order holds.
  local by_key, ordered = {}, values.array()
  for i = 1, #out do by_key[fieldset.item_key(out[i], node.keys) or i] = out[i] end
  for i = 1, #applied do ordered[i] = by_key[fieldset.item_key(applied[i], node.keys)] end
  return #ordered == #out and ordered or out
end

--- What an object becomes when the applied fields are laid over it.
---@param live any
---@param applied any
---@param node? kubernetes.Node
---@return any
function M.merge(live, applied, node)
  local atomic = node and (node.atomic or node.type == "raw")
  if atomic or type(live) ~= "table" or type(applied) ~= "table" then return values.copy(applied) end
  if values.is_object(live) and values.is_object(applied) then
    local out = values.copy(live)
    for k, v in pairs(applied) do out[k] = M.merge(out[k], v, fieldset.child(node, k)) end
    return out
  end
  if values.is_array(live) and values.is_array(applied) and node and (node.keys or node.set) then
    return merge_list(live, applied, node)
  end
  return values.copy(applied)
end

local function same_entry(entry, manager, operation, subresource)
  return entry.manager == manager and entry.operation == operation and (entry.subresource or "") == (subresource or "")
end

--- The entries of an object, copied one level deep.
local function entries_of(object)
  local out = {}
  for _, entry in ipairs(values.get(object, "metadata", "managedFields") or {}) do
    local copy = values.object()
    for k, v in pairs(entry) do copy[k] = v end
    copy.fieldsV1 = copy.fieldsV1 or values.object()
    if copy.manager then out[#out + 1] = copy end
  end
  return out
end

--- Applies before updates, then by time and name: the order in which they are shown.
local function earlier(a, b)
  if a.operation ~= b.operation then return a.operation < b.operation end
  if a.time ~= b.time then return (a.time or "") < (b.time or "") end
  if a.manager ~= b.manager then return a.manager < b.manager end
  return (a.subresource or "") < (b.subresource or "")
end

local function store_entries(object, entries)
  table.sort(entries, earlier)
  local list = values.array()
  for _, entry in ipairs(entries) do
    if entry.fieldsV1 and next(entry.fieldsV1) then list[#list + 1] = entry end
  end
  object.metadata.managedFields = #list > 0 and list or nil
end

--- How a conflict names an entry: its operation and version only when it is an Update.
local function owner_text(entry)
  if entry.operation == "Apply" then return ("%q"):format(entry.manager) end
  local sub = entry.subresource and (" with subresource %q"):format(entry.subresource) or ""
  return ("%q%s using %s"):format(entry.manager, sub, entry.apiVersion)
end

local function raise_conflicts(conflicts)
  table.sort(conflicts, function(a, b) return a.path < b.path end)
  local causes, lines, by_owner, order = values.array(), {}, {}, {}
  for i, c in ipairs(conflicts) do
    causes[i] = { reason = "FieldManagerConflict", message = "conflict with " .. c.owner, field = c.path }
    if not by_owner[c.owner] then
      by_owner[c.owner] = {}
      order[#order + 1] = c.owner
    end
    table.insert(by_owner[c.owner], c.path)
  end
  for _, owner in ipairs(order) do
    local paths = by_owner[owner]
    if #paths == 1 then
      lines[#lines + 1] = ("conflict with %s: %s"):format(owner, paths[1])
    else
      lines[#lines + 1] = ("conflicts with %s:\n- %s"):format(owner, table.concat(paths, "\n- "))
    end
  end
  errors.raise("Conflict", ("Apply failed with %d conflict%s: %s"):format(#conflicts, #conflicts == 1 and "" or "s",
    table.concat(lines, "\n")), { causes = causes })
end

---@class kubernetes.Manager
---@field name string
---@field api_version string
---@field subresource? string
---@field time string
---@field force? boolean

--- The object that an apply makes, its managedFields set. Raises 409 on conflicts.
---@param live? table  nil: the apply creates
---@param applied table  the request's object
---@param node? kubernetes.Node
---@param manager kubernetes.Manager
---@param without_status boolean  the status belongs to a subresource
---@return table
function M.apply(live, applied, node, manager, without_status)
  local wanted = ownable(applied, without_status)
  local new_set = fieldset.of(wanted, node)
  local entries, own = entries_of(live), nil
  local conflicts, others = {}, values.object()
  for _, entry in ipairs(entries) do
    if same_entry(entry, manager.name, "Apply", manager.subresource) then
      own = entry
    else
      local lost = values.object()
      fieldset.common(new_set, entry.fieldsV1, wanted, live, node, function(path, mine, theirs, trail)
        if not values.equal(mine, theirs) then
          conflicts[#conflicts + 1] = { owner = owner_text(entry), path = path }
          lost = fieldset.union(lost, fieldset.single(trail))
        end
      end)
      if manager.force then entry.fieldsV1 = fieldset.without(entry.fieldsV1, lost) or values.object() end
      others = fieldset.union(others, entry.fieldsV1)
    end
  end
  if #conflicts > 0 and not manager.force then raise_conflicts(conflicts) end
  local merged = live and M.merge(live, wanted, node) or values.copy(applied)
  if own then
    local keep = fieldset.union(new_set, others)
    keep["f:metadata"] = keep["f:metadata"] or {} -- it holds more than what can be owned
    fieldset.prune(merged, own.fieldsV1, keep, node)
  end
  local unchanged = own and values.equal(own.fieldsV1, new_set)
  if not own then
    own = values.object { manager = manager.name, operation = "Apply", subresource = manager.subresource }
    table.insert(entries, 1, own)
  end
  own.apiVersion, own.fieldsType, own.fieldsV1 = manager.api_version, "FieldsV1", new_set
  if not unchanged then own.time = manager.time end
  if not live then merged.metadata = merged.metadata or values.object() end
  store_entries(merged, entries)
  return merged
end

--- Sets the managedFields of an object that another write than an apply made, in place.
---@param old? table  as it was; nil: created
---@param new table  its managedFields are those of the request when it names any
---@param node? kubernetes.Node
---@param manager kubernetes.Manager
---@param without_status boolean
function M.track(old, new, node, manager, without_status)
  local changed, removed = fieldset.difference(ownable(old, without_status), ownable(new, without_status), node)
  local entries, own = entries_of(new), nil
  if not changed and not removed then
    store_entries(new, entries)
    return
  end
  for _, entry in ipairs(entries) do
    if same_entry(entry, manager.name, "Update", manager.subresource) then
      own = entry
    elseif changed then
      entry.fieldsV1 = fieldset.without(entry.fieldsV1, changed) or values.object()
    end
    if removed then entry.fieldsV1 = fieldset.without(entry.fieldsV1, removed) or values.object() end
  end
  if changed then
    if not own then
      own = values.object { manager = manager.name, operation = "Update", subresource = manager.subresource,
        fieldsV1 = values.object() }
      entries[#entries + 1] = own
    end
    own.apiVersion, own.fieldsType, own.time = manager.api_version, "FieldsV1", manager.time
    own.fieldsV1 = fieldset.union(own.fieldsV1, changed)
  end
  store_entries(new, entries)
end

return M
