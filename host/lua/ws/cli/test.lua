--- `wsrun test [-k TEXT] FILE...`, `wsrun test --crash-each-step WORKFLOW ARGS`
local flags = require "ws.flags"

local M = {}

local function crash_each_step(words, globals)
  local own, rest, i = {}, {}, 1
  while i <= #words do -- options before the workflow are ours, what follows it is its own
    if words[i]:sub(1, 1) ~= "-" then break end
    own[#own + 1] = words[i]
    if not words[i]:find("=", 1, true) then
      i = i + 1
      own[#own + 1] = words[i]
    end
    i = i + 1
  end
  table.move(words, i, #words, 1, rest)
  local crash = require "ws.cli.crash"
  local opts, err = flags.parse(crash.options, own)
  if not opts then return nil, err end
  if #rest == 0 then
    return nil, require "ws.error".new { kind = "invalid", usage = true,
      message = "wsrun test --crash-each-step needs a workflow" }
  end
  if globals.sandbox then table.insert(rest, 1, "--sandbox") end
  return crash.run(rest, opts)
end

function M.main(words, globals)
  if words[1] == "--crash-each-step" then return crash_each_step(table.move(words, 2, #words, 1, {}), globals) end
  return require "ws.test".main(words)
end

return M
