--- `wsrun help [COMMAND]`
local M = {}

local exit_codes = [[
Exit codes
    0  done
    1  a step failed
    2  changes are present (plan --detailed-exitcode)
    3  it completed, and the verdict is no
    4  not authenticated, or refused
   64  wrong usage
   65  invalid manifest or script
   74  the journal of runs cannot be written
   75  locked or parked: run it again later, or `wsrun approve`
  130  interrupted by Ctrl-C (143: by SIGTERM, 129: by SIGHUP); `wsrun resume` goes on]]

local intro = [[
wsrun - create and update Google Cloud platforms from Lua workflows

Usage:  wsrun <command> [options]        wsrun path/to/script.lua [arguments]

Examples
  $ wsrun workflows/create_platform.lua dev-seb
  $ wsrun --sandbox workflows/create_platform.lua dev-seb   # without a cloud account
  $ wsrun sandbox shell -- kubectl get pods -A
]]

local function overview()
  local cli = require "ws.cli"
  local lines, group = { intro }, nil
  for _, command in ipairs(cli.commands) do
    if command.group ~= group then
      group = command.group
      lines[#lines + 1] = group
    end
    lines[#lines + 1] = ("  %-10s %s"):format(command[1], command[2])
  end
  lines[#lines + 1] = "\nwsrun help COMMAND, wsrun SCRIPT -h, wsrun help permissions and exit-codes say more."
  return table.concat(lines, "\n")
end

local permissions = [[
Permissions of a script: `permissions` in wsrun.yaml, and --allow-LIST=A,B and --deny-LIST=A,B.

Without either, a script may do what you may. With a section, or one --allow option, only what is listed; with --deny
options alone, everything else. A denial wins. `*` stands for everything.

  run    programs: a name on PATH or an absolute path, either with @sha256:DIGEST to pin the file
  net    hosts: name, name:port, *.name, address, range (10.0.0.0/8), [ipv6]:port; unix: sockets of children
  read   files and folders; relative ones count from the project's root, ~ is your home
  write  likewise
  env    variables; NAME_* for all that begin so

wsrun SCRIPT --audit says at the end what a run has used, as a section to paste. docs/security.md has the promises.]]

local pages = {
  permissions = function() return permissions end,
  ["exit-codes"] = function() return exit_codes end,
  run = function()
    return "Usage: wsrun run WORKFLOW [arguments] [options]\n       wsrun path/to/script.lua [arguments] [options]\n\n"
      .. "Runs workflows/WORKFLOW.lua of this project, or a script. `wsrun list` shows the workflows.\n\nOptions\n"
      .. require "ws.flags".help(require "ws.cli".options) .. "\n\n" .. exit_codes
  end,
  image = function() return require "ws.cli.image".help() end,
  resume = function()
    return "Usage: wsrun resume [RUN] [--from STEP] [--plan] [--force]\n\n"
      .. "Continues a run that failed, was interrupted or killed: the last one, or RUN (the beginning of its name).\n"
      .. "Finished steps return their recorded results; what did not finish, what is new in the script and what\n"
      .. "declares other inputs than then runs.\n\nOptions\n"
      .. require "ws.flags".help(require "ws.cli.resume".options)
  end,
  show = function()
    return "Usage: wsrun show [RUN [STEP]] [--log] [--json]\n\n"
      .. "Shows a run's steps with their times and what they came to, or one step with its result and error;\n"
      .. "with --log what its children said."
  end,
  report = function()
    return "Usage: wsrun report [RUN] [--output FILE] [--open yes|no]\n\n"
      .. "Writes the newest run, or RUN (the beginning of its name), as one page of HTML that needs no network and no\n"
      .. "script: timeline, critical path, steps, logs, changes. docs/reports.md shows one.\n\nOptions\n"
      .. require "ws.flags".help(require "ws.cli.report".options)
  end,
  why = function()
    return "Usage: wsrun why PLATFORM KEY [--json]\n\n"
      .. "Says where a value came from: a line of the manifest and the commit that wrote it, a default, or the state\n"
      .. "of a layer; and which run of this project changed it last.\n\nExamples\n"
      .. "  $ wsrun why dev-seb infrastructure.gke.max\n  $ wsrun why dev-seb applications.test-app.version\n"
      .. "  $ wsrun why dev-seb outputs.kubernetes.node_port"
  end,
  test = function()
    return "Usage: wsrun test [-k TEXT] FILE...\n"
      .. "       wsrun test --crash-each-step [--before COMMAND] [--every N] WORKFLOW ARGS\n\n"
      .. "Runs Lua test files; -k only the tests whose name contains TEXT. With --crash-each-step a workflow is\n"
      .. "run again and again, each time killed one record of the journal later, and resumed: it must come to its\n"
      .. "end, and no step that was done may run twice.\n\nOptions of --crash-each-step\n"
      .. require "ws.flags".help(require "ws.cli.crash".options)
  end,
  approve = function()
    return "Usage: wsrun approve RUN [--no-resume]\n\n"
      .. "Says yes to what a parked run waits for, and resumes it."
  end,
  sandbox = function()
    return "Usage: wsrun sandbox up|down|reset|status [--json]|shell [-- COMMAND]\n\n"
      .. "A local Google Cloud, container registry and Kubernetes API on loopback; see docs/sandbox.md."
  end,
}

--- Prints help; returns nil and an error for an unknown topic.
function M.main(words)
  local topic = words[1]
  if not topic then
    print(overview())
    return 0
  end
  if pages[topic] then
    print(pages[topic]())
    return 0
  end
  for _, command in ipairs(require "ws.cli".commands) do
    if command[1] == topic then
      print(("Usage: wsrun %s\n\n%s"):format(command.usage or topic, command[2]:gsub("^%l", string.upper) .. "."))
      return 0
    end
  end
  return nil, require "ws.error".new { kind = "invalid", usage = true, message = ("no help for '%s'"):format(topic),
    hint = "wsrun help lists the commands" }
end

return M
