--- Uploads: one request for small objects, a resumable session for the others.
---
--- https://cloud.google.com/storage/docs/resumable-uploads. The CRC32C is computed before the first byte is sent and
--- goes with the object, so the server refuses bytes that were damaged on the way. A session is continued after a
--- broken connection from what the server says it has.
local crypto = require "ws.crypto"
local endpoints = require "ws.gcp.endpoints"
local errors = require "ws.error"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local http = require "ws.http"
local json = require "ws.json"
local metadata = require "ws.gcs.metadata"
local retry = require "ws.gcp.retry"
local secret = require "ws.secret"

local M = {}

local SMALL = 8 * 1024 * 1024  -- bytes up to which one request is used
local CHUNK = 16 * 1024 * 1024 -- bytes of one request of a session; a multiple of 256 KiB as the API asks
local STALL = 600              -- seconds for one request

local function upload_url(bucket, query, api)
  local base = endpoints.base(api or "storage"):gsub("storage/v1/$", "")
  return ("%supload/storage/v1/b/%s/o?%s"):format(base, bucket, http.query(query))
end

--- What is uploaded: its size, checksum, and a way to read a part of it.
local function open_source(data)
  if type(data) == "string" or secret.is(data) then
    local size = type(data) == "string" and #data or nil
    return {
      data = data, size = size, crc = type(data) == "string" and crypto.crc32c(data) or nil,
      read = function(offset, length) return data:sub(offset + 1, offset + length) end,
    }
  end
  if type(data) ~= "table" or type(data.file) ~= "string" then
    error("gcs.put takes a string, a secret or { file = path }", 4)
  end
  local stat, err = fs.stat(data.file)
  if not stat then return nil, err end
  local crc, problem = crypto.crc32c_file(data.file)
  if not crc then return nil, problem end
  return {
    size = stat.size, crc = crc,
    read = function(offset, length) return fs.read(data.file, { offset = offset, length = length }) end,
  }
end

local function resource_of(name, source, opts)
  return {
    name = name, contentType = opts.content_type or "application/octet-stream", cacheControl = opts.cache_control,
    metadata = opts.metadata, crc32c = source.crc and metadata.encode_crc(source.crc) or nil,
  }
end

--- One multipart/related request with metadata and content.
local function put_small(bucket, name, source, opts)
  local content = source.data
  if not content then
    local text, err = source.read(0, source.size)
    if not text then return nil, err end
    content = text
  end
  local boundary = "wsrun-" .. crypto.random_hex(16)
  local resource = resource_of(name, source, opts)
  local head = table.concat({ "--" .. boundary, "content-type: application/json; charset=utf-8", "",
    json.encode(resource), "--" .. boundary, "content-type: " .. resource.contentType, "", "" }, "\r\n")
  local tail = ("\r\n--%s--\r\n"):format(boundary)
  local body = secret.is(content) and secret.join(head, content, tail) or head .. content .. tail
  local query = metadata.query(opts, { uploadType = "multipart", name = name })
  return gcp.request {
    url = upload_url(bucket, query, opts.api), method = "POST", body = body, idempotent = metadata.is_idempotent(opts),
    headers = { ["content-type"] = "multipart/related; boundary=" .. boundary }, timeout = STALL,
    attempts = opts.attempts,
  }
end

--- How many bytes of a session the server has; or the finished object.
local function session_offset(session, size)
  local answer, err = gcp.request { url = session, method = "PUT", body = "", raw = true, idempotent = true,
    headers = { ["content-range"] = ("bytes */%d"):format(size) } }
  if not answer then return nil, err end
  if answer.status == 308 then
    local last = (answer.headers.range or ""):match("^bytes=0%-(%d+)$")
    return last and math.tointeger(tonumber(last)) + 1 or 0
  end
  return size, answer
end

local function put_resumable(bucket, name, source, opts)
  local query = metadata.query(opts, { uploadType = "resumable", name = name })
  local started, err = gcp.request {
    url = upload_url(bucket, query, opts.api), method = "POST", body = resource_of(name, source, opts), raw = true,
    idempotent = metadata.is_idempotent(opts), attempts = opts.attempts,
    headers = { ["x-upload-content-type"] = opts.content_type or "application/octet-stream",
      ["x-upload-content-length"] = tostring(source.size) },
  }
  if not started then return nil, err end
  local session = started.headers.location
  if not session then
    return nil, errors.new { kind = "protocol", op = "gcs.put", message = "the upload session has no location" }
  end
  local offset, finished = 0, nil
  return retry.run(function()
    while true do
      local length = math.min(CHUNK, source.size - offset)
      local part, problem = source.read(offset, length)
      if not part then return true, nil, problem end
      local answer
      answer, problem = gcp.request { url = session, method = "PUT", body = part, raw = true, idempotent = false,
        timeout = STALL, headers = { ["content-range"] = ("bytes %d-%d/%d"):format(offset, offset + #part - 1,
          source.size) } }
      if answer and answer.status ~= 308 then return true, json.decode(answer.body), answer end
      if answer then
        offset = math.tointeger(tonumber((answer.headers.range or ""):match("%-(%d+)$") or -1)) + 1
        if opts.on_progress then opts.on_progress(offset, source.size) end
      else
        if not problem.retryable then return true, nil, problem end
        local have
        have, finished = session_offset(session, source.size)
        if not have then return false, nil, nil, problem end
        if finished then return true, json.decode(finished.body), finished end
        if have <= offset then return false, nil, nil, problem end -- no progress: wait before the next try
        offset = have
      end
    end
  end)
end

--- Uploads an object; see gcs.put.
---@async
---@param bucket string
---@param name string
---@param data string|ws.Secret|{ file: string }
---@param opts table
---@return ws.gcs.Object? object
---@return ws.Error? err
function M.put(bucket, name, data, opts)
  local source, err = open_source(data)
  if not source then return nil, err end
  local put = (not source.size or source.size <= SMALL) and put_small or put_resumable
  local resource, answer = put(bucket, name, source, opts)
  if not resource then return nil, answer end
  local object = metadata.object(resource, answer)
  if source.crc and object.crc32c and object.crc32c ~= source.crc then
    return nil, errors.new { kind = "protocol", op = "gcs.put",
      message = ("gs://%s/%s: the server has other bytes than were sent (CRC32C)"):format(bucket, name) }
  end
  return object
end

return M
