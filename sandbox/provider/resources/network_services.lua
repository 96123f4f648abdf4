--- Private service access and Cloud DNS.
local json = require "ws.json"
local task = require "ws.task"
local rest = require "sandbox.provider.rest"
local values = require "sandbox.provider.values"

-- ---- service networking --------------------------------------------------------------------------------------------

--- The network as the API wants it: with the number of its project.
local function numbered_network(context, network)
  local project, name = network:match("projects/([^/]+)/global/networks/([^/]+)$")
  project, name = project or context.params.project, name or network
  local found, err = context.call("GET", "resourcemanager", "projects/" .. project)
  if not found then return nil, err end
  return ("projects/%s/global/networks/%s"):format(found.projectNumber, name)
end

local function connections(prior)
  return "services/" .. (prior.service or "servicenetworking.googleapis.com") .. "/connections"
end

local function read_connection(context, prior)
  local network, err = numbered_network(context, prior.network)
  if not network then return nil, err end
  local list
  list, err = context.call("GET", "servicenetworking", connections(prior), { query = { network = network } })
  if not list then return nil, err end
  return list.connections and list.connections[1] or false
end

local service_networking_connection = {
  service = "servicenetworking",
  mutable = { "reserved_peering_ranges", "update_on_creation_fail" },
  client = { "network", "service", "update_on_creation_fail" },
  create_with = function(context, planned)
    local network, err = numbered_network(context, planned.network)
    if not network then return nil, err end
    return context.run("POST", "servicenetworking", connections(planned),
      { body = { network = network,
        reservedPeeringRanges = json.array(values.copy(planned.reserved_peering_ranges)) } })
  end,
  read_with = read_connection,
  update = function(context, planned)
    local network, err = numbered_network(context, planned.network)
    if not network then return nil, err end
    return context.run("PATCH", "servicenetworking", connections(planned) .. "/-", {
      query = { updateMask = "reservedPeeringRanges", force = true },
      body = { network = network, reservedPeeringRanges = json.array(values.copy(planned.reserved_peering_ranges)) },
    })
  end,
  delete_with = function(context, prior)
    local network, err = numbered_network(context, prior.network)
    if not network then return nil, err end
    return context.run("POST", "servicenetworking",
      connections(prior) .. "/" .. (prior.service:gsub("%.", "-"):gsub("%-googleapis%-com$", "-googleapis-com")),
      { body = { consumerNetwork = network } })
  end,
  state = function(state)
    state.id = rest.escape(state.network) .. ":" .. state.service
  end,
  import_form = "projects/{project}/global/networks/{network}:servicenetworking.googleapis.com",
  import = function(id)
    local network, service = id:gsub("%%2F", "/"):match("^(.*):([%w.]+)$")
    return network and { network = network, service = service }
  end,
}

-- ---- DNS -----------------------------------------------------------------------------------------------------------

local ZONE = "projects/{project}/managedZones/{managed_zone}"

--- Makes a change of a zone's records and waits for it.
local function change(context, zone, body)
  local made, err = context.call("POST", "dns", zone .. "/changes", { body = body })
  local pause = 0.02
  while made do
    local now
    now, err = context.call("GET", "dns", ("%s/changes/%s"):format(zone, made.id))
    if not now then return nil, err end
    if now.status == "done" then return now end
    if context.now() > context.deadline then break end
    task.sleep(pause)
    pause = math.min(pause * 2, 1)
  end
  return nil, err
end

local function find_record(context, zone, prior)
  local list, err = context.call("GET", "dns", zone .. "/rrsets", { query = { name = prior.name, type = prior.type } })
  if not list then return nil, err end
  for _, record in ipairs(list.rrsets or {}) do
    if record.name == prior.name and record.type == prior.type then return record end
  end
  return false
end

local function empty_zone(context, prior)
  local zone = context.fill("projects/{project}/managedZones/{name}")
  if not prior.force_destroy then return true end
  local deletions, token = json.array {}, nil
  repeat
    local list, err = context.call("GET", "dns", zone .. "/rrsets", { query = { pageToken = token } })
    if not list then
      if err.status == 404 then return true end
      return nil, err
    end
    for _, record in ipairs(list.rrsets or {}) do
      local own = (record.type == "NS" or record.type == "SOA") and record.name == prior.dns_name
      if not own then deletions[#deletions + 1] = record end
    end
    token = list.nextPageToken
  until not token
  if #deletions == 0 then return true end
  return change(context, zone, { deletions = deletions })
end

local managed_zone = {
  service = "dns",
  id = "projects/{project}/managedZones/{name}",
  mutable = { "description", "private_visibility_config", "forwarding_config", "dnssec_config", "cloud_logging_config",
    "force_destroy" },
  update = "PUT",
  client = { "force_destroy" },
  names = { managed_zone_id = "id" },
  links = { ["private_visibility_config.networks.network_url"] = "global/networks" },
  defaults = { description = "Managed by Terraform", visibility = "public", force_destroy = false },
  enums = { visibility = { "public", "private" } },
  patterns = { dns_name = { "%.$", "a domain ends in a dot, such as example.com." } },
  delete_with = function(context, prior)
    local ok, err = empty_zone(context, prior)
    if not ok then return nil, err end
    return context.call("DELETE", "dns", context.fill("projects/{project}/managedZones/{name}"))
  end,
  state = function(state)
    if state.force_destroy == nil then state.force_destroy = false end
  end,
}

local function record_body(planned, context)
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  return mapping.body(resource.get "google_dns_record_set", planned, context)
end

local record_set = {
  service = "dns",
  id = ZONE .. "/rrsets/{name}/{type}",
  mutable = { "ttl", "rrdatas", "routing_policy" },
  client = { "managed_zone" },
  names = {
    ["routing_policy.wrr"] = "wrr.items", ["routing_policy.geo"] = "geo.items",
    ["routing_policy.enable_geo_fencing"] = "geo.enableFencing",
    ["routing_policy.primary_backup.primary"] = "primaryTargets",
    ["routing_policy.primary_backup.backup_geo"] = "backupGeoTargets.items",
    ["routing_policy.primary_backup.enable_geo_fencing_for_backups"] = "backupGeoTargets.enableFencing",
  },
  patterns = { name = { "%.$", "a name ends in a dot, such as www.example.com." } },
  exactly_one = { { "rrdatas", "routing_policy" } },
  create_with = function(context, _, body)
    return change(context, context.fill(ZONE), { additions = json.array { body } })
  end,
  read_with = function(context, prior)
    return find_record(context, context.fill(ZONE), prior)
  end,
  update = function(context, planned, prior)
    local zone = context.fill(ZONE)
    local old, err = find_record(context, zone, prior)
    if old == nil then return nil, err end
    return change(context, zone, {
      deletions = old and json.array { old } or nil, additions = json.array { record_body(planned, context) },
    })
  end,
  delete_with = function(context, prior)
    local zone = context.fill(ZONE)
    local old, err = find_record(context, zone, prior)
    if old == nil then return nil, err end
    return not old or change(context, zone, { deletions = json.array { old } })
  end,
  import_form = "projects/{project}/managedZones/{managed_zone}/rrsets/{name}/{type}",
  import = function(id)
    local project, zone, name, kind = id:match("^projects/([^/]+)/managedZones/([^/]+)/rrsets/(.+)/([^/]+)$")
    if not project then project, zone, name, kind = id:match("^([^/]+)/([^/]+)/([^/]+)/([^/]+)$") end
    if not project then zone, name, kind = id:match("^([^/]+)/([^/]+)/([^/]+)$") end
    return zone and { project = project, managed_zone = zone, name = name, type = kind }
  end,
}

return {
  google_service_networking_connection = service_networking_connection,
  google_dns_managed_zone = managed_zone,
  google_dns_record_set = record_set,
}
