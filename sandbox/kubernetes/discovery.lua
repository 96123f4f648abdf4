--- Discovery documents, the classic ones and the aggregated one.
local resources = require "sandbox.kubernetes.resources"
local respond = require "sandbox.kubernetes.respond"
local values = require "sandbox.kubernetes.values"
local json = require "ws.json"

local M = {}

-- The kind, group and version that a subresource speaks when it is not the parent's.
local SUBRESOURCE_KINDS = {
  scale = { "Scale", "autoscaling", "v1" }, eviction = { "Eviction", "policy", "v1" },
    binding = { "Binding", "", "v1" },
  token = { "TokenRequest", "authentication.k8s.io", "v1" }, log = nil, exec = { "PodExecOptions", "", "v1" },
  proxy = { "ServiceProxyOptions", "", "v1" },
  attach = { "PodAttachOptions", "", "v1" }, portforward = { "PodPortForwardOptions", "", "v1" },
}

local SUBRESOURCE_VERBS = {
  log = { "get" }, exec = { "create", "get" }, attach = { "create", "get" }, portforward = { "create", "get" },
  proxy = { "create", "delete", "get", "patch", "update" },
  eviction = { "create" }, binding = { "create" }, token = { "create" }, finalize = { "update" },
}
local PART_VERBS = { "get", "patch", "update" }

local function subresource_kind(resource, name)
  local known = SUBRESOURCE_KINDS[name]
  if known then return known[1], known[2], known[3] end
  return resource.kind
end

local function classic(resource, version)
  local list = { values.object {
    name = resource.plural, singularName = resource.singular, namespaced = resource.namespaced, kind = resource.kind,
    verbs = values.array(resource.verbs), shortNames = #resource.short > 0 and values.array(resource.short) or nil,
    categories = #resource.categories > 0 and values.array(resource.categories) or nil,
    storageVersionHash = not resource.virtual and version or nil,
  } }
  for _, name in ipairs(values.keys(resource.subresources)) do
    local kind, group, v = subresource_kind(resource, name)
    list[#list + 1] = values.object {
      name = resource.plural .. "/" .. name, singularName = "", namespaced = resource.namespaced, kind = kind,
        group = group,
      version = v, verbs = values.array(SUBRESOURCE_VERBS[name] or PART_VERBS),
    }
  end
  return list
end

--- GET /api/v1 or /apis/GROUP/VERSION. Nil when the group version is not served.
---@param api kubernetes.Api
---@param group string
---@param version string
---@return table? res
function M.resource_list(api, group, version)
  local found = api.resources:in_version(group, version)
  if #found == 0 then return nil end
  local list = values.array()
  for _, resource in ipairs(found) do
    for _, entry in ipairs(classic(resource, version)) do list[#list + 1] = entry end
  end
  return respond.json(200, { kind = "APIResourceList", apiVersion = "v1", groupVersion = resources.join(group, version),
    resources = list })
end

local function group_object(g)
  local list = values.array()
  for i, v in ipairs(g.versions) do list[i] = { groupVersion = g.group .. "/" .. v, version = v } end
  return values.object { name = g.group, versions = list, preferredVersion = list[1] }
end

--- GET /apis/GROUP. Nil when the group is not served.
---@param api kubernetes.Api
---@param group string
---@return table? res
function M.group(api, group)
  for _, g in ipairs(api.resources:groups()) do
    if g.group == group and group ~= "" then
      local object = group_object(g)
      object.kind, object.apiVersion = "APIGroup", "v1"
      return respond.json(200, object)
    end
  end
end

local function response_kind(group, version, kind)
  return { group = group, version = version, kind = kind }
end

local function aggregated_resource(resource, version)
  local subresources = values.array()
  for _, name in ipairs(values.keys(resource.subresources)) do
    local kind, group, v = subresource_kind(resource, name)
    subresources[#subresources + 1] = {
      subresource = name, responseKind = response_kind(group or resource.group, v or version, kind),
      verbs = values.array(SUBRESOURCE_VERBS[name] or PART_VERBS),
    }
  end
  return values.object {
    resource = resource.plural, responseKind = response_kind(resource.group, version, resource.kind),
    scope = resource.namespaced and "Namespaced" or "Cluster", singularResource = resource.singular,
    verbs = values.array(resource.verbs), shortNames = #resource.short > 0 and values.array(resource.short) or nil,
    categories = #resource.categories > 0 and values.array(resource.categories) or nil,
    subresources = #subresources > 0 and subresources or nil,
  }
end

local function aggregated(api, core)
  local items = values.array()
  for _, g in ipairs(api.resources:groups()) do
    if (g.group == "") == core then
      local list = values.array()
      for i, version in ipairs(g.versions) do
        local served = values.array()
        for j, resource in ipairs(api.resources:in_version(g.group,
          version)) do served[j] = aggregated_resource(resource, version) end
        list[i] = { version = version, resources = served, freshness = "Current" }
      end
      items[#items + 1] = { metadata = values.object { name = g.group ~= "" and g.group or nil,
        creationTimestamp = json.null },
        versions = list }
    end
  end
  return {
    status = 200, body = json.encode { kind = "APIGroupDiscoveryList", apiVersion = "apidiscovery.k8s.io/v2",
      metadata = values.object(), items = items },
    headers = { ["Content-Type"] = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
      ["Vary"] = "Accept" },
  }
end

local function wants_aggregated(req)
  for part in (req.headers.accept or ""):gmatch "[^,]+" do
    if part:find("as=APIGroupDiscoveryList", 1, true) then
      if part:find("v=v2", 1, true) and not part:find("v=v2beta1", 1, true) then return true end
    elseif part:find "application/json" or part:find "%*/%*" then
      return false
    end
  end
  return false
end

--- GET /api.
function M.core(api, req)
  if wants_aggregated(req) then return aggregated(api, true) end
  return respond.json(200, { kind = "APIVersions", versions = values.array { "v1" },
    serverAddressByClientCIDRs = values.array { { clientCIDR = "0.0.0.0/0", serverAddress = api:address() } } })
end

--- GET /apis.
function M.groups(api, req)
  if wants_aggregated(req) then return aggregated(api, false) end
  local list = values.array()
  for _, g in ipairs(api.resources:groups()) do
    if g.group ~= "" then list[#list + 1] = group_object(g) end
  end
  return respond.json(200, { kind = "APIGroupList", apiVersion = "v1", groups = list })
end

return M
