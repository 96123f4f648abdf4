-- The application's tests: run by go, kept as JUnit and as text in the run's folder.
local fs = require "ws.fs"
local gotest = require "lib.ci.gotest"
local junit = require "lib.ci.junit"
local logfile = require "ws.process.logfile"
local process = require "ws.process"
local ws = require "ws"

local M = {}

local TIMEOUT = 1800 -- seconds

--- Where the failed tests are, for the failure card.
local function complain(b, results)
  local first = gotest.first_failure(results)
  local lines = {}
  for _, case in ipairs(results.cases) do
    if case.status == "failed" and case.file and #lines < 10 then
      local file, text = b.shown .. "/" .. case.file, ("%s: %s"):format(case.name, case.message)
      lines[#lines + 1] = ("%s:%d: %s"):format(file, case.line, text)
      b.w:annotate { file = file, line = case.line, text = text }
    end
  end
  local where = first and first.file and ("%s/%s:%d"):format(b.shown, first.file, first.line)
  ws.fail(("%d of %d tests failed: %s: %s"):format(results.failed, #results.cases, first and first.name or "go test",
    first and first.message or "see the log"), { where = where, detail = table.concat(lines, "\n"),
    hint = ("cd %s && go test ./..."):format(b.shown) })
end

--- Runs the tests. The results are in `b.tests`, as JUnit in `b.junit`.
---@param b ci.Build
function M.run(b)
  if not b.is_go then
    b.w:summary(("not run: %s has no Go program"):format(b.shown))
    return
  end
  local tests = gotest.new { module = gotest.module(assert(fs.read(b.dir .. "/go.mod"))) or "?",
    dir = assert(fs.realpath(b.dir)) }
  local log <close> = logfile.open(b.w:log_file())
  local ended = 0
  local result = assert(process.run({ "go", "test", "-json", "./..." }, {
    cwd = b.dir, timeout = TIMEOUT, stop_signal = "INT", stdout = "discard",
    on_stdout = function(line)
      local text = tests:take(line)
      if text then log:write((text:gsub("\n$", ""))) end
      if #tests.cases > ended then
        ended = #tests.cases
        b.w:progress(("%d tests"):format(ended))
      end
    end,
  }))
  if result.stderr ~= "" then log:write(result.stderr) end
  local results = tests:results()
  b.tests, b.junit = results, junit.write(results, { name = b.app, file_prefix = b.shown .. "/" })
  assert(fs.write(b.w.dir .. "/junit.xml", b.junit))
  if results.failed > 0 then complain(b, results) end
  if result.code ~= 0 then
    ws.fail("go test failed: " .. (result.stderr:match("^%s*([^\n]+)") or "exit code " .. tostring(result.code)), {
      detail = result.stderr, kind = result.signal and "interrupted" or "failed" })
  end
  b.w:summary(#results.cases == 0 and "there are no tests" or ("%d passed%s"):format(results.passed,
    results.skipped > 0 and (", %d skipped"):format(results.skipped) or ""))
end

return M
