--- Compute Engine machines. Their disks, metadata and tags have other shapes in the API than in the configuration.
local json = require "ws.json"
local rest = require "sandbox.provider.rest"
local values = require "sandbox.provider.values"

local SELF = "projects/{project}/zones/{zone}/instances/{name}"

--- Short names of OAuth scopes that the published provider knows.
local SCOPES = {
  ["cloud-platform"] = "cloud-platform", ["storage-ro"] = "devstorage.read_only",
    ["storage-rw"] = "devstorage.read_write",
  ["storage-full"] = "devstorage.full_control", ["logging-write"] = "logging.write", ["monitoring"] = "monitoring",
  ["monitoring-write"] = "monitoring.write", ["monitoring-read"] = "monitoring.read", ["pubsub"] = "pubsub",
  ["sql-admin"] = "sqlservice.admin", ["compute-ro"] = "compute.readonly", ["compute-rw"] = "compute",
  ["service-control"] = "servicecontrol", ["service-management"] = "service.management.readonly",
    ["trace"] = "trace.append",
  ["userinfo-email"] = "userinfo.email", ["datastore"] = "datastore", ["bigquery"] = "bigquery",
}

local function scope(name)
  return SCOPES[name] and "https://www.googleapis.com/auth/" .. SCOPES[name] or name
end

local function image_link(image)
  if image:find("^https?://") or image:find("^projects/") then return image end
  local project, name = image:match("^([^/]+)/([^/]+)$")
  if project then return ("projects/%s/global/images/family/%s"):format(project, name) end
  return "projects/debian-cloud/global/images/family/" .. image
end

local function zonal(context, kind, name)
  if not name or name:find("/") then return name end
  return ("projects/%s/zones/%s/%s/%s"):format(context.params.project, context.params.zone, kind, name)
end

local function known(v)
  if v == values.unknown then return nil end
  return v
end

local function boot_disk(planned, context)
  local disk = planned.boot_disk[1]
  local result = json.object {
    boot = true, autoDelete = disk.auto_delete ~= false, deviceName = known(disk.device_name), mode = disk.mode,
    source = known(disk.source) and zonal(context, "disks", disk.source) or nil,
  }
  if not result.source then
    local init = type(disk.initialize_params) == "table" and disk.initialize_params[1] or {}
    result.initializeParams = json.object {
      sourceImage = known(init.image) and image_link(init.image) or image_link "debian-12",
      diskSizeGb = known(init.size) and tostring(init.size) or nil,
      diskType = known(init.type) and zonal(context, "diskTypes", init.type) or nil,
      labels = known(init.labels), sourceSnapshot = known(init.snapshot),
    }
  end
  return result
end

local function all_disks(planned, context)
  local disks = json.array { boot_disk(planned, context) }
  for _, disk in ipairs(planned.attached_disk or {}) do
    disks[#disks + 1] = { source = zonal(context, "disks", disk.source), mode = disk.mode or "READ_WRITE",
      deviceName = known(disk.device_name), boot = false, autoDelete = false }
  end
  for _, disk in ipairs(planned.scratch_disk or {}) do
    disks[#disks + 1] = { type = "SCRATCH", autoDelete = true, interface = disk.interface,
      initializeParams = { diskType = zonal(context, "diskTypes", "local-ssd") } }
  end
  return disks
end

local function metadata_of(planned)
  local items, names = json.array {}, {}
  local all = {}
  for k, v in pairs(planned.metadata or {}) do all[k] = v end
  if planned.metadata_startup_script then all["startup-script"] = planned.metadata_startup_script end
  for k in pairs(all) do names[#names + 1] = k end
  table.sort(names)
  for i, k in ipairs(names) do items[i] = { key = k, value = all[k] } end
  return items
end

local function post(context, verb, body, query)
  return context.run("POST", "compute", context.fill(SELF) .. "/" .. verb, { body = body, query = query })
end

--- Runs fn while the machine is stopped, when the configuration allows that.
local function while_stopped(context, planned, fn)
  if not planned.allow_stopping_for_update then
    return nil, require "ws.error".new { kind = "precondition",
      message = "this change needs the instance to be stopped", hint = "set allow_stopping_for_update = true" }
  end
  local ok, err = post(context, "stop")
  if not ok then return nil, err end
  ok, err = fn()
  if not ok then return nil, err end
  return post(context, "start")
end

local function body_of(planned, context)
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  return mapping.body(resource.get "google_compute_instance", planned, context)
end

--- The boot disk as the configuration has it: from the instance and the disk itself.
local function read_boot_disk(context, object, prior)
  local found
  for _, disk in ipairs(object.disks or {}) do
    if disk.boot then found = disk end
  end
  if not found then return prior end
  local before = type(prior) == "table" and prior[1] or {}
  local disk, err = rest.call(context, "GET", "compute",
    ("projects/%s/zones/%s/disks/%s"):format(context.params.project, context.params.zone, values.last(found.source)))
  if not disk and err.status ~= 404 then error(err, 0) end
  disk = disk or {}
  local init = type(before.initialize_params) == "table" and before.initialize_params[1] or {}
  local params = values.copy(init)
  params.size = tonumber(disk.sizeGb) or init.size
  params.type = disk.type and values.last(disk.type) or init.type
  if type(init.image) ~= "string" then params.image = disk.sourceImage end
  params.labels = disk.labels or {}
  for _, name in ipairs { "provisioned_iops", "provisioned_throughput" } do
    if params[name] == values.unknown then params[name] = 0 end
  end
  if params.resource_policies == values.unknown then params.resource_policies = {} end
  local result = values.copy(before)
  result.initialize_params = { params }
  result.source = type(before.source) == "string" and values.same_reference(before.source,
    found.source) and before.source
    or found.source
  result.device_name = found.deviceName or before.device_name
  result.auto_delete, result.mode = found.autoDelete ~= false, found.mode or "READ_WRITE"
  if result.guest_os_features == values.unknown then result.guest_os_features = {} end
  return { result }
end

local function metadata_state(state, object, prior)
  local metadata = {}
  for _, item in ipairs((object.metadata or {}).items or {}) do metadata[item.key] = item.value end
  if type(prior.metadata_startup_script) == "string" then
    state.metadata_startup_script = metadata["startup-script"]
    metadata["startup-script"] = nil
  end
  state.metadata = (prior.metadata ~= nil or next(metadata)) and metadata or nil
  state.metadata_fingerprint = (object.metadata or {}).fingerprint
end

local instance = {
  service = "compute",
  id = SELF,
  mutable = { "metadata", "metadata_startup_script", "tags", "machine_type", "min_cpu_platform", "service_account",
    "scheduling", "shielded_instance_config", "allow_stopping_for_update", "deletion_protection", "desired_status",
    "resource_policies", "attached_disk", "enable_display", "network_interface", "boot_disk" },
  immutable = { "boot_disk.initialize_params", "boot_disk.source", "boot_disk.device_name",
    "network_interface.network", "network_interface.subnetwork", "network_interface.network_ip",
    "metadata_startup_script" },
  client = { "boot_disk", "attached_disk", "scratch_disk", "metadata", "metadata_startup_script", "tags",
    "allow_stopping_for_update", "desired_status", "network_interface.subnetwork_project", "instance_encryption_key" },
  names = {
    instance_id = "id", current_status = "status", network_interface = "networkInterfaces",
    ["network_interface.network_ip"] = "networkIP", ["network_interface.access_config"] = "accessConfigs",
    ["network_interface.access_config.nat_ip"] = "natIP",
    ["network_interface.ipv6_access_config"] = "ipv6AccessConfigs",
    ["network_interface.alias_ip_range"] = "aliasIpRanges", service_account = "serviceAccounts",
    guest_accelerator = "guestAccelerators", ["guest_accelerator.count"] = "acceleratorCount",
    ["guest_accelerator.type"] = "acceleratorType", metadata_fingerprint = false, tags_fingerprint = false,
    ["scheduling.node_affinities"] = "nodeAffinities", enable_display = "displayDevice.enableDisplay",
  },
  arrays = { "service_account" },
  links = { machine_type = "zones/{zone}/machineTypes", ["network_interface.network"] = "global/networks",
    ["network_interface.subnetwork"] = "regions/{region}/subnetworks" },
  defaults = { ["boot_disk.auto_delete"] = true, ["boot_disk.mode"] = "READ_WRITE", deletion_protection = false,
    can_ip_forward = false, ["scheduling.automatic_restart"] = true, ["scheduling.preemptible"] = false,
    ["shielded_instance_config.enable_vtpm"] = true, ["shielded_instance_config.enable_integrity_monitoring"] = true },
  computed_blocks = { "scheduling" },
  null = { "boot_disk.disk_encryption_key_sha256", "boot_disk.kms_key_self_link",
    "boot_disk.initialize_params.snapshot",
    "boot_disk.initialize_params.architecture" },
  patterns = { name = { "^[a-z][a-z0-9-]*$", "lower case letters, digits and dashes, beginning with a letter" } },
  enums = {
    ["scheduling.provisioning_model"] = { "STANDARD", "SPOT", "FLEX_START", "RESERVATION_BOUND" },
    ["scheduling.instance_termination_action"] = { "STOP", "DELETE" },
    desired_status = { "RUNNING", "SUSPENDED", "TERMINATED" },
  },
  plan = function(planned)
    for _, account in ipairs(type(planned.service_account) == "table" and planned.service_account or {}) do
      for i, name in ipairs(type(account.scopes) == "table" and account.scopes
        or {}) do account.scopes[i] = scope(name) end
    end
  end,
  body = function(body, planned, context)
    body.disks = all_disks(planned, context)
    body.metadata = { items = metadata_of(planned) }
    body.tags = { items = json.array(values.copy(planned.tags or {})) }
    for _, interface in ipairs(body.networkInterfaces or {}) do
      for _, access in ipairs(interface.accessConfigs or {}) do access.type = "ONE_TO_ONE_NAT" end
    end
    if planned.deletion_protection then body.deletionProtection = true end
  end,
  actions = {
    { fields = { "metadata", "metadata_startup_script" }, run = function(context, planned)
      local now, err = context.call("GET", "compute", context.fill(SELF))
      if not now then return nil, err end
      return post(context, "setMetadata", { items = metadata_of(planned),
        fingerprint = (now.metadata or {}).fingerprint })
    end },
    { fields = { "tags" }, run = function(context, planned)
      local now, err = context.call("GET", "compute", context.fill(SELF))
      if not now then return nil, err end
      return post(context, "setTags", { items = json.array(values.copy(planned.tags or {})),
        fingerprint = (now.tags or {}).fingerprint })
    end },
    { fields = { "effective_labels" }, run = function(context, planned)
      local now, err = context.call("GET", "compute", context.fill(SELF))
      if not now then return nil, err end
      return post(context, "setLabels", { labels = json.object(planned.effective_labels),
        labelFingerprint = now.labelFingerprint })
    end },
    { fields = { "machine_type" }, run = function(context, planned)
      return while_stopped(context, planned, function()
        return post(context, "setMachineType", { machineType = zonal(context, "machineTypes", planned.machine_type) })
      end)
    end },
    { fields = { "service_account" }, run = function(context, planned)
      return while_stopped(context, planned, function()
        local account = (body_of(planned, context).serviceAccounts or {})[1] or { email = "", scopes = json.array {} }
        return post(context, "setServiceAccount", account)
      end)
    end },
    { fields = { "scheduling" }, run = function(context, planned)
      return post(context, "setScheduling", body_of(planned, context).scheduling or json.object())
    end },
    { fields = { "deletion_protection" }, run = function(context, planned)
      return post(context, "setDeletionProtection", nil, { deletionProtection = planned.deletion_protection == true })
    end },
    { fields = { "shielded_instance_config" }, run = function(context, planned)
      return while_stopped(context, planned, function()
        return context.run("PATCH", "compute", context.fill(SELF) .. "/updateShieldedInstanceConfig",
          { body = body_of(planned, context).shieldedInstanceConfig or json.object() })
      end)
    end },
    { fields = { "network_interface" }, run = function(context, planned, prior)
      for i, interface in ipairs(planned.network_interface) do
        local before = prior.network_interface[i] or {}
        local had, has = (before.access_config or {})[1], (interface.access_config or {})[1]
        local nic = before.name or "nic0"
        if had and not has then
          local ok, err = post(context, "deleteAccessConfig", nil, { accessConfig = "external-nat",
            networkInterface = nic })
          if not ok then return nil, err end
        elseif has and not had then
          local ok, err = post(context, "addAccessConfig", { type = "ONE_TO_ONE_NAT", natIP = known(has.nat_ip) },
            { networkInterface = nic })
          if not ok then return nil, err end
        end
      end
      return true
    end },
    { fields = { "desired_status" }, run = function(context, planned)
      local verbs = { RUNNING = "start", TERMINATED = "stop", SUSPENDED = "suspend" }
      return not planned.desired_status or post(context, verbs[planned.desired_status])
    end },
  },
  object = function(object)
    object.machineType = object.machineType and values.last(object.machineType)
  end,
  state = function(state, object, prior, context)
    metadata_state(state, object, prior)
    local tags = (object.tags or {}).items or {}
    state.tags = (prior.tags ~= nil or #tags > 0) and values.copy(tags) or nil
    state.tags_fingerprint = (object.tags or {}).fingerprint
    state.boot_disk = read_boot_disk(context, object, prior.boot_disk)
    for i, interface in ipairs(state.network_interface or {}) do
      local links = (object.networkInterfaces or {})[i] or {}
      interface.subnetwork_project = (links.subnetwork or ""):match("projects/([^/]+)/")
    end
    for name in pairs { attached_disk = true, scratch_disk = true } do
      state[name] = type(state[name]) == "table" and state[name] or {}
    end
  end,
}

return { google_compute_instance = instance }
