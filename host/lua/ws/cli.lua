--- The command line: the first word is a script when it has a `/` or ends in `.lua`, else a command.
local errors = require "ws.error"
local nearest = require "ws.nearest"

local M = {}

--- Every command and the module that has its `main(words, globals)`; in the order of the help. An `online` one is short
--- and makes requests: what they need is loaded meanwhile.
M.commands = {
  { "run", "run a workflow by name or path", group = "Run" },
  { "plan", "say what a workflow would change, and change nothing", group = "Run",
    usage = "plan WORKFLOW ARGS [--save FILE] [--detailed-exitcode]" },
  { "apply", "do what a saved plan says, when it still holds", group = "Run", usage = "apply FILE" },
  { "resume", "continue a run that failed, was interrupted or killed", group = "Run",
    usage = "resume [RUN] [--from STEP] [--plan] [--force]" },
  { "approve", "say yes to what a parked run waits for", group = "Run", usage = "approve RUN [--no-resume]" },
  { "runs", "list the runs of this project", group = "Inspect", usage = "runs [-n N]" },
  { "show", "show a run, or one of its steps", group = "Inspect", usage = "show [RUN [STEP]] [--log]" },
  { "report", "write a run as one page of HTML", group = "Inspect",
    usage = "report [RUN] [--output FILE] [--open yes|no]" },
  { "why", "say where a value of a platform came from", group = "Inspect", usage = "why PLATFORM KEY" },
  { "list", "list the workflows and manifests of this project", group = "Inspect" },
  { "doctor", "check tools, account and project", group = "Inspect" },
  { "auth", "the account: status; kube is kubectl's credential plugin", group = "Inspect" },
  { "lock", "show or release a platform's lock", group = "Inspect" },
  { "test", "run Lua test files", group = "Author" },
  { "doc", "show the documentation of a function", group = "Author" },
  { "image", "container images: push, pull, copy, ls, inspect", group = "More", online = true },
  { "sandbox", "a local Google Cloud: up, down, reset, status, shell", group = "More" },
  { "provider", "the sandbox's Terraform provider, as a plugin", group = "More" },
  { "config", "show each setting and where it comes from", group = "More" },
  { "help", "help about a command, or exit-codes", group = "More" },
  { "version", "the version of wsrun and of the tools it found", group = "More" },
}

--- Options of wsrun itself; recognised before and after the script or command, until `--`.
M.options = {
  { "sandbox", doc = "use the local sandbox; starts one when none runs" },
  { "jobs", short = "j", type = "integer", value = "N", doc = "at most N steps at once" },
  { "selector", short = "l", type = "string", value = "KEY=VALUE", many = true,
    doc = "run it for the platforms whose manifest says so (also KEY!=VALUE)" },
  { "changed", type = "string", value = "REV", doc = "run it for the platforms that differ from a git revision" },
  { "keep-going", doc = "start steps that do not depend on a failed one" },
  { "wait-lock", type = "duration", value = "TIME", doc = "wait that long for the platform's lock" },
  { "lock-ttl", type = "duration", value = "TIME",
    doc = "a lock that is not renewed for that long may be taken over; default 120" },
  { "push", doc = "with --sandbox: push the manifest to a remote that is not a local path" },
  { "plan", doc = "say what would change, and change nothing" },
  { "save", type = "string", value = "FILE", doc = "with --plan: keep the plan there for `wsrun apply FILE`" },
  { "detailed-exitcode", doc = "with --plan: exit code 2 when something would change" },
  { "yes", short = "y", doc = "answer yes to questions" },
  { "input", default = true, doc = "ask questions (--no-input: fail instead)" },
  { "json", doc = "events as NDJSON on stdout" },
  { "junit", type = "string", value = "FILE", doc = "write the run's steps there, as a JUnit report" },
  { "plain", doc = "one line per change of state, no live lines" },
  { "color", default = true, doc = "colours (--no-color: none)" },
  { "quiet", short = "q", doc = "only the result and errors" },
  { "verbose", short = "v", doc = "more detail" },
  { "allow-run", type = "list", value = "PROGRAM,…", doc = "the script may start these programs" },
  { "allow-net", type = "list", value = "HOST,…",
    doc = "it may reach these hosts: name, name:port, *.name, address, range" },
  { "allow-read", type = "list", value = "PATH,…", doc = "it may read these files and folders" },
  { "allow-write", type = "list", value = "PATH,…", doc = "it may change these files and folders" },
  { "allow-env", type = "list", value = "NAME,…", doc = "it may see these variables" },
  { "deny-run", type = "list", value = "PROGRAM,…", doc = "not these; a denial wins" },
  { "deny-net", type = "list", value = "HOST,…", doc = "not these" },
  { "deny-read", type = "list", value = "PATH,…", doc = "not these" },
  { "deny-write", type = "list", value = "PATH,…", doc = "not these" },
  { "deny-env", type = "list", value = "NAME,…", doc = "not these" },
  { "audit", doc = "say at the end which permissions the run has used" },
  { "chdir", short = "C", type = "string", value = "DIR", doc = "the project's root" },
  { "help", short = "h", doc = "help" },
}

--- The exit code that an error stands for.
---@param err ws.Error
---@return integer
function M.exit_code(err)
  if err.exit then return err.exit end
  if err.usage then return 64 end
  local codes = { interrupted = 130, locked = 75, unauthenticated = 4, parse = 65 }
  if err.kind == "denied" and (err.status == 401 or err.status == 403) then return 4 end
  return codes[err.kind] or 1
end

--- Says an error in the house form on stderr.
---@param err ws.Error
function M.complain(err)
  local display = require "ws.display"
  display.write("wsrun: " .. tostring(err.message) .. "\n")
  if err.hint then display.write("  " .. err.hint .. "\n") end
  if err.kind == "internal" and err.traceback then display.write(err.traceback .. "\n") end
  display.mark_error(err)
end

local function is_script(word)
  return word:find("/", 1, true) ~= nil or word:find("%.lua$") ~= nil
end

local function command_names()
  local names = {}
  for i, command in ipairs(M.commands) do names[i] = command[1] end
  return names
end

--- Splits wsrun's own options from the words; what it does not know stays for the script or command.
---@param words string[]
---@return table? globals
---@return string[]|ws.Error rest
local function split(words)
  local flags = require "ws.flags"
  local own, rest, i = {}, {}, 1
  local known = {}
  for _, option in ipairs(M.options) do
    known["--" .. option[1]] = option
    if option.short then known["-" .. option.short] = option end
    if (option.type or "boolean") == "boolean" then known["--no-" .. option[1]] = option end
  end
  while i <= #words do
    local word = words[i]
    if word == "--" then
      table.move(words, i, #words, #rest + 1, rest)
      break
    end
    local option = known[word:match("^%-%-[^=]+") or word]
    if not option then
      rest[#rest + 1] = word
    else
      own[#own + 1] = word
      if (option.type or "boolean") ~= "boolean" and not word:find("=", 1, true) then
        i = i + 1
        own[#own + 1] = words[i]
      end
    end
    i = i + 1
  end
  local from_environment = {}
  for _, option in ipairs(M.options) do -- WSRUN_WAIT_LOCK=10m is --wait-lock 10m; a flag comes later and wins
    local value = os.getenv("WSRUN_" .. option[1]:upper():gsub("-", "_"))
    if value and value ~= "" then
      local boolean = (option.type or "boolean") == "boolean"
      from_environment[#from_environment + 1] = not boolean and ("--%s=%s"):format(option[1], value)
        or (value == "0" or value == "false") and "--no-" .. option[1] or "--" .. option[1]
    end
  end
  local globals, err = flags.parse(M.options, table.move(own, 1, #own, #from_environment + 1, from_environment))
  if not globals then return nil, err end
  if globals.jobs and globals.jobs < 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "--jobs takes 1 or more, not " .. globals.jobs }
  end
  if globals["lock-ttl"] and globals["lock-ttl"] < 1 then
    return nil, errors.new { kind = "invalid", usage = true,
      message = ("--lock-ttl takes 1 second or more, not %g"):format(globals["lock-ttl"]) }
  end
  return globals, rest
end

--- Children find the tools of `make deps` whether or not make started us.
local function add_tools()
  local dir, path = require "ws.project".tools_dir(), os.getenv("PATH") or "/usr/bin:/bin"
  if dir and not (":" .. path .. ":"):find(":" .. dir .. ":", 1, true) then
    require "ws.environment".set { PATH = dir .. ":" .. path }
  end
end

local function dispatch(words)
  if words[1] == "sandbox" then
    add_tools()
    -- its own words may be another program's: wsrun sandbox shell -- CMD ARGS
    return require "sandbox.command" (table.move(words, 2, #words, 1, {}))
  end
  local globals, rest = split(words)
  if not globals then return nil, rest end
  if globals.chdir then
    local ok, problem = require "ws.project".set_root(globals.chdir)
    if not ok then return nil, problem end
  end
  local first = table.remove(rest, 1)
  if first and is_script(first) then first = require "ws.project".script(first) end
  add_tools()
  if not first then return require "ws.cli.help".main({}, globals) end
  if first == "--version" then first = "version" end
  if is_script(first) then return require "ws.cli.run".script(first, rest, globals) end
  for _, command in ipairs(M.commands) do
    if command[1] == first then
      if globals.help and first ~= "run" then return require "ws.cli.help".main({ first }, globals) end
      if command.online then require "ws.http.native".preload() end
      return require("ws.cli." .. first).main(rest, globals)
    end
  end
  local meant = nearest(first, command_names())
  return nil, errors.new { kind = "invalid", usage = true,
    message = ("unknown %s '%s'"):format(first:find("^%-.") and "option" or "command", first),
    hint = meant and ("did you mean '%s'?"):format(meant) or "wsrun help lists the commands" }
end

--- Runs the command line and returns the exit code.
---@async
---@param words string[]
---@return integer
function M.main(words)
  local code, err = dispatch(words)
  if code then return code end
  M.complain(err)
  return M.exit_code(err)
end

return M
