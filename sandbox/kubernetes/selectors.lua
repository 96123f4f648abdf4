--- Label and field selectors: parsed once a request into a function object → boolean.
local errors = require "sandbox.kubernetes.errors"
local values = require "sandbox.kubernetes.values"

local M = {}

local function trim(s)
  return s:match "^%s*(.-)%s*$"
end

--- Splits at commas outside parentheses.
local function terms_of(text)
  local out, depth, from = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c == "(" then
      depth = depth + 1
    elseif c == ")" then
      depth = depth - 1
    elseif c == "," and depth == 0 then
      out[#out + 1] = trim(text:sub(from, i - 1))
      from = i + 1
    end
  end
  out[#out + 1] = trim(text:sub(from))
  return out
end

local function value_set(text)
  local set = {}
  for word in (text .. ","):gmatch "([^,]*)," do set[trim(word)] = true end
  return set
end

local function label_term(term)
  local key, op, rest = term:match "^([%w%-_./]+)%s+(%l+)%s*%((.*)%)$"
  if key and (op == "in" or op == "notin") then
    local set = value_set(rest)
    if op == "in" then return function(labels) return labels[key] ~= nil and set[labels[key]] == true end end
    return function(labels) return labels[key] == nil or not set[labels[key]] end
  end
  key = term:match "^!%s*([%w%-_./]+)$"
  if key then return function(labels) return labels[key] == nil end end
  local value
  key, value = term:match "^([%w%-_./]+)%s*!=%s*([%w%-_.]*)$"
  if key then return function(labels) return labels[key] ~= value end end
  key, value = term:match "^([%w%-_./]+)%s*==?%s*([%w%-_.]*)$"
  if key then return function(labels) return labels[key] == value end end
  key, op, value = term:match "^([%w%-_./]+)%s*([<>])%s*(%d+)$"
  if key then
    local limit = tonumber(value)
    return function(labels)
      local n = tonumber(labels[key] or "")
      if not n then return false end
      if op == "<" then return n < limit end
      return n > limit
    end
  end
  key = term:match "^([%w%-_./]+)$"
  if key then return function(labels) return labels[key] ~= nil end end
end

local NONE = {}

--- The predicate of a labelSelector parameter. Raises 400 when it cannot be parsed.
---@param text? string
---@return fun(object: table): boolean
function M.labels(text)
  if not text or trim(text) == "" then return function() return true end end
  local terms = {}
  for i, term in ipairs(terms_of(text)) do
    terms[i] = label_term(term) or errors.bad_request("unable to parse requirement: %s", term)
  end
  return function(object)
    local labels = object.metadata.labels or NONE
    for _, term in ipairs(terms) do
      if not term(labels) then return false end
    end
    return true
  end
end

--- The predicate of a LabelSelector object over a table of labels. An empty selector matches everything, none nothing.
---@param selector? table  matchLabels, matchExpressions
---@return fun(labels: table?): boolean
function M.of_object(selector)
  if not selector then return function() return false end end
  return function(labels)
    labels = labels or NONE
    for k, v in pairs(selector.matchLabels or NONE) do
      if labels[k] ~= v then return false end
    end
    for _, e in ipairs(selector.matchExpressions or NONE) do
      local value, found = labels[e.key], false
      for _, v in ipairs(e.values or NONE) do found = found or v == value end
      local ok
      if e.operator == "In" then
        ok = value ~= nil and found
      elseif e.operator == "NotIn" then
        ok = value == nil or not found
      elseif e.operator == "Exists" then
        ok = value ~= nil
      else
        ok = value == nil
      end
      if not ok then return false end
    end
    return true
  end
end

--- Whether labels hold every pair of a plain selector, as that of a Service.
---@param pairs_wanted table<string, string>
---@param labels? table<string, string>
---@return boolean
function M.matches(pairs_wanted, labels)
  for k, v in pairs(pairs_wanted) do
    if not labels or labels[k] ~= v then return false end
  end
  return true
end

--- The text of a LabelSelector object, as Scale.status.selector shows it.
---@param selector? table
---@return string
function M.to_text(selector)
  local parts = {}
  selector = selector or NONE
  for _, k in ipairs(values.keys(selector.matchLabels or NONE)) do
    parts[#parts + 1] = k .. "=" .. selector.matchLabels[k]
  end
  for _, e in ipairs(selector.matchExpressions or NONE) do
    local list = table.concat(e.values or NONE, ",")
    parts[#parts + 1] = ({
      In = e.key .. " in (" .. list .. ")", NotIn = e.key .. " notin (" .. list .. ")",
      Exists = e.key, DoesNotExist = "!" .. e.key,
    })[e.operator]
  end
  return table.concat(parts, ",")
end

-- The fields, besides metadata.name and metadata.namespace, by which the kinds can be selected.
local FIELDS = {
  ["/events"] = "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid "
    .. "involvedObject.apiVersion involvedObject.resourceVersion involvedObject.fieldPath reason type source "
    .. "reportingComponent",
  ["/pods"] = "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName spec.hostNetwork "
    .. "status.phase "
    .. "status.podIP status.nominatedNodeName",
  ["/secrets"] = "type",
  ["/namespaces"] = "status.phase",
  ["/nodes"] = "spec.unschedulable",
  ["/services"] = "spec.clusterIP spec.type",
  ["/replicationcontrollers"] = "status.replicas",
  ["apps/replicasets"] = "status.replicas",
  ["batch/jobs"] = "status.successful",
  ["certificates.k8s.io/certificatesigningrequests"] = "spec.signerName",
}

local function field_value(object, path)
  local v = object
  for step in path:gmatch "[^.]+" do
    if type(v) ~= "table" then return "" end
    v = v[step]
  end
  if path == "source" and type(v) == "table" then v = v.component end
  if v == nil then return "" end
  return tostring(v)
end

local function selectable(resource, path)
  if path == "metadata.name" or path == "metadata.namespace" then return true end
  for _, f in ipairs(resource.selectable or NONE) do
    if f == path then return true end
  end
  return (" " .. (FIELDS[resource.id] or "") .. " "):find(" " .. path .. " ", 1, true) ~= nil
end

--- The predicate of a fieldSelector parameter. Raises 400 for a field the kind cannot be selected by.
---@param text? string
---@param resource kubernetes.Resource
---@return fun(object: table): boolean
---@return string? name  when only one object can match
function M.fields(text, resource)
  if not text or trim(text) == "" then return function() return true end end
  local terms, name = {}, nil
  for _, term in ipairs(terms_of(text)) do
    local path, op, value = term:match "^([%w.%-_]+)(!?=+)(.*)$"
    if not path then errors.bad_request("invalid selector: '%s'; can't understand '%s'", text, term) end
    if not selectable(resource, path) then errors.bad_request("field label not supported: %s", path) end
    value = value:gsub("\\(.)", "%1")
    if path == "metadata.name" and op ~= "!=" then name = value end
    terms[#terms + 1] = { path = path, wanted = op ~= "!=", value = value }
  end
  return function(object)
    for _, t in ipairs(terms) do
      if (field_value(object, t.path) == t.value) ~= t.wanted then return false end
    end
    return true
  end, name
end

return M
