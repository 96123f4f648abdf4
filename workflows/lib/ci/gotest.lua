-- What `go test -json` says, line by line, as test cases: which passed, and where the others failed.
--
-- Pure. A package that fails without a failed test (it does not compile, vet refuses it, the process ended) is a case
-- of its own, and so is a test that began and never ended.
local json = require "ws.json"

local M = {}

local MAX_OUTPUT = 64 * 1024 -- bytes kept of each case, the last ones

---@class ci.TestCase
---@field package string
---@field name string
---@field status "passed"|"failed"|"skipped"
---@field seconds number
---@field output string   what it printed
---@field file? string    where it failed, from the module's folder
---@field line? integer
---@field message? string  the first line of what went wrong

---@class ci.TestResults
---@field cases ci.TestCase[]  in the order in which they ended
---@field passed integer
---@field failed integer
---@field skipped integer
---@field seconds number       the packages' times together

---@class ci.Tests
local Tests = {}
Tests.__index = Tests

--- Makes a reader. `module` is the module's path in go.mod, `dir` its folder as it is in stack traces.
---@param opts { module: string, dir: string }
---@return ci.Tests
function M.new(opts)
  return setmetatable({ module = opts.module, dir = opts.dir, running = {}, order = {}, builds = {}, cases = {},
    failed_in = {}, seconds = 0, has_tests = {} }, Tests)
end

--- The path of a module in the text of its go.mod.
---@param text string
---@return string?
function M.module(text)
  return ("\n" .. text):match("\n%s*module%s+\"?([^%s\"]+)")
end

--- The folder of a package, from the module's folder, with a slash at its end unless it is that.
local function folder_of(self, package)
  if package == self.module then return "" end
  local prefix = self.module .. "/"
  return package:sub(1, #prefix) == prefix and package:sub(#prefix + 1):gsub("_test$", "") .. "/" or ""
end

--- Where a case failed: the line that a test names, of the build, or the first line of ours in a stack trace.
local function locate(self, case)
  for line in case.output:gmatch("[^\n]+") do
    local file, number, message = line:match("^    +([%w_.-]+%.go):(%d+): ?(.*)$")
    if file then return folder_of(self, case.package) .. file, math.tointeger(number), message end
    file, number, message = line:match("^([%w_./-]+%.go):(%d+):%d+: (.*)$")
    if file then return file:gsub("^%./", ""), math.tointeger(number), message end
  end
  local inside = "\t" .. self.dir .. "/"
  for line in case.output:gmatch("[^\n]+") do
    if line:sub(1, #inside) == inside then
      local file, number = line:sub(#inside + 1):match("^(.+%.go):(%d+)")
      if file then return file, math.tointeger(number), case.output:match("panic: [^\n]*") end
    end
  end
end

local noise = { "^=== ", "^%s*%-%-%- ", "^FAIL", "^# ", "^ok  ", "^exit status" }

local function first_words(text)
  for line in text:gmatch("[^\n]+") do
    local is_noise = not line:find("%S")
    for _, pattern in ipairs(noise) do is_noise = is_noise or line:find(pattern) ~= nil end
    if not is_noise then return line:match("^%s*(.-)%s*$") end
  end
end

local function settle(self, case, status, seconds)
  case.status, case.seconds = status, seconds or 0
  case.output = table.concat(case.parts):sub(-MAX_OUTPUT)
  case.parts = nil
  if status == "failed" then
    case.file, case.line, case.message = locate(self, case)
    case.message = case.message or first_words(case.output) or "failed"
    self.failed_in[case.package] = true
  end
  self.cases[#self.cases + 1] = case
end

local function key_of(event) return event.Package .. "\0" .. (event.Test or "") end

local function case_of(self, event)
  local key = key_of(event)
  local case = self.running[key]
  if not case then
    case = { package = event.Package, name = event.Test or "(package)", parts = {}, key = key }
    self.running[key] = case
    if event.Test then
      self.order[#self.order + 1] = case
      self.has_tests[event.Package] = true
    end
  end
  return case
end

local function end_package(self, event)
  local package = event.Package
  self.seconds = self.seconds + (event.Elapsed or 0)
  local own = case_of(self, event)
  if event.Action == "fail" then
    for _, case in ipairs(self.order) do -- they began and never ended: the process did
      if case.package == package and case.parts then
        table.move(own.parts, 1, #own.parts, #case.parts + 1, case.parts)
        settle(self, case, "failed", event.Elapsed)
      end
    end
    if not self.failed_in[package] then
      if event.FailedBuild then own.parts = self.builds[event.FailedBuild] or own.parts end
      own.name = event.FailedBuild and "(build)" or own.name
      settle(self, own, "failed", event.Elapsed)
    end
  end
  self.running[own.key] = nil
end

local endings = { pass = "passed", fail = "failed", skip = "skipped" }

--- Takes one line of the output. Returns the text in it for people, if any.
---@param line string
---@return string? text
function Tests:take(line)
  local event = line:find("^{") and json.decode(line)
  if not event or not event.Action then return line .. "\n" end
  if event.Action == "build-output" then
    local parts = self.builds[event.ImportPath] or {}
    self.builds[event.ImportPath] = parts
    parts[#parts + 1] = event.Output
    return event.Output
  end
  if not event.Package then return nil end
  if event.Action == "output" then
    local parts = case_of(self, event).parts
    parts[#parts + 1] = event.Output
    return event.Output
  end
  if event.Action == "run" then case_of(self, event) end
  local status = endings[event.Action]
  if status and event.Test then
    local case = case_of(self, event)
    settle(self, case, status, event.Elapsed)
    self.running[case.key] = nil
  elseif status then
    end_package(self, event)
  end
end

--- What it all came to.
---@return ci.TestResults
function Tests:results()
  local results = { cases = self.cases, passed = 0, failed = 0, skipped = 0, seconds = self.seconds }
  for _, case in ipairs(self.cases) do results[case.status] = results[case.status] + 1 end
  return results
end

--- The failed case that says most: the innermost one that has a place.
---@param results ci.TestResults
---@return ci.TestCase?
function M.first_failure(results)
  local first
  for _, case in ipairs(results.cases) do
    if case.status == "failed" then
      if case.file then return case end
      first = first or case
    end
  end
  return first
end

return M
