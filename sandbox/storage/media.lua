--- Sending an object's bytes, whole or a range of them; the same for the JSON and the XML API.
local archive = require "ws.archive"
local fs = require "ws.fs"
local reply = require "sandbox.reply"
local time = require "ws.time"
local objects = require "sandbox.storage.objects"

local M = {}

--- First and last byte that a Range header asks for; nil when the header is to be ignored, false when no byte fits.
local function parse_range(header, size)
  local from, to = (header or ""):match("^%s*bytes%s*=%s*(%d*)%s*%-%s*(%d*)%s*$")
  if not from or (from == "" and to == "") then return nil end
  if from == "" then
    local count = tonumber(to)
    if count == 0 or size == 0 then return false end
    return math.max(0, size - count), size - 1
  end
  local first, last = tonumber(from), to ~= "" and tonumber(to) or size - 1
  if to ~= "" and last < first then return nil end
  if first >= size then return false end
  return first, math.min(last, size - 1)
end

local HTTP_DATE = "!%a, %d %b %Y %H:%M:%S GMT"

local function headers_of(object)
  local fields = object.fields
  local headers = {
    ["Content-Type"] = fields.contentType or "application/octet-stream",
    ["Content-Encoding"] = fields.contentEncoding,
    ["Content-Disposition"] = fields.contentDisposition,
    ["Content-Language"] = fields.contentLanguage,
    ["Cache-Control"] = fields.cacheControl or "private, max-age=0",
    ["Accept-Ranges"] = "bytes",
    ["ETag"] = ('"%s"'):format(objects.etag(object)),
    ["Last-Modified"] = os.date(HTTP_DATE, math.floor(time.parse_rfc3339(object.updated))),
    ["X-Goog-Generation"] = object.generation,
    ["X-Goog-Metageneration"] = tostring(object.metageneration),
    ["X-Goog-Storage-Class"] = fields.storageClass,
    ["X-Goog-Stored-Content-Length"] = tostring(object.size),
    ["X-Goog-Stored-Content-Encoding"] = fields.contentEncoding or "identity",
    ["X-Goog-Hash"] = "crc32c=" .. object.crc32c .. (object.md5 and (",md5=" .. object.md5) or ""),
  }
  for key, value in pairs(fields.metadata or {}) do headers["X-Goog-Meta-" .. key] = tostring(value) end
  return headers
end

--- Decompressive transcoding, <https://cloud.google.com/storage/docs/transcoding>: a client that does not take gzip
--- gets the plain bytes of an object that was stored compressed.
local function must_unpack(c, object)
  local fields = object.fields
  return fields.contentEncoding == "gzip" and not (c.headers["accept-encoding"] or ""):find("gzip", 1, true)
    and not (fields.cacheControl or ""):find("no-transform", 1, true)
end

--- The response with the bytes that the request asks for.
---@async
---@param c sandbox.Context
---@param content sandbox.Content
---@param object table
---@return table response
function M.send(c, content, object)
  local headers = headers_of(object)
  local tag = c.headers["if-none-match"]
  if tag and (tag == "*" or tag:find(headers.ETag, 1, true)) then
    return reply.empty(304, { ETag = headers.ETag })
  end
  local path = content:path(object.content)
  if must_unpack(c, object) then
    headers["Content-Encoding"] = nil
    local plain = archive.gunzip(assert(fs.read(path)))
    if plain then return reply.raw { status = 200, headers = headers, body = plain } end
    headers["Content-Encoding"] = "gzip"
  end
  local first, last = parse_range(c.headers.range, object.size)
  if first == false then
    reply.abort(reply.text("The requested range cannot be satisfied.\n", 416,
      { ["Content-Range"] = ("bytes */%d"):format(object.size) }))
  elseif not first then
    if object.size == 0 then return reply.raw { status = 200, headers = headers, body = "" } end
    return reply.raw { status = 200, headers = headers, file = path, offset = 0, length = object.size }
  end
  headers["Content-Range"] = ("bytes %d-%d/%d"):format(first, last, object.size)
  return reply.raw { status = 206, headers = headers, file = path, offset = first, length = last - first + 1 }
end

return M
