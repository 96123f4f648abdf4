--- `wsrun why PLATFORM KEY`: where a value came from.
local errors = require "ws.error"
local json = require "ws.json"
local project = require "ws.project"
local time = require "ws.time"

local M = {}

local function usage(message)
  return nil, errors.new { kind = "invalid", usage = true, message = message,
    hint = "wsrun why PLATFORM KEY, with a key such as infrastructure.gke.max or outputs.kubernetes.node_port" }
end

--- Calls `fn` with the project's journal; nil when there is none yet.
local function with_journal(fn, ...)
  local journal, err = require "ws.journal".open { read_only = true }
  if not journal then
    if err.kind == "not_found" then return nil end
    return nil, err
  end
  local _ <close> = journal
  return fn(journal, ...)
end

local function as_text(value)
  if type(value) == "string" then return value end
  if value == nil then return "(not set)" end
  return json.encode(value, type(value) == "table" and { indent = 2 } or nil)
end

--- What is known of a key of the manifest.
local function of_manifest(m, key)
  local found, err = require "lib.manifest".explain(m, key)
  if not found then
    err.usage = true
    return nil, err
  end
  local answer = { key = found.key, from = found.from, value = found.value, where = found.where, doc = found.doc,
    allowed = found.allowed, otherwise = found.otherwise }
  if found.is_secret and found.value ~= nil then answer.value = "***" end
  if found.line then
    local line = math.tointeger(tonumber(found.where:match(":(%d+):%d+$")))
    local commit, problem = require "ws.git".blame(m.path, line)
    answer.commit = commit
    if not commit then answer.no_commit = problem.message end
  end
  local run, failure = with_journal(require "ws.journal.history".last_written, m.name, found.key)
  if failure then return nil, failure end
  answer.run = run
  return answer
end

--- The state of a layer, as it lies in the bucket.
local function read_state(m, layer)
  local inputs = require "lib.inputs"
  local gcs = require "ws.gcs"
  local backend = inputs.backend(m, layer)
  local url = ("gs://%s/%s/%s.tfstate"):format(backend.bucket, backend.prefix, inputs.workspace(m, layer))
  local object, err = gcs.stat(url, { api = "backend_storage" })
  local text = object
  if object then text, err = gcs.get(url, { api = "backend_storage", generation = object.generation }) end
  if not text then
    if err.kind == "not_found" then
      err = errors.new { kind = "not_found", hint = "wsrun workflows/create_platform.lua " .. m.name,
        message = ("layer %s of %s was never applied: %s is not there"):format(layer, m.name, url) }
    end
    return nil, err
  end
  local state, problem = json.decode(text, { filename = url })
  if not state then return nil, problem end
  return { url = url, outputs = state.outputs or {}, serial = state.serial, lineage = state.lineage,
    updated = object.updated, generation = object.generation }
end

local function not_there(where, what, wanted, names, prefix)
  table.sort(names)
  local near = require "ws.nearest"(wanted, names)
  return nil, errors.new { kind = "not_found", usage = true, message = ("%s has no %s %s"):format(where, what, wanted),
    hint = near and ("did you mean %s%s?"):format(prefix, near)
      or #names > 0 and "there are " .. table.concat(names, ", ") or nil }
end

local function of_output(m, layer, name, key)
  local layers = require "lib.inputs".layers(m)
  local known = false
  for _, one in ipairs(layers) do known = known or one == layer end
  if not known then return not_there("the platform " .. m.name, "layer", layer, layers, "outputs.") end
  local state, err = read_state(m, layer)
  if not state then return nil, err end
  local output = state.outputs[name]
  if not output then
    local names = {}
    for one in pairs(state.outputs) do names[#names + 1] = one end
    return not_there(("layer %s of %s"):format(layer, m.name), "output", name, names, "outputs." .. layer .. ".")
  end
  local run, failure = with_journal(require "ws.journal.history".last_change, m.name, layer)
  if failure then return nil, failure end
  return { key = key, from = "output", value = output.sensitive and "***" or output.value, layer = layer,
    state = state.url, serial = state.serial, lineage = state.lineage, updated = state.updated,
    generation = state.generation, run = run }
end

local function say_run(run, verb)
  if not run then
    print("  run      none of this project " .. verb .. " it")
    return
  end
  print(("  run      %s  %s, %s %s%s"):format(run.run, run.title:gsub("%s+", " "), verb, time.rfc3339(run.time),
    run.changes and ": " .. table.concat(run.changes, ", ") or ""))
end

local function say(answer)
  print(("%s = %s"):format(answer.key, as_text(answer.value)))
  if answer.from == "output" then
    print(("  output   of layer %s"):format(answer.layer))
    print(("  state    %s, serial %s%s"):format(answer.state, answer.serial,
      answer.updated and ", of " .. answer.updated or ""))
    return say_run(answer.run, "changed")
  end
  local file = answer.where:match("^(.-):%d+:%d+$")
  if answer.from == "manifest" then
    print("  manifest " .. answer.where)
  elseif answer.from == "default" then
    print(("  default  of the schema; %s does not say it"):format(file))
  else
    print(("  default  %s; %s does not say it"):format(answer.otherwise or "none", file))
  end
  if answer.doc then print("  meaning  " .. answer.doc) end
  if answer.allowed then print("  allowed  " .. answer.allowed) end
  local commit = answer.commit
  if commit and commit.commit then
    print(("  commit   %s  %s, %s: %s"):format(commit.commit:sub(1, 12), commit.author, time.rfc3339(commit.time),
      commit.summary))
  elseif commit then
    print("  commit   the line is not committed yet")
  elseif answer.no_commit then
    print("  commit   unknown: " .. answer.no_commit)
  end
  if answer.from == "manifest" then say_run(answer.run, "wrote") end
end

function M.main(words, globals)
  if #words ~= 2 then return usage("why takes a platform and a key") end
  table.insert(require "ws.engine".script_folders, project.path("workflows"))
  local m, err = require "lib.manifest".load(words[1], { root = project.root() })
  if not m then
    err.exit = err.kind == "invalid" and 65 or nil
    return nil, err
  end
  local key, answer = words[2]
  local layer, name = key:match("^outputs%.([^.]+)%.([^.]+)$")
  if layer then
    if globals.sandbox then
      local ready, problem = require "ws.cli.run".prepare_sandbox()
      if not ready then return nil, problem end
    end
    answer, err = of_output(m, layer, name, key)
  elseif key:find("^outputs%f[.\0]") then
    return usage("an output is named outputs.LAYER.NAME")
  else
    answer, err = of_manifest(m, key)
  end
  if not answer then return nil, err end
  if globals.json then
    answer.schema_version, answer.platform = 1, m.name
    print(json.encode(answer))
  else
    say(answer)
  end
  return 0
end

return M
