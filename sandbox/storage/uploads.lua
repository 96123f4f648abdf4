--- Uploads of the JSON API: in one request (media, multipart) and resumable ones.
---
--- A resumable session is a record with the name of a content that grows; how much has arrived is the size of that
--- file, so a session survives a broken connection and the end of the process.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local multipart = require "sandbox.storage.multipart"
local objects_of = require "sandbox.storage.objects"
local values = require "sandbox.values"

local M = {}

local SESSION_SECONDS = 7 * 86400
local CONDITIONS = { "ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch" }

local function conditions_of(query)
  local conditions = {}
  for _, name in ipairs(CONDITIONS) do conditions[name] = values.given(query[name]) end
  return conditions
end

local function parse_metadata(text)
  if not text:find("%S") then return {} end
  local value, err = json.decode(text)
  if type(value) ~= "table" then
    reply.fail(400, "parseError", "Parse Error: " .. tostring(err or "an object is expected"))
  end
  return value
end

local function object_name(c, metadata)
  local name = values.given(c.query.name) or metadata.name
  if type(name) ~= "string" or name == "" then reply.fail(400, "required", "Required object name is missing.") end
  return name
end

--- The checksums of an X-Goog-Hash header, in the fields of object resources.
local function hashes(header)
  local found = {}
  for key, value in (header or ""):gmatch("(%w+)=([%w+/=]+)") do
    if key == "crc32c" then found.crc32c = value elseif key == "md5" then found.md5Hash = value end
  end
  return found
end

--- The pieces of a request's body; a body that is compressed as a whole (`gcloud storage cp -J`) is unpacked first.
local function reader(c)
  if c.headers["content-encoding"] ~= "gzip" then
    return function() return c.req:read() end
  end
  local packed, err = c.req:body()
  if not packed then reply.fail(400, "badRequest", "The body could not be read: " .. tostring(err)) end
  local plain = archive.gunzip(packed) or reply.fail(400, "badRequest", "The body is not valid gzip.")
  return function()
    local rest = plain
    plain = nil
    return rest
  end
end

local function refuse_unfinished(self, content, problem)
  self.content:remove(content)
  reply.fail(400, "badRequest", problem)
end

--- Reads a whole body into a new content.
local function receive(self, read)
  local content = self.content.new_name()
  local writer = self.content:writer(content)
  local _ <close> = setmetatable({}, { __close = writer.close })
  while true do
    local chunk, err = read()
    if not chunk then
      if err then refuse_unfinished(self, content, "The upload was cut off: " .. tostring(err)) end
      return content
    end
    writer.write(chunk)
  end
end

local function upload_media(self, c)
  local name = object_name(c, {})
  self:bucket(c.params.bucket)
  local content = receive(self, function() return c.req:read() end)
  local object = self:commit(c.params.bucket, name, content, hashes(c.headers["x-goog-hash"]), {
    conditions = conditions_of(c.query), validate = true,
    content_type = c.headers["content-type"] or "application/octet-stream",
  })
  return objects_of.resource(c.base, c.params.bucket, object)
end

local function upload_multipart(self, c)
  local boundary = multipart.boundary(c.headers["content-type"])
  if not boundary then reply.fail(400, "badContent", "The Content-Type names no boundary.") end
  self:bucket(c.params.bucket)
  local content, metadata, media_type = self.content.new_name(), {}, nil
  local writer = self.content:writer(content)
  local count, problem = multipart.parse(reader(c), boundary, function(headers, index)
    if index == 1 then return function(bytes) metadata[#metadata + 1] = bytes end end
    media_type = headers["content-type"]
    return index == 2 and writer.write or function() end
  end)
  writer.close()
  if count ~= 2 then
    refuse_unfinished(self, content, "Malformed multipart body: " .. (problem or ("2 parts expected, got " .. count)))
  end
  local ok, body = pcall(parse_metadata, table.concat(metadata))
  local named, name = pcall(object_name, c, ok and body or {})
  if not ok or not named then
    self.content:remove(content)
    error(ok and name or body, 0)
  end
  local object = self:commit(c.params.bucket, name, content, body,
    { conditions = conditions_of(c.query), validate = true, content_type = media_type })
  return objects_of.resource(c.base, c.params.bucket, object)
end

local function sessions(self) return self.cloud.store:collection "storage.uploads" end

local function start_session(self, c)
  local metadata = parse_metadata(c.req:body() or "")
  local name, bucket = object_name(c, metadata), c.params.bucket
  self:bucket(bucket)
  local conditions = conditions_of(c.query)
  objects_of.check(self:find(bucket, name), conditions)
  for _, id in ipairs { table.unpack(sessions(self):keys()) } do
    local old = sessions(self):get(id)
    if old.started + SESSION_SECONDS < time.now() then
      if not old.object then self.content:remove(old.content) end
      sessions(self):delete(id)
    end
  end
  local id = crypto.random_hex(32)
  sessions(self):put(id, {
    bucket = bucket, name = name, metadata = values.clean(metadata), conditions = conditions, started = time.now(),
    content = self.content.new_name(), content_type = c.headers["x-upload-content-type"],
    length = tonumber(c.headers["x-upload-content-length"]),
  })
  return reply.raw { status = 200, body = "", headers = {
    ["Location"] = ("%s/upload/storage/v1/b/%s/o?uploadType=resumable&upload_id=%s"):format(c.base,
      objects_of.escape(bucket), id),
    ["X-GUploader-UploadID"] = id,
    ["Content-Type"] = "text/plain; charset=utf-8",
  } }
end

--- "Go on": 308, or for clients that cannot take a 308 what stands for it.
local function incomplete(c, received, id)
  local headers = { ["X-GUploader-UploadID"] = id }
  if received > 0 then headers.Range = ("bytes=0-%d"):format(received - 1) end
  if (c.headers["x-guploader-no-308"] or ""):lower() == "yes" then
    headers["X-Http-Status-Code-Override"] = "308"
    return reply.empty(200, headers)
  end
  return reply.empty(308, headers)
end

local function parse_content_range(header)
  if not header then return { whole = true } end
  local first, last, total = header:match("^bytes (%d+)%-(%d+)/([%d*]+)$")
  if first then return { first = tonumber(first), last = tonumber(last), total = tonumber(total) } end
  total = header:match("^bytes %*/([%d*]+)$")
  if not total then reply.fail(400, "badRequest", "Invalid Content-Range: " .. header) end
  return { query = true, total = tonumber(total) }
end

--- Appends what the client sends, from where the content ends; bytes that are there already are skipped.
local function append(self, c, session, range)
  local skip = range.whole and 0 or self.content:size(session.content) - range.first
  if skip < 0 then return end
  if range.whole then self.content:remove(session.content) end
  local writer = self.content:writer(session.content)
  local _ <close> = setmetatable({}, { __close = writer.close })
  local left = range.last and range.last - range.first + 1 or math.huge
  while left > 0 do
    local chunk, err = c.req:read()
    if not chunk then return err end
    chunk = chunk:sub(1, math.min(#chunk, left))
    left = left - #chunk
    if skip > 0 then
      local dropped = math.min(skip, #chunk)
      chunk, skip = chunk:sub(dropped + 1), skip - dropped
    end
    if chunk ~= "" then writer.write(chunk) end
  end
end

local function finish(self, c, id, session)
  local body = values.copy(session.metadata)
  local said = hashes(c.headers["x-goog-hash"])
  body.crc32c, body.md5Hash = said.crc32c or body.crc32c, said.md5Hash or body.md5Hash
  self.finishing[id] = true
  local ok, object = pcall(self.commit, self, session.bucket, session.name, session.content, body,
    { conditions = session.conditions, validate = true, content_type = session.content_type })
  self.finishing[id] = nil
  if not ok then
    sessions(self):delete(id)
    error(object, 0)
  end
  sessions(self):update(id, function(s) s.object = object.generation end)
  return objects_of.resource(c.base, session.bucket, object)
end

--- Receives a piece; while one is on its way no other request may write to the session.
local function receive_piece(self, c, id, session, range)
  if self.receiving[id] then
    reply.fail(503, "backendError", "Another request is sending a piece of this upload.")
  end
  self.receiving[id] = true
  local _ <close> = setmetatable({}, { __close = function() self.receiving[id] = nil end })
  local err = append(self, c, session, range)
  if err then reply.fail(400, "badRequest", "The upload was cut off: " .. tostring(err)) end
end

local function continue_session(self, c)
  local id = c.query.upload_id
  local session = sessions(self):get(id)
  if not session or session.bucket ~= c.params.bucket then
    reply.fail(404, "notFound", "No such upload session: " .. id)
  end
  if session.object then
    local object = self:find(session.bucket, session.name, session.object)
    if not object then reply.fail(410, "gone", "The uploaded object is gone.") end
    return objects_of.resource(c.base, session.bucket, object)
  end
  if self.finishing[id] then reply.fail(503, "backendError", "The upload is being finished by another request.") end
  local range = parse_content_range(c.headers["content-range"])
  if not range.query then receive_piece(self, c, id, session, range) end
  local received = self.content:size(session.content)
  local total = range.total or session.length or (range.whole and received)
  if range.total and received > range.total then
    reply.fail(400, "badRequest", ("More bytes were sent (%d) than announced (%d)."):format(received, range.total))
  end
  if total and received == total then return finish(self, c, id, session) end
  return incomplete(c, received, id)
end

--- Adds the routes.
---@param objects sandbox.Objects
---@param service sandbox.Service
function M.routes(objects, service)
  objects.finishing, objects.receiving = {}, {} -- ids of sessions that a request is at work on

  local function upload(c)
    if values.given(c.query.upload_id) then return continue_session(objects, c) end
    local kind = c.query.uploadType
    if kind == "media" then return upload_media(objects, c) end
    if kind == "multipart" then return upload_multipart(objects, c) end
    if kind == "resumable" then return start_session(objects, c) end
    reply.fail(400, "badRequest", "uploadType must be media, multipart or resumable.")
  end

  for _, path in ipairs { "/upload/storage/v1/b/{bucket}/o", "/resumable/upload/storage/v1/b/{bucket}/o" } do
    service:on("POST|PUT", path, upload)
    service:on("DELETE", path, function(c)
      local session = sessions(objects):get(c.query.upload_id or "")
      if not session then reply.fail(404, "notFound", "No such upload session.") end
      if not session.object then objects.content:remove(session.content) end
      sessions(objects):delete(c.query.upload_id)
      return reply.empty(499)
    end)
  end
end

return M
