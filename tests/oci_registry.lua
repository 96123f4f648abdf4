-- A small container registry in memory that misbehaves on demand, for tests of its clients.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local json = require "ws.json"
local server = require "ws.server"

local M = {}

local INDEX = "application/vnd.oci.image.index.v1+json"

--- The digest of bytes.
function M.digest(bytes) return "sha256:" .. crypto.sha256(bytes) end

--- An image in memory as a source of a push: a config and layers; `more` goes into the manifest.
function M.image(layers, more)
  local contents = {}
  local function add(media_type, bytes)
    local one = { mediaType = media_type, digest = M.digest(bytes), size = #bytes }
    contents[one.digest] = bytes
    return one
  end
  local diff_ids = json.array {}
  for i, layer in ipairs(layers) do diff_ids[i] = M.digest(layer) end
  local config = json.encode { architecture = "amd64", os = "linux", config = { Entrypoint = { "/app" } },
    rootfs = { type = "layers", diff_ids = diff_ids } }
  local manifest = { schemaVersion = 2, mediaType = "application/vnd.oci.image.manifest.v1+json",
    config = add("application/vnd.oci.image.config.v1+json", config), layers = json.array {} }
  for i, layer in ipairs(layers) do
    manifest.layers[i] = add("application/vnd.oci.image.layer.v1.tar", layer)
  end
  for key, value in pairs(more or {}) do manifest[key] = value end
  return { manifest = manifest, root = add(manifest.mediaType, json.encode(manifest)), contents = contents,
    read = function(self, descriptor) return self.contents[descriptor.digest] end }
end

--- An index of images, { ["linux/amd64"] = image, … }, as a source.
function M.index(images)
  local contents, list, names = {}, json.array {}, {}
  for name in pairs(images) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local os_name, architecture, variant = name:match("^(%w+)/(%w+)/?(%w*)$")
    local root = images[name].root
    list[i] = { mediaType = root.mediaType, digest = root.digest, size = root.size,
      platform = { os = os_name, architecture = architecture, variant = variant ~= "" and variant or nil } }
    for digest, bytes in pairs(images[name].contents) do contents[digest] = bytes end
  end
  local bytes = json.encode { schemaVersion = 2, mediaType = INDEX, manifests = list }
  local root = { mediaType = INDEX, digest = M.digest(bytes), size = #bytes }
  contents[root.digest] = bytes
  return { root = root, contents = contents,
    read = function(self, descriptor) return self.contents[descriptor.digest] end }
end

--- Ends the connection in the middle of whatever it is.
function M.cut() error(errors.new { kind = "cancelled", message = "cut" }, 0) end

local function fail(status, code, message, headers)
  headers = headers or {}
  headers["Content-Type"] = "application/json"
  return { status = status, headers = headers,
    body = json.encode { errors = json.array { { code = code, message = message or code } } } }
end
M.fail = fail

---@class tests.Registry
local Registry = {}
Registry.__index = Registry

local function repository(self, name)
  self.repositories[name] = self.repositories[name] or { blobs = {}, manifests = {}, tags = {} }
  return self.repositories[name]
end

--- What is in a repository: blobs and manifests by digest, tags.
function Registry:at(name) return repository(self, name) end

--- How often a request was made: `count("PUT", "/blobs/uploads/")`.
function Registry:count(method, part)
  local n = 0
  for _, line in ipairs(self.log) do
    if line:find("^" .. method .. " ") and line:find(part or "", 1, true) then n = n + 1 end
  end
  return n
end

--- The token server: a token for each request; `tokens[token]` is the number of requests that it is good for.
local function give_token(self, req)
  local form = req.method == "POST" and require "ws.http".parse_query(req:body()) or nil
  self.asked[#self.asked + 1] = { authorization = req.headers.authorization, form = form, query = req.query_list }
  if self.token_fault then
    local answer = self.token_fault(req, form)
    if answer then return answer end
  end
  local wanted = self.user and "Basic " .. crypto.base64_encode(self.user)
  if form then
    if form.refresh_token ~= self.refresh then return fail(401, "UNAUTHORIZED", "bad refresh token") end
  elseif wanted and req.headers.authorization ~= wanted then
    return fail(401, "UNAUTHORIZED", "incorrect username or password")
  end
  self.issued = self.issued + 1
  local token = ("token-%d-%s"):format(self.issued, crypto.random_hex(8))
  self.tokens[token] = self.token_uses or math.huge
  return { body = json.encode { token = token, expires_in = self.expires_in or 300 } }
end

local function challenge(self, name)
  local scope = name and (',scope="repository:%s:pull,push"'):format(name) or ""
  local text = self.auth == "basic" and 'Basic realm="registry"'
    or ('Bearer realm="%s/token",service="test"%s'):format(self.url, scope)
  return fail(401, "UNAUTHORIZED", "authentication required", { ["WWW-Authenticate"] = text })
end

local function admitted(self, req)
  local given = req.headers.authorization or ""
  if self.auth == "basic" then return given == "Basic " .. crypto.base64_encode(self.user) end
  local token = given:match("^Bearer (.*)$")
  local left = token and self.tokens[token] or 0
  if left <= 0 then return false end
  self.tokens[token] = left - 1
  return true
end

local function location(self, name, id) return ("/v2/%s/blobs/uploads/%s?_state=%d"):format(name, id, self.issued) end

local function begin(self, req, name)
  local from, digest = req.query.from, req.query.mount
  if digest and self.mounts ~= false then
    local bytes = from and self:at(from).blobs[digest]
    if bytes then
      self:at(name).blobs[digest] = bytes
      return { status = 201, headers = { Location = "/v2/" .. name .. "/blobs/" .. digest } }
    end
  end
  local id = crypto.random_hex(8)
  self.uploads[id] = true
  return { status = 202, headers = { Location = location(self, name, id) } }
end

local function receive(self, req, name, id)
  if not self.uploads[id] then return fail(404, "BLOB_UPLOAD_UNKNOWN") end
  local pieces, size = {}, 0
  local at = self.cuts and table.remove(self.cuts, 1)
  if at == 0 then M.cut() end
  while true do
    local piece, err = req:read()
    if err then return fail(400, "BLOB_UPLOAD_INVALID", tostring(err)) end
    if not piece then break end
    pieces[#pieces + 1], size = piece, size + #piece
    if at and size >= at then M.cut() end
  end
  local bytes = table.concat(pieces)
  self.received = self.received + size
  if M.digest(bytes) ~= req.query.digest then return fail(400, "DIGEST_INVALID") end
  self.uploads[id] = nil
  self:at(name).blobs[req.query.digest] = bytes
  return { status = 201, headers = { Location = "/v2/" .. name .. "/blobs/" .. req.query.digest } }
end

local function put_manifest(self, req, name, reference)
  local bytes, repo = req:body(), self:at(name)
  local digest, manifest = M.digest(bytes), json.decode(bytes)
  for _, one in ipairs { manifest.config, table.unpack(manifest.layers or {}) } do
    if not repo.blobs[one.digest] then return fail(400, "MANIFEST_BLOB_UNKNOWN", one.digest) end
  end
  for _, one in ipairs(manifest.manifests or {}) do
    if self.strict ~= false and not repo.manifests[one.digest] then
      return fail(400, "MANIFEST_BLOB_UNKNOWN", one.digest)
    end
  end
  repo.manifests[digest] = { type = req.headers["content-type"], bytes = bytes, manifest = manifest }
  if not reference:find(":", 1, true) then repo.tags[reference] = digest end
  local subject = self.referrers and manifest.subject and manifest.subject.digest
  return { status = 201, headers = { ["Docker-Content-Digest"] = digest, ["OCI-Subject"] = subject or nil } }
end

local function manifests(self, req, name, reference)
  local repo = self:at(name)
  if req.method == "PUT" then return put_manifest(self, req, name, reference) end
  local digest = repo.tags[reference] or reference
  local found = repo.manifests[digest]
  if not found then return fail(404, "MANIFEST_UNKNOWN", "manifest unknown") end
  if req.method == "DELETE" then
    if repo.tags[reference] then return fail(405, "UNSUPPORTED") end
    repo.manifests[digest] = nil
    for tag, target in pairs(repo.tags) do
      if target == digest then repo.tags[tag] = nil end
    end
    return { status = 202 }
  end
  local headers = { ["Content-Type"] = found.type, ["Docker-Content-Digest"] = digest }
  if req.method == "HEAD" then
    headers["Content-Length"] = #found.bytes
    return { headers = headers }
  end
  return { headers = headers, body = found.bytes }
end

local function blob(self, req, name, digest)
  local bytes = self:at(name).blobs[digest]
  if not bytes then return fail(404, "BLOB_UNKNOWN") end
  if req.method == "HEAD" then return { headers = { ["Content-Length"] = #bytes } } end
  return { headers = { ["Content-Type"] = "application/octet-stream" }, body = bytes }
end

local function list_tags(self, req, name)
  local all, page = {}, json.array {}
  for tag in pairs(self:at(name).tags) do all[#all + 1] = tag end
  if #all == 0 then return fail(404, "NAME_UNKNOWN", "repository name not known to registry") end
  table.sort(all)
  local size, headers = self.page or #all, {}
  for _, tag in ipairs(all) do
    if not req.query.last or tag > req.query.last then
      if #page == size then
        headers.Link = ('</v2/%s/tags/list?last=%s>; rel="next"'):format(name, page[size])
        break
      end
      page[#page + 1] = tag
    end
  end
  return { headers = headers, body = json.encode { name = name, tags = page } }
end

local function list_referrers(self, name, digest)
  if not self.referrers then return { status = 404, body = "404 page not found" } end
  local list = json.array {}
  for own, one in pairs(self:at(name).manifests) do
    if one.manifest.subject and one.manifest.subject.digest == digest then
      list[#list + 1] = { mediaType = one.type, digest = own, size = #one.bytes,
        artifactType = one.manifest.artifactType, annotations = one.manifest.annotations }
    end
  end
  return { headers = { ["Content-Type"] = INDEX },
    body = json.encode { schemaVersion = 2, mediaType = INDEX, manifests = list } }
end

local function answer(self, req)
  if req.path == "/token" then return give_token(self, req) end
  self.log[#self.log + 1] = req.method .. " " .. req.path
  local rest = req.path:match("^/v2/(.*)$") or ""
  local name, what, last = rest:match("^(.-)/(blobs)/(.*)$")
  if not name then name, what, last = rest:match("^(.-)/(manifests)/(.*)$") end
  if not name then name, what, last = rest:match("^(.-)/(tags)/(list)$") end
  if not name then name, what, last = rest:match("^(.-)/(referrers)/(.*)$") end
  if self.auth and not admitted(self, req) then return challenge(self, name) end
  local fault = self.fault and self.fault(req, name, what, last)
  if fault then return fault end
  if what == "manifests" then return manifests(self, req, name, last) end
  if what == "tags" then return list_tags(self, req, name) end
  if what == "referrers" then return list_referrers(self, name, last) end
  if what == "blobs" and last == "uploads/" then return begin(self, req, name) end
  if what == "blobs" and last:find("^uploads/") then return receive(self, req, name, last:match("/(.*)$")) end
  if what == "blobs" then return blob(self, req, name, last) end
  return fail(404, "UNSUPPORTED")
end

--- Starts a registry for the length of a test.
---
--- Fields that a test sets: auth ("bearer", "basic"), user ("name:password"), refresh (an identity token), token_uses,
--- expires_in, mounts (false: never), cuts (bytes after which the next uploads lose their connection), referrers (true:
--- it has the API), page (tags a page), fault(req, name, what, last) and token_fault(req, form): a response instead.
---@return tests.Registry
function M.start(t, fields)
  local self = setmetatable({ repositories = {}, log = {}, asked = {}, tokens = {}, uploads = {}, issued = 0,
    received = 0 }, Registry)
  for key, value in pairs(fields or {}) do self[key] = value end
  self.problems = {}
  local s = t:ok(server.listen { handler = function(req) return answer(self, req) end, max_body = 8 << 20,
    on_error = function(_, err) self.problems[#self.problems + 1] = tostring(err) end })
  t:defer(function()
    s:close()
    t:eq(self.problems, {})
  end)
  self.url, self.host = s.url, s.url:match("//(.*)$")
  return self
end

--- Makes the waits between tries a hundredth of what they are, for the length of a test.
function M.hurry(t)
  local task = require "ws.task"
  local sleep = task.sleep
  task.sleep = function(seconds) return sleep(seconds / 100) end
  t:defer(function() task.sleep = sleep end)
end

return M
