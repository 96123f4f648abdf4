--- Manifests over HTTP: reading as the client accepts them, pushing by digest or tag, deleting.
local answers = require "sandbox.registry.answers"
local check = require "sandbox.registry.check"
local json = require "ws.json"
local manifests = require "sandbox.registry.manifests"
local names = require "sandbox.registry.names"

local MANIFEST_SIZE = 4 << 20 -- bytes

--- Whether a client takes a media type: it does not say, it says anything, or it names it.
local function accepts(header, media_type)
  if not header or header:find("^%s*$") then return true end
  for item in header:gmatch("[^,]+") do
    local one = item:match("^%s*([^;%s]+)")
    if one == media_type or one == "*/*" or one == "application/*" then return true end
  end
  return false
end

return function(registry)
  local store, blobs = registry.manifests, registry.blobs

  local function need(name, reference)
    if reference:find(":", 1, true) then names.check_digest(reference) end
    local digest, record = store:resolve(name, reference)
    if digest then return digest, record end
    return answers.fail(404, "MANIFEST_UNKNOWN", ("manifest unknown: %s:%s"):format(name, reference),
      { detail = { name = name, reference = reference } })
  end

  --- What a client gets that knows Docker's images but not its lists, as docker-registry answers it: the image for
  --- linux/amd64, when it asks by tag.
  local function image_of_list(c, name, reference, digest, record)
    if record.media_type ~= check.DOCKER_LIST or reference:find(":", 1, true)
      or not accepts(c.headers.accept, check.DOCKER_MANIFEST) then
      return nil
    end
    for _, child in ipairs(json.decode(store:bytes(digest)).manifests) do
      local platform = child.platform or {}
      if platform.os == "linux" and platform.architecture == "amd64" then
        return child.digest, store:get(name, child.digest)
      end
    end
  end

  local function read(c, name, reference)
    local digest, record = need(name, reference)
    if not accepts(c.headers.accept, record.media_type) then
      local wanted = record.media_type
      digest, record = image_of_list(c, name, reference, digest, record)
      if not record then
        answers.fail(404, "MANIFEST_UNKNOWN", ("the manifest is a %s, the client accepts %s"):format(wanted,
          c.headers.accept), { detail = { name = name, reference = reference } })
      end
    end
    local unchanged = answers.precondition(c, digest)
    if unchanged then return unchanged end
    local headers = { ["Content-Type"] = record.media_type, ["Docker-Content-Digest"] = digest,
      ["ETag"] = ('"%s"'):format(digest), ["Content-Length"] = tostring(record.size) }
    if c.method == "HEAD" then return answers.ok(200, headers) end
    return answers.ok(200, headers, store:bytes(digest))
  end

  --- The tags that a push sets: the reference, or those in the query beside a digest.
  local function tags_of(c, reference)
    if not reference:find(":", 1, true) then
      if not names.is_tag(reference) then answers.fail(400, "MANIFEST_INVALID", "invalid tag: " .. reference) end
      return { reference }
    end
    names.check_digest(reference)
    local tags = {}
    for _, pair in ipairs(c.req.query_list) do
      if pair[1] == "tag" then
        if not names.is_tag(pair[2]) then answers.fail(400, "MANIFEST_INVALID", "invalid tag: " .. pair[2]) end
        tags[#tags + 1] = pair[2]
      end
    end
    return tags, true
  end

  local function body_of(c)
    local length = tonumber(c.headers["content-length"]) or 0
    local bytes, err
    if length <= MANIFEST_SIZE then bytes, err = c.req:body() end
    if err and err.kind ~= "too_large" then answers.fail(400, "MANIFEST_INVALID", tostring(err)) end
    if not bytes or #bytes > MANIFEST_SIZE then
      answers.fail(413, "MANIFEST_INVALID", "the manifest is larger than 4 MiB")
    end
    return bytes
  end

  local function put(c, name, reference)
    local tags, told = tags_of(c, reference)
    local bytes = body_of(c)
    local digest = manifests.digest_for(reference, bytes)
    if not digest then
      answers.fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content",
        { detail = { digest = reference } })
    end
    answers.precondition(c, (store:resolve(name, reference)))
    local manifest, media_type = check.read(bytes, c.headers["content-type"])
    check.content(manifest, function(wanted) return blobs:get(name, wanted) end,
      function(wanted) return store:get(name, wanted) end)
    store:put(name, digest, bytes, manifest, media_type)
    for _, tag in ipairs(tags) do store:set_tag(name, tag, digest) end
    return answers.ok(201, { Location = ("%s/v2/%s/manifests/%s"):format(c.base, name, digest),
      ["Docker-Content-Digest"] = digest, ["OCI-Subject"] = manifest.subject and manifest.subject.digest,
      ["OCI-Tag"] = told and #tags > 0 and table.concat(tags, ", ") or nil })
  end

  local function delete(c, name, reference)
    local digest = need(name, reference)
    answers.precondition(c, digest)
    if reference:find(":", 1, true) then store:delete(name, digest) else store:delete_tag(name, reference) end
    return answers.ok(202, {})
  end

  return function(c, name, reference)
    if c.method == "PUT" then return put(c, name, reference) end
    if c.method == "DELETE" then return delete(c, name, reference) end
    return read(c, name, reference)
  end
end
