--- The container registry (OCI distribution, <https://github.com/opencontainers/distribution-spec>) under /v2/, for
--- names in the style of gcr.io and pkg.dev: 127.0.0.1:PORT/eu.gcr.io/PROJECT/IMAGE, 127.0.0.1:PORT/PROJECT/IMAGE, ...
local crypto = require "ws.crypto"
local json = require "ws.json"
local fs = require "ws.fs"
local reply = require "sandbox.reply"
local time = require "ws.time"
local tokens = require "sandbox.tokens"
local router = require "sandbox.router"
local values = require "sandbox.values"

local MANIFEST_SIZE = 4 << 20 -- bytes
local OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
local OCI_INDEX = "application/vnd.oci.image.index.v1+json"

local function fail(status, code, message, headers)
  headers = headers or {}
  headers["Docker-Distribution-Api-Version"] = "registry/2.0"
  reply.abort(reply.json({ errors = json.array { { code = code, message = message } } }, status, headers))
end

local function check_digest(digest)
  if type(digest) ~= "string" or not digest:find("^sha256:%x+$") or #digest ~= 71 then
    fail(400, "DIGEST_INVALID", "invalid digest: " .. tostring(digest))
  end
  return digest
end

local function check_name(name)
  for part in (name .. "/"):gmatch("([^/]*)/") do
    if not part:find("^[a-z0-9][a-z0-9._-]*$") then fail(400, "NAME_INVALID", "invalid repository name: " .. name) end
  end
  if #name > 255 then fail(400, "NAME_INVALID", "the repository name is too long") end
end

local function basic(c)
  local encoded = (c.headers.authorization or ""):match("^[Bb]asic%s+(%S+)$")
  local plain = encoded and crypto.base64_decode(encoded)
  if not plain then return nil end
  return plain:match("^([^:]*):(.*)$")
end

return function(cloud)
  local s = cloud:service("registry", { prefixes = { "v2" }, anonymous = true })
  local blobs = require "sandbox.registry.blobs".open(cloud)
  local manifests, tags = cloud.store:collection "registry.manifests", cloud.store:collection "registry.tags"

  --- Anonymous requests are let in unless credentials are checked as strictly as Google does.
  local function check_access(c, name)
    if cloud.auth ~= "google" then return end
    local given = (c.headers.authorization or ""):match("^%a+%s+(%S+)$")
    local known = given and cloud.store:collection("tokens"):get(given)
    if given and not (known and known.expires_at < time.now()) then return end
    local challenge = ('Bearer realm="%s/v2/token",service="%s"'):format(c.base, c.headers.host or "127.0.0.1")
    if name then challenge = ('%s,scope="repository:%s:pull,push"'):format(challenge, name) end
    fail(401, "UNAUTHORIZED", "authentication required", { ["WWW-Authenticate"] = challenge })
  end

  local function grant(user, password)
    if user == "_json_key" and type(json.decode(password or "")) ~= "table" then
      fail(401, "UNAUTHORIZED", "the password of _json_key must be a key file")
    elseif user and (password or "") == "" then
      fail(401, "UNAUTHORIZED", "the password is empty")
    end
    local granted = tokens.grant(cloud, user or "anonymous")
    return { token = granted.access_token, access_token = granted.access_token, expires_in = granted.expires_in,
      issued_at = time.rfc3339() }
  end
  s:on("GET", "/v2/token", function(c) return grant(basic(c)) end)
  s:on("POST", "/v2/token", function(c)
    local form = {}
    for pair in (c.req:body() or ""):gmatch("[^&]+") do
      local key, value = pair:match("^([^=]*)=?(.*)$")
      form[key] = router.decode((value:gsub("%+", " ")))
    end
    if form.grant_type == "refresh_token" then return grant("oauth2accesstoken", form.refresh_token) end
    return grant(form.username or "anonymous", form.password)
  end)

  local function ok(status, headers, body)
    headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return reply.raw { status = status, headers = headers, body = body or "" }
  end

  s:on("GET", "/v2", function(c)
    check_access(c)
    return ok(200, { ["Content-Type"] = "application/json" }, "{}")
  end)

  --- A page of names as `?n=` and `?last=` ask for, with the Link to the next.
  local function page_of(c, list, url)
    local limit, page, after = tonumber(values.given(c.query.n)) or math.huge, json.array {}, values.given(c.query.last)
    for _, name in ipairs(list) do
      if not after or name > after then
        if #page >= limit then
          return page, { Link = ('<%s?n=%d&last=%s>; rel="next"'):format(url, limit, page[#page] or "") }
        end
        page[#page + 1] = name
      end
    end
    return page, {}
  end

  local function repositories()
    local seen, names = {}, {}
    for _, key in ipairs(manifests:keys()) do
      local name = key:match("^(.*)@")
      if not seen[name] then seen[name], names[#names + 1] = true, name end
    end
    table.sort(names)
    return names
  end
  s:on("GET", "/v2/_catalog", function(c)
    check_access(c)
    local page, headers = page_of(c, repositories(), "/v2/_catalog")
    return reply.json({ repositories = page }, 200, headers)
  end)

  local function upload_location(c, name, id) return ("%s/v2/%s/blobs/uploads/%s"):format(c.base, name, id) end

  local function created(c, name, digest)
    return ok(201, { Location = ("%s/v2/%s/blobs/%s"):format(c.base, name, digest),
      ["Docker-Content-Digest"] = digest })
  end

  local function read_body(c) return function() return c.req:read() end end

  local function finish(c, name, id)
    local digest = check_digest(c.query.digest)
    if not blobs:finish(name, id, digest) then
      fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    end
    return created(c, name, digest)
  end

  local function append(c, name, id)
    local first = (c.headers["content-range"] or ""):match("^%D*(%d+)%-%d+")
    local received = blobs:received(id)
    if first and tonumber(first) ~= received then
      fail(416, "BLOB_UPLOAD_INVALID", "the chunk does not follow the last one",
        { Range = ("0-%d"):format(math.max(0, received - 1)), Location = upload_location(c, name, id) })
    end
    local done, err = blobs:append(id, read_body(c))
    if not done then fail(400, "BLOB_UPLOAD_INVALID", "the upload was cut off: " .. tostring(err)) end
  end

  local function upload_state(c, name, id, status)
    return ok(status, { Location = upload_location(c, name, id), ["Docker-Upload-UUID"] = id,
      Range = ("0-%d"):format(math.max(0, blobs:received(id) - 1)) })
  end

  local function start_upload(c, name)
    local digest = values.given(c.query.mount)
    if digest then
      local from = values.given(c.query.from) or blobs:home(check_digest(digest))
      if from and blobs:mount(name, digest, from) then return created(c, name, digest) end
    end
    local id = blobs:begin(name)
    if values.given(c.query.digest) then
      append(c, name, id)
      return finish(c, name, id)
    end
    return upload_state(c, name, id, 202)
  end

  local function upload_request(c, name, id)
    if not blobs:is_upload(name, id) then fail(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry") end
    if c.method == "GET" then return upload_state(c, name, id, 204) end
    if c.method == "DELETE" then
      blobs:cancel(id)
      return ok(204, {})
    end
    append(c, name, id)
    if c.method == "PATCH" then return upload_state(c, name, id, 202) end
    if c.method == "PUT" then return finish(c, name, id) end
  end

  local function blob_request(c, name, digest)
    check_digest(digest)
    local blob = blobs:get(name, digest) or fail(404, "BLOB_UNKNOWN", "blob unknown to registry")
    if c.method == "DELETE" then
      blobs:remove(name, digest)
      return ok(202, {})
    end
    local headers = { ["Content-Type"] = "application/octet-stream", ["Docker-Content-Digest"] = digest,
      ["ETag"] = ('"%s"'):format(digest), ["Accept-Ranges"] = "bytes",
      ["Docker-Distribution-Api-Version"] = "registry/2.0" }
    if c.method == "HEAD" or blob.size == 0 then
      headers["Content-Length"] = tostring(blob.size)
      return reply.raw { status = 200, headers = headers, body = "" }
    end
    local first, last = (c.headers.range or ""):match("^bytes=(%d+)%-(%d*)$")
    first, last = tonumber(first), math.min(tonumber(last) or blob.size - 1, blob.size - 1)
    if first and first >= blob.size then
      fail(416, "SIZE_INVALID", "the range is not satisfiable", { ["Content-Range"] = "bytes */" .. blob.size })
    elseif first then
      headers["Content-Range"] = ("bytes %d-%d/%d"):format(first, last, blob.size)
    end
    return reply.raw { status = first and 206 or 200, headers = headers, file = blobs:path(digest), offset = first or 0,
      length = last - (first or 0) + 1 }
  end

  --- The digest that a tag or digest stands for, and the manifest's record; nil when there is none.
  local function resolve(name, reference)
    local digest = reference
    if not reference:find(":", 1, true) then
      local tag = tags:get(name .. ":" .. reference)
      digest = tag and tag.digest
    end
    local record = digest and manifests:get(name .. "@" .. digest)
    return record and digest, record
  end

  local function need_manifest(name, reference)
    local digest, record = resolve(name, reference)
    if not digest then fail(404, "MANIFEST_UNKNOWN", ("manifest unknown: %s"):format(reference)) end
    return digest, record
  end

  --- Refuses a manifest that names content which the repository does not have.
  local function check_content(name, manifest)
    local wanted = {}
    if manifest.config then wanted[1] = manifest.config end
    for _, layer in ipairs(manifest.layers or {}) do wanted[#wanted + 1] = layer end
    for _, descriptor in ipairs(wanted) do
      local remote = type(descriptor.urls) == "table" and #descriptor.urls > 0
      if not remote and not blobs:get(name, tostring(descriptor.digest)) then
        fail(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry: " .. tostring(descriptor.digest))
      end
    end
    for _, child in ipairs(manifest.manifests or {}) do
      if not manifests:get(name .. "@" .. tostring(child.digest)) then
        fail(400, "MANIFEST_BLOB_UNKNOWN", "manifest unknown to registry: " .. tostring(child.digest))
      end
    end
  end

  local function put_manifest(c, name, reference)
    check_name(name)
    local bytes, err = c.req:body()
    if not bytes then fail(400, "MANIFEST_INVALID", tostring(err)) end
    if #bytes > MANIFEST_SIZE then fail(413, "MANIFEST_INVALID", "the manifest is larger than 4 MiB") end
    local manifest = json.decode(bytes)
    if type(manifest) ~= "table" then fail(400, "MANIFEST_INVALID", "the manifest is not a JSON object") end
    check_content(name, manifest)
    local digest = "sha256:" .. crypto.sha256(bytes)
    if reference:find(":", 1, true) and check_digest(reference) ~= digest then
      fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
    elseif not reference:find(":", 1, true) and not (#reference <= 128 and reference:find("^[%w_][%w._-]*$")) then
      fail(400, "TAG_INVALID", "invalid tag: " .. reference)
    end
    blobs:put(name, bytes)
    local subject = type(manifest.subject) == "table" and manifest.subject.digest or nil
    manifests:put(name .. "@" .. digest, values.clean {
      media_type = c.headers["content-type"] or manifest.mediaType or OCI_MANIFEST, size = #bytes, subject = subject,
      artifact_type = manifest.artifactType or (manifest.config and manifest.config.mediaType),
      annotations = manifest.annotations, uploaded = time.rfc3339(),
    })
    if not reference:find(":", 1, true) then tags:put(name .. ":" .. reference, { digest = digest }) end
    return ok(201, { Location = ("%s/v2/%s/manifests/%s"):format(c.base, name, digest),
      ["Docker-Content-Digest"] = digest, ["OCI-Subject"] = subject })
  end

  local function tags_of(name, digest)
    local list = json.array {}
    local found, keys = tags:list(name .. ":")
    for i, tag in ipairs(found) do
      if not digest or tag.digest == digest then list[#list + 1] = keys[i]:sub(#name + 2) end
    end
    return list
  end

  local function delete_manifest(name, reference)
    local digest = need_manifest(name, reference)
    if not reference:find(":", 1, true) then
      tags:delete(name .. ":" .. reference)
      return ok(202, {})
    end
    for _, tag in ipairs(tags_of(name, digest)) do tags:delete(name .. ":" .. tag) end
    manifests:delete(name .. "@" .. digest)
    blobs:remove(name, digest)
    return ok(202, {})
  end

  local function manifest_request(c, name, reference)
    if c.method == "PUT" then return put_manifest(c, name, reference) end
    if c.method == "DELETE" then return delete_manifest(name, reference) end
    local digest, record = need_manifest(name, reference)
    local headers = { ["Content-Type"] = record.media_type, ["Docker-Content-Digest"] = digest,
      ["ETag"] = ('"%s"'):format(digest), ["Content-Length"] = tostring(record.size) }
    if c.method == "HEAD" then return ok(200, headers) end
    return ok(200, headers, assert(fs.read(blobs:path(digest))))
  end

  local function list_tags(c, name)
    if #(manifests:list(name .. "@")) == 0 then
      fail(404, "NAME_UNKNOWN", "repository name not known to registry: " .. name)
    end
    local page, headers = page_of(c, tags_of(name), ("/v2/%s/tags/list"):format(name))
    return reply.json({ name = name, tags = page }, 200, headers)
  end

  local function referrers(c, name, digest)
    check_digest(digest)
    local found, keys = manifests:list(name .. "@")
    local wanted, list = values.given(c.query.artifactType), json.array {}
    for i, record in ipairs(found) do
      if record.subject == digest and (not wanted or record.artifact_type == wanted) then
        list[#list + 1] = { mediaType = record.media_type, digest = keys[i]:sub(#name + 2), size = record.size,
          artifactType = record.artifact_type, annotations = record.annotations }
      end
    end
    return reply.json({ schemaVersion = 2, mediaType = OCI_INDEX, manifests = list }, 200,
      { ["Content-Type"] = OCI_INDEX, ["OCI-Filters-Applied"] = wanted and "artifactType" or nil })
  end

  --- The routes below a repository: its name may have slashes, so they are told by their end.
  local function route(c)
    local path = c.params.rest
    local name, id = path:match("^(.+)/blobs/uploads/([^/]+)$")
    if name then return upload_request, name, id end
    name = path:match("^(.+)/blobs/uploads/?$")
    if name then return c.method == "POST" and start_upload or nil, name end
    name, id = path:match("^(.+)/blobs/([^/]+)$")
    if name then return (c.method == "GET" or c.method == "HEAD" or c.method == "DELETE") and blob_request, name, id end
    name, id = path:match("^(.+)/manifests/([^/]+)$")
    if name then return manifest_request, name, id end
    name = path:match("^(.+)/tags/list$")
    if name then return c.method == "GET" and list_tags, name end
    name, id = path:match("^(.+)/referrers/([^/]+)$")
    if name then return c.method == "GET" and referrers, name, id end
  end

  s:on("GET|HEAD|POST|PUT|PATCH|DELETE", "/v2/{rest*}", function(c)
    local handler, name, id = route(c)
    check_access(c, name)
    if name then check_name(name) end
    local response = handler and handler(c, name, id)
    return response or fail(501, "UNSUPPORTED", ("The sandbox does not emulate %s %s."):format(c.method, c.path))
  end)

  cloud.registry = {}

  --- The manifests of repositories whose name begins with `prefix`.
  function cloud.registry.images(prefix)
    local images = {}
    local found, keys = manifests:list(prefix)
    for i, record in ipairs(found) do
      local name, digest = keys[i]:match("^(.*)@(.*)$")
      images[#images + 1] = { name = name, digest = digest, tags = tags_of(name, digest), size = record.size,
        media_type = record.media_type, uploaded = record.uploaded }
    end
    return images
  end

  --- Removes all repositories whose name begins with `prefix`.
  function cloud.registry.drop(prefix)
    for _, image in ipairs(cloud.registry.images(prefix)) do delete_manifest(image.name, image.digest) end
    for _, key in ipairs(select(2, blobs.members:list(prefix))) do
      local name, digest = key:match("^(.*)@(.*)$")
      blobs:remove(name, digest)
    end
  end

  cloud:on_inventory(function(add)
    for _, key in ipairs(tags:keys()) do add("registry#tag", key) end
  end)
end
