--- Virtual machines: what the cloud makes of a description, and what goes with a machine when it is deleted.
local catalog = require "sandbox.compute.catalog"
local collections = require "sandbox.compute.collections"
local json = require "ws.json"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local resources = require "sandbox.compute.resources"
local time = require "ws.time"
local values = require "sandbox.values"

local M = {}

local START_SECONDS = 0.2

local function prepare_disks(compute, instance, scope)
  if not instance.disks or #instance.disks == 0 then
    reply.fail(400, "required", "Invalid value for field 'resource.disks': ''. At least one disk is required.")
  end
  for i, attached in ipairs(instance.disks) do
    local wanted = attached.initializeParams
    if wanted and attached.type ~= "SCRATCH" then
      local default_name = i == 1 and instance.name or ("%s-%d"):format(instance.name, i)
      local disk = compute:create(scope, "disks", {
        name = wanted.diskName or default_name,
        sizeGb = wanted.diskSizeGb, type = wanted.diskType, sourceImage = wanted.sourceImage, labels = wanted.labels,
        description = wanted.description, resourcePolicies = wanted.resourcePolicies,
      })
      attached.source = disk.selfLink
      attached.initializeParams = nil
      attached.diskSizeGb = disk.sizeGb
    elseif attached.source then
      attached.diskSizeGb = compute:need(attached.source).sizeGb
    end
    attached.kind, attached.index, attached.boot = "compute#attachedDisk", i - 1, i == 1
    attached.type, attached.mode = attached.type or "PERSISTENT", attached.mode or "READ_WRITE"
    attached.autoDelete = attached.autoDelete or false
    attached.interface = attached.interface or "SCSI"
    attached.deviceName = attached.deviceName or ("persistent-disk-%d"):format(i - 1)
    if i == 1 then attached.architecture = "X86_64" end
  end
end

local function prepare_interfaces(compute, instance, project, region)
  instance.networkInterfaces = instance.networkInterfaces or json.array { {} }
  for i, interface in ipairs(instance.networkInterfaces) do
    if interface.subnetwork and not links.key(interface.subnetwork) then
      interface.subnetwork = ("%sprojects/%s/regions/%s/subnetworks/%s"):format(links.PREFIX, project, region,
        interface.subnetwork)
    end
    if interface.subnetwork then
      interface.network = compute:need(interface.subnetwork).network
      interface.networkIP = interface.networkIP or collections.internal_address(compute, interface.subnetwork)
    elseif not interface.network then
      reply.fail(400, "invalid", "Invalid value for field 'resource.networkInterfaces[0]': a network or a subnetwork "
        .. "is required.")
    else
      interface.networkIP = interface.networkIP or "10.128.0.2"
    end
    interface.kind, interface.name = "compute#networkInterface", ("nic%d"):format(i - 1)
    interface.fingerprint, interface.stackType = resources.fingerprint(), interface.stackType or "IPV4_ONLY"
    for _, access in ipairs(interface.accessConfigs or {}) do
      access.kind, access.type = "compute#accessConfig", access.type or "ONE_TO_ONE_NAT"
      access.name, access.networkTier = access.name or "External NAT", access.networkTier or "PREMIUM"
      access.natIP = access.natIP or collections.external_address(compute)
    end
  end
end

--- Completes a new instance and makes its disks.
---@param compute sandbox.Compute
---@param instance table
---@param key string
---@param project string
function M.prepare(compute, instance, key, project)
  local zone = key:match("/zones/([^/]+)/")
  local scope = key:match("^(.*)/instances/")
  local region = catalog.region_of(zone)
  local machine = instance.machineType and values.last(instance.machineType)
  if not machine or not catalog.machine_type(project, zone, machine) then
    reply.fail(400, "invalid", ("Invalid value for field 'resource.machineType': '%s'. The referenced resource does "
      .. "not exist."):format(tostring(instance.machineType)))
  end
  instance.machineType = ("%s%s/machineTypes/%s"):format(links.PREFIX, scope, machine)
  prepare_interfaces(compute, instance, project, region)
  prepare_disks(compute, instance, scope)
  instance.metadata = instance.metadata or {}
  instance.metadata.kind, instance.metadata.fingerprint = "compute#metadata", resources.fingerprint()
  instance.tags = instance.tags or {}
  instance.tags.fingerprint = resources.fingerprint()
  local scheduling = instance.scheduling or {}
  if scheduling.automaticRestart == nil then scheduling.automaticRestart = not scheduling.preemptible end
  scheduling.preemptible = scheduling.preemptible or false
  scheduling.onHostMaintenance = scheduling.onHostMaintenance or (scheduling.preemptible and "TERMINATE" or "MIGRATE")
  scheduling.provisioningModel = scheduling.provisioningModel or "STANDARD"
  instance.scheduling = scheduling
  instance.canIpForward = instance.canIpForward or false
  instance.deletionProtection = instance.deletionProtection or false
  instance.startRestricted = false
  instance.cpuPlatform = "Intel Broadwell"
  instance.shieldedInstanceConfig = instance.shieldedInstanceConfig
    or { enableSecureBoot = false, enableVtpm = true, enableIntegrityMonitoring = true }
  instance.shieldedInstanceIntegrityPolicy = { updateAutoLearnPolicy = true }
  instance.lastStartTimestamp = time.rfc3339()
  instance.status = "RUNNING"
  instance._starts_at = time.now() + START_SECONDS
end

--- Deletes the disks that go with an instance, and takes it out of its groups.
---@param compute sandbox.Compute
---@param instance table
function M.deleted(compute, instance)
  for _, attached in ipairs(instance.disks or {}) do
    if attached.autoDelete and attached.source then
      compute:of("disks"):delete(links.key(attached.source))
    end
  end
  for _, key in ipairs { table.unpack(compute:of("instanceGroups"):keys()) } do
    local members = compute:of("instanceGroups"):get(key)._members or {}
    for i, member in ipairs(members) do
      if member == instance.selfLink then
        compute:of("instanceGroups"):update(key, function(group) table.remove(group._members, i) end)
        break
      end
    end
  end
end

local function disk_at(instance, device)
  for i, attached in ipairs(instance.disks) do
    if attached.deviceName == device then return i end
  end
  reply.fail(400, "invalid", ("No attached disk found with device name '%s'"):format(tostring(device)))
end

local function interface_of(instance, name)
  for _, interface in ipairs(instance.networkInterfaces) do
    if interface.name == (name or "nic0") then return interface end
  end
  reply.fail(400, "invalid", ("There is no network interface '%s'."):format(tostring(name)))
end

--- Adds the methods of instances.
---@param compute sandbox.Compute
function M.methods(compute)
  local function method(name, fn) compute:method("instances", name, fn) end

  local function need_stopped(instance)
    if instance.status ~= "TERMINATED" then
      reply.fail(400, "resourceNotReady", ("The instance '%s' must be stopped first."):format(instance.name))
    end
  end

  compute.service:on("POST", "/compute/v1/projects/{project}/zones/{zone}/instances/{name}/setMetadata", function(c)
    local key, body = resources.key_of(c, "instances"), c:json()
    resources.check_fingerprint(body.fingerprint, compute:need(key).metadata.fingerprint)
    compute:of("instances"):update(key, function(instance)
      instance.metadata = { kind = "compute#metadata", fingerprint = resources.fingerprint(),
        items = body.items and values.clean(body.items) }
    end)
    return compute:operation(key, "setMetadata")
  end)
  compute.service:on("POST", "/compute/v1/projects/{project}/zones/{zone}/instances/{name}/setTags", function(c)
    local key, body = resources.key_of(c, "instances"), c:json()
    resources.check_fingerprint(body.fingerprint, compute:need(key).tags.fingerprint)
    compute:of("instances"):update(key, function(instance)
      instance.tags = { items = body.items and values.clean(body.items), fingerprint = resources.fingerprint() }
    end)
    return compute:operation(key, "setTags")
  end)

  method("setMachineType", function(instance, body)
    need_stopped(instance)
    local machine = values.last(body.machineType or "")
    local zone = values.last(instance.zone)
    if not catalog.machine_type("p", zone, machine) then
      reply.fail(400, "invalid", ("Invalid machine type '%s'."):format(machine))
    end
    instance.machineType = instance.zone .. "/machineTypes/" .. machine
  end)
  method("setServiceAccount", function(instance, body)
    need_stopped(instance)
    instance.serviceAccounts = body.email and json.array { { email = body.email, scopes = body.scopes } } or nil
  end)
  method("setScheduling", function(instance, body) values.merge(instance.scheduling, body) end)
  compute:method("instances", "setDeletionProtection", function(instance, _, c)
    instance.deletionProtection = c.query.deletionProtection == nil or values.flag(c.query.deletionProtection)
  end)
  method("start", function(instance) instance.status, instance.lastStartTimestamp = "RUNNING", time.rfc3339() end)
  method("stop", function(instance) instance.status, instance.lastStopTimestamp = "TERMINATED", time.rfc3339() end)
  method("reset", function(instance) instance.lastStartTimestamp = time.rfc3339() end)
  method("attachDisk", function(instance, body)
    body.kind, body.index, body.boot = "compute#attachedDisk", #instance.disks, body.boot or false
    body.type, body.mode, body.autoDelete = "PERSISTENT", body.mode or "READ_WRITE", body.autoDelete or false
    body.deviceName = body.deviceName or ("persistent-disk-%d"):format(#instance.disks)
    table.insert(instance.disks, body)
  end)
  compute:method("instances", "detachDisk", function(instance, _, c)
    table.remove(instance.disks, disk_at(instance, c.query.deviceName))
  end)
  compute:method("instances", "setDiskAutoDelete", function(instance, _, c)
    instance.disks[disk_at(instance, c.query.deviceName)].autoDelete = values.flag(c.query.autoDelete)
  end)
  compute:method("instances", "addAccessConfig", function(instance, body, c)
    local interface = interface_of(instance, c.query.networkInterface)
    body.kind, body.type, body.name = "compute#accessConfig", body.type or "ONE_TO_ONE_NAT", body.name or "External NAT"
    body.natIP = body.natIP or collections.external_address(compute)
    interface.accessConfigs = json.array { body }
  end)
  compute:method("instances", "deleteAccessConfig", function(instance, _, c)
    interface_of(instance, c.query.networkInterface).accessConfigs = nil
  end)
  compute.service:on("GET", "/compute/v1/projects/{project}/zones/{zone}/instances/{name}/serialPort", function(c)
    local instance = compute:need(resources.key_of(c, "instances"))
    return { kind = "compute#serialPortOutput", selfLink = instance.selfLink .. "/serialPort", start = "0", next = "0",
      contents = "" }
  end)
end

return M
