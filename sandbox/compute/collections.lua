--- The Compute collections: where each lives, and what the cloud adds to what a client sends.
---
--- `prepare` completes a new resource and may refuse it; `changed` does so after PATCH and PUT; `show` adds what
--- follows from other resources; `builtin` and `builtins` give what the cloud has by itself. Little is filled in: a
--- default that the client did not send must not show up as a difference.
local addresses = require "sandbox.addresses"
local catalog = require "sandbox.compute.catalog"
local json = require "ws.json"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- External addresses come from the range that RFC 2544 reserves for measurements: they are nobody's.
local EXTERNAL = "198.18.0.0/15"

local function invalid(message) reply.fail(400, "invalid", message) end

--- Removes empty lists: the real service does not return them.
local function drop_empty_lists(resource, ...)
  for _, field in ipairs { ... } do
    if type(resource[field]) == "table" and #resource[field] == 0 then resource[field] = nil end
  end
end

--- Addresses that are taken: by address resources, forwarding rules and instances.
local function used_addresses(compute)
  local used = {}
  for _, resource in ipairs((compute:of("addresses"):list())) do used[resource.address or ""] = true end
  for _, resource in ipairs((compute:of("forwardingRules"):list())) do used[resource.IPAddress or ""] = true end
  for _, instance in ipairs((compute:of("instances"):list())) do
    for _, interface in ipairs(instance.networkInterfaces or {}) do
      used[interface.networkIP or ""] = true
      for _, access in ipairs(interface.accessConfigs or {}) do used[access.natIP or ""] = true end
    end
  end
  return used
end

--- A free external address.
---@param compute sandbox.Compute
---@return string
function M.external_address(compute)
  return addresses.free(EXTERNAL, used_addresses(compute), 10)
end

--- A free address of a subnetwork; the first ones are the network's own.
---@param compute sandbox.Compute
---@param subnetwork string  link
---@return string
function M.internal_address(compute, subnetwork)
  local range = compute:need(subnetwork).ipCidrRange
  return addresses.free(range, used_addresses(compute), 2)
    or reply.fail(400, "ipSpaceExhausted", ("IP space of '%s' is exhausted."):format(subnetwork))
end

local function check_range(text)
  if type(text) ~= "string" or not addresses.range(text) then
    invalid(("Invalid IPCidrRange: %s"):format(tostring(text)))
  end
end

local function check_subnetwork(compute, subnetwork, key)
  local mine = { subnetwork.ipCidrRange }
  for _, secondary in ipairs(subnetwork.secondaryIpRanges or {}) do mine[#mine + 1] = secondary.ipCidrRange end
  for i, range in ipairs(mine) do
    check_range(range)
    for k = 1, i - 1 do
      if addresses.overlap(range, mine[k]) then
        invalid(("Invalid IPCidrRange: %s conflicts with %s of the same subnetwork."):format(range, mine[k]))
      end
    end
  end
  for _, other in ipairs((compute:of("subnetworks"):list())) do
    if other.network == subnetwork.network and links.key(other.selfLink) ~= key then
      local theirs = { other.ipCidrRange }
      for _, secondary in ipairs(other.secondaryIpRanges or {}) do theirs[#theirs + 1] = secondary.ipCidrRange end
      for _, range in ipairs(mine) do
        for _, taken in ipairs(theirs) do
          if addresses.overlap(range, taken) then
            invalid(("Invalid IPCidrRange: %s conflicts with existing subnetwork '%s' in region '%s'."):format(range,
              other.name, values.last(other.region)))
          end
        end
      end
    end
  end
end

local function prepare_address(compute, address, key)
  address.addressType = address.addressType or "EXTERNAL"
  address.status = "RESERVED"
  if address.addressType == "EXTERNAL" then
    address.address = address.address or M.external_address(compute)
    if not address.networkTier then address.networkTier = "PREMIUM" end
  elseif address.purpose == "VPC_PEERING" then
    address.prefixLength = address.prefixLength or 20
    if not address.address then
      for block = 0, 255 do -- a free range of that size in 10.64.0.0/10
        local candidate = addresses.format(addresses.parse("10.64.0.0") + block * (1 << (32 - address.prefixLength)))
        local taken = false
        for _, other in ipairs((compute:of("addresses"):list())) do
          taken = taken or (other.prefixLength and addresses.overlap(("%s/%d"):format(candidate, address.prefixLength),
            ("%s/%d"):format(other.address, other.prefixLength)))
        end
        if not taken then
          address.address = candidate
          break
        end
      end
    end
  elseif not address.address and address.subnetwork then
    address.address = M.internal_address(compute, address.subnetwork)
  end
  if not address.address or not addresses.parse(address.address) then
    invalid(("Invalid value for field 'resource.address': '%s' of %s."):format(tostring(address.address), key))
  end
end

local DEFAULT_RULE = {
  kind = "compute#securityPolicyRule", priority = 2147483647, action = "allow", description = "default rule",
  match = { versionedExpr = "SRC_IPS_V1", config = { srcIpRanges = { "*" } } }, preview = false,
}

local function prepare_security_policy(policy)
  policy.type = policy.type or "CLOUD_ARMOR"
  local has_default = false
  for _, rule in ipairs(policy.rules or {}) do has_default = has_default or rule.priority == DEFAULT_RULE.priority end
  if not has_default then
    policy.rules = policy.rules or json.array {}
    table.insert(policy.rules, values.copy(DEFAULT_RULE))
  end
end

local function port_range(rule)
  if rule.portRange and not tostring(rule.portRange):find("-", 1, true) then
    rule.portRange = ("%s-%s"):format(rule.portRange, rule.portRange)
  end
end

local function prepare_forwarding_rule(compute, rule)
  local address = links.key(rule.IPAddress)
  if address then rule.IPAddress = compute:need(address).address end
  if rule.loadBalancingScheme ~= "INTERNAL" and not rule.IPAddress then
    rule.IPAddress = M.external_address(compute)
  end
  rule.IPProtocol = rule.IPProtocol or "TCP"
  port_range(rule)
end

local function prepare_certificate(certificate)
  if certificate.managed then
    certificate.type = "MANAGED"
    local status = {}
    for _, domain in ipairs(certificate.managed.domains or {}) do status[domain] = "ACTIVE" end
    certificate.managed.status, certificate.managed.domainStatus = "ACTIVE", status
    certificate.subjectAlternativeNames = values.copy(certificate.managed.domains)
  else
    certificate.type = certificate.type or "SELF_MANAGED"
  end
  certificate.privateKey = nil
end

local function prepare_disk(compute, disk, key)
  local source = disk.sourceImage
  if source then
    local image_project, name = links.key(source):match("^projects/([^/]+)/global/images/family/([^/]+)$")
    local image = image_project and require "sandbox.compute.images".by_family(compute, image_project, name)
    if not image_project then image = require "sandbox.compute.images".by_link(compute, source) end
    disk.sourceImage, disk.sourceImageId = image.selfLink, image.id
    disk.sizeGb = disk.sizeGb or image.diskSizeGb
  end
  disk.sizeGb = tostring(disk.sizeGb or 500)
  disk.status, disk.physicalBlockSizeBytes = "READY", disk.physicalBlockSizeBytes or "4096"
  local scope = key:match("^(.*)/disks/")
  disk.type = disk.type or ("%s%s/diskTypes/pd-standard"):format(links.PREFIX, scope)
  if not disk.type:find("/") then disk.type = ("%s%s/diskTypes/%s"):format(links.PREFIX, scope, disk.type) end
end

--- Declares every collection.
---@param compute sandbox.Compute
function M.define(compute)
  local function define(name, scopes, definition)
    definition.scopes = scopes
    definition.kind = "compute#" .. definition.kind
    compute:define(name, definition)
  end

  define("networks", { "global" }, {
    kind = "network",
    prepare = function(network, key)
      if network.autoCreateSubnetworks == nil and not network.IPv4Range then network.autoCreateSubnetworks = true end
      network.routingConfig = network.routingConfig or {}
      network.routingConfig.routingMode = network.routingConfig.routingMode or "REGIONAL"
      network.selfLinkWithId = links.PREFIX .. key:gsub("[^/]+$", network.id)
    end,
    show = function(shown)
      local users = compute:users_of(links.key(shown.selfLink), "subnetworks")
      if #users > 0 then shown.subnetworks = users end
    end,
  })
  define("subnetworks", { "region" }, {
    kind = "subnetwork", fingerprint = true,
    prepare = function(subnetwork, key)
      if not subnetwork.network then invalid("Invalid value for field 'resource.network': ''. It is required.") end
      check_subnetwork(compute, subnetwork, key)
      local first = addresses.range(subnetwork.ipCidrRange)
      subnetwork.gatewayAddress = addresses.format(first + 1)
      subnetwork.privateIpGoogleAccess = subnetwork.privateIpGoogleAccess or false
      subnetwork.purpose = subnetwork.purpose or "PRIVATE"
      subnetwork.stackType = subnetwork.stackType or "IPV4_ONLY"
    end,
    changed = function(subnetwork, key)
      drop_empty_lists(subnetwork, "secondaryIpRanges")
      check_subnetwork(compute, subnetwork, key)
    end,
  })
  define("routers", { "region" }, {
    kind = "router",
    changed = function(router) drop_empty_lists(router, "nats", "interfaces") end,
  })
  define("routes", { "global" }, { kind = "route" })
  define("firewalls", { "global" }, {
    kind = "firewall",
    prepare = function(firewall)
      firewall.direction = firewall.direction or "INGRESS"
      firewall.priority = firewall.priority or 1000
      firewall.disabled = firewall.disabled or false
      firewall.logConfig = firewall.logConfig or { enable = false }
      drop_empty_lists(firewall, "allowed", "denied", "sourceRanges", "destinationRanges", "sourceTags", "targetTags",
        "sourceServiceAccounts", "targetServiceAccounts")
      for _, range in ipairs(firewall.sourceRanges or {}) do
        if not range:find(":", 1, true) then check_range(range:find("/", 1, true) and range or range .. "/32") end
      end
    end,
    changed = function(firewall)
      drop_empty_lists(firewall, "allowed", "denied", "sourceRanges", "destinationRanges", "sourceTags", "targetTags",
        "sourceServiceAccounts", "targetServiceAccounts")
    end,
  })
  define("addresses", { "global", "region" }, {
    kind = "address", labels = true,
    prepare = function(address, key) prepare_address(compute, address, key) end,
    show = function(shown)
      local users = json.array {}
      for _, rule in ipairs((compute:of("forwardingRules"):list())) do
        if rule.IPAddress == shown.address then users[#users + 1] = rule.selfLink end
      end
      if #users > 0 then shown.users, shown.status = users, "IN_USE" end
    end,
    before_delete = function(address, key)
      for _, rule in ipairs((compute:of("forwardingRules"):list())) do
        if rule.IPAddress == address.address then
          reply.fail(400, "resourceInUseByAnotherResource", ("The address resource '%s' is already being used by '%s'")
            :format(key, links.key(rule.selfLink)))
        end
      end
    end,
  })
  define("healthChecks", { "global", "region" }, { kind = "healthCheck" })
  define("backendServices", { "global", "region" }, { kind = "backendService", fingerprint = true })
  define("backendBuckets", { "global" }, { kind = "backendBucket" })
  define("urlMaps", { "global", "region" }, { kind = "urlMap", fingerprint = true })
  define("targetHttpProxies", { "global", "region" }, { kind = "targetHttpProxy", fingerprint = true })
  define("targetHttpsProxies", { "global", "region" }, { kind = "targetHttpsProxy", fingerprint = true })
  define("targetTcpProxies", { "global" }, { kind = "targetTcpProxy" })
  define("forwardingRules", { "global", "region" }, {
    kind = "forwardingRule", labels = true, fingerprint = true,
    prepare = function(rule) prepare_forwarding_rule(compute, rule) end,
    changed = port_range,
  })
  define("sslCertificates", { "global", "region" }, { kind = "sslCertificate", prepare = prepare_certificate })
  define("sslPolicies", { "global" }, { kind = "sslPolicy", fingerprint = true })
  define("securityPolicies", { "global" }, {
    kind = "securityPolicy", labels = true, fingerprint = true, prepare = prepare_security_policy,
  })
  define("networkEndpointGroups", { "zone", "region", "global" }, { kind = "networkEndpointGroup" })
  define("instanceGroups", { "zone", "region" }, {
    kind = "instanceGroup", fingerprint = true,
    prepare = function(group)
      group.size = 0
      group._members = json.array {}
    end,
    show = function(shown, group) shown.size = #(group._members or {}) end,
  })
  define("instanceGroupManagers", { "zone", "region" }, {
    kind = "instanceGroupManager", fingerprint = true,
    prepare = function(manager, key)
      if manager.instanceGroup then return end
      local group = compute:create(key:match("^(.*)/instanceGroupManagers/"), "instanceGroups", { name = manager.name })
      manager.instanceGroup = group.selfLink
    end,
    after_delete = function(manager)
      local key = links.key(manager.instanceGroup)
      if compute:find(key) then compute:remove(key) end
    end,
  })
  define("instanceTemplates", { "global" }, { kind = "instanceTemplate" })
  define("images", { "global" }, {
    kind = "image", labels = true, builtins = catalog.images,
    builtin = function(project, name) return catalog.image(project, name, false) end,
    prepare = function(image)
      image.status = "READY"
      image.diskSizeGb = image.diskSizeGb or "10"
    end,
  })
  define("disks", { "zone", "region" }, {
    kind = "disk", labels = true,
    prepare = function(disk, key) prepare_disk(compute, disk, key) end,
    show = function(shown)
      local users = compute:users_of(links.key(shown.selfLink), "instances")
      if #users > 0 then shown.users = users end
    end,
  })
  define("snapshots", { "global" }, { kind = "snapshot", labels = true })
  define("instances", { "zone" }, {
    kind = "instance", labels = true, fingerprint = true, slow = 2,
    prepare = function(instance, key, project)
      require "sandbox.compute.instances".prepare(compute, instance, key, project)
    end,
    show = function(shown, instance)
      if instance._starts_at and instance._starts_at > require "ws.time".now() then shown.status = "PROVISIONING" end
    end,
    before_delete = function(instance)
      if instance.deletionProtection then
        reply.fail(400, "invalid", ("Invalid resource usage: 'Resource cannot be deleted if it's protected against "
          .. "deletion. Instance: %s'."):format(instance.name))
      end
    end,
    after_delete = function(instance) require "sandbox.compute.instances".deleted(compute, instance) end,
  })
end

return M
