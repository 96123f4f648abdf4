--- Objects between the version they are stored in and the version a request speaks.
---
--- Stored: the first version of a resource (a custom resource's `storage` version). Only HorizontalPodAutoscalers and
--- Events
--- change their shape; elsewhere the versions differ in their name.
local resources = require "sandbox.kubernetes.resources"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The API version that a resource is stored in.
---@param resource kubernetes.Resource
---@return string version
function M.stored(resource)
  return resource.stored or resource.versions[1]
end

--- A copy of the outermost level, for a change that leaves the stored object alone.
local function shallow(object)
  local out = values.object()
  for k, v in pairs(object) do out[k] = v end
  return out
end

local function hpa_to_v1(o)
  local out = shallow(o)
  local spec, status = shallow(o.spec or {}), shallow(o.status or {})
  for _, m in ipairs(spec.metrics or {}) do
    local target = values.get(m, "resource", "name") == "cpu" and values.get(m, "resource", "target",
      "averageUtilization")
    if target then spec.targetCPUUtilizationPercentage = target end
  end
  for _, m in ipairs(status.currentMetrics or {}) do
    local current = values.get(m, "resource", "name") == "cpu" and values.get(m, "resource", "current",
      "averageUtilization")
    if current then status.currentCPUUtilizationPercentage = current end
  end
  spec.metrics, spec.behavior, status.currentMetrics, status.conditions = nil, nil, nil, nil
  status.currentReplicas, status.desiredReplicas = status.currentReplicas or 0, status.desiredReplicas or 0
  out.spec, out.status = spec, status
  return out
end

local function hpa_from_v1(o)
  local out = shallow(o)
  local spec = shallow(o.spec or {})
  if spec.targetCPUUtilizationPercentage then
    spec.metrics = values.array { { type = "Resource", resource = { name = "cpu",
      target = { type = "Utilization", averageUtilization = spec.targetCPUUtilizationPercentage } } } }
    spec.targetCPUUtilizationPercentage = nil
  end
  out.spec = spec
  if o.status then
    out.status = shallow(o.status)
    out.status.currentCPUUtilizationPercentage = nil
  end
  return out
end

-- The fields of core events and what events.k8s.io calls them.
local EVENT_NAMES = {
  involvedObject = "regarding", message = "note", count = "deprecatedCount",
    firstTimestamp = "deprecatedFirstTimestamp",
  lastTimestamp = "deprecatedLastTimestamp", source = "deprecatedSource", reportingComponent = "reportingController",
}

local function renamed(o, back)
  local out = shallow(o)
  for core, new in pairs(EVENT_NAMES) do
    local from, to = core, new
    if back then from, to = new, core end
    out[to], out[from] = o[from], nil
  end
  return out
end

--- The object as a request in `version` sees it. The result may share parts with the stored object.
---@param object table
---@param resource kubernetes.Resource
---@param version string
---@return table
function M.show(object, resource, version)
  local api_version = resources.join(resource.group, version)
  if object.apiVersion == api_version then return object end
  local out
  if resource.id == "/events" and resource.group ~= "" then
    out = renamed(object, false)
  elseif resource.id == "autoscaling/horizontalpodautoscalers" and version == "v1" then
    out = hpa_to_v1(object)
  else
    out = shallow(object)
  end
  out.apiVersion = api_version
  return out
end

--- The object in its stored form.
---@param object table
---@param resource kubernetes.Resource
---@param version string  that it is in
---@return table
function M.store(object, resource, version)
  local out = object
  if resource.id == "/events" and resource.group ~= "" then
    out = renamed(object, true)
    out.apiVersion = "v1"
    return out
  elseif resource.id == "autoscaling/horizontalpodautoscalers" and version == "v1" then
    out = hpa_from_v1(object)
  end
  out.apiVersion = resources.join(resource.group, M.stored(resource))
  return out
end

return M
