-- ws.gcs and the platform's lock against fake-gcs-server.
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local lock = require "ws.lock"
local secret = require "ws.secret"
local servers = require "servers"
local task = require "ws.task"

--- A bucket on a fresh server.
local function bucket(t)
  local env = servers.start(t, "gcs")
  environment.set { STORAGE_EMULATOR_HOST = env.STORAGE_EMULATOR_HOST, GOOGLE_STORAGE_CUSTOM_ENDPOINT = false }
  assert(gcp.credentials { token = "any-token" })
  t:defer(function()
    environment.set { STORAGE_EMULATOR_HOST = false }
    gcp.credentials(nil)
  end)
  t:ok(gcs.create_bucket("states-1", { project = "p" }))
  return "gs://states-1/"
end

return function(test)
  test("put, get, stat, list, copy, delete", function(t)
    local base = bucket(t)
    local put = t:ok(gcs.put(base .. "a/b c.txt", "hello", { content_type = "text/plain", cache_control = "no-cache" }))
    t:eq(put.size, 5)
    t:eq(gcs.get(base .. "a/b c.txt"), "hello")
    local stat = t:ok(gcs.stat(base .. "a/b c.txt"))
    t:eq({ stat.content_type, stat.generation, stat.size }, { "text/plain", put.generation, 5 })
    t:ok(gcs.put(base .. "empty", ""))
    t:eq(gcs.get(base .. "empty"), "")
    t:ok(gcs.put(base .. "hidden", secret.new "very-hidden"))
    t:eq(gcs.get(base .. "hidden"), "very-hidden")
    t:ok(gcs.copy(base .. "a/b c.txt", base .. "a/copy"))
    local objects, folders = gcs.list(base, { delimiter = "/" })
    t:eq({ #objects, folders }, { 2, { "a/" } })
    t:eq(#t:ok(gcs.list(base .. "a/")), 2)
    t:eq(gcs.delete(base .. "a/copy"), true)
    t:err("not_found", gcs.delete(base .. "a/copy"))
    t:err("not_found", gcs.get(base .. "none"))
    t:err("not_found", gcs.stat("gs://no-such-bucket/x"))
    t:err("not_found", gcs.stat_bucket "no-such-bucket")
    t:eq((gcs.create_bucket("states-1", { project = "p" })), nil)
    t:ok(gcs.create_bucket("bucket", { project = "p" }))
    t:examples "modules/gcs/README.md"
  end, { timeout = 120 })

  test("preconditions", function(t)
    local base = bucket(t)
    local one = t:ok(gcs.put(base .. "x", "1", { if_generation = 0 }))
    t:err("precondition", gcs.put(base .. "x", "2", { if_generation = 0 }))
    local two = t:ok(gcs.put(base .. "x", "2", { if_generation = one.generation }))
    t:err("precondition", gcs.put(base .. "x", "3", { if_generation = one.generation }))
    -- This server deletes whatever the precondition says; tests/sandbox looks at that one.
    t:eq(gcs.delete(base .. "x", { if_generation = two.generation }), true)
  end, { timeout = 120 })

  test("a large object goes through a session, and comes back into a file", function(t)
    local base, dir = bucket(t), t:tmpdir()
    local bytes = {}
    for i = 1, 20 do bytes[i] = string.char(i):rep(1024 * 1024) end
    assert(fs.write(dir .. "/big", table.concat(bytes)))
    local put = t:ok(gcs.put(base .. "big", { file = dir .. "/big" }))
    t:eq(put.size, 20 * 1024 * 1024)
    t:eq(gcs.get(base .. "big", { file = dir .. "/back" }), true)
    t:ok(fs.read(dir .. "/back") == table.concat(bytes))
    t:err("not_found", gcs.get(base .. "none", { file = dir .. "/none" }))
    t:eq(fs.list(dir), { "back", "big" })
    t:err("not_found", gcs.put(base .. "x", { file = dir .. "/none" }))
  end, { timeout = 120 })

  test("one of many gets the lock, the others wait their turn", function(t)
    bucket(t)
    local inside, most, turns = 0, 0, 0
    local functions = {}
    for i = 1, 8 do
      functions[i] = function()
        local held <close> = assert(lock.acquire { bucket = "states-1", name = "p", run = "r" .. i, wait = 60 })
        inside = inside + 1
        most = math.max(most, inside)
        task.sleep(0.02)
        inside, turns = inside - 1, turns + 1
        assert(held:release())
      end
    end
    t:ok(task.all(functions))
    t:eq({ most, turns }, { 1, 8 })
    t:err("not_found", lock.read("states-1", "p"))
  end, { timeout = 120 })

  test("a held lock says by whom; a dead holder's is taken over", function(t)
    bucket(t)
    local mine <close> = t:ok(lock.acquire { bucket = "states-1", name = "p", run = "run-1" })
    local err = t:err("locked", lock.acquire { bucket = "states-1", name = "p", run = "run-2" })
    t:has(err.message, "run-1")
    t:has(err.hint, "--wait-lock")
    t:ok(mine:release())
    local wsrun = require "ws.engine".native.executable()
    local r = assert(require "ws.process".run({ wsrun, "-e", [[
      assert(require("ws.lock").acquire { bucket = "states-1", name = "p", run = "killed" })
      local pid = require("ws.engine").native.pid()
      require("ws.process").run { "kill", "-KILL", tostring(pid) }]] },
      { env = { GOOGLE_OAUTH_ACCESS_TOKEN = "any-token" } }))
    t:eq(r.signal, "KILL")
    local left = t:ok(lock.read("states-1", "p"))
    t:eq({ left.info.run, left.stale }, { "killed", "the process that held it is dead" })
    local taken <close> = t:ok(lock.acquire { bucket = "states-1", name = "p", run = "next" })
    t:eq(t:ok(lock.read("states-1", "p")).info.run, "next")
    t:ok(taken.generation)
  end, { timeout = 120 })
end
