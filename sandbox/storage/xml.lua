--- The XML API, path style: what Go's client, Terraform, signed URLs and S3 tools use.
---
--- It has no prefix of its own: every path that no service has is a bucket and an object.
local crypto = require "ws.crypto"
local reply = require "sandbox.reply"
local router = require "sandbox.router"
local tokens = require "sandbox.tokens"
local values = require "sandbox.values"
local listing = require "sandbox.storage.listing"
local media = require "sandbox.storage.media"
local objects_of = require "sandbox.storage.objects"
local signature = require "sandbox.storage.signature"

local M = {}

local CODES = {
  [304] = "NotModified", [400] = "InvalidArgument", [401] = "AuthenticationRequired", [403] = "AccessDenied",
  [404] = "NoSuchKey", [409] = "BucketNotEmpty", [412] = "PreconditionFailed", [500] = "InternalError",
  [501] = "NotImplemented", [507] = "InternalError",
}

local function escape(text)
  return (tostring(text):gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function element(name, content) return ("<%s>%s</%s>"):format(name, content, name) end

local function xml(status, body, headers)
  headers = headers or {}
  headers["Content-Type"] = "application/xml; charset=UTF-8"
  return reply.raw { status = status, headers = headers, body = "<?xml version='1.0' encoding='UTF-8'?>" .. body }
end

--- A root element in the name space that clients look for.
local function result(name, content)
  return ("<%s xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>%s</%s>"):format(name, content, name)
end

local function fail(status, code, message)
  reply.abort(xml(status, element("Error", element("Code", code) .. element("Message", escape(message)))))
end

--- Calls `fn`; an error in the form of the JSON API becomes one of this API.
local function as_xml(fn, ...)
  local ok, answer = pcall(fn, ...)
  if ok then return answer end
  if type(answer) ~= "table" or not answer.body then error(answer, 0) end
  local failure = answer.body.error
  local code = CODES[answer.status] or "InternalError"
  if answer.status == 404 and failure.message:find("specified bucket", 1, true) then code = "NoSuchBucket" end
  fail(answer.status, code, failure.message)
end

--- Conditions of the x-goog-if-… headers under the names of the JSON API.
local function conditions_of(headers)
  local none = headers["if-none-match"] == "*" and "0" or nil
  return {
    ifGenerationMatch = headers["x-goog-if-generation-match"] or none,
    ifMetagenerationMatch = headers["x-goog-if-metageneration-match"],
  }
end

local function metadata_of(headers)
  local fields = {
    contentType = headers["content-type"], cacheControl = headers["cache-control"],
    contentDisposition = headers["content-disposition"], contentEncoding = headers["content-encoding"],
    contentLanguage = headers["content-language"], storageClass = headers["x-goog-storage-class"],
    md5Hash = headers["content-md5"],
  }
  for part in (headers["x-goog-hash"] or ""):gmatch("crc32c=([%w+/=]+)") do fields.crc32c = part end
  for name, value in pairs(headers) do
    local key = name:match("^x%-goog%-meta%-(.+)$") or name:match("^x%-amz%-meta%-(.+)$")
    if key then
      fields.metadata = fields.metadata or {}
      fields.metadata[key] = value
    end
  end
  return fields
end

local function receive(objects, c)
  local content = objects.content.new_name()
  local writer = objects.content:writer(content)
  local _ <close> = setmetatable({}, { __close = writer.close })
  while true do
    local chunk, err = c.req:read()
    if not chunk then
      if err then
        objects.content:remove(content)
        fail(400, "IncompleteBody", "The upload was cut off: " .. tostring(err))
      end
      return content
    end
    writer.write(chunk)
  end
end

local function etag(object)
  return ('"%s"'):format(object.md5 and crypto.hex_encode(crypto.base64_decode(object.md5)) or objects_of.etag(object))
end

local function list(objects, c, bucket)
  local two = c.query["list-type"] == "2"
  local options = listing.options { prefix = c.query.prefix, delimiter = c.query.delimiter,
    maxResults = c.query["max-keys"], startOffset = c.query["start-after"] }
  local token = values.given(c.query["continuation-token"])
  options.after = token and crypto.base64url_decode(token) or values.given(c.query.marker)
  local page = listing.page(objects:of(bucket), options)
  local parts = { element("Name", bucket), element("Prefix", escape(c.query.prefix or "")),
    element("MaxKeys", options.limit), element("IsTruncated", tostring(page.last ~= nil)) }
  if two then parts[#parts + 1] = element("KeyCount", #page.items + #page.prefixes) end
  if page.last then
    parts[#parts + 1] = two and element("NextContinuationToken", crypto.base64url_encode(page.last))
      or element("NextMarker", escape(page.last))
  end
  for _, object in ipairs(page.items) do
    parts[#parts + 1] = element("Contents", element("Key", escape(object.name))
      .. element("LastModified", object.updated) .. element("ETag", etag(object)) .. element("Size", object.size)
      .. element("StorageClass", object.fields.storageClass) .. element("Generation", object.generation))
  end
  for _, prefix in ipairs(page.prefixes) do
    parts[#parts + 1] = element("CommonPrefixes", element("Prefix", escape(prefix)))
  end
  return xml(200, result("ListBucketResult", table.concat(parts)))
end

local function bucket_request(objects, c, bucket)
  if c.method == "GET" or c.method == "HEAD" then
    objects:bucket(bucket)
    if c.method == "HEAD" then return reply.empty(200) end
    if c.query.location then
      return xml(200, result("LocationConstraint", objects:bucket(bucket).location))
    end
    return list(objects, c, bucket)
  elseif c.method == "PUT" then
    local project = c.cloud:project(c.headers["x-goog-project-id"] or "") or tokens.default_project(c.cloud)
    local location = (c.req:body() or ""):match("<LocationConstraint>%s*([%w-]+)%s*</LocationConstraint>")
    objects:create_bucket(project, { name = bucket, location = location ~= "auto" and location or nil })
    return reply.empty(200)
  elseif c.method == "DELETE" then
    objects:delete_bucket(bucket)
    return reply.empty(204)
  end
end

local function list_buckets(objects)
  local parts = {}
  for _, bucket in ipairs((objects.buckets:list())) do
    parts[#parts + 1] = element("Bucket", element("Name", bucket.name) .. element("CreationDate", bucket.timeCreated))
  end
  return xml(200, result("ListAllMyBucketsResult", element("Buckets", table.concat(parts))))
end

--- A multipart upload: parts are contents of their own, joined when it is completed.
local function multipart_request(objects, c, bucket, name)
  local uploads, parts = c.cloud.store:collection "storage.multipart", c.cloud.store:collection "storage.parts"
  local id = c.query.uploadId
  if c.method == "POST" and c.query.uploads then
    objects:bucket(bucket)
    id = crypto.random_hex(24)
    uploads:put(id, { bucket = bucket, name = name, metadata = metadata_of(c.headers) })
    return xml(200, result("InitiateMultipartUploadResult",
      element("Bucket", bucket) .. element("Key", escape(name)) .. element("UploadId", id)))
  end
  local upload = uploads:get(id)
  if not upload or upload.bucket ~= bucket or upload.name ~= name then
    fail(404, "NoSuchUpload", "The specified upload does not exist.")
  end
  local function part_key(number) return ("%s/%05d"):format(id, number) end
  local function forget()
    for _, part in ipairs((parts:list(id .. "/"))) do objects.content:remove(part.content) end
    for _, key in ipairs(select(2, parts:list(id .. "/"))) do parts:delete(key) end
    uploads:delete(id)
  end
  if c.method == "PUT" then
    local number = math.tointeger(tonumber(c.query.partNumber))
    if not number or number < 1 or number > 10000 then fail(400, "InvalidArgument", "Invalid part number.") end
    local content = receive(objects, c)
    local sums = objects.content:sums(content)
    local said = metadata_of(c.headers)
    if (said.crc32c or sums.crc32c) ~= sums.crc32c or (said.md5Hash or sums.md5) ~= sums.md5 then
      objects.content:remove(content)
      fail(400, "BadDigest", "The checksum that was sent is not that of the part.")
    end
    local old = parts:get(part_key(number))
    if old then objects.content:remove(old.content) end
    parts:put(part_key(number), { content = content, md5 = sums.md5 })
    return reply.empty(200, { ETag = ('"%s"'):format(crypto.hex_encode(crypto.base64_decode(sums.md5))),
      ["X-Goog-Hash"] = ("crc32c=%s,md5=%s"):format(sums.crc32c, sums.md5) })
  elseif c.method == "DELETE" then
    forget()
    return reply.empty(204)
  elseif c.method == "POST" then
    local names = {}
    for number in (c.req:body() or ""):gmatch("<PartNumber>%s*(%d+)%s*</PartNumber>") do
      local part = parts:get(part_key(tonumber(number)))
      if not part then fail(400, "InvalidPart", "Part " .. number .. " was not uploaded.") end
      names[#names + 1] = part.content
    end
    if #names == 0 then fail(400, "MalformedXML", "The list of parts is empty.") end
    local object = objects:commit(bucket, name, objects.content:join(names), upload.metadata,
      { conditions = {}, components = #names })
    forget()
    return xml(200, result("CompleteMultipartUploadResult",
      element("Bucket", bucket) .. element("Key", escape(name)) .. element("ETag", etag(object))))
  end
end

local function copy_source(objects, c, bucket, name, source)
  local from_bucket, from_name = router.decode(source):match("^/?([^/]+)/(.+)$")
  if not from_bucket then fail(400, "InvalidArgument", "The source of the copy is not BUCKET/OBJECT.") end
  local object = objects:need(from_bucket, from_name, c.headers["x-goog-copy-source-generation"])
  local copied = objects:commit(bucket, name, objects.content:join { object.content }, object.fields,
    { conditions = conditions_of(c.headers), components = object.components })
  return xml(200, result("CopyObjectResult", element("LastModified", copied.updated) .. element("ETag", etag(copied))))
end

local function object_request(objects, c, bucket, name)
  if c.method == "GET" or c.method == "HEAD" then
    local object = objects:need(bucket, name, c.query.generation)
    objects_of.check(object, conditions_of(c.headers), true)
    return media.send(c, objects.content, object)
  elseif c.method == "PUT" then
    objects:bucket(bucket)
    local source = c.headers["x-goog-copy-source"] or c.headers["x-amz-copy-source"]
    if source then return copy_source(objects, c, bucket, name, source) end
    local object = objects:commit(bucket, name, receive(objects, c), metadata_of(c.headers),
      { conditions = conditions_of(c.headers), validate = true })
    return reply.empty(200, { ETag = etag(object), ["X-Goog-Generation"] = object.generation,
      ["X-Goog-Hash"] = "crc32c=" .. object.crc32c .. ",md5=" .. object.md5 })
  elseif c.method == "DELETE" then
    objects:delete(bucket, name, c.query.generation, conditions_of(c.headers))
    return reply.empty(204)
  end
end

--- Makes the XML API the answer to every path that no service has.
---@param objects sandbox.Objects
---@param service sandbox.Service
function M.routes(objects, service)
  objects.cloud.fallback = { service = service, handler = function(c)
    local code, message, status = signature.check(c)
    if code then fail(status, code, message) end
    local bucket, name = c.path:match("^/([^/]*)/?(.*)$")
    bucket, name = router.decode(bucket), router.decode(name)
    if bucket == "" then return list_buckets(objects) end
    local response
    if name == "" then
      response = as_xml(bucket_request, objects, c, bucket)
    elseif c.query.uploads or c.query.uploadId then
      response = as_xml(multipart_request, objects, c, bucket, name)
    else
      response = as_xml(object_request, objects, c, bucket, name)
    end
    return response or fail(501, "NotImplemented", ("The sandbox does not emulate %s %s."):format(c.method, c.path))
  end }
end

return M
