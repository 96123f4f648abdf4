--- Objects and their generations: what is kept, when a request may change it, and how it looks.
---
--- The objects of a bucket are one collection; a value holds the live generation and the noncurrent ones. Conditions
--- are checked and the change made without waiting in between, so both are one step for all clients.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- What a client may set. Everything else in a body is the server's and ignored.
local SETTABLE = {
  "contentType", "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "customTime",
  "eventBasedHold", "temporaryHold", "metadata", "storageClass", "retention", "kmsKeyName",
}

---@class sandbox.Objects
local Objects = {}
Objects.__index = Objects

--- Makes the objects of a sandbox.
---@param cloud sandbox.Cloud
---@param content sandbox.Content
---@return sandbox.Objects
function M.new(cloud, content)
  return setmetatable({ cloud = cloud, content = content, buckets = cloud.store:collection "storage.buckets",
    last_generation = 0 }, Objects)
end

--- The bucket, or 404.
---@param name string
---@return table
function Objects:bucket(name)
  return self.buckets:get(name) or reply.fail(404, "notFound", "The specified bucket does not exist.")
end

--- The collection of a bucket's objects.
---@param bucket string
---@return sandbox.Collection
function Objects:of(bucket)
  return self.cloud.store:collection("storage.objects." .. bucket)
end

--- One generation of an object; nil when there is none.
---@param bucket string
---@param name string
---@param generation? string  default: the live one
---@return table?
function Objects:find(bucket, name, generation)
  local entry = self:of(bucket):get(name)
  if not entry then return nil end
  if not values.given(generation) then return entry.live end
  if entry.live and entry.live.generation == generation then return entry.live end
  for _, old in ipairs(entry.older or {}) do
    if old.generation == generation then return old end
  end
end

--- Like `find`, or 404.
---@param bucket string
---@param name string
---@param generation? string
---@return table
function Objects:need(bucket, name, generation)
  self:bucket(bucket)
  return self:find(bucket, name, generation)
    or reply.fail(404, "notFound", ("No such object: %s/%s"):format(bucket, name))
end

local function integer_condition(conditions, name)
  local text = values.given(conditions[name])
  if not text then return nil end
  if not tostring(text):find("^%d+$") then
    reply.fail(400, "invalidParameter", ("Invalid value for %s: %s"):format(name, text))
  end
  return tostring(text)
end

local function precondition_failed(name)
  reply.fail(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.", name)
end

--- Checks `ifGenerationMatch` and its sisters against the live object (0: none). Fails the request with 412; with
--- `reading`, a "not match" that does not hold is 304.
---@param object table?
---@param conditions table<string, string>  a query, or an `objectPreconditions`
---@param reading? boolean
---@param prefix? string  "ifSource" for the source of a copy
function M.check(object, conditions, reading, prefix)
  prefix = prefix or "if"
  local generation = object and object.generation or "0"
  local wanted = integer_condition(conditions, prefix .. "GenerationMatch")
  if wanted and wanted ~= generation then precondition_failed() end
  wanted = integer_condition(conditions, prefix .. "MetagenerationMatch")
  if wanted and (not object or wanted ~= tostring(object.metageneration)) then precondition_failed() end
  local unwanted = integer_condition(conditions, prefix .. "GenerationNotMatch")
  if unwanted and unwanted == generation then
    if reading then reply.abort(reply.empty(304)) end
    precondition_failed()
  end
  unwanted = integer_condition(conditions, prefix .. "MetagenerationNotMatch")
  if unwanted and object and unwanted == tostring(object.metageneration) then
    if reading then reply.abort(reply.empty(304)) end
    precondition_failed()
  end
end

--- Refuses a change of an object that a hold or a retention policy protects.
local function check_protection(self, bucket_name, object)
  if not object then return end
  if object.fields.temporaryHold or object.fields.eventBasedHold then
    reply.fail(403, "forbidden", ("Object '%s/%s' is under active Temporary hold and cannot be deleted, overwritten or "
      .. "archived until hold is removed."):format(bucket_name, object.name))
  end
  local policy = self:bucket(bucket_name).retentionPolicy
  local seconds = policy and tonumber(policy.retentionPeriod)
  if seconds and time.parse_rfc3339(object.timeCreated) + seconds > time.now() then
    reply.fail(403, "retentionPolicyNotMet", ("Object '%s/%s' is subject to bucket's retention policy and cannot be "
      .. "deleted, overwritten or archived until its retention period is over."):format(bucket_name, object.name))
  end
end

--- A generation that is higher than all before: microseconds since 1970.
---@return string
function Objects:next_generation()
  local now = math.floor(time.now() * 1e6)
  self.last_generation = math.max(now, self.last_generation + 1)
  return ("%d"):format(self.last_generation)
end

--- What a body sets, without nulls and without what is the server's.
---@param body table
---@return table
function M.settable(body)
  local fields = {}
  for _, name in ipairs(SETTABLE) do
    if body[name] ~= nil and body[name] ~= json.null then fields[name] = values.clean(body[name]) end
  end
  return fields
end

local function check_sums(body, sums)
  for field, sum in pairs { md5Hash = "md5", crc32c = "crc32c" } do
    local said = body[field]
    if type(said) == "string" and said ~= "" and sums[sum] and said ~= sums[sum] then
      reply.fail(400, "invalid", ('Provided %s "%s" doesn\'t match calculated "%s".'):format(field, said, sums[sum]))
    end
  end
end

local function archive_or_drop(self, bucket, entry)
  if not entry.live then return end
  if self:bucket(bucket).versioning and self:bucket(bucket).versioning.enabled then
    entry.older = entry.older or json.array {}
    entry.live.timeDeleted = time.rfc3339()
    table.insert(entry.older, entry.live)
  else
    self.content:remove(entry.live.content)
  end
  entry.live = nil
end

--- Makes a new generation of an object from a finished content. Fails the request, and removes the content, when a
--- condition, a checksum or a protection is against it.
---@async
---@param bucket string
---@param name string
---@param content string  name of the content
---@param body table  metadata as sent
---@param opts { conditions: table, validate?: boolean, content_type?: string, components?: integer, keep?: boolean }
---  `validate`: the body's checksums must be right; `components`: of a composed object, which has no MD5
---@return table object
function Objects:commit(bucket, name, content, body, opts)
  local sums = self.content:sums(content)
  local ok, result = pcall(function()
    if name == "" or #name > 1024 or name:find("[\r\n]") then
      reply.fail(400, "invalid", "Invalid object name: 1 to 1024 bytes without line breaks are allowed.")
    end
    local home = self:bucket(bucket)
    local objects = self:of(bucket)
    local entry = values.copy(objects:get(name) or {})
    M.check(entry.live, opts.conditions)
    check_protection(self, bucket, entry.live)
    if opts.validate then check_sums(body, sums) end
    local now = time.rfc3339()
    archive_or_drop(self, bucket, entry)
    local fields = M.settable(body)
    fields.contentType = fields.contentType or opts.content_type
    fields.storageClass = fields.storageClass or home.storageClass or "STANDARD"
    entry.live = {
      name = name, generation = self:next_generation(), metageneration = 1, content = content, size = sums.size,
      md5 = not opts.components and sums.md5 or nil, crc32c = sums.crc32c, components = opts.components,
      fields = fields, timeCreated = now, updated = now,
    }
    objects:put(name, entry)
    return entry.live
  end)
  if not ok then
    self.content:remove(content)
    error(result, 0)
  end
  return result
end

--- Changes the metadata of one generation.
---@param bucket string
---@param object table
---@param fn fun(fields: table): table  new fields
---@return table object
function Objects:change(bucket, object, fn)
  local changed
  self:of(bucket):update(object.name, function(entry)
    for _, candidate in ipairs { entry.live or false, table.unpack(entry.older or {}) } do
      if candidate and candidate.generation == object.generation then
        candidate.fields = fn(candidate.fields)
        candidate.metageneration = candidate.metageneration + 1
        candidate.updated = time.rfc3339()
        changed = candidate
      end
    end
  end)
  return changed
end

--- Deletes the live generation (which versioning keeps as noncurrent), or exactly the given one.
---@param bucket string
---@param name string
---@param generation? string
---@param conditions table
function Objects:delete(bucket, name, generation, conditions)
  local object = self:need(bucket, name, generation)
  M.check(object, conditions)
  check_protection(self, bucket, object)
  local objects = self:of(bucket)
  local entry = values.copy(objects:get(name))
  if not values.given(generation) then
    archive_or_drop(self, bucket, entry)
  else
    if entry.live and entry.live.generation == generation then entry.live = nil end
    for i = #(entry.older or {}), 1, -1 do
      if entry.older[i].generation == generation then table.remove(entry.older, i) end
    end
    self.content:remove(object.content)
  end
  if entry.live or #(entry.older or {}) > 0 then objects:put(name, entry) else objects:delete(name) end
end

--- Whether a bucket holds any object, live or not.
---@param bucket string
---@return boolean
function Objects:any(bucket)
  return self:of(bucket).count > 0
end

local function escape(name)
  return (name:gsub("[^%w%-_%.~]", function(ch) return ("%%%02X"):format(ch:byte()) end))
end
M.escape = escape

--- The entity tag of a generation.
---@param object table
---@return string
function M.etag(object)
  return crypto.base64_encode(("%s/%d"):format(object.generation, object.metageneration))
end

--- The object resource of the JSON API, with links on the address that the client used.
---@param base string
---@param bucket string
---@param object table
---@return table
function M.resource(base, bucket, object)
  local path = ("b/%s/o/%s"):format(escape(bucket), escape(object.name))
  local resource = values.copy(object.fields)
  resource.kind = "storage#object"
  resource.id = ("%s/%s/%s"):format(bucket, object.name, object.generation)
  resource.selfLink = ("%s/storage/v1/%s"):format(base, path)
  resource.mediaLink = ("%s/download/storage/v1/%s?generation=%s&alt=media"):format(base, path, object.generation)
  resource.name, resource.bucket = object.name, bucket
  resource.generation, resource.metageneration = object.generation, tostring(object.metageneration)
  resource.size, resource.md5Hash, resource.crc32c = tostring(object.size), object.md5, object.crc32c
  resource.etag, resource.componentCount = M.etag(object), object.components
  resource.timeCreated, resource.updated, resource.timeDeleted = object.timeCreated, object.updated, object.timeDeleted
  resource.timeFinalized, resource.timeStorageClassUpdated = object.timeCreated, object.timeCreated
  return resource
end

return M
