--- `wsrun lock show PLATFORM` and `wsrun lock release PLATFORM [--force]`
local errors = require "ws.error"
local flags = require "ws.flags"

local M = {}

local options = { { "force", doc = "take the lock from a run that still holds it" } }

local function usage(message)
  return nil, errors.new { kind = "invalid", usage = true, message = message,
    hint = "wsrun lock show PLATFORM, or wsrun lock release PLATFORM [--force]" }
end

local function read(words)
  local given, positional = flags.parse(options, words)
  if not given then return nil, positional end
  local verb, name = positional[1], positional[2]
  if (verb ~= "show" and verb ~= "release") or not name or positional[3] then
    return usage("lock takes show or release, and a platform")
  end
  if verb == "show" and given.force then return usage("--force is for release") end
  return { verb = verb, name = name, force = given.force }
end

local function release(lock, bucket, name, holder, force)
  if not holder.stale and not force then
    return nil, errors.new { kind = "locked", op = "lock", message = ("%s is in use by %s"):format(name, holder.text),
      hint = "wait for that run, or end it. --force takes the lock away: that run then changes nothing more, but what "
        .. "it has begun goes on" }
  end
  local ok, err = lock.remove(bucket, name, holder.generation)
  if ok then
    print(("%s is released"):format(name))
    return 0
  end
  if err.kind == "not_found" then
    print(("%s was released meanwhile"):format(name))
    return 0
  end
  if err.kind == "precondition" then
    err.message, err.hint = name .. ": the lock was renewed or taken meanwhile", "look again: wsrun lock show " .. name
  end
  return nil, err
end

function M.main(words, globals)
  local asked, wrong = read(words)
  if not asked then return nil, wrong end
  local project = require "ws.project"
  table.insert(require "ws.engine".script_folders, project.path("workflows"))
  local manifest, err = require "lib.manifest".load(asked.name, { root = project.root() })
  if not manifest then return nil, err end
  if globals.sandbox then
    local ready, problem = require "ws.cli.run".prepare_sandbox()
    if not ready then return nil, problem end
  end
  local lock = require "ws.lock"
  local bucket, name = manifest["remote-bucket"], manifest.name
  local holder, problem = lock.read(bucket, name)
  if not holder then
    if problem.kind ~= "not_found" then return nil, problem end
    print(("%s is not locked"):format(name))
    return 0
  end
  if asked.verb == "release" then return release(lock, bucket, name, holder, asked.force) end
  print(("%s is locked by %s"):format(name, holder.text))
  if holder.stale then print(("the next run takes it over: %s"):format(holder.stale)) end
  return 0
end

return M
