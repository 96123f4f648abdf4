-- Trials of the lock: how many, how many at once, what they came to. As a program:
--
--   wsrun tests/lock/trials.lua [TRIALS] [SEED] [TTL] [AT-ONCE]
--
-- ends with 1 when a lock was held twice, a history has no order, or a stale lock was not recovered in time.
local fs = require "ws.fs"
local storage = require "storage"
local task = require "ws.task"
local trial = require "trial"

local M = {}

local CLOCK = 7200 -- seconds by which the server's clock is off
local SLACK = 0.5  -- seconds in which a busy machine may not have run a contender
local FAKETIME = { "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
  "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1" }

--- The library of Debian's package faketime, or nil.
---@return string?
function M.faketime()
  for _, path in ipairs(FAKETIME) do
    if fs.exists(path) then return path end
  end
end

--- The p-th part (0 to 1) of a list of numbers.
local function quantile(list, p)
  table.sort(list)
  return list[math.max(1, math.ceil(p * #list))]
end

local function gather(into, result)
  for name, n in pairs(result.stats) do into.stats[name] = (into.stats[name] or 0) + n end
  for _, text in ipairs(result.problems) do
    into.problems[#into.problems + 1] = ("trial %d: %s"):format(result.seed, text)
  end
  for _, list in ipairs { "expired", "hindered", "proven" } do
    table.move(result[list], 1, #result[list], #into[list] + 1, into[list])
  end
end

--- Runs trials and adds up what they came to.
---@async
---@param opts { trials: integer, seed?: integer, ttl?: number, jobs?: integer, wsrun: string, dir: string,
---  slack?: number, mutant?: string, plan?: fun(plan: table), on_trial?: fun(done: integer) }
---@return table total  trials, problems, stats, expired, hindered, proven
function M.run(opts)
  local hooks = {}
  local function hook(name) return hooks[name:match("([^/]+)$"):match("^t%d+")] end
  local server = storage.start { clock = CLOCK,
    fault = function(name, ...) local h = hook(name) return h and h.fault(name, ...) or {} end,
    on_write = function(name, ...) local h = hook(name) if h then h.on_write(name, ...) end end }
  local _ <close> = setmetatable({}, { __close = function() server:close() end })
  local total = { trials = opts.trials, problems = {}, stats = {}, expired = {}, hindered = {}, proven = {} }
  local functions, judges, done = {}, {}, 0
  for i = 1, opts.trials do
    functions[i] = function()
      local plan = trial.plan((opts.seed or 1) + i - 1, opts.ttl or 1)
      if opts.plan then opts.plan(plan) end
      judges[i] = trial.run(plan, { server = server.url, wsrun = opts.wsrun, dir = opts.dir, hooks = hooks,
        faketime = M.faketime(), mutant = opts.mutant,
        slack = opts.slack or SLACK })
      done = done + 1
      if opts.on_trial then opts.on_trial(done) end
    end
  end
  assert(task.all(functions, { jobs = opts.jobs or 4 }))
  for _, judge in ipairs(judges) do gather(total, judge()) end
  return total
end

--- What trials came to, for people.
---@param total table
---@return string
function M.report(total)
  local s = total.stats
  local lines = {
    ("%d trials, %d violations"):format(total.trials, #total.problems),
    ("  %d times taken; holders killed %d, stopped past their lease %d; lost and told %d"):format(s.takes, s.kills,
      s.stops, s.lost),
    ("  writes that came late: %d refused by the fence, %d before the newer holder's first"):format(s.refused, s.late),
  }
  for _, what in ipairs { { "expired", "a lease was taken over after its last renewal" },
    { "hindered", "the same where the server failed on purpose" },
    { "proven", "a lease was taken over after its holder's death on this machine" } } do
    local list = total[what[1]]
    if #list > 0 then
      lines[#lines + 1] = ("  %s: p50 %.3f s, p99 %.3f s, max %.3f s (%d times)"):format(what[2], quantile(list, 0.5),
        quantile(list, 0.99), quantile(list, 1), #list)
    end
  end
  table.move(total.problems, 1, math.min(#total.problems, 20), #lines + 1, lines)
  return table.concat(lines, "\n")
end

local function main(words)
  local count, ttl = math.tointeger(tonumber(words[1] or 1000)), tonumber(words[3] or 1)
  local dir = assert(fs.temp_dir())
  local total = M.run { trials = count, seed = math.tointeger(tonumber(words[2] or 1)), ttl = ttl,
    jobs = math.tointeger(tonumber(words[4] or 4)), dir = dir, wsrun = require "ws.engine".native.executable(),
    on_trial = function(done)
      if done % 50 == 0 then io.stderr:write(("%d trials\n"):format(done)) end
    end }
  print(M.report(total))
  return #total.problems == 0 and 0 or 1
end

if arg and arg[0] and arg[0]:find("trials%.lua$") then os.exit(main(arg)) end
return M
