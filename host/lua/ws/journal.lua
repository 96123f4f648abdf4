--- The journal of runs: what was begun, what is done, with which result. SQLite, in the project's .wsrun/journal.db.
---
--- Invariants
--- - A step's end is durable before the run goes on; its beginning is posted and needs no wait, since whatever is not
---   recorded as done counts as not done.
--- - A journal that could not be written ends the run: nothing is reported done that is not durable.
--- - A run belongs to the process that its row names; who resumes writes itself in first, in one transaction with the
---   check that the one before is gone.
--- - No secret is ever written: texts pass the redactor, results that hold one are not stored.
local engine = require "ws.engine"
local errors = require "ws.error"
local json = require "ws.json"
local machine = require "ws.machine"
local project = require "ws.project"
local secret = require "ws.secret"
local time = require "ws.time"
local value = require "ws.journal.value"

local M = {}

local VERSION = 1
local SMALL_RESULT = 8192 -- bytes; larger ones are read when they are needed
local KEEP_RUNS, KEEP_SECONDS = 200, 90 * 86400 -- both must be passed before a run is forgotten

local SCHEMA = {
  { [[CREATE TABLE runs (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, script TEXT NOT NULL, words TEXT NOT NULL, options TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, status TEXT NOT NULL, exit INTEGER, error TEXT, changes INTEGER,
    attempt INTEGER NOT NULL, holder TEXT NOT NULL, version TEXT NOT NULL, dir TEXT NOT NULL) WITHOUT ROWID]] },
  { [[CREATE TABLE steps (
    run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, path TEXT NOT NULL, attempt INTEGER NOT NULL,
    status TEXT NOT NULL, key TEXT, started REAL NOT NULL, ended REAL, kind TEXT, result BLOB, fingerprint TEXT,
    error TEXT, summary TEXT, changes TEXT, line TEXT, needs TEXT, log TEXT,
    PRIMARY KEY (run, path, attempt)) WITHOUT ROWID]] },
  { [[CREATE TABLE events (
    run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, attempt INTEGER NOT NULL, time REAL NOT NULL,
    type TEXT NOT NULL, path TEXT, fields TEXT)]] },
  { "CREATE INDEX events_of_run ON events (run)" },
  { "CREATE INDEX runs_by_start ON runs (started)" },
  { ("PRAGMA user_version = %d"):format(VERSION) },
}

---@class ws.Journal
local Journal = {}
Journal.__index = Journal

local function damaged(err)
  err.message = "the journal of runs: " .. err.message
  if err.kind == "io" or err.kind == "no_space" then err.exit = 74 end
  return nil, err
end

--- The journal's file.
---@return string
function M.path()
  return project.state_dir() .. "/journal.db"
end

--- Opens the file, and makes the tables when there are none.
local function open_database(read_only)
  local db, err = require "ws.sqlite".open(M.path(), { read_only = read_only })
  if not db then return damaged(err) end
  local rows
  rows, err = db:read("PRAGMA user_version")
  if not rows then return damaged(err) end
  local version = rows[1].user_version
  if version > VERSION then
    return nil, errors.new { kind = "unsupported", message = ("%s was written by a later wsrun (format %d, this one "
      .. "knows %d)"):format(M.path(), version, VERSION), hint = "use that wsrun, or move the file away" }
  end
  if version == 0 and not read_only then
    local ok
    ok, err = db:write(table.unpack(SCHEMA))
    if not ok then -- another run may have made them meanwhile
      db:close()
      local again = require "ws.sqlite".open(M.path())
      local found = again and again:read("PRAGMA user_version")
      if not found or found[1].user_version ~= VERSION then return damaged(err) end
      db = again
    end
  end
  return db
end

--- The runs of one process write through one connection, so that their records share syncs.
local shared = { users = 0, turn = require "ws.task".limit(1) }

--- Opens the project's journal; it is created when it is not there.
---@async
---@param opts? { read_only?: boolean }
---@return ws.Journal? journal
---@return ws.Error? err  kinds as ws.sqlite.open; `unsupported`: it was written by a later wsrun
function M.open(opts)
  if opts and opts.read_only then
    local db, err = open_database(true)
    return db and setmetatable({ db = db }, Journal), err
  end
  return shared.turn:run(function()
    local err
    if not shared.db then shared.db, err = open_database() end
    if not shared.db then return nil, err end
    shared.users = shared.users + 1
    return setmetatable({ db = shared.db, shared = true }, Journal)
  end)
end

local function crash_point()
  return math.tointeger(tonumber(os.getenv "WSRUN_TEST_CRASH_AFTER"))
end

--- Writes, and ends the process here when a test wants the crash at this record.
function Journal:write(...)
  local ok, err = self.db:write(...)
  if not ok then return damaged(err) end
  if self.crash_after then
    self.crash_after = self.crash_after - 1
    if self.crash_after <= 0 then machine.kill_self() end
  end
  return true
end

--- Begins a run.
---@async
---@param run ws.Run
---@param about { script: string, words: string[], options: table, dir: string }
---@return true? ok
---@return ws.Error? err
function Journal:begin(run, about)
  self.run, self.attempt, self.crash_after = run.id, 1, crash_point()
  local words = json.array {}
  for i, word in ipairs(about.words) do words[i] = secret.redact(word) end
  return self:write({ [[INSERT INTO runs
    (id, title, script, words, options, started, status, attempt, holder, version, dir)
    VALUES (?, ?, ?, ?, ?, ?, 'running', 1, ?, ?, ?)]], run.id, run.title, about.script, json.encode(words),
    json.encode(about.options), time.now(), json.encode(machine.process()), engine.native.version, about.dir })
end

--- Continues a run: writes this process in as its holder.
---@async
---@param record table  of `find`
---@return true? ok
---@return ws.Error? err  kind `locked`: a process works on it
function Journal:continue(record)
  if record.status == "running" and not machine.is_gone(record.holder) then
    local holder = record.holder
    return nil, errors.new { kind = "locked", message = ("run %s still runs: process %s on %s"):format(record.id,
      holder.pid, holder.host), hint = holder.boot ~= machine.process().boot
      and "it began on another machine, or before this one started anew; when it is gone: wsrun resume --force"
      or "wait for it, or stop it with Ctrl-C" }
  end
  self.run, self.attempt, self.crash_after = record.id, record.attempt + 1, crash_point()
  local holder = json.encode(machine.process())
  local ok, err = self:write({ [[UPDATE runs SET attempt = ?, holder = ?, status = 'running', ended = NULL, exit = NULL,
    error = NULL WHERE id = ? AND attempt = ?]], self.attempt, holder, record.id, record.attempt })
  if not ok then return nil, err end
  local rows
  rows, err = self.db:read("SELECT holder FROM runs WHERE id = ?", record.id)
  if not rows then return damaged(err) end
  if not rows[1] or rows[1].holder ~= holder then
    return nil, errors.new { kind = "locked", hint = "wait for that one",
      message = ("run %s was resumed by another process at the same time"):format(record.id) }
  end
  return true
end

--- Notes that a step begins.
---@param step ws.Step
function Journal:step_start(step)
  local needs = json.array {}
  for i, needed in ipairs(step.needed) do needs[i] = needed.path end
  self.db:post({ [[INSERT OR REPLACE INTO steps (run, path, attempt, status, key, started, line, needs)
    VALUES (?, ?, ?, 'running', ?, ?, ?, ?)]], self.run, step.path, self.attempt, step.key, time.now(), step.line,
    #needs > 0 and json.encode(needs) or nil, n = 8 })
end

local function error_text(err)
  if not err then return nil end
  local fields = {}
  for _, key in ipairs { "kind", "message", "op", "status", "retryable", "hint", "where", "detail" } do
    fields[key] = err[key] ~= nil and type(err[key]) ~= "table" and err[key] or nil
  end
  return secret.redact(json.encode(fields, { invalid_utf8 = "replace" }))
end

--- Records a step's end and waits until that is durable.
---@async
---@param step ws.Step  it is still running for everybody else
---@param status "done"|"failed"
---@param results? table  of a step that is done, as table.pack gives them
---@return true? ok
---@return ws.Error? err  kinds `io`, `no_space`, ...
function Journal:step_end(step, status, results)
  local text, kind
  if step.always then
    kind = "always"
  elseif results then
    text, kind = value.pack(results)
    kind = kind or "value"
    step.fingerprint = text and value.fingerprint(text) or nil
  end
  local changes = #step.changes > 0 and json.encode(json.array(step.changes)) or nil
  return self:write({ [[UPDATE steps SET status = ?, ended = ?, kind = ?, result = ?, fingerprint = ?, error = ?,
    summary = ?, changes = ? WHERE run = ? AND path = ? AND attempt = ?]], status, time.now(), kind, text,
    step.fingerprint, error_text(step.err), step.summary and secret.redact(step.summary),
    changes and secret.redact(changes), self.run, step.path, self.attempt, n = 12 })
end

--- Records that what a step did was undone.
---@async
---@param step ws.Step
---@return true? ok
---@return ws.Error? err
function Journal:step_undone(step)
  return self:write({ "UPDATE steps SET status = 'undone' WHERE run = ? AND path = ?", self.run, step.path })
end

--- Records an approval that was given outside the run, for the step that waits for it.
---@async
---@param record table  of `find`
---@param row table     of `steps`: the step that parked the run
---@param approval { by: string, at: string }
---@return true? ok
---@return ws.Error? err
function Journal:approve(record, row, approval)
  local text = value.pack { approval, n = 1 }
  return self:write({ [[UPDATE steps SET status = 'done', kind = 'value', result = ?, fingerprint = ?, error = NULL,
    ended = ? WHERE run = ? AND path = ? AND attempt = ?]], text, value.fingerprint(text), time.now(), record.id,
    row.path, row.attempt })
end

--- Notes something that was said in a run; see the types in docs/reports.md.
---@param kind string
---@param path? string  of the step
---@param fields table
function Journal:event(kind, path, fields)
  self.db:post({ "INSERT INTO events (run, attempt, time, type, path, fields) VALUES (?, ?, ?, ?, ?, ?)", self.run,
    self.attempt, time.now(), kind, path, secret.redact(json.encode(fields, { invalid_utf8 = "replace" })), n = 7 })
end

--- Ends the run.
---@async
---@param status "done"|"failed"|"interrupted"|"parked"
---@param exit integer
---@param err? ws.Error
---@param changes integer
---@return true? ok
---@return ws.Error? failure
function Journal:finish(status, exit, err, changes)
  local ok, failure = self:write({ [[UPDATE runs SET status = ?, ended = ?, exit = ?, error = ?, changes = ?
    WHERE id = ?]], status, time.now(), exit, error_text(err), changes, self.run })
  if ok then self:forget() end
  return ok, failure
end

--- Forgets what is old; the folders of the runs go with their rows.
---@async
function Journal:forget()
  local old = self.db:read([[SELECT id, dir FROM runs WHERE started < ? AND status <> 'running' AND id NOT IN
    (SELECT id FROM runs ORDER BY started DESC LIMIT ?)]], time.now() - KEEP_SECONDS, KEEP_RUNS)
  for _, run in ipairs(old or {}) do
    require "ws.fs".remove(run.dir, { recursive = true, missing_ok = true })
    if not self.db:write({ "DELETE FROM events WHERE run = ?", run.id }, { "DELETE FROM steps WHERE run = ?", run.id },
      { "DELETE FROM runs WHERE id = ?", run.id }) then return end
  end
end

local function decoded(run)
  for _, column in ipairs { "words", "options", "holder", "error" } do
    if run[column] then run[column] = json.decode(run[column]) end
  end
  if run.status == "running" and machine.is_gone(run.holder) then run.status = "killed" end
  return run
end

--- The runs, the newest first.
---@async
---@param limit? integer
---@return table[]? runs  the columns of the table; status also `killed`: its process is gone
---@return ws.Error? err
function Journal:runs(limit)
  local rows, err = self.db:read("SELECT * FROM runs ORDER BY started DESC LIMIT ?", limit or 1000000)
  if not rows then return damaged(err) end
  for _, run in ipairs(rows) do decoded(run) end
  return rows
end

--- A run by its id or the beginning of it; without one the newest that has not come to a good end.
---@async
---@param id? string
---@return table? run
---@return ws.Error? err  kind `not_found`, `invalid` (several begin so)
function Journal:find(id)
  local rows, err
  if id then
    rows, err = self.db:read("SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY started DESC", #id, id)
  else
    rows, err = self.db:read("SELECT * FROM runs WHERE status <> 'done' ORDER BY started DESC LIMIT 1")
  end
  if not rows then return damaged(err) end
  if #rows == 0 then
    return nil, errors.new { kind = "not_found", usage = true, message = id and ("no run '%s'"):format(id)
      or "no run is left unfinished", hint = "wsrun runs lists them" }
  end
  if #rows > 1 and rows[1].id ~= id then
    return nil, errors.new { kind = "invalid", usage = true, message = ("%d runs begin with '%s'"):format(#rows, id),
      hint = "wsrun runs lists them" }
  end
  return decoded(rows[1])
end

--- What is known of each step of a run: its last attempt that ended, else the last one.
---@async
---@param id string
---@return table<string, table>? by_path  the columns of the table; `attempts`
---@return ws.Error|table[] rows  every attempt, in the order in which they began; or the error
function Journal:steps(id)
  local rows, err = self.db:read([[SELECT path, attempt, status, key, started, ended, kind, fingerprint, error, summary,
    changes, line, needs, length(result) AS size, CASE WHEN length(result) <= ? THEN result END AS result
    FROM steps WHERE run = ? ORDER BY started, path]], SMALL_RESULT, id)
  if not rows then return damaged(err) end
  local by_path = {}
  for _, row in ipairs(rows) do
    for _, column in ipairs { "error", "changes", "needs" } do
      if row[column] then row[column] = json.decode(row[column]) end
    end
    local before = by_path[row.path]
    row.attempts = (before and before.attempts or 0) + 1
    -- What was done stays done until it is begun again: a later attempt that only ran counts against it.
    by_path[row.path] = row
  end
  return by_path, rows
end

--- The result of a step that was recorded as done.
---@async
---@param id string
---@param row table  of `steps`
---@return table? results  as table.pack gives them
---@return ws.Error? err
function Journal:result(id, row)
  if row.result then return value.unpack(row.result) end
  local rows, err = self.db:read("SELECT result FROM steps WHERE run = ? AND path = ? AND attempt = ?", id, row.path,
    row.attempt)
  if not rows then return damaged(err) end
  return value.unpack(rows[1].result)
end

--- The events of a run, in their order.
---@async
---@param id string
---@return table[]? events
---@return ws.Error? err
function Journal:events(id)
  local rows, err = self.db:read([[SELECT attempt, time, type, path, fields FROM events WHERE run = ?
    ORDER BY rowid]], id)
  if not rows then return damaged(err) end
  for _, row in ipairs(rows) do row.fields = json.decode(row.fields) end
  return rows
end

--- Closes it; what was posted is written first. Safe to call twice.
function Journal:close()
  if self.closed then return end
  self.closed = true
  if self.shared then
    shared.users = shared.users - 1
    if shared.users > 0 then return end
    shared.db = nil
  end
  self.db:close()
end
Journal.__close = Journal.close

return M
