--- Cloud Functions, v2 and v1: the functions as resources. No code is run.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

return function(cloud)
  local s = cloud:service("functions", { prefixes = { "cloudfunctions" }, api = "cloudfunctions.googleapis.com" })
  local functions = cloud.store:collection "functions"

  local function register(version, shape)
    local parent = ("/cloudfunctions/%s/projects/{project}/locations/{location}"):format(version)
    local all, one = parent .. "/functions", parent .. "/functions/{name}"
    local function parent_of(c) return ("projects/%s/locations/%s"):format(c.params.project, c.params.location) end
    local function key_of(c) return ("%s/functions/%s"):format(parent_of(c), c.params.name) end
    local function need(c)
      local f = functions:get(key_of(c))
      if not f or f._version ~= version then
        reply.fail(404, "notFound", ("Resource '%s' was not found"):format(key_of(c)))
      end
      return f
    end
    local function shown(f)
      local copy = values.copy(f)
      copy._version = nil
      return copy
    end
    local function start(c, kind, f)
      local response = f and shown(f) or {}
      response["@type"] = ("type.googleapis.com/google.cloud.functions.%s.Function"):format(version)
      return cloud.operations:begin("functions", parent_of(c), { type = kind, target = key_of(c), response = response,
        metadata_type = ("type.googleapis.com/google.cloud.functions.%s.OperationMetadata"):format(version) })
    end

    s:on("GET", ("/cloudfunctions/%s/projects/{project}/locations"):format(version), function(c)
      return require "sandbox.compute.catalog".locations(c.params.project)
    end)
    s:on("GET", all, function(c)
      local prefix, list = parent_of(c) .. "/functions/", {}
      if c.params.location == "-" then prefix = ("projects/%s/locations/"):format(c.params.project) end
      for _, f in ipairs((functions:list(prefix))) do
        if f._version == version then list[#list + 1] = shown(f) end
      end
      return { functions = json.array(list) }
    end)
    s:on("POST", all, function(c)
      local f = values.clean(c:json())
      c.params.name = values.given(c.query.functionId) or (f.name and values.last(f.name)) or ""
      if not c.params.name:find("^[a-z][a-z0-9-]*$") then reply.fail(400, "badRequest", "Invalid function name.") end
      if functions:get(key_of(c)) then
        reply.fail(409, "alreadyExists",
          ("Could not create Cloud Function %s. A function with this name already exists"):format(key_of(c)))
      end
      f.name, f._version = key_of(c), version
      shape(f, c)
      return start(c, "create", functions:put(f.name, f))
    end)
    s:on("GET", one, function(c) return shown(need(c)) end)
    s:on("PATCH", one, function(c)
      local name, body = need(c).name, c:json()
      local f = functions:update(name, function(changed)
        if values.given(c.query.updateMask) then
          values.apply_mask(changed, body, c.query.updateMask)
        else
          values.merge(changed, body)
        end
        changed.name, changed._version = name, version
        shape(changed, c)
      end)
      return start(c, "update", f)
    end)
    s:on("DELETE", one, function(c)
      local operation = start(c, "delete", need(c))
      functions:delete(key_of(c))
      cloud.policies:drop("functions/" .. key_of(c))
      return operation
    end)
    s:on("POST", all .. ":generateUploadUrl", function(c)
      local bucket = ("gcf-v2-uploads-%s-%s"):format(cloud:project(c.params.project).projectNumber, c.params.location)
      if not cloud.objects.buckets:get(bucket) then
        cloud.objects:create_bucket(cloud:project(c.params.project), { name = bucket, location = c.params.location })
      end
      local object = crypto.uuid() .. ".zip"
      return { uploadUrl = ("%s/%s/%s"):format(c.base, bucket, object),
        storageSource = { bucket = bucket, object = object } }
    end)
    cloud.policies:routes(s, one, function(c) return "functions/" .. need(c).name end)
    cloud.operations:routes(s, parent)
  end

  register("v2", function(f, c)
    f.state, f.environment, f.updateTime = "ACTIVE", f.environment or "GEN_2", time.rfc3339()
    f.createTime = f.createTime or f.updateTime
    f.url = ("https://%s-%s.cloudfunctions.net/%s"):format(c.params.location, c.params.project, c.params.name)
    f.serviceConfig = f.serviceConfig or {}
    f.serviceConfig.uri = ("https://%s-%s.a.run.app"):format(c.params.name, crypto.sha1(f.name):sub(1, 10))
    f.serviceConfig.service = ("projects/%s/locations/%s/services/%s"):format(c.params.project, c.params.location,
      c.params.name)
    f.serviceConfig.revision = f.serviceConfig.revision or c.params.name .. "-00001-abc"
    f.serviceConfig.serviceAccountEmail = f.serviceConfig.serviceAccountEmail
      or cloud:project(c.params.project).projectNumber .. "-compute@developer.gserviceaccount.com"
    if f.buildConfig then
      f.buildConfig.build = f.buildConfig.build
        or ("projects/%s/locations/%s/builds/%s"):format(c.params.project, c.params.location, crypto.uuid())
    end
  end)
  register("v1", function(f, c)
    f.status, f.updateTime = "ACTIVE", time.rfc3339()
    f.versionId = tostring((tonumber(f.versionId) or 0) + 1)
    if f.httpsTrigger then
      f.httpsTrigger.url = ("https://%s-%s.cloudfunctions.net/%s"):format(c.params.location, c.params.project,
        c.params.name)
    end
  end)

  cloud:on_inventory(function(add)
    for _, f in ipairs((functions:list())) do add("functions#function", f.name, f.labels) end
  end)
end
