--- The lease of a lock: an object in the state bucket whose metadata says who holds it.
---
--- Invariants
--- - Every call is bounded and, unless it is told otherwise, one try: who calls decides what a lost reply means.
--- - What `look` gives is of one moment: who holds the lease, its generation and its age come with one answer. What a
---   write then replaces is exactly what was judged.
--- - The age counts by the server's clock: between when it wrote the object and when it answered. It is a lower bound,
---   and grows by our monotonic clock, which may stand still but never jumps. Our time of day is never asked.
local gcs = require "ws.gcs"
local json = require "ws.json"
local native = require "ws.engine".native
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local API = "backend_storage" -- beside the states

--- Seconds that a lease lasts without renewal, unless it says otherwise itself.
M.TTL = 120

---@class ws.lock.Seen
---@field info table         who holds it: nonce, run, host, pid, user, since, ttl; may be empty
---@field generation string
---@field age number         seconds since the last renewal, at least, at `at`
---@field at number          of the monotonic clock

--- The lease's address.
---@param bucket string
---@param name string
---@return string url
function M.url(bucket, name)
  return ("gs://%s/locks/%s.json"):format(bucket, name)
end

--- One try of a request. A lock's own requests are not guarded by the lock.
local function try(seconds, fn, ...)
  return task.with("run", false, task.timeout, seconds, fn, ...)
end

local function read_info(object)
  local info = json.decode((object.metadata or {}).lock or "")
  return type(info) == "table" and info or {}
end

--- Who holds the lease.
---@async
---@param url string
---@param seconds number  for the try, or for all
---@param attempts? integer  default 1
---@return ws.lock.Seen? seen
---@return ws.Error? err  kind `not_found`: nobody
function M.look(url, seconds, attempts)
  local object, err = try(seconds, gcs.stat, url, { api = API, attempts = attempts or 1 })
  if not object then return nil, err end
  local updated = time.parse_rfc3339(object.updated or "")
  local age = updated and object.server_time and math.max(0, object.server_time - updated) or 0
  return { info = read_info(object), generation = object.generation, age = age, at = native.monotonic() }
end

--- Seconds since the last renewal, at least, now. `before` is an earlier look: of the same generation it may know more.
---@param seen ws.lock.Seen
---@param before? ws.lock.Seen
---@return number
function M.age(seen, before)
  local now = native.monotonic()
  local age = seen.age + now - seen.at
  if before and before.generation == seen.generation then age = math.max(age, before.age + now - before.at) end
  return age
end

--- Seconds that a lease lasts, as its holder said.
---@param info table
---@return number
function M.ttl(info)
  local ttl = tonumber(info.ttl)
  return ttl and ttl > 0 and ttl < math.huge and ttl or M.TTL
end

--- Writes the lease if what is there has this generation (0: if there is none).
---@async
---@param url string
---@param info table
---@param generation string|integer
---@param seconds number  for the try
---@return string? generation
---@return ws.Error? err  kind `precondition`: it was not so. After another error it may have been written all the same
function M.write(url, info, generation, seconds)
  local text = ("Held by %s on %s, run %s, since %s. `wsrun lock show` says more.\n"):format(info.user, info.host,
    info.run, info.since)
  local object, err = try(seconds, gcs.put, url, text, { content_type = "text/plain; charset=utf-8", api = API,
    metadata = { lock = json.encode(info) }, if_generation = generation, attempts = 1 })
  if not object then return nil, err end
  return object.generation
end

--- Removes the lease if it has this generation.
---@async
---@param url string
---@param generation string
---@param seconds number  for the try, or for all
---@param attempts? integer  default 1
---@return true? ok
---@return ws.Error? err  kinds `precondition`, `not_found`, ...
function M.delete(url, generation, seconds, attempts)
  return try(seconds, gcs.delete, url, { if_generation = generation, api = API, attempts = attempts or 1 })
end

return M
