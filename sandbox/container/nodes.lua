--- The machines of a cluster: GKE makes instance groups, instances, disks and firewall rules in the project, and
--- removes them with the pool or cluster that they belong to.
local crypto = require "ws.crypto"
local json = require "ws.json"
local links = require "sandbox.compute.links"
local values = require "sandbox.values"

local M = {}

local MAX_NODES = 3 -- instances made for one group: enough to be seen

--- Names are cut as GKE cuts them, so that the machines' own suffix has room.
local function short(text, length) return (text:sub(1, length):gsub("%-$", "")) end

local function hash(text) return crypto.sha1(text):sub(1, 8) end

local function stem(cluster, pool)
  return ("gke-%s-%s-%s"):format(short(cluster.name, 20), short(pool.name, 16),
    hash(cluster.selfLink .. "/" .. pool.name))
end

local function labels_of(cluster, pool)
  return { ["goog-gke-node"] = "", ["goog-k8s-cluster-name"] = cluster.name,
    ["goog-k8s-cluster-location"] = cluster.location, ["goog-k8s-node-pool-name"] = pool.name }
end

local function make_instance(compute, cluster, pool, scope, name)
  local config = pool.config
  local instance = compute:create(scope, "instances", {
    name = name, machineType = "machineTypes/" .. config.machineType, labels = labels_of(cluster, pool),
    tags = { items = values.copy(config.tags or json.array {}) },
    disks = { { boot = true, autoDelete = true, deviceName = "persistent-disk-0",
      initializeParams = { diskSizeGb = tostring(config.diskSizeGb), labels = labels_of(cluster, pool),
        diskType = ("%s%s/diskTypes/%s"):format(links.PREFIX, scope, config.diskType) } } },
    networkInterfaces = { { subnetwork = cluster.networkConfig.subnetwork, network = cluster.networkConfig.network } },
    scheduling = { preemptible = config.preemptible or false },
    serviceAccounts = { { email = config.serviceAccount, scopes = config.oauthScopes } },
  })
  return instance.selfLink
end

--- Makes the groups and machines of a pool; sets its `instanceGroupUrls`.
---@param compute sandbox.Compute
---@param project string
---@param cluster table
---@param pool table
function M.create(compute, project, cluster, pool)
  local name = stem(cluster, pool)
  pool.instanceGroupUrls = json.array {}
  for _, zone in ipairs(pool.locations) do
    local scope = ("projects/%s/zones/%s"):format(project, zone)
    local group = compute:create(scope, "instanceGroups", { name = name .. "-grp",
      network = cluster.networkConfig.network, subnetwork = cluster.networkConfig.subnetwork,
      description = ("This instance group is controlled by Instance Group Manager '%s-grp'."):format(name) })
    local members, wanted = json.array {}, math.min(pool.initialNodeCount or 1, MAX_NODES)
    for _ = 1, wanted do
      local machine = ("%s-%s"):format(name, crypto.random_hex(2))
      members[#members + 1] = make_instance(compute, cluster, pool, scope, machine)
    end
    compute:of("instanceGroups"):update(links.key(group.selfLink), function(g) g._members = members end)
    local manager = compute:create(scope, "instanceGroupManagers", { name = name .. "-grp",
      instanceGroup = group.selfLink, baseInstanceName = name, targetSize = wanted,
      status = { isStable = true } })
    pool.instanceGroupUrls[#pool.instanceGroupUrls + 1] = manager.selfLink
  end
end

local function remove_instance(compute, link)
  local instance = compute:find(link)
  if not instance then return end
  compute:of("instances"):delete(links.key(link))
  require "sandbox.compute.instances".deleted(compute, instance)
end

--- Makes or removes machines until each group of a pool has `count`.
---@param compute sandbox.Compute
---@param project string
---@param cluster table
---@param pool table
---@param count integer
function M.resize(compute, project, cluster, pool, count)
  local wanted = math.min(count, MAX_NODES)
  for i, url in ipairs(pool.instanceGroupUrls or {}) do
    local manager = compute:find(url)
    local group = manager and compute:find(manager.instanceGroup)
    if group then
      local scope = ("projects/%s/zones/%s"):format(project, pool.locations[i])
      local members = values.copy(group._members)
      while #members > wanted do remove_instance(compute, table.remove(members)) end
      while #members < wanted do
        local machine = ("%s-%s"):format(stem(cluster, pool), crypto.random_hex(2))
        members[#members + 1] = make_instance(compute, cluster, pool, scope, machine)
      end
      compute:of("instanceGroups"):update(links.key(group.selfLink), function(g) g._members = members end)
      compute:of("instanceGroupManagers"):update(links.key(url), function(m) m.targetSize = wanted end)
    end
  end
end

--- Removes the groups and machines of a pool. Links from elsewhere, such as a load balancer's, do not keep them: as
--- with GKE they dangle.
---@param compute sandbox.Compute
---@param pool table
function M.delete(compute, pool)
  for _, url in ipairs(pool.instanceGroupUrls or {}) do
    local manager = compute:find(url)
    local group = manager and compute:find(manager.instanceGroup)
    for _, member in ipairs(group and values.copy(group._members) or {}) do
      remove_instance(compute, member)
    end
    if group then compute:of("instanceGroups"):delete(links.key(group.selfLink)) end
    if manager then compute:of("instanceGroupManagers"):delete(links.key(url)) end
  end
end

local function firewall_names(cluster)
  local base = ("gke-%s-%s"):format(short(cluster.name, 30), hash(cluster.selfLink))
  return { base .. "-all", base .. "-vms", base .. "-master" }
end

--- Makes the firewall rules that GKE makes for a cluster.
---@param compute sandbox.Compute
---@param project string
---@param cluster table
function M.open_firewall(compute, project, cluster)
  local names, network = firewall_names(cluster), cluster.networkConfig.network
  local tag = ("gke-%s-%s-node"):format(short(cluster.name, 30), hash(cluster.selfLink))
  local function rule(name, ranges, allowed)
    compute:create(("projects/%s/global"):format(project), "firewalls", { name = name, network = network,
      direction = "INGRESS", sourceRanges = ranges, targetTags = { tag }, allowed = allowed })
  end
  rule(names[1], { cluster.clusterIpv4Cidr }, { { IPProtocol = "tcp" }, { IPProtocol = "udp" }, { IPProtocol = "icmp" },
    { IPProtocol = "esp" }, { IPProtocol = "ah" }, { IPProtocol = "sctp" } })
  rule(names[2], { compute:need(cluster.networkConfig.subnetwork).ipCidrRange }, { { IPProtocol = "icmp" },
    { IPProtocol = "tcp", ports = { "1-65535" } }, { IPProtocol = "udp", ports = { "1-65535" } } })
  local private = cluster.privateClusterConfig
  if private and private.masterIpv4CidrBlock then
    rule(names[3], { private.masterIpv4CidrBlock }, { { IPProtocol = "tcp", ports = { "443", "10250" } } })
  end
end

--- Removes the firewall rules of a cluster.
---@param compute sandbox.Compute
---@param project string
---@param cluster table
function M.close_firewall(compute, project, cluster)
  for _, name in ipairs(firewall_names(cluster)) do
    compute:of("firewalls"):delete(("projects/%s/global/firewalls/%s"):format(project, name))
  end
end

return M
