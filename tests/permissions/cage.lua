--- Runs scripts that try to leave their permissions, in a project of their own beside a folder that is not theirs.
---
---     WORLD/project/   wsrun.yaml, pub/a.txt, out/, secret.txt, lib.lua, bin/tool     (the script's working directory)
---     WORLD/outside/   victim, secret, module.lua
---
--- A case is { name, policy = { flag… }, attack = LUA, refused = PATTERN, control = LUA }. `attack` is the body of a
--- function that may return what it got, or nil and an error; `control` must return something true under the same
--- policy. After the attack nothing outside has changed and no secret was printed.
local fs = require "ws.fs"
local process = require "ws.process"

local M = {}

local SECRET = "TOP-" .. "SECRET"

local prelude = [[
local P, O, PORT, OTHER, HOST = ...
local fs, process, http, task = require "ws.fs", require "ws.process", require "ws.http", require "ws.task"
local archive, crypto, server = require "ws.archive", require "ws.crypto", require "ws.server"
local function out(argv, opts)
  local r, err = process.run(argv, opts)
  if not r then return nil, err end
  return r.stdout .. r.stderr, r.stderr
end
local function describe(v)
  if type(v) == "table" and v.kind then return v.kind .. ": " .. tostring(v) end
  if type(v) == "table" and v.stdout then return v.stdout .. v.stderr end
  if type(v) == "table" and v.body then return v.body end
  if type(v) == "table" then return table.concat(v, " ") end
  return tostring(v)
end
-- Says an error that an `or` or `and` would swallow.
local function try(...)
  local value, err = ...
  if value == nil then io.stdout:write("ATTACK ", describe(err), "\n") end
  return ...
end
local function run(what, fn)
  local r = table.pack(pcall(fn))
  for i = 1, r.n do io.stdout:write(what, " ", describe(r[i]), "\n") end
end
]]

--- A fresh world.
function M.world(t)
  local dir = assert(fs.realpath(t:tmpdir()))
  local w = { dir = dir, project = dir .. "/project", outside = dir .. "/outside" }
  local files = {
    ["project/wsrun.yaml"] = "", ["project/pub/a.txt"] = "public\n", ["project/pub/b/c.txt"] = "deep\n",
    ["project/secret.txt"] = SECRET .. "\n", ["project/out/mine"] = "mine\n", ["outside/secret"] = SECRET .. "\n",
    ["outside/victim"] = "untouched\n", ["outside/module.lua"] = "return '" .. SECRET .. "'\n",
    ["project/workflows/lib/mine.lua"] = "return 'mine'\n",
  }
  for name, text in pairs(files) do
    assert(fs.mkdir(fs.dirname(dir .. "/" .. name)))
    assert(fs.write(dir .. "/" .. name, text, { durable = false }))
  end
  assert(fs.mkdir(w.project .. "/bin"))
  assert(fs.write(w.project .. "/bin/tool", "#!/bin/sh\necho genuine\n", { mode = 493, durable = false }))
  return w
end

--- What lies in a folder: names, links, contents, modes and times.
function M.snapshot(dir)
  local lines = {}
  for path, entry in fs.walk(dir) do
    local stat = assert(fs.stat(path, { follow = false }))
    lines[#lines + 1] = ("%s %s %s %o %.9f"):format(path, entry.type,
      entry.type == "file" and assert(fs.read(path)) or entry.type == "link" and assert(fs.readlink(path)) or "",
      stat.mode, stat.mtime)
  end
  return table.concat(lines, "\n")
end

--- Runs Lua in a world under a policy.
---@return ws.process.Result
function M.run(w, policy, lua, opts)
  opts = opts or {}
  local script = w.project .. "/workflows/attack.lua"
  assert(fs.mkdir(w.project .. "/workflows"))
  assert(fs.write(script, prelude .. lua, { durable = false }))
  local argv = { os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), "workflows/attack.lua", w.project, w.outside,
    tostring(opts.port or 0), tostring(opts.other or 0), opts.host or "none" }
  for _, flag in ipairs(policy) do
    argv[#argv + 1] = flag:gsub("%$(%u)", { P = w.project, O = w.outside, N = tostring(opts.port),
      M = tostring(opts.other), H = opts.host })
  end
  local env = { WSRUN_STATE_DIR = w.project .. "/.wsrun" }
  for name, value in pairs(opts.env or {}) do env[name] = value end
  return assert(process.run(argv, { cwd = w.project, env = env, timeout = 50 }))
end

--- Runs one case in both directions.
function M.try(t, case, opts)
  local w = M.world(t)
  if case.prepare then case.prepare(w, t) end
  local before = M.snapshot(w.outside)
  local guarded = { fs.read(w.project .. "/wsrun.yaml"), fs.read(w.project .. "/secret.txt"),
    fs.read(w.project .. "/bin/tool") }
  local r = M.run(w, case.policy, ("run('ATTACK', function()\n%s\nend)\n"):format(case.attack), opts)
  local said = r.stdout .. r.stderr
  t:ok(not said:find(SECRET, 1, true), case.name .. ": the secret was read: " .. said)
  t:ok(M.snapshot(w.outside) == before, case.name .. ": something outside has changed\n" .. said)
  t:eq({ fs.read(w.project .. "/wsrun.yaml"), fs.read(w.project .. "/secret.txt"), fs.read(w.project .. "/bin/tool") },
    guarded, case.name .. "\n" .. said)
  local refused = case.refused or "denied"
  t:ok(said:find(refused), ("%s: expected '%s' in\n%s"):format(case.name, refused, said))
  t:ok(not said:find("pwned"), case.name .. "\n" .. said)
  if case.after then case.after(t, w, said) end
  r = M.run(w, case.policy, ("run('CONTROL', function()\n%s\nend)\n"):format(case.control), opts)
  local got = r.stdout:match("CONTROL true\nCONTROL ([^\n]*)")
  t:ok(got and got ~= "nil" and got ~= "false", ("%s: the control failed:\n%s%s"):format(case.name, r.stdout, r.stderr))
end

return M
