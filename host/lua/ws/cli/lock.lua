--- `wsrun lock show PLATFORM` and `wsrun lock release PLATFORM --yes`
local errors = require "ws.error"

local M = {}

local function usage(message)
  return nil, errors.new { kind = "invalid", usage = true, message = message,
    hint = "wsrun lock show PLATFORM, or wsrun lock release PLATFORM --yes" }
end

function M.main(words, globals)
  local verb, name = words[1], words[2]
  if (verb ~= "show" and verb ~= "release") or not name then
    return usage("lock takes show or release, and a platform")
  end
  local project = require "ws.project"
  table.insert(require "ws.engine".script_folders, project.path("workflows"))
  local manifest, err = require "lib.manifest".load(name, { root = project.root() })
  if not manifest then return nil, err end
  if globals.sandbox then require "ws.cli.run".prepare_sandbox() end
  local lock = require "ws.lock"
  local bucket = manifest["remote-bucket"]
  local info, problem = lock.read(bucket, manifest.name)
  if not info then
    if problem.kind ~= "not_found" then return nil, problem end
    print(("%s is not locked"):format(manifest.name))
    return 0
  end
  print(("%s is held by %s: run %s on %s (process %s), since %s, renewed %.0f s ago"):format(manifest.name, info.user,
    info.run, info.host, info.pid, info.since, info.age))
  if verb == "show" then return 0 end
  if not globals.yes then return usage("releasing a lock that is in use damages the platform; say --yes") end
  local ok, failure = lock.remove(bucket, manifest.name, info.generation)
  if not ok then return nil, failure end
  print("released")
  return 0
end

return M
