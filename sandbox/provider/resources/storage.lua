--- Cloud Storage: buckets and objects.
local error_object = require "ws.error"
local json = require "ws.json"
local rest = require "sandbox.provider.rest"
local values = require "sandbox.provider.values"

--- Deletes every generation of every object.
local function empty_bucket(context, prior)
  local path, token = "b/" .. prior.name .. "/o", nil
  repeat
    local list, err = context.call("GET", "storage", path, { query = { versions = true, pageToken = token } })
    if not list then
      if err.status == 404 then return true end
      return nil, err
    end
    for _, object in ipairs(list.items or {}) do
      if not prior.force_destroy then
        return nil, error_object.new { kind = "precondition",
          message = "the bucket holds objects, and force_destroy is not set",
            hint = "set force_destroy = true, apply, then destroy" }
      end
      local ok
      ok, err = context.call("DELETE", "storage", path .. "/" .. rest.escape(object.name),
        { query = { generation = object.generation } })
      if not ok and err.status ~= 404 then return nil, err end
    end
    token = list.nextPageToken
  until not token
  return true
end

local bucket = {
  service = "storage",
  id = "{name}",
  path = "b/{name}",
  create = { path = "b", query = { project = "{project}" } },
  sent = { "location" },
  immutable = { "name", "project", "location", "custom_placement_config", "enable_object_retention",
    "hierarchical_namespace" },
  client = { "force_destroy", "enable_object_retention", "lifecycle_rule.condition.send_age_if_zero",
    "lifecycle_rule.condition.send_days_since_custom_time_if_zero",
    "lifecycle_rule.condition.send_days_since_noncurrent_time_if_zero",
    "lifecycle_rule.condition.send_num_newer_versions_if_zero" },
  names = {
    uniform_bucket_level_access = "iamConfiguration.uniformBucketLevelAccess.enabled",
    public_access_prevention = "iamConfiguration.publicAccessPrevention",
    requester_pays = "billing.requesterPays", lifecycle_rule = "lifecycle.rule", url = false,
    ["lifecycle_rule.condition.with_state"] = "isLive",
    ["cors.max_age_seconds"] = "maxAgeSeconds", ["cors.response_header"] = "responseHeader",
  },
  defaults = { force_destroy = false, storage_class = "STANDARD" },
  enums = { storage_class = { "STANDARD", "MULTI_REGIONAL", "REGIONAL", "NEARLINE", "COLDLINE", "ARCHIVE" },
    public_access_prevention = { "enforced", "inherited" } },
  computed_blocks = { "soft_delete_policy" },
  patterns = { name = { "^[a-z0-9][a-z0-9._-]+[a-z0-9]$",
    "3 to 63 lower case letters, digits, dots, dashes and underscores" } },
  plan = function(planned)
    if type(planned.location) == "string" then planned.location = planned.location:upper() end
  end,
  body = function(body, planned)
    for i, rule in ipairs(body.lifecycle and body.lifecycle.rule or {}) do
      local condition = rule.condition
      local state = ((planned.lifecycle_rule[i].condition or {})[1] or {}).with_state
      if condition then
        condition.isLive = nil
        if state == "LIVE" or state == "ARCHIVED" then condition.isLive = state == "LIVE" end
      end
    end
    return body
  end,
  delete_with = function(context, prior)
    local ok, err = empty_bucket(context, prior)
    if not ok then return nil, err end
    return context.call("DELETE", "storage", "b/" .. prior.name)
  end,
  state = function(state, object, prior)
    state.url = "gs://" .. state.name
    state.location = (object.location or state.location or ""):upper()
    if state.force_destroy == nil then state.force_destroy = false end
    for i, rule in ipairs(state.lifecycle_rule or {}) do
      local condition = rule.condition and rule.condition[1]
      local before = type(prior.lifecycle_rule) == "table" and prior.lifecycle_rule[i]
      local live = ((object.lifecycle or {}).rule or {})[i]
      live = live and live.condition and live.condition.isLive
      if condition then
        condition.with_state = live == true and "LIVE" or live == false and "ARCHIVED"
          or before and before.condition and before.condition[1] and values.known(before.condition[1].with_state)
            or "ANY"
      end
    end
  end,
  import = function(id)
    local project, name = id:match("^([^/]+)/([^/]+)$")
    return { project = project, name = name or id }
  end,
}

-- ---- objects -------------------------------------------------------------------------------------------------------

local function content_of(planned)
  if planned.content then return planned.content end
  return require "ws.fs".read(planned.source)
end

--- What identifies the content of the configuration: MD5 in base64; nil when it is not known yet.
local function digest(planned)
  local crypto = require "ws.crypto"
  if planned.content == values.unknown or planned.source == values.unknown then return nil end
  if not planned.content and not planned.source then return nil end
  local text = content_of(planned)
  return text and crypto.base64_encode(crypto.md5(text, { raw = true }))
end

local function object_path(v)
  return "b/" .. v.bucket .. "/o/" .. rest.escape(v.name)
end

local function upload(context, planned, body)
  local content, err = content_of(planned)
  if not content then return nil, err end
  local boundary = "wsrun-" .. require "ws.crypto".random_hex(12)
  local kind = body.contentType or "text/plain; charset=utf-8"
  local function part(of, bytes) return ("--%s\r\nContent-Type: %s\r\n\r\n%s\r\n"):format(boundary, of, bytes) end
  local text = part("application/json", json.encode(body)) .. part(kind, content) .. "--" .. boundary .. "--\r\n"
  local url = rest.endpoint(context, "storage"):gsub("/storage/v1/$", "/upload/storage/v1/")
  return context.call("POST", "storage", "", {
    url = ("%sb/%s/o"):format(url, planned.bucket), query = { name = planned.name, uploadType = "multipart" },
      body = text,
    headers = { ["content-type"] = "multipart/related; boundary=" .. boundary },
  })
end

local object = {
  service = "storage",
  mutable = { "content", "source", "detect_md5hash", "source_md5hash", "metadata", "cache_control",
    "content_disposition",
    "content_encoding", "content_language", "content_type", "event_based_hold", "temporary_hold", "storage_class",
    "force_empty_content_type", "retention", "contexts" },
  client = { "bucket", "content", "source", "detect_md5hash", "source_md5hash", "force_empty_content_type",
    "customer_encryption" },
  names = { md5hash = "md5Hash", output_name = "name", md5hexhash = false },
  null = { "content" },
  defaults = { detect_md5hash = "different hash" },
  exactly_one = { { "content", "source" } },
  updated_by = { "content", "source", "source_md5hash", "md5hash" },
  create_with = upload,
  plan = function(planned, prior)
    if not prior then return end
    local now = digest(planned)
    if now and now ~= prior.md5hash then
      planned.md5hash = now
      for _, name in ipairs { "crc32c", "generation", "md5hexhash", "media_link" } do planned[name] = values.unknown end
    end
  end,
  update = function(context, planned)
    local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
    return upload(context, planned, mapping.body(resource.get "google_storage_bucket_object", planned, context))
  end,
  read_with = function(context, prior) return context.call("GET", "storage", object_path(prior)) end,
  delete_with = function(context, prior) return context.call("DELETE", "storage", object_path(prior)) end,
  state = function(state, found)
    local crypto = require "ws.crypto"
    state.id = state.bucket .. "-" .. state.output_name
    if found.md5Hash then
      state.md5hexhash = (crypto.base64_decode(found.md5Hash):gsub(".",
        function(c) return ("%02x"):format(c:byte()) end))
    end
  end,
  import_form = "{bucket}/{name}",
  import = function(id)
    local in_bucket, name = id:match("^([^/]+)/(.+)$")
    return in_bucket and { bucket = in_bucket, name = name }
  end,
}

return { google_storage_bucket = bucket, google_storage_bucket_object = object }
