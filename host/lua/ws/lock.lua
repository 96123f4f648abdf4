--- The lock of a platform: a lease in the state bucket.
---
--- Invariants
--- - One creation wins (ifGenerationMatch=0), and every later write of the lease replaces exactly what was seen. A
---   random nonce in it tells whose it is: a write whose reply was lost is found again, whether it took the lease,
---   renewed it or gave it back.
--- - The holder renews every third of the lease. It believes in a renewal from the moment it was sent, until a sixth
---   of the lease before others may take it, by a clock that also counts while the machine sleeps. After that `lost`
---   is set and `on_lost` called, or a renewal has proven that nobody else held it.
--- - Others take it over when it has expired by the server's clock, or its holder is proven dead on this machine.
local errors = require "ws.error"
local crypto = require "ws.crypto"
local lease = require "ws.lock.lease"
local machine = require "ws.machine"
local native = require "ws.engine".native
local task = require "ws.task"
local time = require "ws.time"
local witness = require "ws.lock.witness"

local M = {}

local SHORTEST = 0.2                    -- seconds of a lease; for tests
local LONGEST_TRY = 10                  -- seconds for one request
local PATIENCE = 30                     -- seconds to go on without an answer, also when held locks are not waited for
local FIRST_POLL, LONGEST_POLL = 0.2, 2 -- seconds between looks at a held lock
local GIVING_BACK = 10                  -- seconds
local CLEARING_DOUBT = 3                -- seconds
local CALM_TIME, CALM_TRIES = 60, 6     -- seconds and tries where nobody's lease depends on it

---@class ws.Lock
---@field name string
---@field token string       the fencing token: the lease's generation when it was taken; unique to this holder
---@field generation string  the lease's generation now
---@field lost? ws.Error     kind `locked`: somebody else may hold the lock
---@field on_lost? fun(err: ws.Error)  called once, in a task of its own, when `lost` is set
local Lock = {}
Lock.__index = Lock

local function info_of_holder(run, ttl)
  local info = machine.process()
  info.nonce, info.run, info.since, info.ttl = crypto.random_hex(16), run, time.rfc3339(), ttl
  return info
end

--- "ann on build-7 (run 2026…, process 12), since …, renewed 3 s ago". What stands in a bucket may be anything.
local function describe(info, age)
  local function word(value) return (tostring(value == nil and "unknown" or value):gsub("%c", "?")) end
  return ("%s on %s (run %s, process %s), since %s, renewed %.0f s ago"):format(word(info.user), word(info.host),
    word(info.run), word(info.pid), word(info.since), age)
end

local function held_error(name, seen, age)
  return errors.new {
    kind = "locked", op = "lock", message = ("%s is locked by %s"):format(name, describe(seen.info, age)),
    hint = ("wait for it with --wait-lock 10m; it is taken over when it was not renewed for %.0f s"):format(
      lease.ttl(seen.info)),
  }
end

--- Who holds a platform's lock.
---@async
---@param bucket string
---@param name string  the platform
---@return { info: table, generation: string, age: number, text: string, stale?: string }? holder  age: seconds since
---  the last renewal; text: who, for people; stale: why it may be taken over
---@return ws.Error? err  kind `not_found`: it is free
function M.read(bucket, name)
  local seen, err = lease.look(lease.url(bucket, name), CALM_TIME, CALM_TRIES)
  if not seen then return nil, err end
  local age = lease.age(seen)
  local stale = age > lease.ttl(seen.info) and "its lease has expired"
    or witness.proves_dead(seen.info) and "the process that held it is dead" or nil
  return { info = seen.info, generation = seen.generation, age = age, text = describe(seen.info, age), stale = stale }
end

--- Removes a lease whoever holds it; its holder notices at its next renewal.
---@async
---@param bucket string
---@param name string
---@param generation string  as `read` gave it
---@return true? ok
---@return ws.Error? err  kind `precondition`: it is another one by now
function M.remove(bucket, name, generation)
  return lease.delete(lease.url(bucket, name), generation, CALM_TIME, CALM_TRIES)
end

local function try_time(self)
  return math.min(LONGEST_TRY, self.ttl / 3)
end

--- What is ours from a write that was sent at `sent`.
local function adopt(self, generation, sent)
  self.generation, self.sent = generation, sent
  self.good_until = sent + self.ttl * 5 / 6
end

--- What the lease must be for our next try to take it: a generation, 0 for none; or nil and who holds it.
local function find_chance(self)
  local seen, err = lease.look(self.url, try_time(self))
  if not seen then
    if err.kind == "not_found" then return 0 end
    return nil, err
  end
  if seen.info.nonce == self.info.nonce then return seen.generation end -- a reply was lost: written again, it is sure
  local age, ttl = lease.age(seen, self.seen), lease.ttl(seen.info)
  seen.age, seen.at, self.seen = age, native.monotonic(), seen
  if age > ttl or witness.proves_dead(seen.info) then
    self.over = seen.info
    return seen.generation
  end
  return nil, held_error(self.name, seen, age), math.min(ttl / 4, ttl - age + 0.01)
end

--- Tries until the lease is ours. Returns true, or nil, err.
local function take(self, opts)
  local now = native.monotonic
  local deadline, pause = now() + (opts.wait or 0), FIRST_POLL
  local patience = math.max(deadline, now() + PATIENCE)
  local expected, err, wait = 0
  while true do
    if expected then
      local sent, doubt, generation = time.boottime(), self.doubt
      self.doubt = true -- from here on it may be ours without our knowing, also when this task is cancelled
      generation, err = lease.write(self.url, self.info, expected, try_time(self))
      if generation then
        adopt(self, generation, sent)
        if time.boottime() < self.good_until then return true end
        expected = generation -- the reply came so late that it proves little
      elseif err.kind == "precondition" then
        self.doubt = doubt
        expected, err, wait = find_chance(self)
      else
        expected = nil
      end
    else
      expected, err, wait = find_chance(self)
    end
    if not expected then
      local limit = err.kind == "locked" and deadline or patience
      if not err.retryable or now() >= limit then return nil, err end
      if opts.on_wait then opts.on_wait(tostring(err.message)) end
      local longest = math.max(0.02, math.min(pause, wait or self.ttl / 4, limit - now()))
      task.sleep(longest * (0.75 + math.random() / 4))
      pause = math.min(pause * 1.5, LONGEST_POLL)
    end
  end
end

--- Removes the lease if it is ours. Returns true when it is not ours any more.
local function give_back(self, seconds)
  local generation, deadline = not self.doubt and self.generation, native.monotonic() + seconds
  local err
  repeat
    local ok
    if generation then
      ok, err = lease.delete(self.url, generation, try_time(self))
      generation = nil
    else
      local seen
      seen, err = lease.look(self.url, try_time(self))
      ok = seen and seen.info.nonce ~= self.info.nonce
      generation = seen and seen.generation
    end
    if ok or err and err.kind == "not_found" then return true end
    if err and err.kind ~= "precondition" then
      if not err.retryable then return nil, err end
      task.sleep(FIRST_POLL * math.random())
    end
  until native.monotonic() >= deadline
  return nil, err or errors.new { kind = "timeout", op = "lock", message = self.name .. ": could not be given back" }
end

local known = { bucket = "string", name = "string", run = "string", wait = "number", ttl = "number",
  on_wait = "function" }

local function check(opts)
  for key, value in pairs(opts) do
    if not known[key] then error(("lock.acquire: unknown option '%s'"):format(tostring(key)), 3) end
    if type(value) ~= known[key] then
      error(("lock.acquire: %s must be a %s, not a %s"):format(key, known[key], type(value)), 3)
    end
  end
  if not (opts.bucket and opts.name and opts.run) then error("lock.acquire needs bucket, name and run", 3) end
  if opts.ttl and not (opts.ttl >= SHORTEST and opts.ttl < math.huge) then
    error(("lock.acquire: ttl must be %.1f s or more"):format(SHORTEST), 3)
  end
end

--- Takes a platform's lock and renews it until it is released or closed.
---@async
---@param opts { bucket: string, name: string, run: string, wait?: number, ttl?: number,
---  on_wait?: fun(text: string) }  wait: seconds to wait for a lock that is held, default 0; ttl: seconds that the
---  lease lasts without renewal, default 120
---@return ws.Lock? lock  close or release it
---@return ws.Error? err  kind `locked` says who holds it and what to do
function M.acquire(opts)
  check(opts)
  local ttl = opts.ttl or lease.TTL
  local self = setmetatable({ name = opts.name, url = lease.url(opts.bucket, opts.name), ttl = ttl,
    info = info_of_holder(opts.run, ttl), turn = task.limit(1) }, Lock)
  self.witness = witness.open(self.info.nonce)
  local _ <close> = setmetatable({}, { __close = function()
    if self.heartbeat then return end
    task.shield(function()
      if self.doubt then give_back(self, CLEARING_DOUBT) end
      if self.witness then self.witness:close { keep = self.doubt } end -- a write may still be on its way
    end)
  end })
  local ok, err = take(self, opts)
  if not ok then return nil, err end
  if self.over then witness.forget(self.over) end
  self.token, self.doubt, self.over, self.seen = self.generation, nil, nil, nil
  self.heartbeat = task.spawn(function() self:renew_for_ever() end)
  return self
end

local function lose(self, why)
  if self.lost then return end
  self.lost = errors.new { kind = "locked", op = "lock", retryable = false,
    message = ("the lock of %s was lost: %s"):format(self.name, why),
    hint = "nothing more was written; look what the other run does, then run again" }
  if self.on_lost then task.spawn(self.on_lost, self.lost) end
end

local function released_error(self)
  return errors.new { kind = "locked", op = "lock", retryable = false,
    message = ("the lock of %s was released"):format(self.name) }
end

--- One renewal. Returns true; or nil and why not, and whether to try again at once.
local function renew(self)
  local sent = time.boottime()
  local left = self.good_until - sent
  local seconds = left > 0 and math.min(try_time(self), left) or try_time(self)
  local generation, err = lease.write(self.url, self.info, self.generation, seconds)
  if generation then
    adopt(self, generation, sent)
    return true
  end
  if err.kind ~= "precondition" then return nil, err end
  local seen, problem = lease.look(self.url, seconds)
  if not seen then
    if problem.kind == "not_found" then lose(self, "somebody has removed it") end
    return nil, problem
  end
  if seen.info.nonce ~= self.info.nonce then
    lose(self, "taken over by " .. describe(seen.info, lease.age(seen)))
    return nil, self.lost
  end
  local again = seen.generation ~= self.generation -- an earlier renewal's reply was lost
  self.generation = seen.generation
  return nil, err, again
end

--- Renews now, once more when a lost reply has to be made good.
local function renew_now(self)
  return self.turn:run(function()
    if self.lost or self.released then return nil, self.lost or released_error(self) end
    local ok, err, again = renew(self)
    if again then ok, err = renew(self) end
    return ok, err
  end)
end

--- The heartbeat; ends when the lock is lost.
---@private
function Lock:renew_for_ever()
  while not self.lost do
    local left = self.sent + self.ttl / 3 - time.boottime()
    if left > 0 then
      task.sleep(math.min(left, self.ttl / 12)) -- in pieces: the loop's timers stand still while the machine sleeps
    else
      local ok, err = renew_now(self)
      if not ok and not self.lost then
        if time.boottime() >= self.good_until then
          lose(self, ("it could not be renewed for %.0f s: %s"):format(time.boottime() - self.sent, tostring(err)))
        else
          task.sleep(self.ttl / 24 * (0.5 + math.random()))
        end
      end
    end
  end
end

--- Whether the lock is held, for sure: to be asked before each write that it protects. Cheap, and without waiting, as
--- long as the last renewal is young enough; else it renews first.
---@async
---@return true? ok
---@return ws.Error? err  kind `locked`
function Lock:guard()
  while not self.lost and not self.released do
    if time.boottime() < self.good_until then return true end
    local ok, err = renew_now(self)
    if not ok and not self.released then
      lose(self, ("it has expired and could not be renewed: %s"):format(tostring(err)))
    end
  end
  return nil, self.lost or released_error(self)
end

--- As `guard`, but asks the server if it can be reached: to be asked before work that takes long. Also right when this
--- machine was frozen without its clocks noticing.
---@async
---@return true? ok
---@return ws.Error? err  kind `locked`
function Lock:prove()
  if not self.released and not self.lost then renew_now(self) end
  return self:guard()
end

--- Gives the lock back; safe to call twice.
---@async
---@return true? ok
---@return ws.Error? err  kind `locked`: it had been lost. Others: it ends with its lease
function Lock:release()
  if self.released then return true end
  self.released = true
  self.heartbeat:cancel()
  self.heartbeat:join()
  self.doubt = self.lost ~= nil
  local ok, err = self.turn:run(give_back, self, GIVING_BACK)
  if self.witness then self.witness:close { keep = not ok } end
  if self.lost then return nil, self.lost end
  return ok, err
end

function Lock:__close()
  task.shield(function() self:release() end)
end

return M
