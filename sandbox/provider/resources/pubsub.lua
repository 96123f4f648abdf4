--- Pub/Sub: topics and subscriptions.
local json = require "ws.json"

--- The API knows a resource by its full name, the configuration by the last part.
local function short_name(state)
  state.name = state.name:match("[^/]+$")
end

local topic = {
  service = "pubsub",
  id = "projects/{project}/topics/{name}",
  create = { method = "PUT", path = "projects/{project}/topics/{name}" },
  mutable = { "message_retention_duration", "kms_key_name", "message_storage_policy", "schema_settings",
    "ingestion_data_source_settings", "message_transforms" },
  update_mask = true,
  names = { ["message_transforms"] = "messageTransforms" },
  body = function(body) body.name = nil end,
  wrap_update = function(body, _, context)
    body.name = context.fill("projects/{project}/topics/{name}")
    return { topic = body }
  end,
  state = short_name,
}

local subscription = {
  service = "pubsub",
  id = "projects/{project}/subscriptions/{name}",
  create = { method = "PUT", path = "projects/{project}/subscriptions/{name}" },
  mutable = { "ack_deadline_seconds", "bigquery_config", "cloud_storage_config", "dead_letter_policy",
    "enable_exactly_once_delivery", "expiration_policy", "message_retention_duration", "push_config",
    "retain_acked_messages", "retry_policy", "message_transforms" },
  update_mask = true,
  links = { topic = "topics" },
  defaults = { message_retention_duration = "604800s" },
  body = function(body)
    body.name = nil
    -- An empty ttl means that the subscription never expires; the API says so with an empty policy.
    if body.expirationPolicy and body.expirationPolicy.ttl == "" then body.expirationPolicy = json.object() end
  end,
  wrap_update = function(body, _, context)
    body.name = context.fill("projects/{project}/subscriptions/{name}")
    return { subscription = body }
  end,
  object = function(object)
    if object.expirationPolicy and not object.expirationPolicy.ttl then object.expirationPolicy.ttl = "" end
  end,
  state = short_name,
}

return { google_pubsub_topic = topic, google_pubsub_subscription = subscription }
