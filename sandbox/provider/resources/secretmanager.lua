--- Secret Manager: secrets and their versions.
local json = require "ws.json"

local secret = {
  service = "secretmanager",
  id = "projects/{project}/secrets/{secret_id}",
  collection = "projects/{project}/secrets",
  create = { query = { secretId = "{secret_id}" } },
  immutable = { "project", "secret_id", "replication" },
  update_mask = true,
  client = { "secret_id", "ttl", "deletion_protection", "tags" },
  names = { ["replication.auto"] = "automatic", topics = "topics" },
  defaults = { deletion_protection = false },
  body = function(body, planned)
    body.ttl = planned.ttl
    if planned.expire_time == nil then body.expireTime = nil end
  end,
}

local function payload(planned)
  local crypto = require "ws.crypto"
  if planned.is_secret_data_base64 then return planned.secret_data end
  return crypto.base64_encode(planned.secret_data or planned.secret_data_wo or "")
end

local function switch(context, planned)
  return context.call("POST", "secretmanager", planned.name .. (planned.enabled and ":enable" or ":disable"),
    { body = json.object() })
end

local version = {
  service = "secretmanager",
  mutable = { "enabled" },
  client = { "secret", "secret_data", "secret_data_wo", "secret_data_wo_version", "is_secret_data_base64", "version" },
  names = { enabled = false },
  defaults = { enabled = true, is_secret_data_base64 = false },
  create_with = function(context, planned)
    local made, err = context.call("POST", "secretmanager", planned.secret .. ":addVersion",
      { body = { payload = { data = payload(planned) } } })
    if not made then return nil, err end
    planned.name, planned.id = made.name, made.name
    local ok
    ok, err = switch(context, planned)
    return ok and made, err
  end,
  update = switch,
  read_with = function(context, prior)
    local found, err = context.call("GET", "secretmanager", prior.name or prior.id)
    if not found or found.state == "DESTROYED" then return found and false, err end
    if found.state == "ENABLED" then
      local access
      access, err = context.call("GET", "secretmanager", found.name .. ":access")
      if not access then return nil, err end
      found.data = access.payload.data
    end
    return found
  end,
  delete_with = function(context, prior)
    if prior.deletion_policy == "DISABLE" then
      return context.call("POST", "secretmanager", prior.name .. ":disable", { body = json.object() })
    end
    return context.call("POST", "secretmanager", prior.name .. ":destroy", { body = json.object() })
  end,
  state = function(state, object)
    state.id = object.name
    state.version = object.name:match("[^/]+$")
    state.enabled = object.state == "ENABLED"
    state.secret = state.secret or object.name:match("^(.*)/versions/")
    if object.data and not state.secret_data_wo_version then
      state.secret_data = state.is_secret_data_base64 and object.data or require "ws.crypto".base64_decode(object.data)
    end
  end,
  import_form = "projects/{project}/secrets/{secret}/versions/{version}",
  import = function(id) return id:find("/versions/") and { id = id, name = id } end,
}

return { google_secret_manager_secret = secret, google_secret_manager_secret_version = version }
