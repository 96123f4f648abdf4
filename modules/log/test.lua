local log = require "ws.log"
local secret = require "ws.secret"
local process = require "ws.process"
local fs = require "ws.fs"

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/log/README.md"
  end)

  test("records reach the sink from the level on, with secrets masked", function(t)
    local seen = {}
    local sink, level = log.set_sink(function(record) seen[#seen + 1] = record end), log.set_level("info")
    t:defer(function() log.set_sink(sink) log.set_level(level) end)
    local s = secret.new("swordfish-77")
    log.debug("not shown")
    log.info("hello")
    log.warn("the password is " .. "swordfish-77", { by = s, file = "a", text = "xswordfish-77x" })
    log.error({ 1 })
    t:eq(#seen, 3)
    t:eq(seen[1], { level = "info", message = "hello" })
    t:eq(seen[2].message, "the password is ***")
    t:eq(seen[2].fields, { by = "***", file = "a", text = "x***x" })
    t:has(seen[3].message, "table")
    t:eq(log.set_level("off"), "info")
    log.error("x")
    t:eq(log.set_level("debug"), "off")
    log.debug("y")
    t:eq(#seen, 4)
    t:raises("no level", log.set_level, "loud")
    t:raises("function expected", log.set_sink, 5)
    t:raises("table expected", log.info, "x", "y")
  end)

  test("without a sink they go to stderr; WSRUN_LOG sets the level", function(t)
    local script = fs.join(t:tmpdir(), "x.lua")
    t:ok(fs.write(script, [[
      local log = require "ws.log"
      log.debug("d") log.info("i", { b = 2, a = 1 }) log.warn("w") log.error("e")
    ]]))
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    local r = t:ok(process.run({ wsrun, script }, { env = { WSRUN_LOG = false } }))
    t:eq(r.stdout, "")
    t:eq(r.stderr, "wsrun: i a=1 b=2\nwsrun: warn: w\nwsrun: error: e\n")
    r = t:ok(process.run({ wsrun, script }, { env = { WSRUN_LOG = "debug" } }))
    t:has(r.stderr, "wsrun: debug: d\n")
    r = t:ok(process.run({ wsrun, script }, { env = { WSRUN_LOG = "error" } }))
    t:eq(r.stderr, "wsrun: error: e\n")
  end)
end
