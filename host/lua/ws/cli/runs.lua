--- `wsrun runs`: the runs of this project, the newest first.
local display = require "ws.display"
local errors = require "ws.error"
local flags = require "ws.flags"
local json = require "ws.json"
local time = require "ws.time"

local M = {}

M.options = { { "number", short = "n", type = "integer", value = "N", default = 20, doc = "at most N" } }

--- The runs of this project; none when it has no journal yet.
---@async
---@param limit? integer
---@return table[]? runs
---@return ws.Error? err
function M.list(limit)
  local journal, err = require "ws.journal".open { read_only = true }
  if not journal then
    if err.kind == "not_found" then return {} end
    return nil, err
  end
  local _ <close> = journal
  return journal:runs(limit)
end

--- A run as other programs read it.
local function public(run)
  return { run = run.id, title = run.title, script = run.script, status = run.status, exit = run.exit,
    started = time.rfc3339(run.started), ended = run.ended and time.rfc3339(run.ended), changes = run.changes,
    attempts = run.attempt, error = run.error and run.error.message, dir = run.dir }
end

function M.main(words, globals)
  local opts, rest = flags.parse(M.options, words)
  if not opts then return nil, rest end
  if #rest > 0 then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun runs takes no arguments",
      hint = "wsrun show RUN shows one" }
  end
  local runs, err = M.list(opts.number)
  if not runs then return nil, err end
  if globals.json then
    local list = json.array {}
    for i, run in ipairs(runs) do list[i] = public(run) end
    print(json.encode { schema_version = 1, runs = list })
    return 0
  end
  if #runs == 0 then print("no runs yet") end
  for _, run in ipairs(runs) do
    local seconds = (run.ended or time.now()) - run.started
    print(("%-22s %-12s %8s  %s  %s"):format(run.id, run.status, run.ended and display.duration(seconds) or "",
      os.date("%Y-%m-%d %H:%M", math.floor(run.started)), run.title))
  end
  return 0
end

return M
