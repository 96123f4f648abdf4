--- Blobs over HTTP: reading (with ranges, RFC 9110 section 14) and deleting.
local answers = require "sandbox.registry.answers"
local names = require "sandbox.registry.names"
local reply = require "sandbox.reply"

--- The first and last byte of one range; nothing when the whole is meant: no Range, several, or one that is none.
local function range_of(header, size)
  local first, last = (header or ""):match("^bytes=(%d*)%-(%d*)$")
  if not first or first == "" and last == "" then return nil end
  first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
  if not first then return math.max(0, size - last), last > 0 and size - 1 or -1 end
  return first, math.min(last or size - 1, size - 1)
end

return function(registry)
  local blobs = registry.blobs

  local function read(c, digest, blob)
    local headers = { ["Content-Type"] = "application/octet-stream", ["Docker-Content-Digest"] = digest,
      ["ETag"] = ('"%s"'):format(digest), ["Accept-Ranges"] = "bytes",
      ["Docker-Distribution-Api-Version"] = "registry/2.0" }
    local unchanged = answers.precondition(c, digest)
    if unchanged then return unchanged end
    if c.method == "HEAD" then
      headers["Content-Length"] = tostring(blob.size)
      return reply.raw { status = 200, headers = headers, body = "" }
    end
    local first, last = range_of(c.headers.range, blob.size)
    if first and (first >= blob.size or last < first) then
      answers.fail(416, "SIZE_INVALID", "the range is not satisfiable",
        { headers = { ["Content-Range"] = "bytes */" .. blob.size } })
    elseif first then
      headers["Content-Range"] = ("bytes %d-%d/%d"):format(first, last, blob.size)
    elseif blob.size == 0 then
      return reply.raw { status = 200, headers = headers, body = "" }
    end
    return reply.raw { status = first and 206 or 200, headers = headers, file = blobs:path(digest),
      offset = first or 0, length = (last or blob.size - 1) - (first or 0) + 1 }
  end

  return function(c, name, digest)
    names.check_digest(digest)
    local blob = blobs:get(name, digest)
      or answers.fail(404, "BLOB_UNKNOWN", "blob unknown to registry", { detail = { digest = digest } })
    if c.method ~= "DELETE" then return read(c, digest, blob) end
    blobs:remove(name, digest)
    return answers.ok(202, {})
  end
end
