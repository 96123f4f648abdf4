-- The lock of a platform, against a storage server that fails where it is told to; and a short run of the trials.
local environment = require "ws.environment"
local errors = require "ws.error"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local fence = require "ws.fence"
local history = require "history"
local json = require "ws.json"
local lock = require "ws.lock"
local machine = require "ws.machine"
local process = require "ws.process"
local storage = require "storage"
local task = require "ws.task"
local time = require "ws.time"
local trials = require "trials"
local witness = require "ws.lock.witness"

local SLOW = tonumber(os.getenv "WSRUN_TEST_SLOW") or 1
local TTL = 0.5 * SLOW -- seconds
local TRIALS = 32
local wsrun = require "ws.engine".native.executable()

--- A server, the environment that points to it and to a state folder of this test's own.
local function world(t, opts)
  local s = storage.start(opts or {})
  s.dir = t:tmpdir()
  environment.set { STORAGE_EMULATOR_HOST = s.url, GOOGLE_STORAGE_CUSTOM_ENDPOINT = false,
    GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = false, WSRUN_STATE_DIR = s.dir, GOOGLE_OAUTH_ACCESS_TOKEN = "any-token" }
  assert(gcp.credentials { token = "any-token" })
  t:defer(function()
    s:close()
    environment.set { STORAGE_EMULATOR_HOST = false, WSRUN_STATE_DIR = false, GOOGLE_OAUTH_ACCESS_TOKEN = false }
    gcp.credentials(nil)
  end)
  return s
end

local function acquire(opts)
  local all = { bucket = "b", name = "p", run = "r", ttl = TTL }
  for key, value in pairs(opts or {}) do all[key] = value end
  return lock.acquire(all)
end

--- Whose lease there is, or nil.
local function holder(s)
  local object = s.objects["locks/p.json"]
  return object and json.decode(object.metadata.lock)
end

--- Faults for the next requests of the lock, one after the other; then none.
local function faults(...)
  local list, i = { ... }, 0
  return function()
    i = i + 1
    return list[i] or {}
  end
end

--- Writes somebody else's lease over what is there.
local function usurp(s)
  local old = s.objects["locks/p.json"]
  s.last = s.last + 1
  s.objects["locks/p.json"] = { name = "locks/p.json", generation = s.last, size = 0, data = "",
    crc32c = old and old.crc32c, updated = time.rfc3339(time.now() + s.clock, 3),
    metadata = { lock = json.encode { nonce = "0123", run = "other", host = "elsewhere", user = "ann", ttl = 60 } } }
end

local function await(t, what, fn)
  for _ = 1, 400 do
    if fn() then return end
    task.sleep(0.025 * SLOW)
  end
  t:ok(false, "never came: " .. what)
end

return function(test)
  test("taking it, a lost reply at each place", function(t)
    for _, fault in ipairs { { cut_after = true }, { deny_after = true }, { cut_before = true }, { refuse = true } } do
      local s = world(t)
      s.fault = faults(fault)
      local held <close> = t:ok(acquire())
      t:eq(holder(s).nonce, held.info.nonce)
      t:eq({ held:guard() }, { true })
      s.fault = faults(fault)
      t:ok(held:prove() and held:prove()) -- the first may have been in vain; the lease was young
      t:eq(held.generation, ("%d"):format(s.objects["locks/p.json"].generation))
      s.fault = faults(fault)
      t:ok(held:release())
      t:eq(holder(s), nil)
      t:eq({ held:release() }, { true })
      t:err("locked", held:guard())
      t:err("locked", held:prove())
    end
  end)

  test("a renewal that was on its way when the lock is given back", function(t)
    local s = world(t)
    local held = t:ok(acquire())
    s.fault = faults({ after = 0.1 * SLOW })
    local renewal = task.spawn(held.prove, held)
    task.sleep(0.03 * SLOW)
    renewal:cancel() -- the lease has a generation that the holder does not know
    renewal:join()
    t:ok(held:release())
    t:eq(holder(s), nil)
  end)

  test("taking it is given up in the middle: nothing is left", function(t)
    local s = world(t)
    s.fault = faults({ after = 0.1 * SLOW })
    t:err("timeout", task.timeout(0.03 * SLOW, acquire))
    t:eq(holder(s), nil)
    s.fault = faults({ deny_after = true }, { cut_before = true }) -- ours without our knowing; then refused for good
    local denied
    s.fault = function()
      if not denied then
        denied = true
        return { cut_after = true }
      end
      return {}
    end
    local held <close> = t:ok(acquire())
    t:ok(held.token)
  end)

  test("it is renewed, and others wait", function(t)
    local s = world(t)
    local held <close> = t:ok(acquire())
    local first = held.generation
    local err = t:err("locked", acquire { run = "second", wait = TTL * 2.2 })
    t:has(err.message, "p is locked by")
    t:has(err.message, "run r")
    t:has(err.hint, "--wait-lock")
    t:ok(held.generation ~= first and held.token == first)
    t:eq(holder(s).nonce, held.info.nonce)
    local found = t:ok(lock.read("b", "p"))
    t:eq({ found.info.run, found.stale, found.generation }, { "r", nil, held.generation })
  end)

  test("a holder that cannot renew stops believing, and says so, before others may take over", function(t)
    local s = world(t)
    local held <close> = t:ok(acquire())
    local told, at
    held.on_lost = function(why) told, at = why, time.boottime() end
    s.fault = function() return { refuse = true } end
    local sent = held.sent
    await(t, "the loss", function() return told end)
    t:ok(at - sent < TTL * 0.95, at - sent)
    t:eq(told, held.lost)
    t:has(told.message, "could not be renewed")
    t:eq(select(2, held:guard()), held.lost)
    s.fault = function() return {} end
    t:eq(select(2, held:release()), held.lost)
    t:eq(holder(s), nil) -- it was still ours: nobody has to wait
  end)

  test("the machine slept: the guard proves that nobody else held it, or refuses", function(t)
    local s = world(t)
    local held <close> = t:ok(acquire { ttl = 60 })
    local real, slept = time.boottime, 0
    time.boottime = function() return real() + slept end -- luacheck: ignore 122
    t:defer(function() time.boottime = real end) -- luacheck: ignore 122
    slept = 100
    t:eq({ held:guard() }, { true })
    local before = held.sent
    t:ok(held:guard() and held.sent == before) -- a young renewal costs nothing
    usurp(s)
    t:ok(held:guard())
    slept = 200
    local err = t:err("locked", held:guard())
    t:has(err.message, "taken over by ann on elsewhere")
    t:eq(err.retryable, false)
    t:ok(not held:release())
    t:eq(holder(s).user, "ann")
  end)

  test("asking for proof finds out what the clock does not know", function(t)
    local s = world(t)
    local held <close> = t:ok(acquire { ttl = 60 })
    s.fault = faults { refuse = true }
    t:ok(held:prove()) -- no answer, and the lease is young
    usurp(s)
    t:ok(held:guard())
    t:err("locked", held:prove())
    local second <close> = t:ok(acquire { name = "q", ttl = 60 })
    t:ok(lock.remove("b", "q", second.generation))
    t:has(t:err("locked", second:prove()).message, "somebody has removed it")
  end)

  test("an expired lease is taken over by the server's clock, not by ours", function(t)
    for _, clock in ipairs { 0, -86400, 86400 } do
      local s = world(t, { clock = clock })
      usurp(s)
      local old = s.objects["locks/p.json"]
      old.metadata.lock = json.encode { nonce = "0123", ttl = 100 }
      old.updated = time.rfc3339(time.now() + clock - 98, 3)
      t:err("locked", acquire())
      old.updated = time.rfc3339(time.now() + clock - 102, 3)
      local held <close> = t:ok(acquire())
      t:eq(holder(s).nonce, held.info.nonce)
    end
  end)

  test("a server that does not tell the time is watched for a whole lease", function(t)
    local s = world(t, { undated = true })
    usurp(s)
    local old = s.objects["locks/p.json"]
    old.metadata.lock, old.updated = json.encode { nonce = "0123", ttl = TTL }, "2020-01-01T00:00:00Z"
    local began = time.monotonic()
    local held <close> = t:ok(acquire { wait = 30 * SLOW })
    t:ok(time.monotonic() - began >= TTL)
    t:ok(held:guard())
  end)

  test("what is in the bucket may be anything", function(t)
    local s = world(t)
    for _, text in ipairs { "", "[]", "3", "{", '{"ttl":-1}', '{"ttl":"x","nonce":{}}', '{"user":"\\u001b[31m"}' } do
      usurp(s)
      s.objects["locks/p.json"].metadata.lock = text
      local err = t:err("locked", acquire())
      t:ok(not err.message:find("%c"), err.message)
    end
    t:eq(witness.proves_dead { boot = machine.place().boot, nonce = "../../etc/passwd" }, false)
    t:eq(witness.proves_dead {}, false)
  end)

  test("what fails for good is told at once; misuse is raised", function(t)
    local s = world(t)
    s.objects = setmetatable({}, { __index = function() error(errors.new { kind = "denied", message = "no" }) end })
    s.server.on_error = function() end
    s.server.handler = function() return { status = 403, body = "{}" } end
    t:err("denied", acquire { wait = 60 })
    t:raises("unknown option 'wiat'", acquire, { wiat = 3 })
    t:raises("needs bucket, name and run", lock.acquire, { bucket = "b" })
    t:raises("wait must be a number", acquire, { wait = "1m" })
    t:raises("ttl must be", acquire, { ttl = 0.01 })
  end)

  test("a dead process is proven dead, a stopped one is not", function(t)
    local s = world(t)
    local function start()
      local child = assert(process.start({ wsrun, "-e", [[
        assert(require("ws.lock").acquire { bucket = "b", name = "p", run = "child", ttl = 60 })
        io.stdout:write("held\n"):flush()
        require("ws.task").sleep(60)]] }, { stdout = "pipe" }))
      t:eq(child:lines()(), "held")
      return child
    end
    local child <close> = start()
    child:kill "STOP"
    t:eq(lock.read("b", "p").stale, nil)
    t:err("locked", acquire())
    child:kill "KILL"
    child:wait()
    t:eq(lock.read("b", "p").stale, "the process that held it is dead")
    environment.set { WSRUN_STATE_DIR = s.dir .. "/elsewhere" } -- as another machine with the same boot identifier
    t:err("locked", acquire())
    environment.set { WSRUN_STATE_DIR = s.dir }
    local held <close> = t:ok(acquire())
    t:eq(holder(s).nonce, held.info.nonce)
    t:ok(held:release())
    t:eq(require "ws.fs".list(s.dir .. "/locks"), {})
  end)

  test("what a run of a lost lock would change is refused", function(t)
    local s = world(t)
    local run = require "ws.run".new { id = "r", dir = s.dir, title = "t", options = {}, emit = function() end }
    local held <close> = t:ok(acquire { ttl = 60 })
    run:hold(held)
    local function put() return gcs.put("gs://b/x", "1", { attempts = 1 }) end
    t:ok(task.with("run", run, put))
    usurp(s)
    t:ok(task.with("run", run, fence.check))
    t:err("locked", task.with("run", run, fence.check, { long = true }))
    await(t, "the run's end", function() return run.aborted end)
    t:eq(run.aborted, held.lost)
    t:err("locked", task.with("run", run, put))
    t:ok(task.with("run", run, gcs.stat, "gs://b/x"))
    t:raises("not started", function() run:step("next", function() end) end)
    t:ok(put()) -- outside of the run
    local other <close> = t:ok(acquire { name = "q", ttl = 60 })
    run.locks = { other }
    t:ok(task.with("run", run, put))
    t:ok(other:release())
    t:ok(task.with("run", run, put)) -- the run itself has given it back
  end)

  test("a workflow whose lock is taken away ends, and its child with it", function(t)
    local s = world(t)
    local script = s.dir .. "/w.lua"
    assert(require "ws.fs".write(script, [[
      local ws = require "ws"
      return ws.workflow { summary = "s", run = function(w)
        local held <close> = assert(require("ws.lock").acquire { bucket = "b", name = "p", run = w.id,
          ttl = w.options["lock-ttl"] })
        w:hold(held)
        w:step("long", function() return assert(require("ws.process").check({ "sleep", "60" })) end)
        w:step("never", function() print "never" end)
      end }]]))
    local child <close> = assert(process.start({ wsrun, "--plain", "--lock-ttl", "1", script }, { cwd = s.dir }))
    await(t, "the lock", function() return holder(s) end)
    task.sleep(0.2)
    usurp(s)
    local r = t:ok(child:wait(30 * SLOW))
    t:eq({ r.code, r.stdout }, { 75, "" }, r.stderr)
    t:has(r.stderr, "the lock of p was lost: taken over by ann on elsewhere")
    t:eq(holder(s).user, "ann")
    t:eq(assert(process.run { wsrun, "--lock-ttl", "0.5", script }).code, 64)
  end)

  test("wsrun lock show and release", function(t)
    local s = world(t)
    local function run(code, ...)
      local r = assert(process.run { wsrun, "lock", ... })
      t:eq(r.code, code, r.stdout .. r.stderr)
      return r.stdout .. r.stderr
    end
    local function put(age, info)
      local text = time.rfc3339(time.now() - age, 3)
      s.objects["locks/dev-seb.json"] = { name = "locks/dev-seb.json", generation = 7, size = 0, updated = text,
        metadata = { lock = json.encode(info) } }
    end
    local ann = { nonce = "00", user = "ann", host = "build-7", run = "r1", pid = 12, since = "2026-01-01T00:00:00Z",
      ttl = 120 }
    t:eq(run(0, "show", "dev-seb"), "dev-seb is not locked\n")
    t:eq(run(0, "release", "dev-seb"), "dev-seb is not locked\n")
    put(10, ann)
    local said = run(0, "show", "dev-seb")
    t:ok(said:find "^dev%-seb is locked by ann on build%-7 %(run r1, process 12%), since 2026%-01%-01T00:00:00Z, "
      and not said:find "takes it over", said)
    said = run(75, "release", "dev-seb")
    t:has(said, "dev-seb is in use by ann")
    t:has(said, "--force")
    t:ok(s.objects["locks/dev-seb.json"])
    t:eq(run(0, "release", "--force", "dev-seb"), "dev-seb is released\n")
    t:eq(s.objects["locks/dev-seb.json"], nil)
    put(130, ann)
    t:has(run(0, "show", "dev-seb"), "the next run takes it over: its lease has expired")
    t:eq(run(0, "release", "dev-seb"), "dev-seb is released\n")
    put(130, ann)
    local requests = 0
    s.fault = function() -- between the look and the removal it is renewed
      requests = requests + 1
      if requests == 2 then s.objects["locks/dev-seb.json"].generation = 8 end
      return {}
    end
    t:has(run(1, "release", "dev-seb"), "renewed or taken meanwhile")
    run(64, "release")
    run(64, "show", "dev-seb", "x")
    run(64, "show", "dev-seb", "--force")
    run(64, "relaese", "dev-seb")
  end)

  test("the checker refuses what a lock may not do", function(t)
    local function op(kind, who, call, ret, optional)
      return { kind = kind, holder = who, call = call, ret = ret, optional = optional or false }
    end
    local inf = math.huge
    t:eq(history.linearizable {}, true)
    t:eq(history.linearizable { op("take", "1", 1, 2), op("guard", "1", 3, 4), op("give", "1", 5, 6),
      op("take", "2", 2, 7), op("guard", "2", 8, 9) }, true)
    -- taken while it is held
    t:eq(history.linearizable { op("take", "1", 1, 2), op("take", "2", 3, 4) }, false)
    -- believed after somebody else took it
    t:eq(history.linearizable { op("take", "1", 1, 2), op("expire", "1", 3, inf, true), op("take", "2", 3, 5),
      op("guard", "1", 6, 7) }, false)
    t:eq(history.linearizable { op("take", "1", 1, 2), op("expire", "1", 3, inf, true), op("take", "2", 3, 7),
      op("guard", "1", 5, 6) }, true)
    -- there and back
    t:eq(history.linearizable { op("take", "1", 1, 2), op("expire", "1", 2, inf, true), op("take", "2", 3, 4),
      op("guard", "2", 5, 6), op("guard", "1", 7, 8) }, false)
    -- an acquisition without a reply may have been one
    t:eq(history.linearizable { op("take", "1", 1, inf, true), op("expire", "1", 1, inf, true),
      op("take", "2", 3, 4) }, true)
    local facts = { ttl = 1, dead = { c = 4 } }
    local function problems(server, logs) return history.agrees_with_server(logs or {}, server, facts) end
    local function taken(idle) return { t = 3, what = "take", nonce = "b", over = "a", idle = idle } end
    t:eq(#problems { { t = 1, what = "take", nonce = "a" }, taken(1.1), { t = 4, what = "write", nonce = "b" } }, 0)
    t:eq(#problems { { t = 1, what = "take", nonce = "a" }, taken(0.9) }, 1)
    t:eq(#problems { { t = 3, what = "take", nonce = "c" }, { t = 5, what = "take", nonce = "b", over = "c",
      idle = 0.9 } }, 0)
    t:eq(#problems { { t = 1, what = "take", nonce = "a" }, taken(2), { t = 4, what = "write", nonce = "b" },
      { t = 5, what = "write", nonce = "a" } }, 1)
    t:eq(#problems({ { t = 1, what = "take", nonce = "a" }, taken(2) },
      { { { what = "return", nonce = "a" }, { what = "guard", ok = true, t = 3.1 } } }), 1)
  end)

  test("trials: a lock that does not look at its guard is found out", function(t)
    world(t)
    local total = trials.run { trials = 2, ttl = TTL, jobs = 2, dir = t:tmpdir(), wsrun = wsrun, mutant = "no-guard",
      slack = 5 * SLOW, plan = function(p)
        p.kill, p.stop, p.storm, p.cut, p.delay, p.late = 0, 1, 0, 0, 0, 0
        p.contenders, p.hold, p.within = 2, TTL * 5, TTL / 4
      end }
    t:ok(table.concat(total.problems, "\n"):find("believed in its lock"), trials.report(total))
    t:ok(table.concat(total.problems, "\n"):find("no order that a lock allows"), trials.report(total))
  end, { timeout = 120 })

  test("trials: never two holders, every stale lock is recovered", function(t)
    world(t)
    t:ok(trials.faketime(), "Debian's package faketime is missing: make deps")
    local total = trials.run { trials = TRIALS, ttl = TTL, jobs = 8, dir = t:tmpdir(), wsrun = wsrun, slack = 5 * SLOW,
      seed = os.time() % 1000000 }
    t:eq(total.problems, {}, trials.report(total))
    t:ok(total.stats.takes >= TRIALS * 4, trials.report(total))
    t:ok(total.stats.kills > 0 and total.stats.stops > 0 and total.stats.refused > 0, trials.report(total))
  end, { timeout = 400 })
end
