-- Test results as JUnit XML, as continuous integration services read it. Secrets are masked.
local xml = require "ws.xml"

local M = {}

local attribute, content = xml.attribute, xml.body

local function seconds(n) return ("%.3f"):format(n) end

local function add_case(lines, case, file_prefix)
  local head = ('    <testcase classname="%s" name="%s" time="%s"'):format(attribute(case.package),
    attribute(case.name), seconds(case.seconds))
  if case.file then
    head = ('%s file="%s" line="%d"'):format(head, attribute(file_prefix .. case.file), case.line)
  end
  if case.status == "passed" then
    lines[#lines + 1] = head .. "/>"
    return
  end
  lines[#lines + 1] = head .. ">"
  if case.status == "skipped" then
    lines[#lines + 1] = ('      <skipped message="%s"/>'):format(attribute(case.output:match(": ([^\n]+)\n") or ""))
  else
    lines[#lines + 1] = ('      <failure message="%s" type="failure">%s</failure>'):format(attribute(case.message),
      content(case.output))
  end
  lines[#lines + 1] = "    </testcase>"
end

local function count(cases, status)
  local n = 0
  for _, case in ipairs(cases) do
    if case.status == status then n = n + 1 end
  end
  return n
end

local function counts(cases)
  local time = 0
  for _, case in ipairs(cases) do
    if not case.name:find("/", 1, true) then time = time + case.seconds end -- a test's time has its subtests' in it
  end
  return ('tests="%d" failures="%d" errors="0" skipped="%d" time="%s"'):format(#cases, count(cases, "failed"),
    count(cases, "skipped"), seconds(time))
end

--- Writes results as XML: one suite for each package.
---@param results ci.TestResults
---@param opts? { name?: string, file_prefix?: string }  `file_prefix` goes before the names of files
---@return string xml
function M.write(results, opts)
  opts = opts or {}
  local suites, by_name = {}, {}
  for _, case in ipairs(results.cases) do
    if not by_name[case.package] then
      by_name[case.package] = {}
      suites[#suites + 1] = case.package
    end
    table.insert(by_name[case.package], case)
  end
  table.sort(suites)
  local lines = { '<?xml version="1.0" encoding="UTF-8"?>',
    ('<testsuites name="%s" %s>'):format(attribute(opts.name or "tests"), counts(results.cases)) }
  for _, name in ipairs(suites) do
    lines[#lines + 1] = ('  <testsuite name="%s" %s>'):format(attribute(name), counts(by_name[name]))
    for _, case in ipairs(by_name[name]) do add_case(lines, case, opts.file_prefix or "") end
    lines[#lines + 1] = "  </testsuite>"
  end
  lines[#lines + 1] = "</testsuites>\n"
  return table.concat(lines, "\n")
end

return M
