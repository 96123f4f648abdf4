-- steps.lua WHAT N: what a step costs, in a journal below WSRUN_STATE_DIR.
--   sequential N  the median time in seconds of one durable step after the other
--   parallel N    seconds a step with 64 in flight
--   graph N       seconds a node of a graph without journal: /bin/true in chains of ten, two at once
--   resume N      seconds to resume a run of N finished steps
local fs = require "ws.fs"
local journal = require "ws.journal"
local process = require "ws.process"
local project = require "ws.project"
local replay = require "ws.journal.replay"
local runs = require "ws.run"
local time = require "ws.time"

local what, n = arg[1], math.tointeger(arg[2])
assert(fs.mkdir(project.state_dir(), { parents = true }))

local function new(opts)
  opts.id, opts.dir, opts.title, opts.emit = opts.id or what, project.state_dir(), "bench", function() end
  opts.options = opts.options or {}
  return runs.new(opts)
end

local function recorded()
  local run = new {}
  run.journal = assert(journal.open())
  assert(run.journal:begin(run, { script = "bench", words = {}, options = {}, dir = project.state_dir() }))
  return run
end

local function work(i) return function() return { i = i, text = "what a step returns" } end end

local measure = {}

function measure.sequential()
  local run, times = recorded(), {}
  for i = 1, n do
    local start = time.monotonic()
    run:step("s" .. i, work(i))
    times[i] = time.monotonic() - start
  end
  run.journal:close()
  table.sort(times)
  return times[n // 2]
end

function measure.parallel()
  local run, branches, each = recorded(), {}, n // 64
  for b = 1, 64 do
    branches[b] = function()
      for i = 1, each do run:step(("b%d.%d"):format(b, i), work(i)) end
    end
  end
  local start = time.monotonic()
  run:together(branches)
  local seconds = time.monotonic() - start
  run.journal:close()
  return seconds / (64 * each)
end

function measure.graph()
  local run, branches = new { options = { jobs = 2 } }, {}
  for chain = 1, n // 10 do
    branches[chain] = function()
      for i = 1, 10 do
        run:step(("c%d.%d"):format(chain, i), function()
          assert(assert(process.run({ "/bin/true" }, { stdout = "inherit", stderr = "inherit" })).code == 0)
        end)
      end
    end
  end
  local start = time.monotonic()
  run:together(branches)
  return (time.monotonic() - start) / n
end

function measure.resume()
  local first, branches = recorded(), {}
  for b = 1, 100 do
    branches[b] = function()
      for i = 1, n // 100 do first:step(("b%d.%d"):format(b, i), { inputs = { i } }, work(i)) end
    end
  end
  first:together(branches)
  first.journal:close()
  local start = time.monotonic()
  local run = new {}
  run.journal = assert(journal.open())
  run.replay = assert(replay.new(run.journal, "resume"))
  assert(run.journal:continue(assert(run.journal:find "resume") and { id = "resume", attempt = 1, status = "failed" }))
  for b = 1, 100 do
    for i = 1, n // 100 do
      local result = run:step(("b%d.%d"):format(b, i), { inputs = { i } }, function() error "it ran again" end)
      assert(result.i == i)
    end
  end
  local seconds = time.monotonic() - start
  run.journal:close()
  return seconds
end

print(("%.9f"):format(measure[what]()))
