-- What a plan of Terraform would change, from its JSON: https://developer.hashicorp.com/terraform/internals/json-format
--
-- Values that Terraform marks as sensitive are never among the texts.
local crypto = require "ws.crypto"
local json = require "ws.json"

local M = {}

local SENSITIVE, UNKNOWN = "(sensitive)", "(known when it is made)"

local function plain(value)
  if value == json.null then return nil end
  return value
end

local function child(mark, key)
  if mark == true then return true end
  return type(mark) == "table" and mark[key] or nil
end

local function text(value)
  if value == nil or type(value) == "string" then return value and ("%q"):format(value):gsub("\\\n", "\\n") end
  return json.encode(value)
end

local function keys_of(...)
  local set, list = {}, {}
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    for key in pairs(type(value) == "table" and value or {}) do
      if not set[key] then
        set[key] = true
        list[#list + 1] = key
      end
    end
  end
  table.sort(list, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return list
end

--- Appends { name, before, after } for every leaf that differs.
local function compare(out, name, before, after, marks)
  before, after = plain(before), plain(after)
  if marks.unknown == true then
    out[#out + 1] = { name = name, before = marks.was == true and before ~= nil and SENSITIVE or text(before),
      after = UNKNOWN }
    return
  end
  if marks.was == true or marks.is == true then
    if text(before) ~= text(after) then
      out[#out + 1] = { name = name, before = before ~= nil and SENSITIVE or nil,
        after = after ~= nil and SENSITIVE or nil }
    end
    return
  end
  local deep = type(before) == "table" or type(after) == "table" or type(marks.unknown) == "table"
  if deep and type(before or {}) == "table" and type(after or {}) == "table" then
    for _, key in ipairs(keys_of(before, after, marks.unknown)) do
      local inner = type(key) == "number" and ("%s[%d]"):format(name, key - 1) or name .. "." .. key
      compare(out, inner, (before or {})[key], (after or {})[key], { unknown = child(marks.unknown, key),
        was = child(marks.was, key), is = child(marks.is, key) })
    end
  elseif text(before) ~= text(after) then
    out[#out + 1] = { name = name, before = text(before), after = text(after) }
  end
end

--- The attributes in which a resource's state before and after differ.
---@param change table  of a resource, as in the plan's JSON
---@return { name: string, before?: string, after?: string }[]
function M.attributes(change)
  local out = {}
  local before, after = plain(change.before), plain(change.after)
  for _, key in ipairs(keys_of(before, after, change.after_unknown)) do
    local unknown = child(change.after_unknown, key)
    compare(out, key, (before or {})[key], (after or {})[key], { unknown = unknown ~= false and unknown or nil,
      was = child(change.before_sensitive, key), is = child(change.after_sensitive, key) })
  end
  return out
end

local names = { create = "add", update = "change", delete = "remove", ["delete,create"] = "replace",
  ["create,delete"] = "replace" }

--- The changes of a plan.
---@param document table  `terraform show -json PLAN`
---@return ws.Change[]
function M.of(document)
  local list = {}
  for _, resource in ipairs(document.resource_changes or {}) do
    local action = names[table.concat(resource.change.actions, ",")]
    if action and resource.mode == "managed" then
      local attributes = M.attributes(resource.change)
      list[#list + 1] = { what = "terraform", action = action, name = resource.address,
        attributes = #attributes > 0 and attributes or nil }
    end
  end
  return list
end

--- What identifies each of a plan's changes: the same for a plan that was made anew and would do the same. Values stay
--- within, as a checksum.
---@param document table
---@return table<string, { action: string, sum: string }>  by address
function M.fingerprint(document)
  local sums = {}
  for _, resource in ipairs(document.resource_changes or {}) do
    local change = resource.change
    if resource.mode == "managed" and change.actions[1] ~= "no-op" then
      local action, parts = table.concat(change.actions, ","), {}
      for _, attribute in ipairs(M.attributes(change)) do
        parts[#parts + 1] = json.encode { attribute.name, attribute.before or "", attribute.after or "" }
      end
      sums[resource.address] = { action = action, sum = crypto.sha256(table.concat(parts, " ")) }
    end
  end
  return sums
end

--- Outputs that the plan would change, which other layers may read.
---@param document table
---@return string[] names  sorted
function M.outputs(document)
  local list = {}
  for name, change in pairs(document.output_changes or {}) do
    if change.actions[1] ~= "no-op" then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

return M
