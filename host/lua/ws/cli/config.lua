--- `wsrun config`: each setting with where it came from.
local project = require "ws.project"

local M = {}

function M.main(_, globals)
  local rows = {
    { "root", project.root(), globals.chdir and "--chdir" or "found upwards from the working directory" },
    { "state-dir", project.state_dir(), os.getenv("WSRUN_STATE_DIR") and "WSRUN_STATE_DIR" or "default" },
    { "source", require "ws.engine".source_tree or "embedded",
      require "ws.engine".source_tree and "WSRUN_SOURCE" or "default" },
  }
  for _, name in ipairs { "jobs", "wait-lock", "lock-ttl" } do
    local variable = "WSRUN_" .. name:upper():gsub("-", "_")
    local value = globals[name]
    rows[#rows + 1] = { name, value == nil and "unset" or tostring(value),
      os.getenv(variable) and variable or value ~= nil and "--" .. name or "default" }
  end
  local settings, err = require "ws.settings".all()
  if not settings then return nil, err end
  for _, row in ipairs(settings) do
    rows[#rows + 1] = { row.name, row.value == nil and "unset" or tostring(row.value), row.origin }
  end
  if globals.json then
    local json = require "ws.json"
    local all = {}
    for i, row in ipairs(rows) do all[i] = { name = row[1], value = row[2], origin = row[3] } end
    print(json.encode(json.array(all)))
    return 0
  end
  for _, row in ipairs(rows) do print(("%-17s %-40s %s"):format(row[1], row[2], row[3])) end
  return 0
end

return M
