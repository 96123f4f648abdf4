--- The lock of a platform: a lease object in the state bucket.
---
--- Invariants
--- - The object is created with ifGenerationMatch=0, so one creation wins. It holds a random nonce: a creation whose
---   reply was lost is recognised as our own.
--- - The holder rewrites it every TTL/3 with ifGenerationMatch of its own last generation. The generation is the
---   fencing token: when a rewrite is refused somebody else holds the lock, and `lost` says so.
--- - It is taken over only with ifGenerationMatch of what was seen, and only when the holder is proven dead: it ran on
---   this very machine and its process is gone; or the lease has expired by the server's clock.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local gcs = require "ws.gcs"
local json = require "ws.json"
local native = require "ws.engine".native
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local API = "backend_storage" -- beside the states
local TTL = 120  -- seconds that a lease lasts without renewal
local FIRST_POLL, LONGEST_POLL = 0.2, 2 -- seconds between looks at a held lock

---@class ws.Lock
---@field generation string  the fencing token
---@field lost? ws.Error     set when a renewal found that the lock is held by somebody else
local Lock = {}
Lock.__index = Lock

local function read_first_line(path)
  local file = io.open(path, "r")
  if not file then return nil end
  local line = file:read("l")
  file:close()
  return line
end

--- When a process started, in clock ticks since boot, which tells it from a later one with its number; nil when it is
--- gone.
local function start_time(pid)
  local line = read_first_line("/proc/" .. pid .. "/stat")
  if not line then return nil end
  local fields = {}
  for field in line:match("^.*%) (.*)$"):gmatch("%S+") do fields[#fields + 1] = field end
  return fields[1] ~= "Z" and fields[20] or nil -- field 22 of proc(5); the first two are before the bracket
end

local function holder(run)
  local pid = native.pid()
  return {
    nonce = crypto.random_hex(16), run = run, pid = pid, process_start = start_time(pid),
    boot = read_first_line("/proc/sys/kernel/random/boot_id"), host = read_first_line("/proc/sys/kernel/hostname"),
    user = os.getenv("USER") or os.getenv("LOGNAME") or "unknown", since = time.rfc3339(), ttl = TTL,
  }
end

--- Whether the holder ran on this machine, since its last start, and its process is gone.
local function proven_dead(info)
  return info.boot ~= nil and info.boot == read_first_line("/proc/sys/kernel/random/boot_id")
    and start_time(info.pid) ~= info.process_start
end

--- Seconds for which the lease was not renewed, by the server's clock.
local function age(meta)
  local updated = time.parse_rfc3339(meta.updated)
  return updated and (meta.server_time or time.now()) - updated or 0
end

local function url_of(bucket, name)
  return ("gs://%s/locks/%s.json"):format(bucket, name)
end

--- Who holds a platform's lock.
---@async
---@param bucket string
---@param name string  the platform
---@return table? info  nonce, run, host, pid, user, since; `generation`, `age` (seconds since the last renewal)
---@return ws.Error? err  kind `not_found`: it is free
function M.read(bucket, name)
  local url = url_of(bucket, name)
  local text, meta = gcs.get(url, { api = API })
  if not text then return nil, meta end
  local stat, err = gcs.stat(url, { api = API })
  if not stat then return nil, err end
  local info = json.decode(text)
  if type(info) ~= "table" then info = { run = "unknown" } end
  info.generation, info.age = stat.generation, age(stat)
  return info
end

local function held_error(url, info)
  return errors.new {
    kind = "locked", op = "lock",
    message = ("%s holds %s: run %s on %s (process %s), since %s, renewed %.0f s ago"):format(info.user or "somebody",
      url, info.run or "unknown", info.host or "unknown", info.pid or "unknown", info.since or "unknown", info.age),
    hint = ("wait for it with --wait-lock 10m; a lease that is not renewed for %d s is taken over"):format(TTL),
  }
end

local function write(url, info, generation)
  return gcs.put(url, json.encode(info), { content_type = "application/json", if_generation = generation,
    api = API })
end

--- One try: the lock; or nil and who holds it.
local function try(url, bucket, name, info)
  local meta, err = write(url, info, 0)
  if meta then return meta end
  if err.kind ~= "precondition" then return nil, err end
  local found, problem = M.read(bucket, name)
  if not found then
    if problem.kind == "not_found" then return nil, nil end -- released meanwhile: try again
    return nil, problem
  end
  if found.nonce == info.nonce then return { generation = found.generation } end
  if proven_dead(found) or found.age > (found.ttl or TTL) then
    meta, err = write(url, info, found.generation)
    if meta then return meta end
    if err.kind == "precondition" then return nil, nil end -- somebody was faster
    return nil, err
  end
  return nil, held_error(url, found)
end

--- Takes a platform's lock and renews it until it is released or closed.
---@async
---@param opts { bucket: string, name: string, run: string, wait?: number, on_wait?: fun(text: string) }  seconds
---@return ws.Lock? lock  close or release it
---@return ws.Error? err  kind `locked` says who holds it and what to do
function M.acquire(opts)
  local url, info = url_of(opts.bucket, opts.name), holder(opts.run)
  local deadline, pause = native.monotonic() + (opts.wait or 0), FIRST_POLL
  while true do
    local meta, err = try(url, opts.bucket, opts.name, info)
    if meta then
      local self = setmetatable({ url = url, info = info, generation = meta.generation }, Lock)
      self.heartbeat = task.spawn(function() self:renew() end)
      return self
    end
    if err and (err.kind ~= "locked" or native.monotonic() >= deadline) then return nil, err end
    if err and opts.on_wait then opts.on_wait(tostring(err.message)) end
    task.sleep(pause * (0.5 + math.random() / 2))
    pause = math.min(pause * 1.5, LONGEST_POLL)
  end
end

--- Renews the lease for ever; ends when it is lost.
function Lock:renew()
  while true do
    task.sleep(TTL / 3)
    local meta, err = write(self.url, self.info, self.generation)
    if meta then
      self.generation = meta.generation
    elseif err.kind == "precondition" then
      self.lost = err
      return
    end
  end
end

--- Gives the lock back; safe to call twice.
---@async
---@return true? ok
---@return ws.Error? err
function Lock:release()
  if self.released then return true end
  self.released = true
  self.heartbeat:cancel()
  self.heartbeat:join()
  local ok, err = gcs.delete(self.url, { if_generation = self.generation, api = API })
  if not ok and err.kind ~= "not_found" and err.kind ~= "precondition" then return nil, err end
  return true
end

function Lock:__close()
  task.shield(function() self:release() end)
end

--- Removes a lock whoever holds it.
---@async
---@param bucket string
---@param name string
---@param generation string  as `read` gave it
---@return true? ok
---@return ws.Error? err
function M.remove(bucket, name, generation)
  return gcs.delete(url_of(bucket, name), { if_generation = generation, api = API })
end

return M
