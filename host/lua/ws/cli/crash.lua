--- `wsrun test --crash-each-step FILE ARGS`: runs a workflow again and again, each time killed one record of the
--- journal later, and resumes it: it must come to its end, and no step that was done may run twice.
local display = require "ws.display"
local errors = require "ws.error"
local journal = require "ws.journal"
local process = require "ws.process"

local M = {}

local MOST = 10000 -- records; a workflow that never ends is no test

M.options = {
  { "before", type = "string", value = "COMMAND", doc = "run this with sh before each time" },
  { "every", type = "integer", value = "N", default = 1, doc = "kill it after each Nth record only" },
}

--- Runs wsrun with these words; its output is kept for when it fails.
local function wsrun(words, env)
  local argv = { require "ws.engine".native.executable(), table.unpack(words) }
  return process.run(argv, { env = env, stdout = "discard" })
end

local function newest()
  local opened, err = journal.open { read_only = true }
  if not opened and err.kind == "not_found" then return nil end
  local book <close> = assert(opened, err)
  local run = assert(book:runs(1))[1]
  if not run then return nil end
  local _, rows = book:steps(run.id)
  return run, rows
end

--- Paths of steps that were done when the run was killed.
local function done_steps(rows)
  local done = {}
  for _, row in ipairs(rows) do
    if row.status == "done" and row.kind ~= "always" then done[row.path] = row.kind end
  end
  return done
end

local function problem(text, ...)
  return nil, errors.new { kind = "failed", message = text:format(...) }
end

--- Kills one run after `n` records and resumes it.
---@return boolean? ended  whether it came to its end before it was killed
---@return ws.Error|string what  what happened, or the error
local function trial(words, n)
  local before = newest()
  local first, err = wsrun(words, { WSRUN_TEST_CRASH_AFTER = tostring(n) })
  if not first then return nil, err end
  if first.code == 0 then return true, "it came to its end" end
  if first.signal ~= "KILL" then
    return problem("it ended with exit code %s before it was killed:\n%s", first.code or first.signal, first.stderr)
  end
  local run, rows = newest()
  if not run or (before and run.id == before.id) then return problem "the killed run is not in the journal" end
  local done, count = done_steps(rows), 0
  for _ in pairs(done) do count = count + 1 end
  local second
  second, err = wsrun { "resume", run.id }
  if not second then return nil, err end
  if second.code ~= 0 then
    return problem("killed after record %d, run %s could not be resumed: exit code %s\n%s", n, run.id,
      second.code or second.signal, second.stderr)
  end
  rows = select(2, newest())
  local again = 0
  for _, row in ipairs(rows) do
    if row.attempt > 1 and done[row.path] == "value" then
      return problem("killed after record %d: step %s was done and ran again", n, row.path)
    end
    if row.attempt > 1 then again = again + 1 end
  end
  return false, ("%d steps were done, %d ran after it"):format(count, again)
end

--- Runs the trials.
---@async
---@param words string[]  the workflow and its arguments, with options of wsrun
---@param opts { before?: string, every?: integer }
---@return integer? code
---@return ws.Error? err  what did not hold
function M.run(words, opts)
  local n = 1
  while n <= MOST do
    if opts.before then
      local ready, err = process.check({ "sh", "-c", opts.before })
      if not ready then return nil, err end
    end
    local ended, what = trial(words, n)
    if ended == nil then return nil, what end
    display.write((ended and "%d records: %s\n" or "killed after record %d: %s\n"):format(ended and n - 1 or n, what))
    if ended then return 0 end
    n = n + (opts.every or 1)
  end
  return nil, errors.new { kind = "failed", message = ("it has more than %d records"):format(MOST) }
end

return M
