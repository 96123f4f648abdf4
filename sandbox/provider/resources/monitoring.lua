--- Cloud Monitoring: alert policies, uptime checks, notification channels, dashboards. The API gives them their names.
local json = require "ws.json"
local rest = require "sandbox.provider.rest"

local function named(planned, answer) planned.name = answer.name end

local function by_name(id)
  return id:find("^projects/") and { name = id, id = id }
end

--- A spec whose resource is known by the full name that the API gave.
local function resource(spec, collection)
  spec.service = "monitoring"
  spec.id = "{name}"
  spec.path = "v3/{name}"
  spec.collection = "v3/projects/{project}/" .. collection
  spec.identify = named
  spec.import = by_name
  spec.import_form = "projects/{project}/" .. collection .. "/{id}"
  return spec
end

local alert_policy = resource({
  immutable = { "project" },
  update_mask = true,
  defaults = { enabled = true, ["documentation.mime_type"] = "text/markdown" },
  enums = { combiner = { "AND", "OR", "AND_WITH_MATCHING_RESOURCE" }, severity = { "CRITICAL", "ERROR", "WARNING" },
    ["conditions.condition_threshold.comparison"] = { "COMPARISON_GT", "COMPARISON_GE", "COMPARISON_LT",
      "COMPARISON_LE",
      "COMPARISON_EQ", "COMPARISON_NE" } },
  names = { ["conditions.condition_matched_log.label_extractors"] = "labelExtractors" },
  body = function(body, planned)
    -- A condition that is changed keeps its name.
    for i, condition in ipairs(body.conditions or {}) do
      local name = planned.conditions[i] and planned.conditions[i].name
      if type(name) == "string" then condition.name = name end
    end
  end,
}, "alertPolicies")

local uptime_check = resource({
  immutable = { "project", "monitored_resource", "checker_type" },
  update_mask = true,
  client = { "http_check.auth_info.password", "http_check.auth_info.password_wo",
    "http_check.auth_info.password_wo_version" },
  names = { uptime_check_id = false },
  defaults = { period = "300s", ["http_check.path"] = "/", ["http_check.request_method"] = "GET",
    ["content_matchers.matcher"] = "CONTAINS_STRING" },
  enums = { period = { "60s", "300s", "600s", "900s" } },
  state = function(state) state.uptime_check_id = state.name:match("[^/]+$") end,
}, "uptimeCheckConfigs")

local function sensitive_labels(body, planned)
  local secrets = type(planned.sensitive_labels) == "table" and planned.sensitive_labels[1]
  if not secrets then return end
  body.labels = body.labels or json.object()
  for _, name in ipairs { "auth_token", "password", "service_key" } do body.labels[name] = secrets[name] end
end

local notification_channel = resource({
  immutable = { "project", "type" },
  sent = { "labels" },
  client = { "force_delete", "sensitive_labels" },
  defaults = { enabled = true, force_delete = false },
  body = sensitive_labels,
  update = "PUT",
  update_method = "PATCH", -- without a mask: everything that the body does not have is removed
  delete_with = function(context, prior)
    return context.call("DELETE", "monitoring", context.fill("v3/{name}"),
      { query = { force = prior.force_delete == true } })
  end,
  state = function(state, _, prior)
    local known = type(prior.labels) == "table" and prior.labels or nil
    for name in pairs(state.labels or {}) do
      if known and known[name] == nil then state.labels[name] = nil end
    end
  end,
}, "notificationChannels")

-- ---- dashboards ----------------------------------------------------------------------------------------------------

--- Whether everything in `wanted` is in `found` with the same value; what the server adds does not count.
local function is_part(wanted, found)
  if type(wanted) ~= "table" then return wanted == found or tostring(wanted) == tostring(found) end
  if type(found) ~= "table" then return next(wanted) == nil and found == nil end
  for k, v in pairs(wanted) do
    if not is_part(v, found[k]) then return false end
  end
  return #wanted == #found
end

local function decoded(planned)
  return assert(json.decode(planned.dashboard_json))
end

local dashboard = {
  service = "monitoring",
  path = "v1/{id}",
  immutable = { "project" },
  client = { "dashboard_json" },
  validate = function(config)
    if type(config.dashboard_json) ~= "string" then return end
    local value, err = json.decode(config.dashboard_json)
    if type(value) ~= "table" then
      return { require "sandbox.provider.diagnostics".error("dashboard_json is not JSON", tostring(err),
        "dashboard_json") }
    end
  end,
  create_with = function(context, planned)
    local made, err = context.call("POST", "monitoring", context.fill("v1/projects/{project}/dashboards"),
      { body = decoded(planned) })
    if made then planned.id = made.name end
    return made, err
  end,
  read_with = function(context, prior)
    return context.call("GET", "monitoring", "v1/" .. prior.id)
  end,
  update = function(context, planned, prior)
    local now, err = context.call("GET", "monitoring", "v1/" .. prior.id)
    if not now then return nil, err end
    local body = decoded(planned)
    body.name, body.etag = now.name, now.etag
    return context.call("PATCH", "monitoring", "v1/" .. prior.id, { body = body })
  end,
  delete_with = function(context, prior)
    return rest.call(context, "DELETE", "monitoring", "v1/" .. prior.id)
  end,
  updated_by = { "dashboard_json" },
  state = function(state, object, prior)
    state.id = object.name
    local before = type(prior.dashboard_json) == "string" and json.decode(prior.dashboard_json)
    if not before or not is_part(before, object) then
      object.etag, object.name = nil, nil
      state.dashboard_json = json.encode(object)
    end
  end,
  import_form = "projects/{project}/dashboards/{id}",
  import = function(id) return id:find("^projects/") and { id = id } end,
}

return {
  google_monitoring_alert_policy = alert_policy,
  google_monitoring_uptime_check_config = uptime_check,
  google_monitoring_notification_channel = notification_channel,
  google_monitoring_dashboard = dashboard,
}
