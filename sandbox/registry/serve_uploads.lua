--- Uploads over HTTP: whole in one request, or a session that takes chunks (OCI distribution specification, "Pushing
--- blobs").
local access = require "sandbox.registry.access"
local answers = require "sandbox.registry.answers"
local names = require "sandbox.registry.names"
local values = require "sandbox.values"

return function(registry)
  local blobs = registry.blobs

  local function location(c, name, id) return ("%s/v2/%s/blobs/uploads/%s"):format(c.base, name, id) end

  local function range_of(id) return ("0-%d"):format(math.max(0, blobs:received(id) - 1)) end

  local function state(c, name, id, status)
    return answers.ok(status, { Location = location(c, name, id), ["Docker-Upload-UUID"] = id, Range = range_of(id) })
  end

  local function created(c, name, digest)
    return answers.ok(201, { Location = ("%s/v2/%s/blobs/%s"):format(c.base, name, digest),
      ["Docker-Content-Digest"] = digest })
  end

  local function finish(c, name, id, digest)
    if not blobs:finish(name, id, digest) then
      answers.fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content",
        { detail = { digest = digest } })
    end
    return created(c, name, digest)
  end

  --- The bytes that a chunk says it has; nil for a stream, which does not say. 416 for one that does not follow the
  --- last.
  local function chunk_size(c, name, id)
    local header = c.headers["content-range"]
    if not header then return nil end
    local first, last = header:match("^b?y?t?e?s?%s*(%d+)%-(%d+)/?[%d*]*$")
    first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
    if not first or last < first or first ~= blobs:received(id) then
      answers.fail(416, "BLOB_UPLOAD_INVALID", ("the chunk %s does not follow the %d bytes that are there")
        :format(header, blobs:received(id)), { headers = { Range = range_of(id), Location = location(c, name, id),
        ["Docker-Upload-UUID"] = id } })
    end
    local length = tonumber(c.headers["content-length"])
    if length and length ~= last - first + 1 then
      answers.fail(400, "SIZE_INVALID", ("Content-Range %s with a Content-Length of %d"):format(header, length))
    end
    return last - first + 1
  end

  local function append(c, name, id)
    local expected = chunk_size(c, name, id)
    local count, err = blobs:append(id, function() return c.req:read() end)
    if not count then answers.fail(400, "BLOB_UPLOAD_INVALID", "the upload was cut off: " .. tostring(err)) end
    if expected and count ~= expected then
      blobs:cancel(id)
      answers.fail(400, "SIZE_INVALID", ("a chunk of %d bytes was announced, %d came"):format(expected, count))
    end
  end

  --- Makes a blob of another repository visible here: of the one that is named, or of any that the client may read.
  local function mount(c, name, digest)
    if not names.algorithm(digest) then return false end
    local from = values.given(c.query.from) or blobs:home(digest)
    return from ~= nil and access.may_pull(c, from) and blobs:mount(name, digest, from)
  end

  local function start(c, name)
    local mounted, digest = values.given(c.query.mount), values.given(c.query.digest)
    if mounted and mount(c, name, mounted) then return created(c, name, mounted) end
    if digest then names.check_digest(digest) end
    local algorithm = values.given(c.query["digest-algorithm"])
    if algorithm and not names.is_algorithm(algorithm) then
      answers.fail(400, "DIGEST_INVALID", ("unsupported digest algorithm %s"):format(algorithm))
    end
    local id = blobs:begin(name)
    if not digest then return state(c, name, id, 202) end
    append(c, name, id)
    return finish(c, name, id, digest)
  end

  return function(c, name, id)
    if not id then return start(c, name) end
    if not blobs:is_upload(name, id) then
      answers.fail(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    end
    if c.method == "GET" or c.method == "HEAD" then return state(c, name, id, 204) end
    if c.method == "DELETE" then
      blobs:cancel(id)
      return answers.ok(204, {})
    elseif c.method == "PATCH" then
      append(c, name, id)
      return state(c, name, id, 202)
    end
    local digest = names.check_digest(values.given(c.query.digest))
    append(c, name, id)
    return finish(c, name, id, digest)
  end
end
