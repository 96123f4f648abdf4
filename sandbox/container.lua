--- Kubernetes Engine: clusters and node pools. Each cluster has a Kubernetes API of `sandbox.kubernetes` on a port of
--- its own, and leaves its traces in the project: machines, disks, groups, firewall rules.
local attachments = require "sandbox.container.attachments"
local clusters_of = require "sandbox.container.clusters"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local log = require "ws.log"
local nodes = require "sandbox.container.nodes"
local operations = require "sandbox.operations"
local reply = require "sandbox.reply"
local time = require "ws.time"
local tokens = require "sandbox.tokens"
local values = require "sandbox.values"
local versions = require "sandbox.container.versions"

local CLUSTER_FACTOR, POOL_FACTOR = 5, 3

--- Starts and stops the Kubernetes APIs and keeps the kubeconfig.
local function kubernetes_of(cloud, clusters)
  local running = {}
  local K = {}

  local function dir_of(key) return ("%s/kubernetes/%s"):format(cloud.dir, crypto.sha1(key):sub(1, 16)) end

  --- Who a token belongs to: one that was given out to its account, any other to the sandbox's own; one that has ended
  --- to nobody.
  local function owner(token)
    local email, record = tokens.identity(cloud, token)
    if record and record.expires_at < time.now() then return false end
    return email
  end

  function K.start(key, cluster)
    local kubernetes = cloud.kubernetes
    if not kubernetes and cluster._kubernetes == "real" then
      kubernetes = require "sandbox.kubernetes.real"
      kubernetes.tools = cloud.project_root and cloud.project_root .. "/.cache/tools/bin"
    end
    kubernetes = kubernetes or require "sandbox.kubernetes"
    local project, region = key:match("^projects/([^/]+)/"), clusters_of.region_of(cluster)
    assert(fs.mkdir(dir_of(key), { parents = true }))
    local api = kubernetes.new {
      name = cluster.name, dir = dir_of(key), token = owner, ca = { cert = cloud.ca.cert, key = cloud.ca.key },
      region = region, version = versions.kubernetes(cluster.currentMasterVersion), images = cloud.registry.pull,
    }
    local info, err = api:start()
    if not info then -- not 500, which clients try again and again
      reply.fail(400, "failedPrecondition", "The cluster's API does not start: " .. tostring(err),
        "FAILED_PRECONDITION")
    end
    running[key] = { api = api, endpoint = info.endpoint, ca_cert = info.ca_cert,
      unfollow = attachments.follow(cloud, project, cluster, region, api) }
    return running[key]
  end

  function K.destroy(key)
    local one = running[key]
    running[key] = nil
    if one then
      if one.unfollow then one.unfollow() end
      one.api:destroy()
    end
    fs.remove(dir_of(key), { recursive = true, missing_ok = true })
  end

  function K.stop_all()
    for _, one in pairs(running) do one.api:stop() end
    running = {}
  end

  --- Writes the kubeconfig with all clusters; kubectl's choice of the current one is kept.
  function K.write_kubeconfig(latest)
    local path = cloud.dir .. "/kubeconfig"
    local old = json.decode(fs.read(path) or "{}") or {}
    local config = { apiVersion = "v1", kind = "Config", preferences = json.object(), clusters = json.array {},
      contexts = json.array {}, users = json.array { { name = "sandbox", user = { token = tokens.FIXED } } } }
    local names = {}
    for _, key in ipairs(clusters:keys()) do
      local cluster, one = clusters:get(key), running[key]
      if one then
        local name = ("gke_%s_%s_%s"):format(key:match("^projects/([^/]+)/"), cluster.location, cluster.name)
        names[name] = true
        table.insert(config.clusters, { name = name, cluster = { server = one.endpoint,
          ["certificate-authority-data"] = crypto.base64_encode(one.ca_cert) } })
        table.insert(config.contexts, { name = name, context = { cluster = name, user = "sandbox" } })
        if key == latest then config["current-context"] = name end
      end
    end
    local current = type(old) == "table" and old["current-context"]
    if not config["current-context"] then
      config["current-context"] = names[current or ""] and current or next(names) or ""
    end
    assert(fs.write(path, json.encode(config, { indent = 2 }) .. "\n", { mode = 384, durable = false }))
  end

  function K.list()
    local list = {}
    for _, key in ipairs(clusters:keys()) do
      local cluster, one = clusters:get(key), running[key]
      list[#list + 1] = { name = cluster.name, project = key:match("^projects/([^/]+)/"), location = cluster.location,
        endpoint = one and one.endpoint, running = one ~= nil }
    end
    return list
  end

  function K.get(key) return running[key] end
  return K
end

return function(cloud)
  local s = cloud:service("container", { prefixes = { "container" }, api = "container.googleapis.com" })
  local clusters = cloud.store:collection "container.clusters" -- without their pools
  local pools = cloud.store:collection "container.pools" -- CLUSTER KEY/nodePools/NAME
  local kubernetes = kubernetes_of(cloud, clusters)
  cloud.clusters = kubernetes.list
  cloud:on_close(kubernetes.stop_all)

  --- Starts the APIs of the clusters that are stored; one that fails does not keep the others from starting.
  function cloud.start_clusters()
    for _, key in ipairs(clusters:keys()) do
      local ok, err = pcall(kubernetes.start, key, clusters:get(key))
      if not ok then
        local why = type(err) == "table" and err.body and err.body.error.message or err
        log.error(("%s: its API does not start: %s"):format(key, tostring(why)))
      end
    end
    kubernetes.write_kubeconfig()
  end

  local function key_of(c)
    return ("projects/%s/locations/%s/clusters/%s"):format(c.params.project, c.params.location, c.params.cluster)
  end
  local function pool_key(c, name) return ("%s/nodePools/%s"):format(key_of(c), name or c.params.pool) end

  local function need(c)
    return clusters:get(key_of(c)) or reply.fail(404, "notFound", ("Not found: %s."):format(key_of(c)))
  end
  local function need_pool(c)
    need(c)
    return pools:get(pool_key(c)) or reply.fail(404, "notFound", ("Not found: %s."):format(pool_key(c)))
  end

  local function state(resource)
    if resource._ready_at and resource._ready_at > time.now() then return "PROVISIONING" end
    return resource.status
  end
  local function shown_pool(pool)
    local copy = values.copy(pool)
    copy.status, copy._ready_at = state(pool), nil
    return copy
  end
  local function shown(c, cluster)
    local copy = values.copy(cluster)
    copy.status, copy._ready_at, copy._kubernetes = state(cluster), nil, nil
    local key = key_of(c)
    copy.nodePools = values.map(pools:list(key .. "/nodePools/"), shown_pool)
    local first, count = copy.nodePools[1], 0
    for _, pool in ipairs(copy.nodePools) do count = count + (pool.initialNodeCount or 0) * #pool.locations end
    copy.currentNodeCount, copy.nodeConfig = count, first and values.copy(first.config) or copy.nodeConfig
    if first then
      copy.instanceGroupUrls = json.array {}
      for _, pool in ipairs(copy.nodePools) do
        table.move(pool.instanceGroupUrls, 1, #pool.instanceGroupUrls, #copy.instanceGroupUrls + 1,
          copy.instanceGroupUrls)
      end
    end
    local one = kubernetes.get(key)
    if one then
      copy.endpoint = one.endpoint:gsub("^https://", "")
      copy.masterAuth.clusterCaCertificate = crypto.base64_encode(one.ca_cert)
      copy.controlPlaneEndpointsConfig.ipEndpointsConfig.publicEndpoint = copy.endpoint
      if copy.privateClusterConfig then copy.privateClusterConfig.publicEndpoint = copy.endpoint end
    end
    return copy
  end

  local function render(record)
    local done = operations.done(record)
    local link = "https://container.googleapis.com/v1/" .. record.parent
    return { name = record.name, operationType = record.type, status = done and "DONE" or "RUNNING",
      selfLink = link .. "/operations/" .. record.name, targetLink = record.target, zone = values.last(record.parent),
      location = values.last(record.parent), startTime = time.rfc3339(record.started_at, 6),
      endTime = done and time.rfc3339(record.done_at, 6) or nil, statusMessage = done and record.message or nil }
  end
  local function start(c, kind, target, factor)
    local parent = ("projects/%s/locations/%s"):format(c.params.project, c.params.location)
    local name = ("operation-%d-%s"):format(math.floor(time.now() * 1000), crypto.random_hex(4))
    return cloud.operations:start(("container/%s/operations/%s"):format(parent, name),
      { name = name, type = kind, target = target, parent = parent, factor = factor })
  end

  -- Clusters in a zone are also found under their old paths.
  for _, area in ipairs { "locations", "zones" } do
    local ROOT = ("/container/v1/projects/{project}/%s/{location}"):format(area)
    local ALL, ONE = ROOT .. "/clusters", ROOT .. "/clusters/{cluster}"
    local POOLS, POOL = ONE .. "/nodePools", ONE .. "/nodePools/{pool}"

    s:on("GET", ROOT .. (area == "zones" and "/serverconfig" or "/serverConfig"), versions.server_config)
    s:on("GET", ROOT .. "/operations/{operation}", function(c)
      local record = cloud.operations:get(("container/projects/%s/locations/%s/operations/%s"):format(
        c.params.project, c.params.location, c.params.operation), true)
      return render(record or reply.fail(404, "notFound", ("Not found: operation %s."):format(c.params.operation)))
    end)
    s:on("GET", ROOT .. "/operations", function(c)
      local prefix = ("container/projects/%s/locations/"):format(c.params.project)
      if c.params.location ~= "-" then prefix = prefix .. c.params.location .. "/" end
      return { operations = values.map(cloud.operations:list(prefix), render) }
    end)

    s:on("GET", ALL, function(c)
      local prefix = ("projects/%s/locations/"):format(c.params.project)
      if c.params.location ~= "-" then prefix = prefix .. c.params.location .. "/" end
      return { clusters = values.map(clusters:list(prefix), function(cluster)
        local of = { params = { project = c.params.project, location = cluster.location, cluster = cluster.name } }
        return shown(of, cluster)
      end) }
    end)
    s:on("POST", ALL, function(c)
      local body = c:json().cluster or reply.fail(400, "badRequest", "The cluster is missing.")
      c.params.cluster = tostring(body.name)
      if clusters:get(key_of(c)) then
        reply.fail(409, "alreadyExists", ("Already exists: %s."):format(key_of(c)))
      end
      local cluster, wanted = clusters_of.cluster(cloud, c.params.project, c.params.location, body)
      local made = {}
      for i, pool in ipairs(wanted) do made[i] = clusters_of.node_pool(cloud, c.params.project, cluster, pool) end
      cluster._kubernetes = cloud.kubernetes_mode -- it stays what it is when the sandbox is started in another mode
      -- Taken before anything is waited for, so that the name cannot be taken twice.
      clusters:put(key_of(c), cluster)
      local ok, err = pcall(kubernetes.start, key_of(c), cluster)
      if not ok then
        clusters:delete(key_of(c))
        error(err, 0)
      end
      nodes.open_firewall(cloud.compute, c.params.project, cluster)
      for _, pool in ipairs(made) do
        nodes.create(cloud.compute, c.params.project, cluster, pool)
        pools:put(pool_key(c, pool.name), pool)
      end
      local record = start(c, "CREATE_CLUSTER", cluster.selfLink, CLUSTER_FACTOR)
      clusters:update(key_of(c), function(changed) changed._ready_at = record.done_at end)
      kubernetes.write_kubeconfig(key_of(c))
      return render(record)
    end)
    s:on("GET", ONE, function(c) return shown(c, need(c)) end)
    s:on("DELETE", ONE, function(c)
      local cluster = need(c)
      for _, pool in ipairs((pools:list(key_of(c) .. "/nodePools/"))) do nodes.delete(cloud.compute, pool) end
      for _, key in ipairs(select(2, pools:list(key_of(c) .. "/nodePools/"))) do pools:delete(key) end
      nodes.close_firewall(cloud.compute, c.params.project, cluster)
      clusters:delete(key_of(c))
      kubernetes.destroy(key_of(c))
      kubernetes.write_kubeconfig()
      return render(start(c, "DELETE_CLUSTER", cluster.selfLink, CLUSTER_FACTOR))
    end)

    local function change(c, kind, fn)
      local cluster = need(c)
      clusters:update(key_of(c), fn)
      return render(start(c, kind, cluster.selfLink))
    end
    local function update_pool(c, name, fn)
      local key = pool_key(c, name)
      if not pools:get(key) then reply.fail(404, "notFound", ("Not found: %s."):format(key)) end
      pools:update(key, function(pool)
        fn(pool)
        pool.etag = crypto.random_hex(16)
      end)
    end
    s:on("PUT", ONE, function(c)
      local update = c:json().update or reply.fail(400, "badRequest", "The update is missing.")
      need(c)
      if update.desiredNodePoolId then
        update_pool(c, update.desiredNodePoolId, function(pool)
          if update.desiredNodePoolAutoscaling then
            pool.autoscaling = values.clean(update.desiredNodePoolAutoscaling)
          end
          if update.desiredNodeVersion then pool.version = versions.resolve(update.desiredNodeVersion) end
          if update.desiredImageType then pool.config.imageType = update.desiredImageType end
        end)
      end
      return change(c, "UPDATE_CLUSTER", function(cluster) clusters_of.apply_update(cluster, update) end)
    end)
    s:on("POST", ONE .. ":setResourceLabels", function(c)
      local body = c:json()
      if body.labelFingerprint and body.labelFingerprint ~= need(c).labelFingerprint then
        reply.fail(412, "conditionNotMet", "Labels could not be set due to fingerprint mismatch.")
      end
      return change(c, "UPDATE_CLUSTER", function(cluster)
        cluster.resourceLabels = values.clean(body.resourceLabels or json.object())
        cluster.labelFingerprint = crypto.random_hex(4)
      end)
    end)
    for verb, field in pairs { setMaintenancePolicy = "maintenancePolicy", setNetworkPolicy = "networkPolicy",
      setAddons = "addonsConfig" } do
      s:on("POST", ONE .. ":" .. verb, function(c)
        local body = c:json()
        return change(c, "UPDATE_CLUSTER", function(cluster)
          cluster[field] = values.clean(body[field] or json.object())
        end)
      end)
    end
    s:on("POST", ONE .. ":setLegacyAbac", function(c)
      local body = c:json()
      return change(c, "UPDATE_CLUSTER", function(cluster) cluster.legacyAbac = { enabled = body.enabled or nil } end)
    end)

    s:on("GET", POOLS, function(c)
      need(c)
      return { nodePools = values.map(pools:list(key_of(c) .. "/nodePools/"), shown_pool) }
    end)
    s:on("POST", POOLS, function(c)
      local cluster, body = need(c), c:json().nodePool or {}
      if body.name and pools:get(pool_key(c, body.name)) then
        reply.fail(409, "alreadyExists", ("Already exists: %s."):format(pool_key(c, body.name)))
      end
      local pool = clusters_of.node_pool(cloud, c.params.project, cluster, body)
      nodes.create(cloud.compute, c.params.project, cluster, pool)
      local record = start(c, "CREATE_NODE_POOL", pool.selfLink, POOL_FACTOR)
      pool._ready_at = record.done_at
      pools:put(pool_key(c, pool.name), pool)
      return render(record)
    end)
    s:on("GET", POOL, function(c) return shown_pool(need_pool(c)) end)
    s:on("DELETE", POOL, function(c)
      local pool = need_pool(c)
      nodes.delete(cloud.compute, pool)
      pools:delete(pool_key(c))
      return render(start(c, "DELETE_NODE_POOL", pool.selfLink, POOL_FACTOR))
    end)
    local TO_CONFIG = { "imageType", "workloadMetadataConfig", "tags", "taints", "labels", "linuxNodeConfig",
      "kubeletConfig", "nodeNetworkConfig", "gcfsConfig", "resourceLabels", "diskSizeGb", "diskType", "machineType" }
    s:on("PUT", POOL, function(c)
      local body = c:json()
      need_pool(c)
      update_pool(c, nil, function(pool)
        for _, field in ipairs(TO_CONFIG) do
          local value = body[field]
          if value ~= nil and value ~= json.null then
            -- These come wrapped: {"labels": {"labels": {...}}}, {"taints": {"taints": [...]}}.
            pool.config[field] = values.clean(type(value) == "table" and value[field] or value)
          end
        end
        for _, field in ipairs { "locations", "upgradeSettings", "nodeDrainConfig" } do
          if body[field] then pool[field] = values.clean(body[field]) end
        end
        if body.nodeVersion then pool.version = versions.resolve(body.nodeVersion) end
      end)
      return render(start(c, "UPGRADE_NODES", pools:get(pool_key(c)).selfLink))
    end)
    for verb, fn in pairs {
      setAutoscaling = function(pool, body) pool.autoscaling = values.clean(body.autoscaling or json.object()) end,
      setManagement = function(pool, body) pool.management = values.clean(body.management or json.object()) end,
      setSize = function(pool, body, c)
        pool.initialNodeCount = body.nodeCount or 0
        nodes.resize(cloud.compute, c.params.project, need(c), pool, pool.initialNodeCount)
      end,
    } do
      s:on("POST", POOL .. ":" .. verb, function(c)
        local body = c:json()
        need_pool(c)
        update_pool(c, nil, function(pool) fn(pool, body, c) end)
        return render(start(c, "SET_NODE_POOL", pools:get(pool_key(c)).selfLink))
      end)
    end
  end

  cloud.compute:on_reference(function(key)
    for _, cluster in ipairs((clusters:list())) do
      if cluster.networkConfig.network == key or cluster.networkConfig.subnetwork == key then
        return cluster.selfLink:match("(projects/.*)$")
      end
    end
  end)
  cloud:on_inventory(function(add)
    for _, key in ipairs(clusters:keys()) do
      add("container#cluster", key, clusters:get(key).resourceLabels)
    end
    for _, key in ipairs(pools:keys()) do add("container#nodePool", key) end
  end)
end
