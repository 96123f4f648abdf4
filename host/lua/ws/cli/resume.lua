--- `wsrun resume [RUN] [--from STEP] [--plan]`: continues a run.
local errors = require "ws.error"
local flags = require "ws.flags"
local project = require "ws.project"

local M = {}

M.options = {
  { "from", type = "string", value = "STEP", doc = "run this step and what began after it again" },
  { "plan", doc = "only say which steps would be taken over and which would run, and why" },
  { "force", doc = "also when it cannot be told whether its process is gone" },
}

--- The journal's record of the run that the words name, and it may be continued.
local function find(id, opts)
  local journal, err = require "ws.journal".open { read_only = true }
  if not journal then
    if err.kind ~= "not_found" then return nil, err end
    return nil, errors.new { kind = "not_found", usage = true, message = "this project has no runs yet" }
  end
  local _ <close> = journal
  local record
  record, err = journal:find(id)
  if not record then return nil, err end
  if record.status == "done" and not opts.from then
    return nil, errors.new { kind = "invalid", usage = true,
      message = ("run %s came to a good end; there is nothing to resume"):format(record.id),
      hint = "with --from STEP it runs again from there" }
  end
  if opts.force and record.status == "running" then record.status = "killed" end
  return record
end

local function table_of(run)
  local rows, groups = {}, { reused = 0, again = 0, new = 0 }
  for _, step in ipairs(run.steps) do
    local group = step.reused and "reused" or step.why == "new" and "new" or "again"
    groups[group] = groups[group] + 1
    rows[#rows + 1] = { step.path, group == "again" and "run again" or group, step.reused and "done" or step.why }
  end
  for _, path in ipairs(run.replay:orphans()) do
    rows[#rows + 1] = { path, "orphaned", "the script did not come to it" }
    groups.orphaned = (groups.orphaned or 0) + 1
  end
  return rows, groups
end

local function show_plan(run, globals)
  local rows, groups = table_of(run)
  if globals.json then
    local json = require "ws.json"
    local steps = json.array {}
    for i, row in ipairs(rows) do steps[i] = { step = row[1], action = row[2]:gsub(" ", "_"), why = row[3] } end
    print(json.encode { schema_version = 1, run = run.id, steps = steps })
    return
  end
  print(("run %s: %d reused, %d run again, %d new%s"):format(run.id, groups.reused, groups.again, groups.new,
    groups.orphaned and (", %d orphaned"):format(groups.orphaned) or ""))
  for _, row in ipairs(rows) do print(("  %-36s %-10s %s"):format(row[1], row[2], row[3])) end
end

--- Continues the run of a record.
---@async
---@param record table  of the journal
---@param opts table
---@param globals table
---@return integer? code
---@return ws.Error? err
function M.continue(record, opts, globals)
  for name, value in pairs(record.options) do
    if globals[name] == nil or globals[name] == false then globals[name] = value end
  end
  globals.resumed, globals.from = record, opts.from
  if opts.plan or globals.plan then -- the word is wsrun's own as well
    opts.plan, globals.plan = true, nil
    globals.explain = function(run) show_plan(run, globals) end
  end
  local words = table.move(record.words, 1, #record.words, 1, {})
  return require "ws.cli.run".script(project.path(record.script), words, globals)
end

function M.main(words, globals)
  local opts, rest = flags.parse(M.options, words)
  if not opts then return nil, rest end
  if #rest > 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun resume takes one run" }
  end
  local record, err = find(rest[1], opts)
  if not record then return nil, err end
  return M.continue(record, opts, globals)
end

return M
