--- The container registry (OCI distribution, <https://github.com/opencontainers/distribution-spec>) under /v2/, for
--- names in the style of gcr.io and pkg.dev: 127.0.0.1:PORT/eu.gcr.io/PROJECT/IMAGE, 127.0.0.1:PORT/PROJECT/IMAGE, ...
---
--- Here is which path means what; the files of sandbox/registry/ answer. Errors have the specification's form and
--- codes.
local access = require "sandbox.registry.access"
local answers = require "sandbox.registry.answers"
local names = require "sandbox.registry.names"

--- The ends of the paths below a repository, whose own name may have slashes, with who answers and how. The first that
--- fits counts.
local PATHS = {
  { "^(.+)/blobs/uploads/([^/]+)$", "uploads", "GET, HEAD, PATCH, PUT, DELETE" },
  { "^(.+)/blobs/uploads/?$", "uploads", "POST" },
  { "^(.+)/blobs/([^/]+)$", "blobs", "GET, HEAD, DELETE" },
  { "^(.+)/manifests/([^/]+)$", "manifests", "GET, HEAD, PUT, DELETE" },
  { "^(.+)/tags/list$", "tags", "GET, HEAD" },
  { "^(.+)/referrers/([^/]+)$", "referrers", "GET, HEAD" },
}

local function refuse_method(c, allowed)
  answers.fail(405, "UNSUPPORTED", ("%s is not a method of %s"):format(c.method, c.path),
    { headers = { Allow = allowed } })
end

return function(cloud)
  local s = cloud:service("registry", { prefixes = { "v2" }, anonymous = true })
  local blobs = require "sandbox.registry.blobs".open(cloud)
  local registry = { blobs = blobs, manifests = require "sandbox.registry.manifests".open(cloud, blobs) }
  local lists = require "sandbox.registry.serve_lists"(registry)
  local handlers = {
    uploads = require "sandbox.registry.serve_uploads"(registry),
    blobs = require "sandbox.registry.serve_blobs"(registry),
    manifests = require "sandbox.registry.serve_manifests"(registry),
    tags = lists.tags, referrers = lists.referrers,
  }

  --- What a path below /v2/ means: the repository, what in it, and the path's entry.
  local function find(path)
    for _, entry in ipairs(PATHS) do
      local name, id = path:match(entry[1])
      if name then return name, id, entry end
    end
  end

  access.routes(s)
  s:on("GET|HEAD", "/v2", function(c)
    access.check(c)
    return answers.ok(200, { ["Content-Type"] = "application/json" }, "{}")
  end)
  s:on("GET|HEAD", "/v2/_catalog", function(c)
    access.check(c)
    return lists.catalog(c)
  end)
  s:on("GET|HEAD|POST|PUT|PATCH|DELETE", "/v2/{rest*}", function(c)
    local name, id, entry = find(c.params.rest)
    access.check(c, name)
    if not name then
      answers.fail(404, "UNSUPPORTED", ("The sandbox does not emulate %s %s."):format(c.method, c.path))
    end
    names.check_name(name)
    if not (", " .. entry[3] .. ","):find(" " .. c.method .. ",", 1, true) then refuse_method(c, entry[3]) end
    return handlers[entry[2]](c, name, id)
  end)

  --- The errors of fault rules; one of 401 asks for credentials as the real one does.
  s.error = function(req, status, message, headers)
    local rest = req.path:match("^/v2/(.*)$") or ""
    local name = find(require "sandbox.router".decode(rest))
    if status == 401 then
      local c = { method = req.method, headers = req.headers, cloud = cloud,
        base = ("%s://%s"):format(req.tls and "https" or "http", req.headers.host or "127.0.0.1") }
      return access.refusal(c, name)
    end
    return answers.error(status, nil, message, { headers = headers })
  end

  cloud.registry = require "sandbox.registry.images"(registry)

  cloud:on_inventory(function(add)
    for _, key in ipairs(registry.manifests.tags:keys()) do add("registry#tag", key) end
  end)
end
