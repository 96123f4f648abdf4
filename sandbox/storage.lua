--- Cloud Storage: the JSON API, uploads and downloads, the XML API's object paths, batches.
---
---   /storage/v1/...                            buckets.lua, and objects here
---   /upload/... and /resumable/upload/...      uploads.lua (gcloud and gsutil use the second form)
---   /download/storage/v1/b/B/o/O               media.lua, as mediaLink says
---   /B/O                                       xml.lua: reads of Go's client and Terraform, signed URLs, S3 tools
---   /batch/storage/v1                          batch.lua
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"
local content = require "sandbox.storage.content"
local listing = require "sandbox.storage.listing"
local media = require "sandbox.storage.media"
local objects_of = require "sandbox.storage.objects"

local function object_routes(objects, s)
  local cloud = objects.cloud
  local ONE = "/storage/v1/b/{bucket}/o/{object}"

  local function resource(c, bucket, object) return objects_of.resource(c.base, bucket, object) end

  s:on("GET", "/storage/v1/b/{bucket}/o", function(c)
    local bucket = objects:bucket(c.params.bucket).name
    local page = listing.page(objects:of(bucket), listing.options(c.query))
    return {
      kind = "storage#objects",
      items = #page.items > 0 and values.map(page.items, function(o) return resource(c, bucket, o) end) or nil,
      prefixes = #page.prefixes > 0 and json.array(page.prefixes) or nil,
      nextPageToken = page.last and crypto.base64url_encode(page.last) or nil,
    }
  end)

  local function get(c)
    local object = objects:need(c.params.bucket, c.params.object, c.query.generation)
    objects_of.check(object, c.query, true)
    if c.query.alt == "media" then return media.send(c, objects.content, object) end
    return resource(c, c.params.bucket, object)
  end
  s:on("GET", ONE, get)
  s:on("GET", "/download/storage/v1/b/{bucket}/o/{object}", function(c)
    c.query.alt = c.query.alt or "media"
    return get(c)
  end)

  local function change(c, new_fields)
    local object = objects:need(c.params.bucket, c.params.object, c.query.generation)
    local body = c:json()
    objects_of.check(object, c.query)
    return resource(c, c.params.bucket, objects:change(c.params.bucket, object, function(fields)
      return new_fields(fields, body)
    end))
  end
  s:on("PATCH", ONE, function(c)
    return change(c, function(fields, body)
      local wanted = objects_of.settable(body)
      for name, value in pairs(body) do
        if value == json.null then wanted[name] = json.null end
        if name == "metadata" and type(value) == "table" then wanted[name] = value end
      end
      return values.merge(fields, wanted)
    end)
  end)
  s:on("PUT", ONE, function(c)
    return change(c, function(fields, body)
      local wanted = objects_of.settable(body)
      wanted.storageClass = wanted.storageClass or fields.storageClass
      return wanted
    end)
  end)
  s:on("DELETE", ONE, function(c)
    objects:delete(c.params.bucket, c.params.object, c.query.generation, c.query)
    return reply.empty(204)
  end)

  s:on("POST", ONE .. "/compose", function(c)
    local body = values.clean(c:json())
    local sources = body.sourceObjects
    if type(sources) ~= "table" or #sources < 1 or #sources > 32 then
      reply.fail(400, "invalid", "The number of source components must be between 1 and 32.")
    end
    local names, components = {}, 0
    for _, source in ipairs(sources) do
      local object = objects:need(c.params.bucket, source.name, source.generation and tostring(source.generation))
      if source.objectPreconditions then objects_of.check(object, source.objectPreconditions) end
      names[#names + 1], components = object.content, components + (object.components or 1)
    end
    local joined = objects.content:join(names)
    local destination = body.destination or {}
    local object = objects:commit(c.params.bucket, c.params.object, joined, destination,
      { conditions = c.query, components = components, content_type = destination.contentType })
    if values.flag(c.query.deleteSourceObjects) then
      for _, source in ipairs(sources) do objects:delete(c.params.bucket, source.name, nil, {}) end
    end
    return resource(c, c.params.bucket, object)
  end)

  --- Copies one generation; the metadata comes from the body, or from the source when the body is empty.
  local function copy(c, to_bucket, to_name)
    local source = objects:need(c.params.bucket, c.params.object, c.query.sourceGeneration)
    objects_of.check(source, c.query, false, "ifSource")
    objects:bucket(to_bucket)
    local body = c:json()
    local fields = objects_of.settable(body)
    if next(fields) == nil then fields = values.copy(source.fields) end
    fields.contentType = fields.contentType or source.fields.contentType
    return objects:commit(to_bucket, to_name, objects.content:join { source.content }, fields,
      { conditions = c.query, components = source.components }), source
  end

  s:on("POST|PUT", ONE .. "/rewriteTo/b/{to_bucket}/o/{to_object}", function(c)
    local object = copy(c, c.params.to_bucket, c.params.to_object)
    return { kind = "storage#rewriteResponse", done = true, totalBytesRewritten = tostring(object.size),
      objectSize = tostring(object.size), resource = resource(c, c.params.to_bucket, object) }
  end)
  s:on("POST", ONE .. "/copyTo/b/{to_bucket}/o/{to_object}", function(c)
    return resource(c, c.params.to_bucket, (copy(c, c.params.to_bucket, c.params.to_object)))
  end)
  s:on("POST", ONE .. "/moveTo/o/{to_object}", function(c)
    local object, source = copy(c, c.params.bucket, c.params.to_object)
    objects:delete(c.params.bucket, source.name, nil, {})
    return resource(c, c.params.bucket, object)
  end)

  s:on("GET", "/storage/v1/projects/{project}/serviceAccount", function(c)
    local project = cloud:need_project(c.params.project)
    return { kind = "storage#serviceAccount",
      email_address = ("service-%s@gs-project-accounts.iam.gserviceaccount.com"):format(project.projectNumber) }
  end)
end

--- HMAC keys, for S3-style clients. The secret is shown once, as in the real service.
local function hmac_routes(cloud, s)
  local keys = cloud.store:collection "storage.hmacKeys"
  local ALL = "/storage/v1/projects/{project}/hmacKeys"
  local function shown(key)
    local metadata = values.copy(key)
    metadata.secret = nil
    return metadata
  end
  local function need(c)
    return keys:get(c.params.project .. "/" .. c.params.key) or reply.fail(404, nil, "Access ID not found in project.")
  end
  s:on("POST", ALL, function(c)
    local email = values.given(c.query.serviceAccountEmail)
    if not email then reply.fail(400, "required", "Required parameter: serviceAccountEmail") end
    local id = "GOOG1E" .. crypto.random_hex(28):upper():sub(1, 55)
    local key = keys:put(c.params.project .. "/" .. id, {
      kind = "storage#hmacKeyMetadata", id = c.params.project .. "/" .. id, accessId = id, projectId = c.params.project,
      serviceAccountEmail = email, state = "ACTIVE", timeCreated = time.rfc3339(), updated = time.rfc3339(),
      etag = crypto.base64_encode(crypto.random_bytes(6)), secret = crypto.base64_encode(crypto.random_bytes(30)),
    })
    return { kind = "storage#hmacKey", metadata = shown(key), secret = key.secret }
  end)
  s:on("GET", ALL, function(c)
    return { kind = "storage#hmacKeysMetadata", items = values.map(keys:list(c.params.project .. "/"), shown) }
  end)
  s:on("GET", ALL .. "/{key}", function(c) return shown(need(c)) end)
  s:on("PUT", ALL .. "/{key}", function(c)
    local key, body = need(c), c:json()
    return shown(keys:update(key.id, function(k) k.state, k.updated = body.state or k.state, time.rfc3339() end))
  end)
  s:on("DELETE", ALL .. "/{key}", function(c)
    local key = need(c)
    if key.state ~= "INACTIVE" then reply.fail(400, "invalid", "Cannot delete keys in 'ACTIVE' state.") end
    keys:delete(key.id)
    return reply.empty(204)
  end)
end

--- Removes contents that belong to nothing: what an upload wrote when the process was killed.
local function sweep(objects)
  local used = {}
  for _, bucket in ipairs(objects.buckets:keys()) do
    for _, entry in ipairs((objects:of(bucket):list())) do
      if entry.live then used[entry.live.content] = true end
      for _, old in ipairs(entry.older or {}) do used[old.content] = true end
    end
  end
  for _, name in ipairs { "storage.uploads", "storage.parts" } do
    for _, record in ipairs((objects.cloud.store:collection(name):list())) do
      if record.content then used[record.content] = true end
    end
  end
  objects.content:sweep(used)
end

return function(cloud)
  local s = cloud:service("storage", {
    prefixes = { "storage", "upload", "resumable", "download", "batch" }, anonymous = "emulator",
  })
  local objects = objects_of.new(cloud, content.open(cloud.dir .. "/objects"))
  cloud.objects = objects
  sweep(objects)
  require "sandbox.storage.buckets".routes(objects, s)
  object_routes(objects, s)
  hmac_routes(cloud, s)
  require "sandbox.storage.uploads".routes(objects, s)
  require "sandbox.storage.xml".routes(objects, s)
  require "sandbox.storage.batch".routes(cloud, s)
end
