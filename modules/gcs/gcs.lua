--- Cloud Storage: objects and buckets over the JSON API.
---
--- Every write can carry preconditions: `if_generation = 0` is "only if it does not exist", `if_generation = g` "only
--- if it is still that one"; refused, the error's kind is `precondition`. CRC32C is checked in both directions.
---
--- The option `api = "backend_storage"` reads and writes where Terraform's backend does
--- (GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT) instead of GOOGLE_STORAGE_CUSTOM_ENDPOINT; both are Google when unset.
local address = require "ws.gcs.address"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local metadata = require "ws.gcs.metadata"
local upload = require "ws.gcs.upload"

local M = {}

local TRANSFER_TIMEOUT = 3600 -- seconds

local function check(opts, known, what)
  for key in pairs(opts or {}) do
    if not known[key] then error(("%s: unknown option '%s'"):format(what, tostring(key)), 3) end
  end
  return opts or {}
end

local put_options = { api = true, content_type = true, cache_control = true, metadata = true, if_generation = true,
  if_metageneration = true, on_progress = true, attempts = true }
local read_options = { api = true, file = true, generation = true, if_generation = true, if_metageneration = true }
local delete_options = { api = true, generation = true, if_generation = true, if_metageneration = true,
  attempts = true }

--- What is known of an object.
---@async
---@param url string  gs://bucket/name
---@param opts? { generation?: string, if_generation?: string|integer, if_metageneration?: string|integer,
---  api?: string, attempts?: integer }  attempts: tries, default 6
---@return ws.gcs.Object? object
---@return ws.Error? err  kinds: `not_found`, `denied`, ...
function M.stat(url, opts)
  opts = check(opts, delete_options, "gcs.stat")
  local bucket, name = address.parse(url)
  local resource, answer = gcp.request { api = opts.api or "storage", path = address.path(bucket, name),
    query = metadata.query(opts), attempts = opts.attempts }
  if not resource then return nil, answer end
  return metadata.object(resource, answer)
end

local function checksum_error(url)
  return nil, errors.new { kind = "protocol", op = "gcs.get", retryable = true,
    message = ("%s: what arrived is not what is stored (CRC32C)"):format(url) }
end

--- The CRC32C that an answer's x-goog-hash header promises, or nil. It is that of the stored bytes, which are others
--- when the server unpacked them on the way (https://cloud.google.com/storage/docs/transcoding).
local function promised_crc(answer)
  local headers = answer.headers
  if headers["x-goog-stored-content-encoding"] == "gzip" and headers["content-encoding"] ~= "gzip" then return nil end
  return metadata.decode_crc((answer.headers["x-goog-hash"] or ""):match("crc32c=([%w+/=]+)"))
end

--- Reads an object: its bytes, or with `file` into a file that appears only when it is complete and right.
---@async
---@param url string  gs://bucket/name
---@param opts? { file?: string, generation?: string, if_generation?: string|integer, api?: string }
---@return string|true|nil data  true with `file`
---@return table|ws.Error info   `generation`; or the error: `not_found`, `denied`, `protocol` (wrong checksum)
function M.get(url, opts)
  opts = check(opts, read_options, "gcs.get")
  local bucket, name = address.parse(url)
  local query = metadata.query(opts, { alt = "media" })
  local part = opts.file and opts.file .. ".part-" .. crypto.random_hex(4)
  local answer, err = gcp.request { api = opts.api or "storage", path = address.path(bucket, name), query = query,
    raw = true, timeout = TRANSFER_TIMEOUT, sink = part and { file = part } or nil }
  if not answer then
    if part then fs.remove(part, { missing_ok = true }) end
    return nil, err
  end
  local info = { generation = answer.headers["x-goog-generation"] }
  local wanted = promised_crc(answer)
  if not part then
    if wanted and crypto.crc32c(answer.body) ~= wanted then return checksum_error(url) end
    return answer.body, info
  end
  local got, problem = crypto.crc32c_file(part)
  if got and wanted and got ~= wanted then got, problem = checksum_error(url) end
  if got then got, problem = fs.rename(part, opts.file) end
  if not got then
    fs.remove(part, { missing_ok = true })
    return nil, problem
  end
  return true, info
end

--- Writes an object from a string, a secret or a file. Up to 8 MiB in one request, more in a resumable session.
---
--- ```lua
--- local object = assert(gcs.put("gs://bucket/lock", "mine", { if_generation = 0 }))
--- ```
---@async
---@param url string  gs://bucket/name
---@param data string|ws.Secret|{ file: string }
---@param opts? { content_type?: string, cache_control?: string, metadata?: table<string, string>,
---  if_generation?: string|integer, if_metageneration?: string|integer,
---  on_progress?: fun(done: integer, total: integer), api?: string, attempts?: integer }  attempts: tries of one
---  request, default 6
---@return ws.gcs.Object? object
---@return ws.Error? err  kinds: `precondition`, `denied`, `not_found` (the bucket), `protocol` (wrong checksum), ...
function M.put(url, data, opts)
  local bucket, name = address.parse(url)
  if name == "" then error("gcs.put needs an object's name", 2) end
  return upload.put(bucket, name, data, check(opts, put_options, "gcs.put"))
end

--- Deletes an object.
---@async
---@param url string  gs://bucket/name
---@param opts? { generation?: string, if_generation?: string|integer, if_metageneration?: string|integer,
---  api?: string, attempts?: integer }  attempts: tries, default 6
---@return true? ok
---@return ws.Error? err  kinds: `not_found`, `precondition`, `denied`, ...
function M.delete(url, opts)
  opts = check(opts, delete_options, "gcs.delete")
  local bucket, name = address.parse(url)
  local ok, err = gcp.request { api = opts.api or "storage", method = "DELETE", path = address.path(bucket, name),
    query = metadata.query(opts), idempotent = metadata.is_idempotent(opts), attempts = opts.attempts }
  if not ok then return nil, err end
  return true
end

--- Lists the objects whose names begin with the address's name.
---@async
---@param url string  gs://bucket/prefix
---@param opts? { delimiter?: string, versions?: boolean, api?: string }
---@return ws.gcs.Object[]? objects
---@return string[]|ws.Error prefixes  with a delimiter: the "folders"; or the error
function M.list(url, opts)
  opts = check(opts, { delimiter = true, versions = true, api = true }, "gcs.list")
  local bucket, prefix = address.parse(url)
  local objects, prefixes = {}, {}
  local query = { prefix = prefix ~= "" and prefix or nil, delimiter = opts.delimiter,
    versions = opts.versions and "true" or nil }
  repeat
    local page, err = gcp.request { api = opts.api or "storage", path = ("b/%s/o"):format(bucket), query = query }
    if not page then return nil, err end
    for _, resource in ipairs(page.items or {}) do objects[#objects + 1] = metadata.object(resource) end
    for _, folder in ipairs(page.prefixes or {}) do prefixes[#prefixes + 1] = folder end
    query.pageToken = page.nextPageToken
  until not query.pageToken or query.pageToken == ""
  return objects, prefixes
end

--- Copies an object within Cloud Storage.
---@async
---@param from string  gs://bucket/name
---@param to string    gs://bucket/name
---@param opts? { if_generation?: string|integer }  of the target
---@return ws.gcs.Object? object
---@return ws.Error? err
function M.copy(from, to, opts)
  opts = check(opts, { if_generation = true }, "gcs.copy")
  local bucket, name = address.parse(from)
  local to_bucket, to_name = address.parse(to)
  local path = ("%s/rewriteTo/%s"):format(address.path(bucket, name), address.path(to_bucket, to_name))
  local query = metadata.query(opts)
  while true do
    local answer, err = gcp.request { api = "storage", method = "POST", path = path, query = query,
      idempotent = metadata.is_idempotent(opts) }
    if not answer then return nil, err end
    if answer.done then return metadata.object(answer.resource) end
    query.rewriteToken = answer.rewriteToken
  end
end

--- What is known of a bucket.
---@async
---@param bucket string
---@param opts? { api?: string }
---@return table? resource
---@return ws.Error? err  kinds: `not_found`, `denied`, ...
function M.stat_bucket(bucket, opts)
  opts = check(opts, { api = true }, "gcs.stat_bucket")
  return gcp.request { api = opts.api or "storage", path = "b/" .. bucket }
end

--- Creates a bucket.
---@async
---@param bucket string
---@param opts { project: string, location?: string, versioning?: boolean, api?: string }
---@return table? resource
---@return ws.Error? err  kind `exists`, ...
function M.create_bucket(bucket, opts)
  check(opts, { project = true, location = true, versioning = true, api = true }, "gcs.create_bucket")
  local query = { project = opts.project }
  return gcp.request { api = opts.api or "storage", method = "POST", path = "b", query = query, body = {
    name = bucket, location = opts.location, versioning = opts.versioning and { enabled = true } or nil,
    iamConfiguration = { uniformBucketLevelAccess = { enabled = true } },
  } }
end

return M
