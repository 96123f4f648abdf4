--- What a report tells of a run: the journal's rows and what lies in the run's folder, put in order.
local fs = require "ws.fs"
local json = require "ws.json"
local timeline = require "ws.report.timeline"

local M = {}

local MOST_STEPS = 1000        -- on a page; the ones that tell most are chosen
local LOG_BYTES = 512 * 1024   -- of one log, its end
local PAGE_BYTES = 6 << 20     -- of all logs; then only the last lines are kept
local TAIL_BYTES = 4096
local MOST_EVIDENCE = 300 -- files
local RESULT_BYTES = 64 * 1024
local FILE_BYTES = 32 << 20    -- of a plan or a log of permissions

--- Whether a log's name says that it is of a step: its path with "." for "/", then an ending; or a layer's name, as
--- Terraform's logs have it.
local function is_log_of(name, path)
  local dotted = path:gsub("/", ".")
  if name:sub(1, #dotted) == dotted and name:find("^[%.-]", #dotted + 1) then return #dotted end
  local layer = path:match("[^/]+$")
  if name:find("^%a+%-") and name:find("-" .. layer .. "-", 1, true) then return #layer end
end

local function owner_of(name, steps)
  local best, length = nil, 0
  for _, step in ipairs(steps) do
    local matched = is_log_of(name, step.path)
    if matched and matched > length then best, length = step, matched end
  end
  return best
end

--- The end of a file, its size, and whether its beginning is missing.
local function read_end(path, most)
  local file = io.open(path, "rb")
  if not file then return nil end
  local size = file:seek("end") or 0
  file:seek("set", math.max(0, size - most))
  local text = file:read("a") or ""
  file:close()
  if size > most then text = text:match("\n(.*)$") or text end -- the first line has lost its beginning
  return text, size
end

--- Takes a file's end into the page, as far as the page has room.
local function take(data, path, name)
  local text, size = read_end(path, math.max(TAIL_BYTES, math.min(LOG_BYTES, data.room)))
  if not text or size == 0 then return nil end
  data.room = data.room - #text
  return { name = name, path = path, text = text, size = size, cut = #text < size }
end

--- What was kept of releases that failed, before they were taken back.
local function add_evidence(data)
  local folder = data.run.dir .. "/evidence"
  local names = fs.glob("**/*", { dir = folder }) or {}
  table.sort(names)
  for _, name in ipairs(names) do
    local stat = fs.stat(folder .. "/" .. name)
    if stat and stat.type == "file" and #data.evidence < MOST_EVIDENCE then
      data.evidence[#data.evidence + 1] = take(data, folder .. "/" .. name, name)
    end
  end
end

local function add_logs(data)
  local files = {}
  for i, name in ipairs(fs.glob("*.log", { dir = data.run.dir }) or {}) do
    local path = data.run.dir .. "/" .. name
    local stat = fs.stat(path)
    files[i] = { path = path, time = stat and stat.mtime or 0 }
  end
  table.sort(files, function(a, b)
    if a.time ~= b.time then return a.time < b.time end
    return a.path < b.path
  end)
  for _, file in ipairs(files) do
    local name = fs.basename(file.path)
    local log = take(data, file.path, name)
    local owner = owner_of(name, data.steps)
    if log then table.insert(owner and owner.logs or data.logs, log) end
  end
end

local function add_events(data, events, by_path)
  for _, event in ipairs(events) do
    local step = event.path and by_path[event.path]
    if not step and event.type == "skipped" then -- never begun, so it has no row
      step = { path = event.path, rows = {}, status = "skipped", why = event.fields.why, started = event.time,
        logs = {}, events = {} }
      by_path[event.path] = step
      data.steps[#data.steps + 1] = step
    elseif step and #step.rows == 0 then
      step.why = event.fields.why
    elseif event.type ~= "skipped" then
      table.insert(step and step.events or data.events, event)
    end
  end
end

--- Steps in the order in which they began, each followed by its own sub-steps.
local function in_order(steps)
  local known, children, ordered = {}, {}, {}
  for _, step in ipairs(steps) do known[step.path] = step end
  for _, step in ipairs(steps) do
    local parent = step.path:match("^(.*)/[^/]*$")
    while parent and not known[parent] do parent = parent:match("^(.*)/[^/]*$") end
    children[parent or ""] = children[parent or ""] or {}
    table.insert(children[parent or ""], step)
  end
  local function visit(path, depth)
    local list = children[path] or {}
    table.sort(list, function(a, b)
      if a.started ~= b.started then return a.started < b.started end
      return a.path < b.path
    end)
    for _, step in ipairs(list) do
      step.depth, step.name = depth, path == "" and step.path or step.path:sub(#path + 2)
      ordered[#ordered + 1] = step
      visit(step.path, depth + 1)
    end
  end
  visit("", 0)
  return ordered
end

--- How much a step tells: those that failed first, then the ones that the length came from, then the long ones.
local function weight(step)
  return step.status == "failed" and 3e9 or step.critical and 2e9 or step.depth == 0 and 1e9 + (step.seconds or 0)
    or step.seconds or 0
end

local function choose(steps)
  if #steps <= MOST_STEPS then return steps, 0 end
  local sorted, kept, chosen = table.move(steps, 1, #steps, 1, {}), {}, {}
  for i, step in ipairs(sorted) do step.index = i end
  table.sort(sorted, function(a, b)
    local one, other = weight(a), weight(b)
    if one ~= other then return one > other end
    return a.index < b.index
  end)
  for i = 1, MOST_STEPS do kept[sorted[i]] = true end
  for _, step in ipairs(steps) do
    if kept[step] then chosen[#chosen + 1] = step end
  end
  return chosen, #steps - MOST_STEPS
end

local function add_results(data, journal)
  for _, step in ipairs(data.steps) do
    local row = step.row
    if row and row.status == "done" and row.kind == "value" and (row.size or 0) <= RESULT_BYTES then
      local results, err = journal:result(data.run.id, row)
      if not results then return nil, err end
      step.returned = results
    end
  end
  return true
end

local function read_json(path)
  local text = read_end(path, FILE_BYTES)
  return text and json.decode(text)
end

--- The permissions that were used, without what the program itself needs; those that were denied first.
local function read_permissions(path)
  local text = read_end(path, FILE_BYTES)
  if not text then return nil end
  local used, by_key = {}, {}
  for line in text:gmatch("[^\n]+") do
    local entry = json.decode(line)
    if type(entry) == "table" and entry.list and entry.value and not entry.own then
      local key = ("%s\0%s\0%s"):format(entry.list, entry.value, entry.allowed)
      if not by_key[key] then -- a resumed run asks again
        by_key[key] = { list = tostring(entry.list), what = tostring(entry.value), allowed = entry.allowed == true }
        used[#used + 1] = by_key[key]
      end
    end
  end
  table.sort(used, function(a, b)
    if a.allowed ~= b.allowed then return b.allowed end
    if a.list ~= b.list then return a.list < b.list end
    return a.what < b.what
  end)
  return used
end

--- The steps of the journal's rows: for each path its attempts, and what holds now.
local function steps_of(rows, run)
  local steps, by_path = {}, {}
  for _, row in ipairs(rows) do
    local step = by_path[row.path]
    if not step then
      step = { path = row.path, rows = {}, started = row.started, logs = {}, events = {} }
      by_path[row.path] = step
      steps[#steps + 1] = step
    end
    table.insert(step.rows, row)
    if row.status == "running" and not (run.status == "running" and row.attempt == run.attempt) then
      row.status = "killed"
    end
    step.row, step.status, step.seconds = row, row.status, row.finished - row.started
    step.critical = step.critical or row.critical
    step.changed = (step.changed or 0) + #(row.changes or {})
  end
  return steps, by_path
end

--- A step that failed because one inside it did is told once, inside.
local function mark_inherited(by_path)
  for path, step in pairs(by_path) do
    local parent = by_path[path:match("^(.*)/[^/]*$")]
    if parent and parent.row and parent.status == "failed" and step.status == "failed"
      and (parent.row.error or {}).message == (step.row.error or {}).message then
      parent.inherited = true
    end
  end
end

--- Gathers a run.
---@async
---@param journal ws.Journal
---@param run table  of `journal:find`
---@return table? data
---@return ws.Error? err
function M.gather(journal, run)
  local by_path, rows = journal:steps(run.id)
  if not by_path then return nil, rows end
  local events, err = journal:events(run.id)
  if not events then return nil, err end
  local now = require "ws.time".now()
  local data = { run = run, now = now, logs = {}, events = {}, evidence = {}, room = PAGE_BYTES }
  data.attempts, data.length = timeline.attempts(rows, run, now)
  for _, attempt in ipairs(data.attempts) do data.critical = timeline.critical(attempt) end
  data.steps, by_path = steps_of(rows, run)
  add_events(data, events, by_path)
  data.counts, data.changes = {}, 0
  mark_inherited(by_path)
  for _, step in ipairs(data.steps) do
    if not step.inherited then data.counts[step.status] = (data.counts[step.status] or 0) + 1 end
    data.changes = data.changes + (step.changed or 0)
  end
  data.steps, data.left_out = choose(in_order(data.steps))
  for i, step in ipairs(data.steps) do step.id = "step-" .. i end
  add_logs(data)
  add_evidence(data)
  local ok
  ok, err = add_results(data, journal)
  if not ok then return nil, err end
  data.plan = read_json(run.dir .. "/plan.json")
  data.permissions = read_permissions(run.dir .. "/permissions.ndjson")
  return data
end

return M
