--- A plan in a file, for `wsrun apply`: a tar archive with plan.json and what steps gave it to take along.
---
--- Terraform's plan files hold the values of sensitive variables and attributes in clear; that is Terraform's matter,
--- and why the file is private to its owner (0600). Nothing else in it is secret.
local archive = require "ws.archive"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local pins = require "ws.plan.pins"
local time = require "ws.time"

local M = {}

local SCHEMA_VERSION = 1
local PRIVATE = 384 -- 0600
local MAX_BYTES = 1 << 30

---@class ws.SavedPlan
---@field script string
---@field words string[]
---@field options table
---@field pins table[]
---@field steps table<string, table>  what Plan:keep was given, by step
---@field dir? string                 where its files are
local Saved = {}
local fields = { script = "string", words = "table", options = "table", pins = "table", steps = "table" }
Saved.__index = Saved

--- Writes a plan into a file.
---@async
---@param path string
---@param plan ws.Plan
---@param about { script: string, words: string[], options: table, title: string, report: table }
---@return true? ok
---@return ws.Error? err
function M.write(path, plan, about)
  local steps, entries = json.object {}, {}
  for step, item in pairs(plan.kept) do
    local copy = {}
    for key, value in pairs(item) do copy[key] = value end
    if item.file then
      copy.file = ("files/%d"):format(#entries + 1)
      entries[#entries + 1] = { name = copy.file, file = item.file, mode = PRIVATE }
    end
    steps[step] = copy
  end
  local document = json.encode({ schema_version = SCHEMA_VERSION, wsrun = require "ws.engine".native.version,
    created = time.rfc3339(), script = about.script, words = json.array(about.words),
    options = json.object(about.options), title = about.title, pins = json.array(plan.pins), steps = steps,
    report = about.report }, { indent = 2 })
  entries[#entries + 1] = { name = "plan.json", data = require "ws.secret".redact(document), mode = PRIVATE }
  local bytes, err = archive.tar_create { entries = entries, gzip = false } -- plan.json can be read in its place
  if not bytes then return nil, err end
  return fs.write(path, bytes, { mode = PRIVATE })
end

local function invalid(path, why)
  return nil, errors.new { kind = "invalid", exit = 65, message = ("%s is not a plan of wsrun: %s"):format(path, why),
    hint = "make one: wsrun plan WORKFLOW ARGS --save FILE" }
end

--- Takes a plan out of a file into a folder, which is made.
---@async
---@param path string
---@param dir string
---@return true? ok
---@return ws.Error? err  kinds `not_found`, `invalid`
function M.unpack(path, dir)
  local ok, err = fs.mkdir(dir, { parents = true, mode = 448 }) -- 0700
  if not ok then return nil, err end
  ok, err = archive.extract({ file = path }, dir, { max_bytes = MAX_BYTES })
  if not ok then
    if err.kind == "not_found" or err.kind == "no_space" then return nil, err end
    return invalid(path, err.message)
  end
  return true
end

local function read(text, path)
  local document, problem = json.decode(text)
  if type(document) ~= "table" then return invalid(path, problem and problem.message or "plan.json is no object") end
  if document.schema_version ~= SCHEMA_VERSION then
    return invalid(path, ("its form has version %s, this wsrun reads %d"):format(tostring(document.schema_version),
      SCHEMA_VERSION))
  end
  for field, wanted in pairs(fields) do
    if type(document[field]) ~= wanted then return invalid(path, "plan.json lacks " .. field) end
  end
  return setmetatable(document, Saved)
end

--- Reads a plan that was unpacked.
---@async
---@param dir string
---@return ws.SavedPlan? saved
---@return ws.Error? err
function M.open(dir)
  local text, err = fs.read(dir .. "/plan.json")
  if not text then return nil, err end
  local saved, problem = read(text, dir)
  if saved then saved.dir = dir end
  return saved, problem
end

--- Reads what a plan's file says, and leaves what steps gave it where it is.
---@async
---@param path string
---@return ws.SavedPlan? saved
---@return ws.Error? err  kinds `not_found`, `invalid`
function M.peek(path)
  local there, err = fs.stat(path)
  if not there then return nil, err end
  local entries = archive.list { file = path }
  for _, entry in ipairs(entries or {}) do
    if entry.name == "plan.json" and entry.offset then
      local text
      text, err = fs.read(path, { offset = entry.offset, length = entry.size })
      if not text then return nil, err end
      return read(text, path)
    end
  end
  return invalid(path, entries and "it has no plan.json" or "it is no archive")
end

--- Looks whether everything is as it was when the plan was made.
---@async
---@return true? ok
---@return ws.Error? err  kind `conflict`, with what moved
function Saved:check()
  return pins.check(self.pins)
end

--- Looks whether what a step's plan rests on is as it was: for just before its work, when the lock is held.
---@async
---@param path string  of the step
---@return true? ok
---@return ws.Error? err  kind `conflict`
function Saved:check_step(path)
  local facts = {}
  for _, fact in ipairs(self.pins) do
    if fact.step == path then facts[#facts + 1] = fact end
  end
  return pins.check(facts)
end

--- Whether something was planned for a step, or its plan rests on something.
---@param path string  of the step
---@return boolean
function Saved:concerns(path)
  for _, fact in ipairs(self.pins) do
    if fact.step == path then return true end
  end
  return self.steps[path] ~= nil
end

local function mark(self, path)
  return ("%s/begun/%s"):format(self.dir, path:gsub("%%", "%%25"):gsub("/", "%%2F"))
end

--- Whether the step's work was begun, by this attempt of the run or one before it.
---@async
---@param path string  of the step
---@return boolean
function Saved:has_begun(path)
  return fs.exists(mark(self, path))
end

--- Notes durably that the step's work begins: from now on what its plan rests on is moved by ourselves. The journal
--- need not know of a beginning when the run is killed.
---@async
---@param path string  of the step
---@return true? ok
---@return ws.Error? err
function Saved:begin(path)
  local ok, err = fs.mkdir(self.dir .. "/begun", { mode = 448 }) -- 0700
  if not ok then return nil, err end
  return fs.write(mark(self, path), "", { mode = PRIVATE })
end

--- What was planned for a step; nil when nothing was (it was deferred, or has no plan).
---@param path string  of the step
---@return table? item  `file` is a path
function Saved:step(path)
  local item = self.steps[path]
  if not item then return nil end
  local copy = {}
  for key, value in pairs(item) do copy[key] = value end
  if item.file then copy.file = self.dir .. "/" .. item.file end
  return copy
end

return M
