--- `wsrun sandbox ...`: the command line of the sandbox.
local flags = require "ws.flags"
local json = require "ws.json"

local USAGE = [[
Usage: wsrun sandbox COMMAND

  up [--json]              start the sandbox of this project, unless it runs
  down                     end it; its state stays
  reset                    forget everything in it
  status [--json]          where it is
  shell [-- COMMAND]       a shell, or a command, whose tools use the sandbox
  environment              the variables for that, for eval in a shell
  resources [--platform NAME] [--project ID] [--json]
                           what exists in it
  faults [list]            the fault rules
  faults add KEY=VALUE...  api method path times probability; status message retry_after latency rate cut cut_after
                           cut_upload_after
  faults remove [ID]       one rule, or all
  serve                    run in the foreground

Options of up, reset and serve:
]]

local OPTIONS = {
  { "dir", type = "string", value = "PATH", doc = "folder of the state; default: sandbox in the project's .wsrun" },
  { "port", type = "integer", value = "N", default = 0, doc = "of the APIs; 0: the last one, or any" },
  { "tls-port", type = "integer", value = "N", default = 0, doc = "of the APIs over TLS" },
  { "auth", type = "string", choices = { "emulator", "google", "off" }, value = "MODE",
    doc = "emulator: storage, Pub/Sub, registry need no credentials; google: as Google; off: none needed" },
  { "kubernetes", type = "string", choices = { "built-in", "real" }, value = "KIND",
    doc = "clusters: built-in, or on etcd and kube-apiserver of this machine" },
  { "operation-seconds", type = "string", value = "MIN-MAX", doc = "how long operations take, e.g. 0.05-0.3" },
  { "project", type = "string", value = "PATH", doc = "folder with manifests and charts; default: this project" },
  { "provider", default = true, doc = "serve the Terraform provider" },
  { "json", doc = "machine-readable" },
  { "platform", type = "string", value = "NAME", doc = "of resources: only those of the platform" },
  { "gcp-project", type = "string", value = "ID", doc = "of resources: only those of the Google Cloud project" },
  { "help", short = "h", doc = "this text" },
}

local function say(text) io.stdout:write(text, "\n") end

local function fail(err)
  io.stderr:write("wsrun: ", err.message or tostring(err), "\n")
  if err.hint then io.stderr:write("  ", err.hint, "\n") end
  return err.usage and 64 or 1
end

local function parse_seconds(text)
  if not text then return nil end
  local low, high = text:match("^([%d.]+)%-([%d.]+)$")
  low, high = tonumber(low or text), tonumber(high or text)
  if not low or not high or high < low then
    return nil, { message = ("--operation-seconds takes MIN-MAX, not '%s'"):format(text), usage = true }
  end
  return { low, high }
end

local function print_status(status, as_json)
  if as_json then
    say(json.encode(status, { indent = 2 }))
    return
  end
  say("endpoint    " .. status.endpoint)
  say("TLS         " .. status.tls_endpoint)
  say("registry    " .. status.registry)
  say("charts      " .. status.charts)
  for _, cluster in ipairs(status.kubernetes) do
    say(("kubernetes  %s (%s): %s"):format(cluster.name, cluster.location, cluster.endpoint or "does not run"))
  end
  say("kubeconfig  " .. status.kubeconfig)
  say("state       " .. status.state)
  say("pid         " .. status.pid)
end

local commands = {}

function commands.up(sandbox, opts, values)
  local status, err = sandbox.up(opts)
  if not status then return fail(err) end
  print_status(status, values.json)
  return 0
end

function commands.down(sandbox, opts)
  local was_running, err = sandbox.down { dir = opts.dir }
  if was_running == nil then return fail(err) end
  say(was_running and "ended" or "did not run")
  return 0
end

function commands.reset(sandbox, opts)
  local done, err = sandbox.reset(opts)
  if not done then return fail(err) end
  say(done == true and "state removed" or "state removed, started anew")
  return 0
end

function commands.status(sandbox, opts, values)
  local status, err = sandbox.status { dir = opts.dir }
  if not status then return fail(err) end
  print_status(status, values.json)
  return 0
end

function commands.shell(sandbox, opts, _, words)
  local result, err = sandbox.shell(words, { dir = opts.dir })
  if not result then return fail(err) end
  return result.code or 1
end

function commands.environment(sandbox, opts, values)
  local variables, err = sandbox.environment { dir = opts.dir }
  if not variables then return fail(err) end
  if values.json then
    say(json.encode(variables, { indent = 2 }))
    return 0
  end
  for _, name in ipairs(require "sandbox.values".keys(variables)) do
    local value = variables[name]
    say(value and ("export %s='%s'"):format(name, (value:gsub("'", [['\'']]))) or "unset " .. name)
  end
  return 0
end

local function request(sandbox, opts, method, path, body)
  local status, err = sandbox.status { dir = opts.dir }
  if not status then return nil, err end
  local answer, problem = require "ws.http".request { method = method, url = status.endpoint .. path, timeout = 10,
    body = body and json.encode(body) }
  if not answer then return nil, problem end
  local value = json.decode(answer.body)
  if answer.status >= 400 then
    local said = type(value) == "table" and value.error
    return nil, { message = said and said.message or answer.body, usage = true }
  end
  return value
end

function commands.resources(sandbox, opts, values)
  local query = require "ws.http".query { platform = values.platform, project = values["gcp-project"] }
  local found, err = request(sandbox, opts, "GET", "/_sandbox/resources?" .. query)
  if not found then return fail(err) end
  if values.json then
    say(json.encode(found, { indent = 2 }))
    return 0
  end
  for _, resource in ipairs(found.resources) do say(("%-32s %s"):format(resource.kind, resource.name)) end
  return 0
end

local function rule_of(words)
  local rule = {}
  for _, word in ipairs(words) do
    local key, value = word:match("^([%w_]+)=(.*)$")
    if not key then return nil, { message = ("KEY=VALUE expected, not '%s'"):format(word), usage = true } end
    if value == "true" or value == "false" then
      rule[key] = value == "true"
    else
      rule[key] = tonumber(value) or value
    end
  end
  return rule
end

function commands.faults(sandbox, opts, _, words)
  local action = table.remove(words, 1) or "list"
  local answer, err
  if action == "list" then
    answer, err = request(sandbox, opts, "GET", "/_sandbox/faults")
  elseif action == "add" then
    local rule, problem = rule_of(words)
    if not rule then return fail(problem) end
    answer, err = request(sandbox, opts, "POST", "/_sandbox/faults", rule)
  elseif action == "remove" then
    local path = words[1] and "/" .. require "ws.http".url_encode(words[1]) or ""
    answer, err = request(sandbox, opts, "DELETE", "/_sandbox/faults" .. path)
  else
    return fail { message = ("faults takes list, add or remove, not '%s'"):format(action), usage = true }
  end
  if not answer then return fail(err) end
  say(json.encode(answer, { indent = 2 }))
  return 0
end

function commands.serve(_, opts)
  opts.dir = require "sandbox".dir(opts)
  opts.project_root = opts.project_root or require "ws.project".root()
  local ok, err = require "sandbox.daemon".serve(opts)
  if not ok then
    fail(err)
    return err.kind == "locked" and 75 or 1
  end
  return 0
end

--- Runs a command of the sandbox.
---@async
---@param args string[]  the words after `wsrun sandbox`
---@return integer code
return function(args)
  local words = table.move(args, 1, #args, 1, {})
  local name = table.remove(words, 1)
  local rest
  -- What a shell is to run is not ours to read.
  for i, word in ipairs(words) do
    if word == "--" then
      rest = table.move(words, i + 1, #words, 1, {})
      words = table.move(words, 1, i - 1, 1, {})
      break
    end
  end
  local values, positional = flags.parse(OPTIONS, words)
  if not values then return fail(positional) end
  if not name or name == "help" or name == "-h" or name == "--help" or values.help then
    say(USAGE .. flags.help(OPTIONS))
    return name and 0 or 64
  end
  local command = commands[name]
  if not command then
    local meant = require "ws.nearest"(name, require "sandbox.values".keys(commands))
    return fail { message = ("sandbox: unknown command '%s'"):format(name), usage = true,
      hint = meant and ("did you mean '%s'?"):format(meant) }
  end
  local seconds, err = parse_seconds(values["operation-seconds"])
  if err then return fail(err) end
  return command(require "sandbox", {
    dir = values.dir, port = values.port, tls_port = values["tls-port"], auth = values.auth,
    operation_seconds = seconds, project_root = values.project, provider = values.provider,
    kubernetes = values.kubernetes,
  }, values, rest or positional)
end
