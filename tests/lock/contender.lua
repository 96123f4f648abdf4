-- One contender of a trial: takes the lock, writes to the object that it protects as long as it holds it, gives it
-- back. What it does and believes goes to a file, line by line, with the time of a clock that all processes share.
--
--   wsrun contender.lua NAME ID TTL WRITES WAIT FILE [no-guard]
local gcs = require "ws.gcs"
local json = require "ws.json"
local lock = require "ws.lock"
local task = require "ws.task"
local time = require "ws.time"

local name, id, ttl, writes, wait, path, mutant = table.unpack(arg)
local file = assert(io.open(path, "a"))
file:setvbuf("no")

local function note(event)
  event.id, event.t = id, event.t or time.boottime()
  file:write(json.encode(event), "\n")
end

local register = "gs://b/register/" .. name

--- Writes to the protected object: the first write of a holder replaces whatever is there, each later one the holder's
--- own last one. So it is refused when a newer holder has written.
local function write(held, before, n)
  local made, err = gcs.put(register, ("%d"):format(n), { if_generation = before,
    metadata = { token = held.token, nonce = held.info.nonce } })
  if not made and err.kind ~= "precondition" then error(err, 0) end
  note { what = "write", n = n, token = held.token, accepted = made ~= nil }
  return made and made.generation
end

--- The generation of the protected object; what a holder before us still writes makes another one.
local function look()
  local there, err = gcs.stat(register)
  if not there and err.kind ~= "not_found" then error(err, 0) end
  return there and there.generation or 0
end

local function work(held)
  local generation, n = look(), 0
  for _ = 1, tonumber(writes) do
    n = n + 1
    local began = time.boottime()
    local ok = mutant == "no-guard" or held:guard()
    note { what = "guard", t = began, ended = time.boottime(), ok = ok == true, token = held.token }
    if not ok then return end
    generation = write(held, generation, n)
    if not generation then
      if n > 1 then return end
      generation, n = look(), 0
    end
    task.sleep(0.01 + math.random() * 0.02)
  end
end

note { what = "start", now = time.now() }
local began = time.boottime()
note { what = "call", t = began }
local held, err = lock.acquire { bucket = "b", name = name, run = id, wait = tonumber(wait), ttl = tonumber(ttl) }
note { what = "return", began = began, token = held and held.token, nonce = held and held.info.nonce,
  err = err and tostring(err), kind = err and err.kind }
if not held then os.exit(err.kind == "locked" and 75 or 1) end
held.on_lost = function(why) note { what = "lost", token = held.token, why = tostring(why) } end
work(held)
local asked = time.boottime()
note { what = "release", t = asked, token = held.token }
local ok, problem = held:release()
note { what = "released", began = asked, token = held.token, ok = ok == true, err = problem and tostring(problem) }
