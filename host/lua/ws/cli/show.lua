--- `wsrun show [RUN [STEP]] [--log]`: what a run did.
local display = require "ws.display"
local errors = require "ws.error"
local flags = require "ws.flags"
local fs = require "ws.fs"
local json = require "ws.json"
local time = require "ws.time"

local M = {}

M.options = { { "log", doc = "what the children of the step, or of the run, said" } }

local function lasted(row)
  return row.ended and display.duration(row.ended - row.started) or ""
end

local function say_error(err)
  if not err then return end
  print("  error   " .. tostring(err.message):gsub("\n", "\n          "))
  if err.where then print("  where   " .. err.where) end
  if err.detail then print("  why     " .. err.detail:gsub("\n", "\n          ")) end
  if err.hint then print("  hint    " .. err.hint:gsub("\n", "\n          ")) end
end

--- The logs of a run, or of one of its steps: their names begin with the step's path, "/" written as ".".
local function logs(run, path)
  local found, prefix = {}, path and path:gsub("/", ".")
  for _, name in ipairs(fs.list(run.dir) or {}) do
    local own = not prefix or name:sub(1, #prefix) == prefix or name:find("-" .. prefix .. "-", 1, true)
    if name:find("%.log$") and own then found[#found + 1] = run.dir .. "/" .. name end
  end
  table.sort(found)
  return found
end

local function show_logs(run, path)
  local files = logs(run, path)
  if #files == 0 then
    return nil, errors.new { kind = "not_found", message = ("no log of %s in %s"):format(path or run.id, run.dir) }
  end
  for _, file in ipairs(files) do
    if #files > 1 then print("==> " .. fs.basename(file)) end
    io.stdout:write(assert(fs.read(file)))
  end
  return 0
end

local function show_run(run, rows)
  print(("%s  %s"):format(run.id, run.title))
  print(("  status  %s%s"):format(run.status, run.exit and (" (exit code %d)"):format(run.exit) or ""))
  print(("  began   %s%s"):format(time.rfc3339(math.floor(run.started)),
    run.attempt > 1 and (", resumed %d times"):format(run.attempt - 1) or ""))
  if run.ended then print("  lasted  " .. display.duration(run.ended - run.started)) end
  print(("  script  %s %s"):format(run.script, table.concat(run.words, " ")))
  print("  logs    " .. run.dir)
  say_error(run.error)
  print()
  for _, row in ipairs(rows) do
    local depth = select(2, row.path:gsub("/", ""))
    print(("  %-36s %-8s %8s  %s"):format(("  "):rep(depth) .. row.path:match("[^/]+$"), row.status, lasted(row),
      row.summary or row.error and row.error.message:match("[^\n]*") or ""))
  end
  return 0
end

local function show_step(journal, run, rows, path)
  local found
  for _, row in ipairs(rows) do
    if row.path == path then
      found = row
      local again = row.attempt > 1 and (" (attempt %d)"):format(row.attempt) or ""
      print(("%s  %s%s  %s"):format(row.path, row.status, again, lasted(row)))
      print("  began   " .. time.rfc3339(row.started, 3))
      if row.line then print("  script  " .. row.line) end
      if row.needs then print("  needs   " .. table.concat(row.needs, ", ")) end
      if row.summary then print("  result  " .. row.summary) end
      say_error(row.error)
      if row.kind == "value" and row.status == "done" then
        local results, err = journal:result(run.id, row)
        if not results then return nil, err end
        for i = 1, results.n do
          if results[i] ~= nil then
            print("  returned " .. (pcall(json.encode, results[i]) and json.encode(results[i], { indent = 2 })
              or tostring(results[i])))
          end
        end
      end
    end
  end
  if found then return 0 end
  local known = {}
  for i, row in ipairs(rows) do known[i] = row.path end
  local meant = require "ws.nearest"(path, known)
  return nil, errors.new { kind = "not_found", usage = true, message = ("run %s has no step '%s'"):format(run.id, path),
    hint = meant and ("did you mean '%s'?"):format(meant) or nil }
end

function M.main(words, globals)
  local opts, rest = flags.parse(M.options, words)
  if not opts then return nil, rest end
  local journal, err = require "ws.journal".open { read_only = true }
  if not journal then return nil, err end
  local _ <close> = journal
  local run
  if rest[1] then
    run, err = journal:find(rest[1])
  else
    local runs
    runs, err = journal:runs(1)
    run = runs and runs[1]
    if runs and not run then err = errors.new { kind = "not_found", message = "this project has no runs yet" } end
  end
  if not run then return nil, err end
  if opts.log then return show_logs(run, rest[2]) end
  local by_path, rows = journal:steps(run.id)
  if not by_path then return nil, rows end
  if globals.json then
    local steps = json.array {}
    for i, row in ipairs(rows) do
      steps[i] = { step = row.path, attempt = row.attempt, status = row.status, line = row.line,
        started = time.rfc3339(row.started, 3), seconds = row.ended and row.ended - row.started,
        summary = row.summary, changes = row.changes, error = row.error }
    end
    print(json.encode { schema_version = 1, run = run.id, title = run.title, status = run.status, exit = run.exit,
      steps = steps })
    return 0
  end
  if rest[2] then return show_step(journal, run, rows, rest[2]) end
  return show_run(run, rows)
end

return M
