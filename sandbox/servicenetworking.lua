--- Service Networking: the peering through which managed services such as Cloud SQL reach a network.
local json = require "ws.json"
local links = require "sandbox.compute.links"
local operations = require "sandbox.operations"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local SERVICE = "servicenetworking.googleapis.com"

return function(cloud)
  local s = cloud:service("servicenetworking", { prefixes = { "servicenetworking" }, api = SERVICE })
  local connections = cloud.store:collection "servicenetworking"

  --- The network's key with the project's id, from a name with id or number.
  local function key_of(network)
    if type(network) ~= "string" then reply.fail(400, "badRequest", "The network is missing.") end
    local link = links.canonical(cloud, "", network)
    local key = links.key(link)
    if not key or not key:find("/global/networks/") then
      reply.fail(400, "badRequest", ("Invalid network: %s"):format(network))
    end
    return key
  end

  local function check_ranges(key, ranges)
    local project = key:match("^projects/([^/]+)")
    for _, range in ipairs(ranges or {}) do
      local address = cloud.compute:find(("projects/%s/global/addresses/%s"):format(project, values.last(range)))
      if not address or address.purpose ~= "VPC_PEERING" or links.key(address.network) ~= key then
        reply.fail(400, "badRequest", ("The reserved range '%s' is not a VPC_PEERING address of the network."):format(
          range))
      end
    end
  end

  local function start(kind, connection)
    local name = "operations/pssn.p24-" .. values.id()
    return operations.longrunning(cloud.operations:start("servicenetworking/" .. name,
      { name = name, type = kind, response = connection }))
  end

  local BASE = "/servicenetworking/v1/services/{service}/connections"

  s:on("GET", BASE, function(c)
    if not values.given(c.query.network) then reply.fail(400, "badRequest", "The network is missing.") end
    local connection = connections:get(key_of(c.query.network))
    if not connection then return {} end
    local shown = values.copy(connection)
    shown.network = c.query.network
    return { connections = json.array { shown } }
  end)
  s:on("POST", BASE, function(c)
    local body = c:json()
    local key = key_of(body.network)
    if not cloud.compute:find(key) then reply.not_found(key) end
    check_ranges(key, body.reservedPeeringRanges)
    if not body.reservedPeeringRanges or #body.reservedPeeringRanges == 0 then
      reply.fail(400, "badRequest", "At least one reserved range is needed.")
    end
    local existing = connections:get(key)
    if existing then
      reply.fail(400, "badRequest", "Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection.")
    end
    return start("create", connections:put(key, { network = key, peering = "servicenetworking-googleapis-com",
      service = "services/" .. SERVICE, reservedPeeringRanges = values.clean(body.reservedPeeringRanges) }))
  end)
  s:on("PATCH", BASE .. "/{connection}", function(c)
    local body = c:json()
    local key = key_of(body.network)
    if not connections:get(key) then reply.fail(404, "notFound", "The connection does not exist.") end
    check_ranges(key, body.reservedPeeringRanges)
    return start("update", connections:update(key, function(connection)
      connection.reservedPeeringRanges = values.clean(body.reservedPeeringRanges or json.array {})
    end))
  end)

  local function delete(c)
    local key = key_of(c:json().consumerNetwork)
    if not connections:get(key) then reply.fail(404, "notFound", "The connection does not exist.") end
    for _, instance in ipairs(cloud.sql_instances and cloud.sql_instances() or {}) do
      local configuration = instance.settings and instance.settings.ipConfiguration
      if configuration and configuration.privateNetwork and key_of(configuration.privateNetwork) == key then
        reply.fail(400, "badRequest", "Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, "
          .. "etc.) are still using this connection.")
      end
    end
    connections:delete(key)
    return start("delete", {})
  end
  s:on("POST|DELETE", BASE .. "/{connection}", delete)
  s:on("POST", BASE .. "/{connection}:deleteConnection", delete)

  s:on("GET", "/servicenetworking/v1/operations/{operation}", function(c)
    local record = cloud.operations:get("servicenetworking/operations/" .. c.params.operation, true)
    if not record then reply.not_found("operations/" .. c.params.operation) end
    return operations.longrunning(record)
  end)

  --- The connection of a network, nil when there is none.
  function cloud.peering_of(network) return connections:get(key_of(network)) end

  cloud.compute:on_reference(function(key)
    if connections:get(key) then return key .. "/peerings/servicenetworking-googleapis-com" end
    local project, name = key:match("^projects/([^/]+)/global/addresses/([^/]+)$")
    for _, connection in ipairs(name and connections:list("projects/" .. project .. "/") or {}) do
      for _, range in ipairs(connection.reservedPeeringRanges) do
        if values.last(range) == name then return connection.network .. "/peerings/servicenetworking-googleapis-com" end
      end
    end
  end)
  cloud:on_inventory(function(add)
    for _, connection in ipairs((connections:list())) do add("servicenetworking#connection", connection.network) end
  end)
end
