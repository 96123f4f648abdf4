--- A run's steps as a JUnit report: what GitLab and Jenkins show of a job, and other CI systems through a plugin.
---
--- A test case is a step: its time, why it failed, why it was not started. A step that failed because one inside it did
--- is told once, inside. What failed outside of every step is the case "run".
local errors = require "ws.error"
local xml = require "ws.xml"

local M = {}

local attribute, body = xml.attribute, xml.body

local function seconds(n)
  return ("%.3f"):format(n or 0)
end

--- An element of a case that tells what an error was.
local function failure(name, err, log)
  local lines = { tostring(err.message) }
  for _, part in ipairs { { "Where", err.where }, { "Why", err.detail }, { "Hint", err.hint } } do
    if part[2] then lines[#lines + 1] = ("%s: %s"):format(part[1], part[2]) end
  end
  if #log > 0 then lines[#lines + 1] = "\n" .. table.concat(log, "\n") end
  return ('<%s type="%s" message="%s">%s</%s>'):format(name, attribute(err.kind or "failed"),
    attribute(tostring(err.message)), body(table.concat(lines, "\n")), name)
end

local function skipped(why)
  return ('<skipped message="%s"/>'):format(attribute(why))
end

--- What a step's case holds, and what it counts as: "failures", "errors", "skipped" or nothing.
local function verdict(step)
  if step.status == "done" then
    return step.summary and ("<system-out>%s</system-out>"):format(body(step.summary)) or ""
  elseif step.status == "skipped" then
    return skipped(step.err.message), "skipped"
  elseif step.status == "failed" then
    if step.inherited then return skipped("a step inside it failed"), "skipped" end
    return failure("failure", step.err, require "ws.display.details".log(step)), "failures"
  elseif step.status == "waiting" then
    return skipped("not started"), "skipped"
  end
  return failure("error", { kind = "interrupted", message = "the run ended before the step did" }, {}), "errors"
end

--- The report as text.
---@param run ws.Run
---@param err? ws.Error  what the run failed with
---@return string xml
function M.text(run, err)
  local counts, cases = { failures = 0, errors = 0, skipped = 0 }, {}
  local class = attribute((run.title:gsub("%s+", ".")))
  local function add(name, time, file, content, counted)
    if counted then counts[counted] = counts[counted] + 1 end
    cases[#cases + 1] = ('    <testcase classname="%s" name="%s"%s time="%s">%s</testcase>'):format(class,
      attribute(name), file and (' file="%s"'):format(attribute(file)) or "", seconds(time), content)
  end
  for _, step in ipairs(run.steps) do
    local file = step.line and step.line:match("^(.+):%d+$")
    add(step.path, step.seconds, file, verdict(step))
  end
  local total = run:tally().seconds
  if err and counts.failures == 0 then
    add("run", total, nil, failure("error", errors.is(err) and err or { message = tostring(err) }, {}), "errors")
  end
  local attributes = ('tests="%d" failures="%d" errors="%d" skipped="%d" time="%s"'):format(#cases, counts.failures,
    counts.errors, counts.skipped, seconds(total))
  return table.concat({
    '<?xml version="1.0" encoding="UTF-8"?>',
    ("<testsuites %s>"):format(attributes),
    ('  <testsuite name="%s" id="%s" timestamp="%s" %s>'):format(attribute(run.title), attribute(run.id),
      os.date("!%Y-%m-%dT%H:%M:%S", os.time() - math.floor(total)), attributes),
    table.concat(cases, "\n"),
    "  </testsuite>",
    "</testsuites>",
    "",
  }, "\n")
end

--- Makes ready for a report: its folder is there, and the report of an earlier run is not.
---@async
---@param path string
---@return true? ok
---@return ws.Error? err
function M.prepare(path)
  local fs = require "ws.fs"
  local stat = fs.stat(path)
  if stat and stat.type == "directory" then
    return nil, errors.new { kind = "invalid", usage = true, message = ("--junit: %s is a folder"):format(path) }
  end
  local ok, err = fs.mkdir(fs.dirname(path), { parents = true })
  if ok then ok, err = fs.remove(path, { missing_ok = true }) end
  if not ok then
    err.message = "--junit: " .. err.message
    return nil, err
  end
  return true
end

--- Writes the report, whole or not at all.
---@async
---@param path string
---@param run ws.Run
---@param err? ws.Error
---@return true? ok
---@return ws.Error? problem
function M.write(path, run, err)
  return require "ws.fs".write(path, M.text(run, err))
end

return M
