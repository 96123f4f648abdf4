--- Compute Engine: networks, load balancing, machines and their disks; the catalogue of zones and images; operations.
local catalog = require "sandbox.compute.catalog"
local collections = require "sandbox.compute.collections"
local images = require "sandbox.compute.images"
local instances = require "sandbox.compute.instances"
local json = require "ws.json"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local resources = require "sandbox.compute.resources"
local values = require "sandbox.values"

local ROOT = "/compute/v1/projects/{project}"

local function catalog_routes(compute, s)
  for _, what in ipairs { "regions", "zones" } do
    s:on("GET", ("%s/%s"):format(ROOT, what), function(c)
      return compute.list(c, catalog.list(c.params.project, what), ("compute#%sList"):format(what:sub(1, -2)),
        ("projects/%s/%s"):format(c.params.project, what))
    end)
  end
  s:on("GET", ROOT .. "/regions/{region}", function(c) return catalog.region(c.params.project, c.params.region) end)
  s:on("GET", ROOT .. "/zones/{zone}", function(c) return catalog.zone(c.params.project, c.params.zone) end)
  s:on("GET", ROOT .. "/zones/{zone}/machineTypes", function(c)
    compute.check_area(c)
    return compute.list(c, catalog.machine_types(c.params.project, c.params.zone), "compute#machineTypeList",
      ("projects/%s/zones/%s/machineTypes"):format(c.params.project, c.params.zone))
  end)
  s:on("GET", ROOT .. "/zones/{zone}/machineTypes/{name}", function(c)
    compute.check_area(c)
    return catalog.machine_type(c.params.project, c.params.zone, c.params.name)
      or reply.not_found(resources.key_of(c, "machineTypes"))
  end)
  s:on("GET", ROOT .. "/zones/{zone}/diskTypes/{name}", function(c)
    compute.check_area(c)
    if not c.params.name:find("^pd%-%a+$") and not c.params.name:find("^hyperdisk%-") then
      reply.not_found(resources.key_of(c, "diskTypes"))
    end
    return { kind = "compute#diskType", name = c.params.name, defaultDiskSizeGb = "100",
      selfLink = links.PREFIX .. resources.key_of(c, "diskTypes") }
  end)
  s:on("GET", ROOT .. "/global/images/family/{name}", function(c)
    return images.by_family(compute, c.params.project, c.params.name)
  end)
end

local function project_routes(compute, s)
  local settings = compute.cloud.store:collection "compute.projects"
  local function metadata(project)
    return settings:get(project) or { kind = "compute#metadata", fingerprint = "AAAAAAAAAAA=" }
  end
  s:on("GET", ROOT, function(c)
    local project = compute.cloud:need_project(c.params.project)
    return { kind = "compute#project", id = project.projectNumber, name = project.projectId,
      creationTimestamp = project.createTime, selfLink = links.PREFIX .. "projects/" .. project.projectId,
      defaultServiceAccount = project.projectNumber .. "-compute@developer.gserviceaccount.com",
      defaultNetworkTier = "PREMIUM", xpnProjectStatus = "UNSPECIFIED_XPN_PROJECT_STATUS",
      commonInstanceMetadata = metadata(project.projectId), quotas = json.array {} }
  end)
  s:on("POST", ROOT .. "/setCommonInstanceMetadata", function(c)
    local body = c:json()
    resources.check_fingerprint(body.fingerprint, metadata(c.params.project).fingerprint)
    settings:put(c.params.project, { kind = "compute#metadata", fingerprint = resources.fingerprint(),
      items = body.items and values.clean(body.items) })
    return compute:operation("projects/" .. c.params.project, "setCommonInstanceMetadata")
  end)
end

local function operation_routes(compute, s)
  for _, scope in ipairs { "/global", "/regions/{region}", "/zones/{zone}" } do
    local base = ROOT .. scope .. "/operations"
    local function key(c) return resources.key_of(c, "operations") end
    local function get(c)
      local record = compute.cloud.operations:get("compute/" .. key(c), true)
      if not record then reply.not_found(key(c)) end
      return compute.render_operation(record)
    end
    s:on("GET", base .. "/{name}", get)
    s:on("POST", base .. "/{name}/wait", get)
    s:on("DELETE", base .. "/{name}", function(c)
      get(c)
      compute.cloud.operations:delete("compute/" .. key(c))
      return reply.empty(204)
    end)
    s:on("GET", base, function(c)
      local prefix = key({ params = { project = c.params.project, zone = c.params.zone, region = c.params.region,
        name = "" } })
      local records = compute.cloud.operations:list("compute/" .. prefix)
      return compute.list(c, values.map(records, compute.render_operation), "compute#operationList",
        prefix:sub(1, -2))
    end)
  end
end

local function group_methods(compute)
  local function link_list(body)
    return values.map(body.instances or {}, function(entry) return entry.instance end)
  end
  compute:method("instanceGroups", "addInstances", function(group, body)
    for _, link in ipairs(link_list(body)) do
      for _, member in ipairs(group._members) do
        if member == link then
          reply.fail(400, "memberAlreadyExists", ("'%s' is already a member of '%s'"):format(link, group.name))
        end
      end
      table.insert(group._members, link)
    end
  end)
  compute:method("instanceGroups", "removeInstances", function(group, body)
    for _, link in ipairs(link_list(body)) do
      for i = #group._members, 1, -1 do
        if group._members[i] == link then table.remove(group._members, i) end
      end
    end
  end)
  compute:method("instanceGroups", "listInstances", function(group)
    local items = values.map(group._members, function(link)
      return { instance = link, status = "RUNNING", namedPorts = group.namedPorts }
    end)
    return { kind = "compute#instanceGroupsListInstances", items = #items > 0 and items or nil,
      selfLink = group.selfLink .. "/listInstances" }
  end, { plain = true })
  compute:method("instanceGroups", "setNamedPorts", function(group, body)
    group.namedPorts = body.namedPorts and #body.namedPorts > 0 and body.namedPorts or nil
  end)
  compute:method("instanceGroupManagers", "listManagedInstances", function(manager)
    local group = manager.instanceGroup and compute:find(manager.instanceGroup)
    return { managedInstances = values.map(group and group._members or {}, function(link)
      return { instance = link, instanceStatus = "RUNNING", currentAction = "NONE" }
    end) }
  end, { plain = true })
  compute:method("instanceGroupManagers", "resize", function(manager, _, c)
    manager.targetSize = tonumber(c.query.size) or reply.fail(400, "required", "Required parameter: size")
  end)
end

local function load_balancer_methods(compute)
  compute:method("backendServices", "setSecurityPolicy", function(service, body)
    service.securityPolicy = body.securityPolicy
  end)
  compute:method("backendServices", "getHealth", function(_, body)
    local group = body.group and compute:find(links.canonical(compute.cloud, "", body.group))
    return { kind = "compute#backendServiceGroupHealth",
      healthStatus = values.map(group and group._members or {}, function(link)
        return { instance = link, healthState = "HEALTHY" }
      end) }
  end, { plain = true })
  for _, proxy in ipairs { "targetHttpProxies", "targetHttpsProxies" } do
    compute:method(proxy, "setUrlMap", function(r, body) r.urlMap = body.urlMap end, { short = true })
  end
  compute:method("targetHttpsProxies", "setSslCertificates", function(r, body)
    r.sslCertificates = body.sslCertificates
  end, { short = true })
  compute:method("targetHttpsProxies", "setSslPolicy", function(r, body) r.sslPolicy = body.sslPolicy end)
  compute:method("forwardingRules", "setTarget", function(r, body) r.target = body.target end)

  local function rule_at(policy, priority)
    for i, rule in ipairs(policy.rules) do
      if rule.priority == priority then return i end
    end
  end
  local function asked(c) return math.tointeger(tonumber(c.query.priority)) end
  compute:method("securityPolicies", "addRule", function(policy, body)
    if rule_at(policy, body.priority) then
      reply.fail(400, "invalid", ("A rule with priority %s exists already."):format(tostring(body.priority)))
    end
    body.kind = "compute#securityPolicyRule"
    table.insert(policy.rules, body)
  end)
  compute:method("securityPolicies", "patchRule", function(policy, body, c)
    local at = rule_at(policy, asked(c)) or reply.fail(400, "invalid", "There is no rule with that priority.")
    values.merge(policy.rules[at], body)
  end)
  compute:method("securityPolicies", "removeRule", function(policy, _, c)
    local at = rule_at(policy, asked(c)) or reply.fail(400, "invalid", "There is no rule with that priority.")
    table.remove(policy.rules, at)
  end)
  compute:method("disks", "resize", function(disk, body)
    if not body.sizeGb or tonumber(body.sizeGb) < tonumber(disk.sizeGb) then
      reply.fail(400, "invalid", "A disk can only grow.")
    end
    disk.sizeGb = tostring(body.sizeGb)
  end)
  compute:method("subnetworks", "expandIpCidrRange", function(subnetwork, body)
    subnetwork.ipCidrRange = body.ipCidrRange
  end)
  compute:method("subnetworks", "setPrivateIpGoogleAccess", function(subnetwork, body)
    subnetwork.privateIpGoogleAccess = body.privateIpGoogleAccess
  end)
end

return function(cloud)
  local s = cloud:service("compute", { prefixes = { "compute" }, api = "compute.googleapis.com" })
  local compute = resources.new(cloud, s)
  cloud.compute = compute
  collections.define(compute)
  instances.methods(compute)
  group_methods(compute)
  load_balancer_methods(compute)
  project_routes(compute, s)
  catalog_routes(compute, s)
  operation_routes(compute, s)

  cloud:on_inventory(function(add)
    for _, name in ipairs(values.keys(compute.definitions)) do
      for _, resource in ipairs((compute:of(name):list())) do
        local labels = resource.labels
        add(resource.kind, links.key(resource.selfLink), labels, labels and labels["goog-k8s-cluster-name"]
          or resource.network)
      end
    end
  end)
end
