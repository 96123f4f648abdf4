--- Artifact Registry: repositories as resources. The images in them are `sandbox.registry`'s.
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

return function(cloud)
  local s = cloud:service("artifactregistry", { prefixes = { "artifactregistry" },
    api = "artifactregistry.googleapis.com" })
  local repositories = cloud.store:collection "artifactregistry"
  local PARENT = "/artifactregistry/v1/projects/{project}/locations/{location}"
  local ALL, ONE = PARENT .. "/repositories", PARENT .. "/repositories/{repository}"

  local function parent_of(c) return ("projects/%s/locations/%s"):format(c.params.project, c.params.location) end
  local function key_of(c) return ("%s/repositories/%s"):format(parent_of(c), c.params.repository) end
  local function need(c)
    return repositories:get(key_of(c))
      or reply.fail(404, "notFound", ("Repository '%s' does not exist."):format(c.params.repository))
  end
  local function start(c, kind, repository)
    local response = values.copy(repository or json.object())
    response["@type"] = repository and "type.googleapis.com/google.devtools.artifactregistry.v1.Repository"
      or "type.googleapis.com/google.protobuf.Empty"
    return cloud.operations:begin("artifactregistry", parent_of(c), { type = kind, target = key_of(c),
      response = response,
      metadata_type = "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata" })
  end

  s:on("GET", "/artifactregistry/v1/projects/{project}/locations", function(c)
    return require "sandbox.compute.catalog".locations(c.params.project)
  end)
  s:on("GET", ALL, function(c)
    local page, token = reply.page(repositories:list(parent_of(c) .. "/repositories/"), function(r) return r.name end,
      c.query.pageToken, c.query.pageSize)
    return { repositories = page, nextPageToken = token }
  end)
  s:on("POST", ALL, function(c)
    c.params.repository = values.given(c.query.repository_id) or values.given(c.query.repositoryId) or ""
    if not c.params.repository:find("^[a-z][a-z0-9-]*[a-z0-9]$") or #c.params.repository > 63 then
      reply.fail(400, "badRequest", "Invalid repository id.")
    end
    if repositories:get(key_of(c)) then reply.fail(409, "alreadyExists", "the repository already exists") end
    local repository = values.clean(c:json())
    repository.name, repository.createTime, repository.updateTime = key_of(c), time.rfc3339(), time.rfc3339()
    repository.format, repository.mode = repository.format or "DOCKER", repository.mode or "STANDARD_REPOSITORY"
    repository.registryUri = ("%s-docker.pkg.dev/%s/%s"):format(c.params.location, c.params.project,
      c.params.repository)
    return start(c, "create", repositories:put(repository.name, repository))
  end)
  s:on("GET", ONE, need)
  s:on("PATCH", ONE, function(c)
    local name, body = need(c).name, c:json()
    return repositories:update(name, function(repository)
      values.apply_mask(repository, body, c.query.updateMask or "labels,description,cleanupPolicies")
      repository.name, repository.updateTime = name, time.rfc3339()
    end)
  end)
  s:on("DELETE", ONE, function(c)
    local name = need(c).name
    repositories:delete(name)
    cloud.policies:drop("artifactregistry/" .. name)
    cloud.registry.drop(("%s-docker.pkg.dev/%s/%s/"):format(c.params.location, c.params.project, c.params.repository))
    return start(c, "delete")
  end)
  s:on("GET", ONE .. "/dockerImages", function(c)
    need(c)
    local prefix = ("%s-docker.pkg.dev/%s/%s/"):format(c.params.location, c.params.project, c.params.repository)
    local images = values.map(cloud.registry.images(prefix), function(image)
      return { name = ("%s/dockerImages/%s@%s"):format(key_of(c), image.name:sub(#prefix + 1), image.digest),
        uri = ("%s@%s"):format(image.name, image.digest), tags = json.array(image.tags),
        imageSizeBytes = tostring(image.size), mediaType = image.media_type, uploadTime = image.uploaded }
    end)
    return { dockerImages = images }
  end)
  cloud.policies:routes(s, ONE, function(c) return "artifactregistry/" .. need(c).name end)
  cloud.operations:routes(s, PARENT)

  cloud:on_inventory(function(add)
    for _, repository in ipairs((repositories:list())) do
      add("artifactregistry#repository", repository.name, repository.labels)
    end
  end)
end
