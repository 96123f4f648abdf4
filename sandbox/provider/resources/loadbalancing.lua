--- Load balancers: health checks, backends, URL maps, proxies, certificates, forwarding rules, endpoint groups,
--- policies.
local json = require "ws.json"
local with_set_labels = require "sandbox.provider.resources.compute".with_set_labels

local GLOBAL = "projects/{project}/global/"

--- A change that is one POST to an action of the resource.
local function action(fields, path, make_body)
  return { fields = fields, run = function(context, planned)
    return context.run("POST", "compute", context.fill(path), { body = make_body(planned, context) })
  end }
end

local function reference(context, value, kind)
  if value:find("^https?://") or value:find("^projects/") then return value end
  return context.fill("projects/{project}/") .. kind .. "/" .. value
end

local HEALTH_CHECKS = { http = "HTTP", https = "HTTPS", http2 = "HTTP2", tcp = "TCP", ssl = "SSL", grpc = "GRPC",
  grpc_tls = "GRPC_WITH_TLS" }

local function health_check_defaults()
  local defaults = { check_interval_sec = 5, timeout_sec = 5, healthy_threshold = 2, unhealthy_threshold = 2 }
  for kind in pairs(HEALTH_CHECKS) do
    if not kind:find("grpc") then defaults[kind .. "_health_check.proxy_header"] = "NONE" end
  end
  for _, kind in ipairs { "http", "https", "http2" } do defaults[kind .. "_health_check.request_path"] = "/" end
  defaults["http_health_check.port"] = 80
  defaults["https_health_check.port"], defaults["http2_health_check.port"] = 443, 443
  return defaults
end

local function set_security_policy(context, planned)
  local policy = planned.security_policy
  return context.run("POST", "compute", context.fill(GLOBAL .. "backendServices/{name}/setSecurityPolicy"),
    { body = { securityPolicy = policy and policy ~= "" and reference(context, policy,
      "global/securityPolicies") or json.null } })
end

local URL_MAP_LINKS = {}
for _, path in ipairs { "default_service", "path_matcher.default_service", "path_matcher.path_rule.service" } do
  URL_MAP_LINKS[path] = "global/backendServices"
end

--- Name in the API of the route actions' block for weighted backends and of all that is not plain camelCase.
local URL_MAP_NAMES = {
  host_rule = "hostRules", path_matcher = "pathMatchers", ["path_matcher.path_rule"] = "pathRules",
  ["path_matcher.route_rules"] = "routeRules",
}
for _, at in ipairs { "", "path_matcher.", "path_matcher.path_rule.", "path_matcher.route_rules." } do
  for _, block in ipairs { "header_action", "default_route_action.weighted_backend_services.header_action",
    "route_action.weighted_backend_services.header_action" } do
    URL_MAP_NAMES[at .. block .. ".request_headers_to_add"] = "requestHeadersToAdd"
    URL_MAP_NAMES[at .. block .. ".response_headers_to_add"] = "responseHeadersToAdd"
  end
  for _, block in ipairs { "default_custom_error_response_policy", "custom_error_response_policy" } do
    URL_MAP_NAMES[at .. block .. ".error_response_rule"] = "errorResponseRules"
  end
end

local function proxy(collection, spec)
  spec.service = "compute"
  spec.id = GLOBAL .. collection .. "/{name}"
  spec.names = { proxy_id = "id" }
  local path = "projects/{project}/" .. collection .. "/{name}/" -- these actions have no global/ in their path
  spec.actions = { action({ "url_map" }, path .. "setUrlMap", function(planned, context)
    return { urlMap = reference(context, planned.url_map, "global/urlMaps") }
  end) }
  spec.mutable = spec.mutable or {}
  table.insert(spec.mutable, "url_map")
  return spec, path
end

local function https_proxy()
  local spec, path = proxy("targetHttpsProxies", {
    mutable = { "ssl_certificates", "ssl_policy", "quic_override", "certificate_map",
      "certificate_manager_certificates" },
    client = { "certificate_manager_certificates" },
    links = { url_map = "global/urlMaps", ssl_certificates = "global/sslCertificates",
      ssl_policy = "global/sslPolicies" },
    defaults = { quic_override = "NONE" },
    enums = { quic_override = { "NONE", "ENABLE", "DISABLE" } },
  })
  table.insert(spec.actions, action({ "ssl_certificates" }, path .. "setSslCertificates", function(planned, context)
    local list = json.array {}
    for i, name in ipairs(planned.ssl_certificates or {}) do list[i] = reference(context, name,
      "global/sslCertificates") end
    return { sslCertificates = list }
  end))
  return spec
end

local function security_rules(context, planned, prior)
  local path = context.fill(GLOBAL .. "securityPolicies/{name}/")
  local before = {}
  for _, rule in ipairs(prior.rule or {}) do before[rule.priority] = rule end
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  local body = mapping.body(resource.get "google_compute_security_policy", planned, context)
  for _, rule in ipairs(body.rules or {}) do
    local verb = before[rule.priority] and ("patchRule?priority=%d"):format(rule.priority) or "addRule"
    before[rule.priority] = nil
    local ok, err = context.run("POST", "compute", path .. verb, { body = rule })
    if not ok then return nil, err end
  end
  for priority in pairs(before) do
    local ok, err = context.run("POST", "compute", ("%sremoveRule?priority=%d"):format(path, priority))
    if not ok then return nil, err end
  end
  return true
end

return {
  google_compute_health_check = {
    service = "compute",
    id = GLOBAL .. "healthChecks/{name}",
    immutable = { "name", "project" },
    update = "PUT",
    defaults = health_check_defaults(),
    exactly_one = { { "http_health_check", "https_health_check", "http2_health_check", "tcp_health_check",
      "ssl_health_check", "grpc_health_check", "grpc_tls_health_check" } },
    body = function(body, planned)
      for kind, name in pairs(HEALTH_CHECKS) do
        if planned[kind .. "_health_check"] and planned[kind .. "_health_check"][1] then body.type = name end
      end
    end,
  },

  google_compute_backend_service = {
    service = "compute",
    id = GLOBAL .. "backendServices/{name}",
    immutable = { "name", "project", "load_balancing_scheme" },
    update = "PUT",
    client = { "security_policy", "iap.oauth2_client_secret", "iap.oauth2_client_secret_wo",
      "iap.oauth2_client_secret_wo_version", "iap.oauth2_client_id_wo", "iap.oauth2_client_id_wo_version" },
    names = { backend = "backends", enable_cdn = "enableCDN", generated_id = "id",
      ["iap.oauth2_client_id"] = "oauth2ClientId",
      custom_metrics = "customMetrics" },
    links = { health_checks = "global/healthChecks" },
    defaults = { load_balancing_scheme = "EXTERNAL", connection_draining_timeout_sec = 300,
      ["backend.balancing_mode"] = "UTILIZATION", ["backend.capacity_scaler"] = 1 },
    null = { "backend.max_connections", "backend.max_connections_per_endpoint", "backend.max_connections_per_instance",
      "backend.max_rate", "backend.max_rate_per_endpoint", "backend.max_rate_per_instance", "backend.max_utilization" },
    enums = {
      load_balancing_scheme = { "EXTERNAL", "INTERNAL_SELF_MANAGED", "INTERNAL_MANAGED", "EXTERNAL_MANAGED" },
      protocol = { "HTTP", "HTTPS", "HTTP2", "TCP", "SSL", "UDP", "GRPC", "UNSPECIFIED", "H2C" },
      ["backend.balancing_mode"] = { "UTILIZATION", "RATE", "CONNECTION", "CUSTOM_METRICS" },
    },
    after_create = function(context, planned)
      if not planned.security_policy or planned.security_policy == "" then return true end
      return set_security_policy(context, planned)
    end,
    actions = { { fields = { "security_policy" }, run = set_security_policy } },
  },

  google_compute_backend_bucket = {
    service = "compute",
    id = GLOBAL .. "backendBuckets/{name}",
    immutable = { "name", "project", "load_balancing_scheme" },
    update = "PUT",
    names = { ["cdn_policy.cache_key_policy.include_http_headers"] = "includeHttpHeaders" },
  },

  google_compute_url_map = {
    service = "compute",
    id = GLOBAL .. "urlMaps/{name}",
    immutable = { "name", "project" },
    update = "PUT",
    names = setmetatable(URL_MAP_NAMES, { __index = { map_id = "id" } }),
    links = URL_MAP_LINKS,
  },

  google_compute_target_http_proxy = (proxy("targetHttpProxies", { links = { url_map = "global/urlMaps" } })),
  google_compute_target_https_proxy = https_proxy(),

  google_compute_global_forwarding_rule = with_set_labels {
    service = "compute",
    id = GLOBAL .. "forwardingRules/{name}",
    mutable = { "target" },
    names = { ip_address = "IPAddress", ip_protocol = "IPProtocol", forwarding_rule_id = "id",
      no_automate_dns_zone = "noAutomateDnsZone" },
    links = { network = "global/networks", subnetwork = "regions/{region}/subnetworks" },
    defaults = { load_balancing_scheme = "EXTERNAL" },
    enums = {
      load_balancing_scheme = { "EXTERNAL", "EXTERNAL_MANAGED", "INTERNAL_MANAGED", "INTERNAL_SELF_MANAGED" },
      ip_protocol = { "TCP", "UDP", "ESP", "AH", "SCTP", "ICMP" },
    },
    actions = { action({ "target" }, GLOBAL .. "forwardingRules/{name}/setTarget", function(planned)
      return { target = planned.target }
    end) },
    state = function(state, object, prior)
      local from, to = (object.portRange or ""):match("^(%d+)%-(%d+)$")
      if from and from == to then state.port_range = from end
      -- An address may be given as a link; the API answers with the address itself.
      if type(prior.ip_address) == "string" and prior.ip_address:find("/") then state.ip_address = prior.ip_address end
    end,
  },

  google_compute_managed_ssl_certificate = {
    service = "compute",
    id = GLOBAL .. "sslCertificates/{name}",
    mutable = {},
    names = { certificate_id = "id" },
    defaults = { type = "MANAGED" },
    body = function(body) body.type = "MANAGED" end,
  },

  google_compute_ssl_certificate = {
    service = "compute",
    id = GLOBAL .. "sslCertificates/{name}",
    mutable = {},
    client = { "private_key", "name_prefix", "private_key_wo", "private_key_wo_version" },
    names = { certificate_id = "id" },
    plan = function(planned, prior, config)
      if not prior and not config.name and not config.name_prefix then planned.name_prefix = nil end
    end,
    body = function(body, planned)
      if type(planned.name) ~= "string" then
        local prefix = type(planned.name_prefix) == "string" and planned.name_prefix or "terraform-"
        planned.name = prefix .. os.date("!%Y%m%d%H%M%S") .. ("%06d"):format(math.random(0, 999999))
      end
      body.name, body.privateKey = planned.name, planned.private_key
    end,
  },

  google_compute_instance_group_named_port = {
    service = "compute",
    id = "projects/{project}/zones/{zone}/instanceGroups/{group}/{port}/{name}",
    mutable = {},
    immutable = { "group" },
    client = { "group" },
    create_with = function(context, planned)
      local path = context.fill("projects/{project}/zones/{zone}/instanceGroups/") .. planned.group:match("[^/]+$")
      return context.lock(path, function()
        local group, err = context.call("GET", "compute", path)
        if not group then return nil, err end
        local ports = json.array(group.namedPorts or {})
        ports[#ports + 1] = { name = planned.name, port = planned.port }
        return context.run("POST", "compute", path .. "/setNamedPorts",
          { body = { namedPorts = ports, fingerprint = group.fingerprint } })
      end)
    end,
    read_with = function(context, prior)
      local path = context.fill("projects/{project}/zones/{zone}/instanceGroups/") .. prior.group:match("[^/]+$")
      local group, err = context.call("GET", "compute", path)
      if not group then return nil, err end
      for _, port in ipairs(group.namedPorts or {}) do
        if port.name == prior.name and port.port == tonumber(prior.port) then return port end
      end
      return false
    end,
    delete_with = function(context, prior)
      local path = context.fill("projects/{project}/zones/{zone}/instanceGroups/") .. prior.group:match("[^/]+$")
      return context.lock(path, function()
        local group, err = context.call("GET", "compute", path)
        if not group then return nil, err end
        local ports = json.array {}
        for _, port in ipairs(group.namedPorts or {}) do
          if port.name ~= prior.name or port.port ~= prior.port then ports[#ports + 1] = port end
        end
        return context.run("POST", "compute", path .. "/setNamedPorts",
          { body = { namedPorts = ports, fingerprint = group.fingerprint } })
      end)
    end,
    state = function(state, _, _, context)
      state.id = ("projects/%s/zones/%s/instanceGroups/%s/%s/%s"):format(state.project or context.params.project,
        state.zone or context.params.zone, state.group:match("[^/]+$"), state.port, state.name)
    end,
  },

  google_compute_network_endpoint_group = {
    service = "compute",
    id = "projects/{project}/zones/{zone}/networkEndpointGroups/{name}",
    mutable = {},
    names = { generated_id = "id" },
    links = { network = "global/networks" },
    defaults = { network_endpoint_type = "GCE_VM_IP_PORT" },
  },

  google_compute_region_network_endpoint_group = {
    service = "compute",
    id = "projects/{project}/regions/{region}/networkEndpointGroups/{name}",
    mutable = {},
    links = { network = "global/networks" },
    defaults = { network_endpoint_type = "SERVERLESS" },
  },

  google_compute_security_policy = with_set_labels {
    service = "compute",
    id = GLOBAL .. "securityPolicies/{name}",
    mutable = { "description", "rule", "adaptive_protection_config", "advanced_options_config",
      "recaptcha_options_config" },
    names = {
      rule = "rules", adaptive_protection_config = "adaptiveProtectionConfig",
      ["adaptive_protection_config.layer_7_ddos_defense_config"] = "layer7DdosDefenseConfig",
      ["rule.match.config.src_ip_ranges"] = "srcIpRanges",
      ["rule.preconfigured_waf_config.exclusion"] = "exclusions",
      ["rule.preconfigured_waf_config.exclusion.request_cookie"] = "requestCookiesToExclude",
      ["rule.preconfigured_waf_config.exclusion.request_header"] = "requestHeadersToExclude",
      ["rule.preconfigured_waf_config.exclusion.request_query_param"] = "requestQueryParamsToExclude",
      ["rule.preconfigured_waf_config.exclusion.request_uri"] = "requestUrisToExclude",
      ["rule.preconfigured_waf_config.exclusion.request_cookie.operator"] = "op",
      ["rule.preconfigured_waf_config.exclusion.request_cookie.value"] = "val",
      ["rule.preconfigured_waf_config.exclusion.request_header.operator"] = "op",
      ["rule.preconfigured_waf_config.exclusion.request_header.value"] = "val",
      ["rule.preconfigured_waf_config.exclusion.request_query_param.operator"] = "op",
      ["rule.preconfigured_waf_config.exclusion.request_query_param.value"] = "val",
      ["rule.preconfigured_waf_config.exclusion.request_uri.operator"] = "op",
      ["rule.preconfigured_waf_config.exclusion.request_uri.value"] = "val",
    },
    computed_blocks = { "rule" },
    actions = { { fields = { "rule" }, run = security_rules } },
  },
}
