--- The test harness: `wsrun test FILE…`.
---
--- A test file returns a function that gets `test`; `test(name, fn)` runs fn(t) in a task of its own. After each test
--- the harness lets the loop finish, collects twice and fails the test when something is left: an open handle, a
--- pending operation, a temporary file, a live child. A test has 60 seconds, or what its options say, times
--- WSRUN_TEST_SLOW (sanitizers and an aggressive collector need longer).
local task = require "ws.task"
local native = require "ws.engine".native

local M = {}

local TIMEOUT = 60 -- seconds
local SLOW = tonumber(os.getenv("WSRUN_TEST_SLOW")) or 1

--- One line that shows a value, with its type visible.
local function show(v, depth)
  depth = depth or 0
  if type(v) == "string" then return ("%q"):format(v):gsub("\\\n", "\\n") end
  if type(v) ~= "table" or depth > 3 then return tostring(v) end
  local meta = getmetatable(v)
  if meta and meta.__tostring and not next(v) then return tostring(v) end
  local parts, keys = {}, {}
  for k in pairs(v) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, k in ipairs(keys) do
    local name = type(k) == "number" and "" or tostring(k) .. " = "
    parts[#parts + 1] = name .. show(v[k], depth + 1)
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function same(a, b)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  for k, v in pairs(a) do
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if a[k] == nil then return false end
  end
  return true
end

---@class ws.TestContext
local T = {}
T.__index = T

local function fail(text, level)
  error("assertion failed: " .. text, (level or 1) + 2)
end

--- Fails unless `a` equals `b`; tables are compared by content.
function T.eq(_, a, b, note)
  if not same(a, b) then
    fail(("%sgot %s, expected %s"):format(note and (note .. ": ") or "", show(a), show(b)))
  end
end

--- Fails unless the value is true-ish; returns all arguments, as assert does.
function T.ok(_, v, ...)
  if not v then fail("got " .. show(v) .. (... ~= nil and (": " .. tostring((...))) or "")) end
  return v, ...
end

--- Fails unless a call gave nil and an error of the kind (or whose text matches the pattern); returns the error.
--- ```lua
--- t:err("not_found", fs.read("/nowhere"))
--- ```
function T.err(_, kind, value, err)
  if value ~= nil then fail("expected nil and an error, got " .. show(value)) end
  if type(err) ~= "table" or not err.kind then fail("expected an error object, got " .. show(err)) end
  if err.kind ~= kind and not tostring(err):find(kind) then
    fail(("expected an error of kind %s, got %s: %s"):format(kind, err.kind, tostring(err)))
  end
  return err
end

--- Fails unless `fn` raises something whose text matches the pattern; returns what it raised.
function T.raises(_, pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then fail("expected an error that matches " .. show(pattern)) end
  if not tostring(err):find(pattern) then
    fail(("expected an error that matches %s, got %s"):format(show(pattern), tostring(err)))
  end
  return err
end

--- Fails unless the text contains the plain string.
function T.has(_, text, part)
  if type(text) ~= "string" or not text:find(part, 1, true) then
    fail(("expected %s in %s"):format(show(part), show(text)))
  end
end

--- Skips the rest of the test, saying why; a skipped test is counted and shown.
function T.skip(_, why)
  error({ skip = why }, 0)
end

--- Calls `fn` when the test ends, last registered first.
function T:defer(fn)
  table.insert(self.deferred, 1, fn)
end

--- Runs the ```lua blocks of a Markdown file, so that its examples are true.
---@param path string
function T.examples(_, path)
  local file = assert(io.open(path, "rb"))
  local line, block, first, ran = 0, nil, nil, 0
  for text in file:lines() do
    line = line + 1
    if block and text:find("^```") then
      -- empty lines before it, so that tracebacks have the file's own lines
      assert(load(("\n"):rep(first - 1) .. table.concat(block, "\n"), "@" .. path))()
      block, ran = nil, ran + 1
    elseif block then
      block[#block + 1] = text
    elseif text == "```lua" then
      block, first = {}, line + 1
    end
  end
  file:close()
  if ran == 0 then fail(path .. " has no ```lua block") end
end

--- A fresh folder that is removed when the test ends.
---@return string path
function T:tmpdir()
  local fs = require "ws.fs"
  local dir = assert(fs.temp_dir())
  self:defer(function() assert(fs.remove(dir, { recursive = true })) end)
  return dir
end

--- A list that a module keeps of what it has made, if it has been loaded.
local function kept(module, list)
  local loaded = package.loaded[module]
  return loaded and loaded[list]() or {}
end

--- What a test left behind that the loop does not know of; it is removed, so that the next test is not blamed.
local function left_behind(cwd)
  local problems = {}
  for _, child in ipairs(kept("ws.process", "live")) do
    problems[#problems + 1] = ("live child %d: %s"):format(child.pid, child.command)
  end
  if #problems > 0 then
    local process = package.loaded["ws.process"]
    process.interrupt_all("TERM")
    for _ = 1, 1200 do
      if #process.live() == 0 then break end
      task.sleep(0.01)
    end
  end
  for _, path in ipairs(kept("ws.fs", "temp_left")) do
    problems[#problems + 1] = "temporary " .. path
    package.loaded["ws.fs"].remove(path, { recursive = true, missing_ok = true })
  end
  if cwd and package.loaded["ws.fs"].cwd() ~= cwd then problems[#problems + 1] = "changed working directory" end
  return #problems > 0 and "left behind: " .. table.concat(problems, "; ") or nil
end

local function left_over(before)
  collectgarbage()
  collectgarbage()
  for _ = 1, 200 do -- closing a handle takes a turn of the loop
    local handles, operations = native.open()
    if handles <= before.handles and operations <= before.operations then return nil end
    task.sleep(0.005)
  end
  local handles, operations = native.open()
  return ("left open: %d handles, %d operations"):format(handles - before.handles, operations - before.operations)
end

local function run_deferred(t)
  local first
  for _, fn in ipairs(t.deferred) do
    local ok, err = pcall(fn)
    if not ok and not first then first = err end
  end
  return first
end

local function run_one(name, fn, timeout)
  local t = setmetatable({ name = name, deferred = {} }, T)
  local handles, operations = native.open()
  local before = { handles = handles, operations = operations }
  local cwd = require "ws.fs".cwd()
  local skipped
  local child = task.spawn(function()
    local ok, err = xpcall(fn, function(e)
      if type(e) == "table" and (e.skip or e.traceback) then return e end
      return { message = tostring(e), traceback = debug.traceback(nil, 2) }
    end, t)
    if not ok and err.skip then
      skipped = err.skip
    elseif not ok then
      return { text = err.message and (err.op and tostring(err) or err.message) or tostring(err),
        traceback = err.traceback }
    end
  end)
  local ok, problem = child:join(timeout)
  if not ok then
    problem = { text = tostring(problem) }
    child:cancel()
    child:join(10)
  end
  local defer_problem = run_deferred(t)
  problem = problem or (defer_problem and { text = "clean-up: " .. tostring(defer_problem) })
  local left = left_behind(cwd) or left_over(before)
  return problem or (left and { text = left }), skipped
end

local function run_file(path, filter, totals)
  local chunk, message = loadfile(path)
  if not chunk then error(message, 0) end
  local define = chunk()
  if type(define) ~= "function" then error(path .. ": a test file returns a function that gets `test`", 0) end
  local tests = {}
  define(function(name, fn, opts) tests[#tests + 1] = { name = name, fn = fn, timeout = opts and opts.timeout } end)
  for _, case in ipairs(tests) do
    if not filter or case.name:find(filter, 1, true) then
      local started = native.monotonic()
      local problem, skipped = run_one(case.name, case.fn, (case.timeout or TIMEOUT) * SLOW)
      local ms = ("%.0f ms"):format((native.monotonic() - started) * 1000)
      if problem then
        totals.failed = totals.failed + 1
        print(("not ok  %s: %s (%s)\n%s"):format(path, case.name, ms, problem.text))
        if problem.traceback then print(problem.traceback) end
      elseif skipped then
        totals.skipped = totals.skipped + 1
        print(("skip    %s: %s: %s"):format(path, case.name, skipped))
      else
        totals.passed = totals.passed + 1
        print(("ok      %s: %s (%s)"):format(path, case.name, ms))
      end
      io.stdout:flush()
    end
  end
end

--- `wsrun test [-k TEXT] FILE…`: exit code 0 when all passed, 1 when one failed, 64 without a file.
---@param args string[]
---@return integer code
function M.main(args)
  local files, filter = {}, nil
  local i = 1
  while i <= #args do
    if args[i] == "-k" then
      filter, i = args[i + 1], i + 1
    else
      files[#files + 1] = args[i]
    end
    i = i + 1
  end
  if #files == 0 then
    io.stderr:write("usage: wsrun test [-k TEXT] FILE...\n")
    return 64
  end
  local totals = { passed = 0, failed = 0, skipped = 0 }
  local folders = require "ws.engine".script_folders
  table.insert(folders, "workflows")
  table.insert(folders, "tests") -- what the project's tests share
  for _, path in ipairs(files) do
    table.insert(folders, 1, path:match("^(.*)/[^/]*$") or ".") -- a test's own folder, as for scripts
    run_file(path, filter, totals)
    table.remove(folders, 1)
  end
  print(("%d passed, %d failed, %d skipped"):format(totals.passed, totals.failed, totals.skipped))
  return totals.failed == 0 and 0 or 1
end

return M
