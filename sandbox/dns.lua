--- Cloud DNS: managed zones, record sets, changes.
local json = require "ws.json"
local time = require "ws.time"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

--- Fields that are the server's; bodies repeat them, sometimes with another type.
local OUTPUT_ONLY = { "id", "kind", "creationTime", "nameServers", "nameServerSet" }

return function(cloud)
  local s = cloud:service("dns", { prefixes = { "dns" }, api = "dns.googleapis.com" })
  local zones = cloud.store:collection "dns.zones"
  local records, changes = cloud.store:collection "dns.records", cloud.store:collection "dns.changes"
  local ZONES = "/dns/v1/projects/{project}/managedZones"
  local ONE = ZONES .. "/{zone}"

  local function key_of(c) return ("projects/%s/managedZones/%s"):format(c.params.project, c.params.zone) end
  local function need(c)
    return zones:get(key_of(c)) or reply.fail(404, "notFound",
      ("The 'parameters.managedZone' resource named '%s' does not exist."):format(c.params.zone))
  end
  local function record_key(zone_key, name, kind) return ("%s/rrsets/%s/%s"):format(zone_key, name:lower(), kind) end

  local function accepted(c, body)
    local zone = values.clean(body)
    for _, field in ipairs(OUTPUT_ONLY) do zone[field] = nil end
    local private = zone.privateVisibilityConfig
    for _, network in ipairs(private and private.networks or {}) do
      network.networkUrl = links.canonical(cloud, c.params.project, network.networkUrl)
      network.kind = "dns#managedZonePrivateVisibilityConfigNetwork"
      if not cloud.compute:find(network.networkUrl) then
        reply.fail(400, "invalid", ("The network '%s' does not exist."):format(network.networkUrl))
      end
    end
    return zone
  end

  local function check_name(name, field)
    if type(name) ~= "string" or not name:find("^[%w_*.-]+%.$") then
      reply.fail(400, "invalid", ("Invalid value for '%s': '%s'"):format(field, tostring(name)))
    end
  end

  s:on("GET", ZONES, function(c)
    local list = {}
    for _, zone in ipairs((zones:list(("projects/%s/"):format(c.params.project)))) do
      if not values.given(c.query.dnsName) or zone.dnsName == c.query.dnsName then list[#list + 1] = zone end
    end
    local page, token = reply.page(list, function(z) return z.name end, c.query.pageToken, c.query.maxResults)
    return { kind = "dns#managedZonesListResponse", managedZones = page, nextPageToken = token }
  end)
  s:on("POST", ZONES, function(c)
    local zone = accepted(c, c:json())
    if type(zone.name) ~= "string" or not zone.name:find("^[a-z][a-z0-9-]*$") then
      reply.fail(400, "invalid", ("Invalid value for 'entity.managedZone.name': '%s'"):format(tostring(zone.name)))
    end
    check_name(zone.dnsName, "entity.managedZone.dnsName")
    c.params.zone = zone.name
    if zones:get(key_of(c)) then
      reply.fail(409, "alreadyExists",
        ("The resource 'entity.managedZone' named '%s' already exists"):format(zone.name))
    end
    zone.kind, zone.id, zone.creationTime = "dns#managedZone", values.id(), time.rfc3339()
    zone.visibility = zone.visibility or "public"
    local server = zone.visibility == "private" and "ns-gcp-private.googledomains.com."
      or "ns-cloud-e1.googledomains.com."
    zone.nameServers = json.array { server }
    zones:put(key_of(c), zone)
    for kind, data in pairs { NS = server,
      SOA = server .. " cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300" } do
      records:put(record_key(key_of(c), zone.dnsName, kind), { kind = "dns#resourceRecordSet", name = zone.dnsName,
        type = kind, ttl = 21600, rrdatas = { data }, signatureRrdatas = json.array {} })
    end
    return zone
  end)
  s:on("GET", ONE, need)
  local function update(c, replace)
    local zone, new = need(c), accepted(c, c:json())
    new.name, new.dnsName = nil, nil
    return zones:update(key_of(c), function(z)
      if replace then
        for _, field in ipairs { "description", "labels", "privateVisibilityConfig", "forwardingConfig", "dnssecConfig",
          "peeringConfig", "cloudLoggingConfig" } do z[field] = nil end
      end
      values.merge(z, new)
      z.visibility = zone.visibility
    end)
  end
  s:on("PUT", ONE, function(c) return update(c, true) end)
  s:on("PATCH", ONE, function(c)
    return { kind = "dns#operation", id = values.id(), status = "done", zoneContext = { newValue = update(c, false) } }
  end)
  s:on("DELETE", ONE, function(c)
    local zone, key = need(c), key_of(c)
    local _, keys = records:list(key .. "/rrsets/")
    if #keys > 2 then
      reply.fail(400, "containerNotEmpty", ("The resource named '%s' cannot be deleted because it contains one or more "
        .. "'resource records'."):format(zone.name))
    end
    for _, name in ipairs(keys) do records:delete(name) end
    for _, name in ipairs(select(2, changes:list(key .. "/changes/"))) do changes:delete(name) end
    zones:delete(key)
    return reply.empty(204)
  end)

  s:on("GET", ONE .. "/rrsets", function(c)
    need(c)
    local list = {}
    for _, record in ipairs((records:list(key_of(c) .. "/rrsets/"))) do
      local name, kind = values.given(c.query.name), values.given(c.query.type)
      if (not name or record.name == name:lower()) and (not kind or record.type == kind) then
        list[#list + 1] = record
      end
    end
    local page, token = reply.page(list, function(r) return r.name .. "/" .. r.type end, c.query.pageToken,
      c.query.maxResults)
    return { kind = "dns#resourceRecordSetsListResponse", rrsets = page, nextPageToken = token }
  end)

  local function same_record(a, b)
    if a.ttl ~= b.ttl or #(a.rrdatas or {}) ~= #(b.rrdatas or {}) then return false end
    local mine, theirs = table.move(a.rrdatas, 1, #a.rrdatas, 1, {}), table.move(b.rrdatas, 1, #b.rrdatas, 1, {})
    table.sort(mine)
    table.sort(theirs)
    for i, data in ipairs(mine) do
      if data ~= theirs[i] then return false end
    end
    return true
  end

  --- Makes a record set of a body; refuses a name outside the zone.
  local function record_of(zone, body)
    check_name(body.name, "entity.change.additions[].name")
    local record = values.clean(body)
    record.name = record.name:lower()
    if record.name ~= zone.dnsName and record.name:sub(-#zone.dnsName - 1) ~= "." .. zone.dnsName then
      reply.fail(400, "invalid", ("Invalid value for 'entity.change.additions[].name': '%s' is not in the zone '%s'.")
        :format(record.name, zone.dnsName))
    end
    record.kind, record.signatureRrdatas = "dns#resourceRecordSet", json.array {}
    return record
  end

  local function apply(c, zone, additions, deletions)
    local key, gone = key_of(c), {}
    for _, body in ipairs(deletions) do
      local at = record_key(key, body.name, body.type)
      local record = records:get(at)
      if not record then
        reply.fail(404, "notFound", ("The 'entity.change.deletions[].%s' resource named '%s (%s)' does not exist.")
          :format("name", body.name, body.type))
      elseif not same_record(record, body) then
        reply.fail(412, "conditionNotMet", ("Precondition not met for 'entity.change.deletions[]' of '%s (%s)'"):format(
          body.name, body.type))
      end
      gone[at] = true
    end
    local new = {}
    for _, body in ipairs(additions) do
      local record = record_of(zone, body)
      local at = record_key(key, record.name, record.type)
      if records:get(at) and not gone[at] then
        reply.fail(409, "alreadyExists", ("The resource 'entity.change.additions[]' named '%s (%s)' already exists")
          :format(record.name, record.type))
      end
      new[#new + 1] = { at = at, record = record }
    end
    for at in pairs(gone) do records:delete(at) end
    for _, entry in ipairs(new) do records:put(entry.at, entry.record) end
  end

  s:on("POST", ONE .. "/changes", function(c)
    local zone, body = need(c), c:json()
    local function list(v) return type(v) == "table" and v ~= json.null and v or {} end
    apply(c, zone, list(body.additions), list(body.deletions))
    local change = { kind = "dns#change", id = values.id(), status = "done", startTime = time.rfc3339(),
      additions = values.clean(body.additions), deletions = values.clean(body.deletions) }
    if change.additions == json.null then change.additions = nil end
    if change.deletions == json.null then change.deletions = nil end
    return changes:put(("%s/changes/%s"):format(key_of(c), change.id), change)
  end)
  s:on("GET", ONE .. "/changes", function(c)
    need(c)
    return { kind = "dns#changesListResponse", changes = json.array((changes:list(key_of(c) .. "/changes/"))) }
  end)
  s:on("GET", ONE .. "/changes/{change}", function(c)
    need(c)
    return changes:get(("%s/changes/%s"):format(key_of(c), c.params.change))
      or reply.fail(404, "notFound", "The change does not exist.")
  end)

  s:on("POST", ONE .. "/rrsets", function(c)
    local zone, body = need(c), c:json()
    apply(c, zone, { body }, {})
    return records:get(record_key(key_of(c), body.name, body.type))
  end)
  local RECORD = ONE .. "/rrsets/{name}/{type}"
  local function need_record(c)
    need(c)
    return records:get(record_key(key_of(c), c.params.name, c.params.type)) or reply.fail(404, "notFound",
      ("The 'parameters.name' resource named '%s (%s)' does not exist."):format(c.params.name, c.params.type))
  end
  s:on("GET", RECORD, need_record)
  s:on("PATCH", RECORD, function(c)
    local record, body = need_record(c), c:json()
    return records:update(record_key(key_of(c), record.name, record.type), function(r)
      r.ttl, r.rrdatas = body.ttl or r.ttl, body.rrdatas and values.clean(body.rrdatas) or r.rrdatas
    end)
  end)
  s:on("DELETE", RECORD, function(c)
    local record = need_record(c)
    records:delete(record_key(key_of(c), record.name, record.type))
    return {}
  end)

  cloud:on_inventory(function(add)
    for _, key in ipairs(zones:keys()) do
      add("dns#managedZone", key, zones:get(key).labels, zones:get(key).dnsName)
    end
    for _, key in ipairs(records:keys()) do
      local record = records:get(key)
      if record.type ~= "NS" and record.type ~= "SOA" then add("dns#resourceRecordSet", key) end
    end
  end)
end
