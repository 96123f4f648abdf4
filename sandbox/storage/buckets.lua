--- Buckets of the JSON API: resources, settings, policies, and the small routes below them that clients insist on.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- Fields of a bucket that are the server's; in bodies they are ignored.
local OUTPUT_ONLY = {
  "kind", "id", "selfLink", "etag", "metageneration", "timeCreated", "updated", "projectNumber", "name", "location",
  "locationType", "generation", "project",
}

local MULTI_REGIONS = { US = true, EU = true, ASIA = true }

local function check_name(name)
  if type(name) ~= "string" or #name < 3 or #name > 222 or not name:find("^[a-z0-9][a-z0-9._-]*[a-z0-9]$")
    or name:find("..", 1, true) then
    reply.fail(400, "invalid", ("Invalid bucket name: '%s'"):format(tostring(name)))
  end
end

local function settable(body)
  local fields = values.copy(body)
  for _, name in ipairs(OUTPUT_ONLY) do fields[name] = nil end
  return fields
end

--- The bucket resource.
---@param c sandbox.Context
---@param bucket table
---@return table
local function resource(c, bucket)
  local r = values.copy(bucket)
  r.project = nil
  r.kind, r.id = "storage#bucket", bucket.name
  r.selfLink = ("%s/storage/v1/b/%s"):format(c.base, bucket.name)
  r.metageneration = tostring(bucket.metageneration)
  r.etag = crypto.base64_encode(tostring(bucket.metageneration))
  return r
end

--- Adds the routes.
---@param objects sandbox.Objects
---@param s sandbox.Service
function M.routes(objects, s)
  local cloud, buckets = objects.cloud, objects.buckets

  local function need(c) return objects:bucket(c.params.bucket) end

  local function policy_name(bucket) return "storage/" .. bucket end

  --- Only the metageneration counts for buckets.
  local function check_conditions(c, bucket)
    local now = tostring(bucket.metageneration)
    local wanted, unwanted = values.given(c.query.ifMetagenerationMatch), values.given(c.query.ifMetagenerationNotMatch)
    if (wanted and wanted ~= now) or (unwanted and unwanted == now) then
      reply.fail(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
    end
  end

  --- Makes a bucket in a project from the body of a request; also used by the XML API.
  function objects.create_bucket(_, project, body)
    check_name(body.name)
    if buckets:get(body.name) then
      local mine = buckets:get(body.name).project == project.projectId
      reply.fail(409, "conflict", mine
        and "Your previous request to create the named bucket succeeded and you already own it."
        or "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
          .. "Please select a different name and try again.")
    end
    local bucket = values.clean(settable(body))
    local now = time.rfc3339()
    bucket.name, bucket.project, bucket.projectNumber = body.name, project.projectId, project.projectNumber
    bucket.location = tostring(values.given(body.location) or "US"):upper()
    bucket.locationType = MULTI_REGIONS[bucket.location] and "multi-region"
      or bucket.customPlacementConfig and "dual-region" or "region"
    bucket.storageClass = bucket.storageClass or "STANDARD"
    bucket.metageneration, bucket.timeCreated, bucket.updated = 1, now, now
    local iam = bucket.iamConfiguration or {}
    iam.publicAccessPrevention = iam.publicAccessPrevention or "inherited"
    iam.uniformBucketLevelAccess = iam.uniformBucketLevelAccess or { enabled = false }
    bucket.iamConfiguration = iam
    buckets:put(bucket.name, bucket)
    cloud.policies:set(policy_name(bucket.name), { bindings = {
      { role = "roles/storage.legacyBucketOwner",
        members = { "projectEditor:" .. project.projectId, "projectOwner:" .. project.projectId } },
      { role = "roles/storage.legacyBucketReader", members = { "projectViewer:" .. project.projectId } },
    } })
    return bucket
  end

  --- Removes an empty bucket; 409 when it holds objects.
  function objects:delete_bucket(name)
    self:bucket(name)
    if self:any(name) then reply.fail(409, "conflict", "The bucket you tried to delete is not empty.") end
    buckets:delete(name)
    cloud.policies:drop(policy_name(name))
  end

  local function project_of(c)
    local given = values.given(c.query.project)
    if not given then reply.fail(400, "required", "Required parameter: project") end
    return cloud:project(given) or reply.fail(400, "invalid", "Unknown project id: " .. given)
  end

  s:on("GET", "/storage/v1/b", function(c)
    local project, prefix = project_of(c), values.given(c.query.prefix)
    local mine = {}
    for _, bucket in ipairs((buckets:list(prefix))) do
      if bucket.project == project.projectId then mine[#mine + 1] = bucket end
    end
    local page, token = reply.page(mine, function(b) return b.name end, c.query.pageToken, c.query.maxResults)
    return { kind = "storage#buckets", items = values.map(page, function(b) return resource(c, b) end),
      nextPageToken = token }
  end)

  s:on("POST", "/storage/v1/b", function(c) return resource(c, objects:create_bucket(project_of(c), c:json())) end)

  s:on("GET", "/storage/v1/b/{bucket}", function(c)
    local bucket = need(c)
    check_conditions(c, bucket)
    return resource(c, bucket)
  end)

  local function write(c, change)
    local bucket, body = need(c), c:json()
    check_conditions(c, bucket)
    return resource(c, buckets:update(bucket.name, function(b)
      change(b, settable(body))
      b.metageneration, b.updated = b.metageneration + 1, time.rfc3339()
    end))
  end
  s:on("PATCH", "/storage/v1/b/{bucket}", function(c) return write(c, values.merge) end)
  s:on("PUT", "/storage/v1/b/{bucket}", function(c)
    return write(c, function(bucket, fields)
      for name in pairs(settable(bucket)) do bucket[name] = nil end
      values.merge(bucket, fields)
    end)
  end)

  s:on("DELETE", "/storage/v1/b/{bucket}", function(c)
    check_conditions(c, need(c))
    objects:delete_bucket(c.params.bucket)
    return reply.empty(204)
  end)

  s:on("POST", "/storage/v1/b/{bucket}/lockRetentionPolicy", function(c)
    if not need(c).retentionPolicy then reply.fail(400, "invalid", "The bucket has no retention policy.") end
    return write(c, function(bucket) bucket.retentionPolicy.isLocked = true end)
  end)

  local function policy(c, stored)
    local answer = values.copy(stored)
    answer.kind, answer.resourceId = "storage#policy", "projects/_/buckets/" .. c.params.bucket
    return answer
  end
  s:on("GET", "/storage/v1/b/{bucket}/iam", function(c)
    return policy(c, cloud.policies:get(policy_name(need(c).name)))
  end)
  s:on("PUT", "/storage/v1/b/{bucket}/iam", function(c)
    local bucket, body = need(c), c:json()
    local prevented = bucket.iamConfiguration.publicAccessPrevention == "enforced"
    for _, binding in ipairs(body.bindings or {}) do
      for _, member in ipairs(binding.members or {}) do
        if prevented and (member == "allUsers" or member == "allAuthenticatedUsers") then
          reply.fail(412, "conditionNotMet", "The member bindings allUsers and allAuthenticatedUsers are not allowed "
            .. "since public access prevention is enforced.")
        end
      end
    end
    return policy(c, cloud.policies:set(policy_name(bucket.name), body))
  end)
  s:on("GET", "/storage/v1/b/{bucket}/iam/testPermissions", function(c)
    need(c)
    local asked = json.array {}
    for _, pair in ipairs(c.req.query_list) do
      if pair[1] == "permissions" then asked[#asked + 1] = pair[2] end
    end
    return { kind = "storage#testIamPermissionsResponse", permissions = asked }
  end)

  s:on("GET", "/storage/v1/b/{bucket}/storageLayout", function(c)
    local bucket = need(c)
    return { kind = "storage#storageLayout", bucket = bucket.name, location = bucket.location,
      locationType = bucket.locationType, hierarchicalNamespace = { enabled = false } }
  end)

  local folders = cloud.store:collection "storage.managedFolders"
  s:on("GET", "/storage/v1/b/{bucket}/managedFolders", function(c)
    local list = folders:list(need(c).name .. "/")
    return { kind = "storage#managedFolders", items = #list > 0 and json.array(values.copy(list)) or nil }
  end)
  s:on("POST", "/storage/v1/b/{bucket}/managedFolders", function(c)
    local name = c:json().name
    if type(name) ~= "string" or not name:find("/$") then
      reply.fail(400, "invalid", "The name of a managed folder ends in a slash.")
    end
    local key = need(c).name .. "/" .. name
    if folders:get(key) then reply.fail(409, "conflict", "The managed folder already exists.") end
    return folders:put(key, { kind = "storage#managedFolder", id = key, bucket = c.params.bucket, name = name,
      metageneration = "1", createTime = time.rfc3339(), updateTime = time.rfc3339() })
  end)
  s:on("GET", "/storage/v1/b/{bucket}/managedFolders/{folder}", function(c)
    return folders:get(need(c).name .. "/" .. c.params.folder)
      or reply.fail(404, nil, "The managed folder does not exist.")
  end)
  s:on("DELETE", "/storage/v1/b/{bucket}/managedFolders/{folder}", function(c)
    if not folders:delete(need(c).name .. "/" .. c.params.folder) then
      reply.fail(404, nil, "The managed folder does not exist.")
    end
    return reply.empty(204)
  end)

  s:on("GET", "/storage/v1/b/{bucket}/anywhereCaches", function(c)
    need(c)
    return { kind = "storage#anywhereCaches" }
  end)
  s:on("GET", "/storage/v1/b/{bucket}/notificationConfigs", function(c)
    need(c)
    return { kind = "storage#notifications" }
  end)

  cloud:on_inventory(function(add)
    for _, bucket in ipairs((buckets:list())) do
      add("storage#bucket", ("projects/%s/buckets/%s"):format(bucket.project, bucket.name), bucket.labels)
      for _, name in ipairs(objects:of(bucket.name):keys()) do
        add("storage#object", ("projects/%s/buckets/%s/objects/%s"):format(bucket.project, bucket.name, name))
      end
    end
  end)
end

return M
