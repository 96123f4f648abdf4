-- One trial of the lock: eight contenders, each a process of its own, for one lock, and what goes wrong meanwhile.
local fs = require "ws.fs"
local history = require "history"
local json = require "ws.json"
local process = require "ws.process"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local CONTENDERS = 8
local SLOW = tonumber(os.getenv "WSRUN_TEST_SLOW") or 1
local WAIT = 40 * SLOW            -- seconds that a contender waits for the lock
local LIMIT = 120 * SLOW          -- seconds for a trial
local PACE = 0.025                -- seconds that a contender takes for one write, about
local OFFSETS = { -600, 0, 600 }  -- seconds by which contenders' clocks are off

--- What a trial does to its contenders, drawn from a seed; every second trial has each of them.
---@param seed integer
---@param ttl number
---@return table plan  a test may change it; `within`: seconds after which a holder is struck at the latest
function M.plan(seed, ttl)
  local state = seed * 2654435761 % 4294967296
  local function random() -- of this trial alone, so that it can be repeated
    state = (state * 1664525 + 1013904223) % 4294967296
    return state / 4294967296
  end
  return {
    seed = seed, ttl = ttl, random = random,
    kill = random() < 0.5 and 0.5 or 0,        -- of holders
    stop = random() < 0.5 and 0.5 or 0,        -- of holders, past the lease
    storm = random() < 0.5 and 0.5 or 0,       -- of requests, answered 503
    cut = random() < 0.5 and 0.2 or 0,         -- of requests, done or not done and the connection cut
    delay = random() < 0.5 and 0.1 or 0,       -- of requests, held back before or after
    late = random() < 0.5 and 0.15 or 0,       -- of writes, held back until the lease is over, their holder stopped
    one_machine = random() < 0.5,              -- contenders see that another one is dead
    contenders = CONTENDERS, hold = ttl * (0.2 + 0.5 * random()),
  }
end

--- What goes wrong with a request. The protected object's requests are only held back: that is what the fence is for.
local function draw_fault(plan, name, metadata, stop)
  local random = plan.random
  local fault = {}
  if metadata and metadata.token and random() < plan.late then
    local pause = plan.ttl * (1.1 + 1.5 * random())
    if stop(metadata.nonce, pause) then return { before = pause * (0.7 + 0.5 * random()) } end
  end
  if random() < plan.delay then
    fault[random() < 0.5 and "before" or "after"] = random() * plan.ttl * 1.2
  end
  if name:find("^register/") then return fault end
  if random() < plan.storm and time.boottime() < plan.calm then
    fault[random() < 0.7 and "refuse" or "deny_after"] = true
  elseif random() < plan.cut then
    fault[random() < 0.3 and "cut_before" or "cut_after"] = true
  end
  return fault
end

--- The server's record of a trial, and the hand that strikes holders down.
local function watch(plan, contenders)
  local log, asked, dead, renewed, holders, ending = {}, {}, {}, {}, {}, {}

  local function after(seconds, fn)
    ending[#ending + 1] = task.spawn(function()
      task.sleep(seconds)
      fn()
    end)
  end

  local function stop(nonce, pause)
    local who = holders[nonce]
    if who.struck or who.child:finished() then return false end
    who.struck, who.stops = true, who.stops + 1
    who.child:kill "STOP"
    after(pause, function()
      if not who.child:finished() then who.child:kill "CONT" end
    end)
    return true
  end

  local function kill(nonce)
    local who = holders[nonce]
    if who.struck or who.child:finished() then return end
    who.struck, who.killed, dead[nonce] = true, true, time.boottime()
    who.child:kill "KILL"
  end

  local function strike(nonce)
    local draw, delay = plan.random(), plan.random() * (plan.within or plan.hold)
    local pause = plan.ttl * (1.1 + 1.5 * plan.random())
    if draw < plan.kill then
      after(delay, function() kill(nonce) end)
    elseif draw < plan.kill + plan.stop then
      after(delay, function() stop(nonce, pause) end)
    end
  end

  local function on_write(name, object, before)
    local now = time.boottime()
    if name:find("^register/") then
      log[#log + 1] = { t = now, what = "write", nonce = object.metadata.nonce }
      return
    end
    local info = object and json.decode(object.metadata.lock)
    local old = before and json.decode(before.metadata.lock)
    if not info then
      log[#log + 1] = { t = now, what = "release", nonce = old.nonce }
    elseif old and old.nonce == info.nonce then
      log[#log + 1] = { t = now, what = "renew", nonce = info.nonce }
    else
      local e = { t = now, what = "take", nonce = info.nonce }
      if old then
        e.over, e.renewed, e.idle = old.nonce, renewed[old.nonce], now - renewed[old.nonce]
        e.killed = dead[old.nonce] and now - dead[old.nonce]
      end
      log[#log + 1] = e
      if not holders[info.nonce] then
        holders[info.nonce] = contenders[math.tointeger(info.pid)]
        strike(info.nonce)
      end
    end
    if info then renewed[info.nonce] = now end
  end
  return { log = log, asked = asked, dead = dead, on_write = on_write, stop = stop, ending = ending }
end

local function environment(plan, dir, i, options)
  local off = OFFSETS[1 + math.floor(plan.random() * #OFFSETS)]
  local env = { STORAGE_EMULATOR_HOST = options.server, GOOGLE_OAUTH_ACCESS_TOKEN = "any-token",
    GOOGLE_STORAGE_CUSTOM_ENDPOINT = false, GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = false,
    WSRUN_STATE_DIR = dir .. (plan.one_machine and "/machine" or "/machine-" .. i) }
  if options.faketime and off ~= 0 then
    env.LD_PRELOAD, env.FAKETIME, env.FAKETIME_DONT_FAKE_MONOTONIC = options.faketime, ("%+ds"):format(off), "1"
    env.DONT_FAKE_MONOTONIC = "1" -- as older versions call it
    env.ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":verify_asan_link_order=0"
    return env, off
  end
  return env, 0
end

--- The events that a contender noted; the last line of a killed one may be torn.
local function read_events(path)
  local events = {}
  for line in (fs.read(path) or ""):gmatch("([^\n]+)\n") do events[#events + 1] = assert(json.decode(line)) end
  return events
end

--- Seconds by which the server itself may have kept others from taking a lock over that was renewed at `renewed`.
local function hindrance(plan, renewed)
  local storm = plan.storm > 0 and math.max(0, plan.calm - renewed) or 0
  return storm + (plan.delay > 0 and 1.2 * plan.ttl or 0) + (plan.cut > 0 and plan.ttl / 2 or 0)
end

--- What the contenders asked the server between a lock's last renewal and the moment it was taken over.
local function silence(asked, e)
  local count, last, longest = 0, e.renewed, 0
  for _, t in ipairs(asked) do
    if t > e.renewed and t <= e.t then
      count, longest, last = count + 1, math.max(longest, t - last), t
    end
  end
  return ("%d requests meanwhile, the longest silence %.3f s"):format(count, longest)
end

--- What a trial came to.
local function judge(plan, seen, contenders, slack)
  local result = { seed = plan.seed, problems = {}, expired = {}, hindered = {}, proven = {},
    stats = { refused = 0, lost = 0, kills = 0, stops = 0, takes = 0, late = 0 } }
  local logs, stats = {}, result.stats
  local function problem(text) result.problems[#result.problems + 1] = text end
  for i, c in ipairs(contenders) do
    logs[i] = read_events(c.path)
    local took = false
    for _, e in ipairs(logs[i]) do
      if e.what == "start" and math.abs(e.now - c.started - c.off) > 60 then problem "a clock is not off as planned" end
      if e.what == "return" and e.token then took = true end
      if e.what == "write" and not e.accepted then stats.refused = stats.refused + 1 end
      if e.what == "lost" then stats.lost = stats.lost + 1 end
      if e.what == "return" and e.err then problem(("contender %d got no lock: %s"):format(i, e.err)) end
    end
    stats.kills, stats.stops = stats.kills + (c.killed and 1 or 0), stats.stops + c.stops
    if not c.killed and not (took and c.code == 0) then
      problem(("contender %d ended with %s: %s"):format(i, tostring(c.code), c.said))
    end
  end
  local holder
  local answered = plan.storm == 0 and plan.cut == 0 and plan.delay == 0
  for _, e in ipairs(seen.log) do
    if e.what == "take" then
      stats.takes, holder = stats.takes + 1, e.nonce
      if e.over and e.idle >= plan.ttl then
        local list = answered and result.expired or result.hindered
        list[#list + 1] = e.idle
        if e.idle > plan.ttl * 4 / 3 + slack + hindrance(plan, e.renewed) then
          problem(("a stale lock was taken over only after %.3f s; %s"):format(e.idle, silence(seen.asked, e)))
        end
      elseif e.over and e.killed then
        if answered then result.proven[#result.proven + 1] = e.killed end
      end
    elseif e.what == "write" and e.nonce ~= holder then
      stats.late = stats.late + 1
    end
  end
  for _, text in ipairs(history.agrees_with_server(logs, seen.log, { ttl = plan.ttl, dead = seen.dead })) do
    problem(text)
  end
  local ok, why = history.linearizable(history.operations(logs))
  if not ok then problem("the history has no order that a lock allows: " .. why) end
  return result
end

--- Runs a trial on a server (see storage.lua) whose hooks it is given.
---@async
---@param plan table
---@param options { server: string, wsrun: string, dir: string, faketime?: string, mutant?: string, slack: number,
---  hooks: table }  slack: seconds in which a busy machine may not have run a contender
---@return fun(): table judge  to be called when no trial runs any more, because it computes for long: problems (texts),
---  stats; seconds until a stale lock was taken over: expired, hindered (while the server was told to fail), proven
function M.run(plan, options)
  local dir, name = ("%s/%d"):format(options.dir, plan.seed), ("t%d"):format(plan.seed)
  assert(fs.mkdir(dir))
  local by_pid, contenders = {}, {}
  local seen = watch(plan, by_pid)
  plan.calm = time.boottime() + 2 * plan.ttl
  options.hooks[name] = { fault = function(of, metadata)
    if not of:find "^register/" then seen.asked[#seen.asked + 1] = time.boottime() end
    return draw_fault(plan, of, metadata, seen.stop)
  end, on_write = seen.on_write }
  local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
  local tasks = {}
  for i = 1, plan.contenders do
    local env, off = environment(plan, dir, i, options)
    local c = { path = ("%s/%d.events"):format(dir, i), off = off, stops = 0, started = time.now() }
    c.child = assert(process.start({ options.wsrun, here .. "/contender.lua", name, ("%d"):format(i),
      ("%.3f"):format(plan.ttl), ("%d"):format(plan.hold // PACE + 1), ("%d"):format(WAIT), c.path, options.mutant },
      { env = env, timeout = LIMIT, stderr = "stdout" }))
    contenders[i], by_pid[c.child.pid] = c, c
    task.sleep(0.005) -- starting one holds this process up, and the server in it has others to answer
    tasks[i] = function()
      local r, err = c.child:wait()
      c.code = r and (r.code or r.signal) or tostring(err)
      c.said = r and r.stdout or ""
    end
  end
  assert(task.all(tasks))
  for _, t in ipairs(seen.ending) do t:join() end
  options.hooks[name] = nil
  return function() return judge(plan, seen, contenders, options.slack) end
end

return M
