--- Objects' metadata: from the JSON API's strings to values, and preconditions to query parameters.
local crypto = require "ws.crypto"
local time = require "ws.time"

local M = {}

---@class ws.gcs.Object
---@field bucket string
---@field name string
---@field generation string
---@field metageneration string
---@field size integer          bytes
---@field crc32c? integer
---@field content_type? string
---@field cache_control? string
---@field updated string        RFC 3339
---@field metadata? table<string, string>
---@field server_time? number   the server's clock when it answered, unix seconds

--- CRC32C as the API writes it: base64 of four bytes, the highest first.
---@param crc integer
---@return string
function M.encode_crc(crc)
  return crypto.base64_encode(string.pack(">I4", crc))
end

--- The number of an API's CRC32C, or nil.
---@param text string?
---@return integer?
function M.decode_crc(text)
  local bytes = text and crypto.base64_decode(text)
  if not bytes or #bytes ~= 4 then return nil end
  return (string.unpack(">I4", bytes))
end

local months = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11,
  Dec = 12 }

--- Unix seconds of an HTTP date (RFC 9110, 5.6.7), or nil.
---@param text string?
---@return number?
function M.parse_http_date(text)
  local day, month, year, clock = (text or ""):match("^%a+, (%d+) (%a+) (%d+) (%d%d:%d%d:%d%d) GMT$")
  if not day or not months[month] then return nil end
  return time.parse_rfc3339(("%s-%02d-%02dT%sZ"):format(year, months[month], tonumber(day), clock))
end

--- An object resource of the API.
---@param resource table
---@param answer? table  the HTTP answer that brought it
---@return ws.gcs.Object
function M.object(resource, answer)
  return {
    bucket = resource.bucket, name = resource.name, generation = resource.generation,
    metageneration = resource.metageneration, size = math.tointeger(tonumber(resource.size)),
    crc32c = M.decode_crc(resource.crc32c), content_type = resource.contentType, cache_control = resource.cacheControl,
    updated = resource.updated, metadata = resource.metadata,
    server_time = answer and answer.headers and M.parse_http_date(answer.headers.date),
  }
end

local preconditions = { if_generation = "ifGenerationMatch", if_not_generation = "ifGenerationNotMatch",
  if_metageneration = "ifMetagenerationMatch", generation = "generation" }

--- Query parameters of the preconditions in an options table.
---@param opts? table
---@param into? table
---@return table query
function M.query(opts, into)
  local query = into or {}
  for option, parameter in pairs(preconditions) do
    local value = opts and opts[option]
    if value ~= nil then query[parameter] = tostring(value) end
  end
  return query
end

--- Whether a write with these options may be sent twice: only when a generation decides what it means.
---@param opts? table
---@return boolean
function M.is_idempotent(opts)
  return opts ~= nil and (opts.if_generation ~= nil or opts.generation ~= nil)
end

return M
