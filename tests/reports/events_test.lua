-- The events of real runs against the published schema; the journal keeps those that a report needs.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")

local function project(t, script)
  local dir = fs.realpath(t:tmpdir())
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.write(dir .. "/workflows/s.lua", script))
  return dir
end

local function run(dir, ...)
  return assert(process.run({ wsrun, ... }, { cwd = dir, timeout = 60, env = { WSRUN_STATE_DIR = dir .. "/state" } }))
end

--- Adds the events of a run to a list; returns how often each type came.
local function add_events(events, text)
  local counts = {}
  for line in text:gmatch("[^\n]+") do
    local event = assert(json.decode(line))
    events[#events + 1] = event
    counts[event.type] = (counts[event.type] or 0) + 1
  end
  return counts
end

--- The published schema, for a list of events; fields that it does not name are wrong here.
local function strict_schema(t)
  local schema = assert(json.decode(assert(fs.read("docs/events.schema.json"))))
  for _, choice in ipairs(schema.oneOf) do
    local def = schema["$defs"][choice["$ref"]:match("[^/]+$")]
    for _, common in ipairs { "schema_version", "time", "run" } do def.properties[common] = true end
    def.additionalProperties = false
  end
  schema["$defs"].error.additionalProperties = false
  local defs = schema["$defs"]
  schema["$defs"] = nil
  defs.event = schema
  local file = t:tmpdir() .. "/schema.json"
  assert(fs.write(file, json.encode { ["$schema"] = schema["$schema"], type = "array",
    items = { ["$ref"] = "#/$defs/event" }, ["$defs"] = defs }))
  return file
end

local function check(t, events)
  local dir = t:tmpdir()
  assert(fs.write(dir .. "/events.json", json.encode(json.array(events))))
  return assert(process.run { "check-jsonschema", "--schemafile", strict_schema(t), dir .. "/events.json" })
end

local SCRIPT = [[
local ws = require "ws"
return ws.workflow { summary = "t", run = function(w)
  w:note("before")
  w:step("base", function()
    w:progress("creating 1") w:progress("creating 2", 2, 3)
    w:note("inside")
    w:annotate { level = "warning", file = "a.go", line = 3, col = 4, text = "slow" }
    w:changed("5 added") w:changed("1 changed")
    w:progress("checking")
    return { a = 1 }
  end)
  w:together {
    function()
      w:step("apps", function()
        w:step("web", function()
          if not os.getenv("FINE") then
            ws.fail("no " .. ("x"):rep(3), { kind = "timeout", hint = "look", where = "a.lua:1", status = 503 })
          end
        end)
      end)
    end,
    function() w:step("after", { needs = { "apps" } }, function() end) end,
  }
end }
]]

return function(test)
  test("events of runs that fail, are resumed, are interrupted and go well are as the schema says", function(t)
    local dir, events = project(t, SCRIPT), {}
    local r = run(dir, "workflows/s.lua", "--json")
    t:eq(r.code, 1, r.stderr)
    local counts = add_events(events, r.stdout)
    t:eq(counts, { run_start = 1, step_start = 3, step_progress = 3, step_note = 2, annotation = 1, step_end = 4,
      run_end = 1 })
    r = assert(process.run({ wsrun, "resume", "--json" }, { cwd = dir, timeout = 60,
      env = { WSRUN_STATE_DIR = dir .. "/state", FINE = "1" } }))
    t:eq(r.code, 0, r.stderr)
    add_events(events, r.stdout)
    local reused = {}
    for _, event in ipairs(events) do
      if event.reused then reused[#reused + 1] = event.step end
    end
    t:eq(reused, { "base" })
    assert(fs.write(dir .. "/workflows/long.lua", [[
      local ws, task = require "ws", require "ws.task"
      return ws.workflow { summary = "t", run = function(w)
        w:step("long", function() require "ws.signal.native".raise("INT") task.sleep(30) end)
      end }]]))
    r = run(dir, "workflows/long.lua", "--json")
    t:eq(r.code, 130, r.stderr)
    counts = add_events(events, r.stdout)
    t:eq(counts.text, 1)
    t:eq(events[#events].type, "run_end")
    local checked = check(t, events)
    t:eq(checked.code, 0, checked.stdout .. checked.stderr)
  end)

  test("the schema refuses what is wrong", function(t)
    local good = { schema_version = 1, type = "step_end", time = "2026-11-26T10:00:00.123Z", run = "r", step = "a",
      status = "done", seconds = 0.5 }
    t:eq(check(t, { good }).code, 0)
    for field, value in pairs { schema_version = 2, type = "step_over", run = "", status = "gone", seconds = "1",
      extra = true, changes = json.array {} } do
      local event = {}
      for k, v in pairs(good) do event[k] = v end
      event[field] = value
      t:eq(check(t, { event }).code, 1, field)
    end
    local failed = { schema_version = 1, type = "step_end", time = good.time, run = "r", step = "a", status = "failed",
      seconds = 1 }
    t:eq(check(t, { failed }).code, 1, "a failure has an error")
  end)

  test("the journal keeps notes, marks, milestones and why a step was not started; no secret", function(t)
    local dir = project(t, (SCRIPT:gsub('w:note%("inside"%)', 'ws.secret("hunter2-hunter2") '
      .. 'w:note("it is hunter2-hunter2")')))
    run(dir, "workflows/s.lua", "--quiet")
    local db = assert(require "ws.sqlite".open(dir .. "/state/journal.db", { read_only = true }))
    local _ <close> = db
    local kept = {}
    for i, row in ipairs(assert(db:read("SELECT type, path, fields FROM events ORDER BY rowid"))) do
      kept[i] = { row.type, row.path or "", json.decode(row.fields) }
    end
    t:eq(kept, {
      { "note", "", { text = "before" } },
      { "progress", "base", { text = "creating 1" } },
      { "note", "base", { text = "it is ***" } },
      { "annotation", "base", { level = "warning", file = "a.go", line = 3, col = 4, text = "slow", step = "base" } },
      { "progress", "base", { text = "checking" } },
      { "skipped", "after", { why = "not started: it needs apps" } },
    })
  end)

  test("a step that tells its progress without end is kept in bounds", function(t)
    local dir = project(t, [[
      return require "ws".workflow { summary = "t", run = function(w)
        w:step("a", function() for i = 1, 5000 do w:progress("file x" .. i) end end)
      end }]])
    run(dir, "workflows/s.lua", "--quiet")
    local db = assert(require "ws.sqlite".open(dir .. "/state/journal.db", { read_only = true }))
    local _ <close> = db
    t:eq(assert(db:read("SELECT count(*) AS n FROM events"))[1].n, 100)
  end)
end
