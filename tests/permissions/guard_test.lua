-- The plan's guard: a run that may only look is stopped at every native that changes something or starts a program.
local cage = require "cage"
local fs = require "ws.fs"

--- Calls every guarded native, first without arguments, then with some that would do. Prints what was not refused.
local walk = [[
local native = require "ws.engine".native
for name in pairs(require "ws.engine".openers) do
  local module = require(name)
  package.loaded[name] = module
end
local guarded = {}
for name, effect in pairs(native.effects()) do
  if effect == "write" or effect == "exec" then guarded[#guarded + 1] = name end
end
table.sort(guarded)
native.forbid("write", "exec")
for _, name in ipairs(guarded) do
  local module, member = name:match("^(.*)%.([^.]+)$")
  local fn = (package.loaded[module] or _G[module])[member]
  for _, arguments in ipairs { {}, { O .. "/new", O .. "/other", {} }, { { "touch", O .. "/new" }, {}, {} } } do
    local ok, err = pcall(fn, table.unpack(arguments))
    if ok or type(err) ~= "table" or err.kind ~= "denied" then
      print("not refused", name, tostring(err))
    end
  end
  print("guarded", name)
end
local function refused(what, fn, ...)
  local ok, err = pcall(fn, ...)
  print(not ok and type(err) == "table" and err.kind == "denied" and "guarded" or "not refused", what, tostring(err))
end
for _, mode in ipairs { "w", "a", "r+", "w+", "a+", "wb" } do
  refused("io.open " .. mode, io.open, O .. "/new", mode)
end
refused("io.output", io.output, O .. "/new")
refused("http POST", http.post, "http://127.0.0.1:1/", { body = "x" })
refused("http DELETE", http.delete, "http://127.0.0.1:1/")
refused("http to a file", http.get, "http://127.0.0.1:1/", { sink = { file = O .. "/new" } })
refused("archive to a file", archive.tar_create, { entries = { { name = "a", data = "x" } }, file = O .. "/new" })
refused("a database", require "ws.sqlite".open, O .. "/new")
refused("server on a unix socket", server.listen, { unix = O .. "/s", handler = print })
refused("fs.write", fs.write, O .. "/new", "x")
refused("fs.copy", fs.copy, O .. "/victim", O .. "/new")
refused("process.run", process.run, { "touch", O .. "/new" })
refused("in a coroutine", coroutine.wrap(function() fs.write(O .. "/new", "x") end))
print("looking", fs.read(O .. "/victim"), io.open(O .. "/victim"):read("a"), #fs.list(O),
  http.get("http://127.0.0.1:1/") == nil)
]]

--- Calls every native of every module with paths outside, in the places where natives take paths. A native that forgot
--- to ask would read the secret or change something.
local blind = [[
for name in pairs(require "ws.engine".openers) do pcall(require, name) end
local secret, victim, new = O .. "/secret", O .. "/victim", O .. "/new"
local skipped = { ["ws.signal.native.raise"] = true, ["ws.engine.native.forbid"] = true,
  ["ws.task.native.sleep"] = true, ["ws.secret.native.write_stdout"] = true }
local calls = {
  { secret }, { victim }, { victim, {} }, { victim, "x", {} }, { victim, "x", { how = "append" } }, { victim, 511 },
  { secret, "out/copy", {} }, { victim, "out/moved" }, { "out/mine", victim }, { "out/mine", new }, { secret, new },
  { { file = secret }, "out", 1 << 20 }, { { file = secret } }, { { file = "out/mine" }, O, 1 << 20 },
  { { { name = "a", file = secret } }, { file = "out/a.tar", gzip = false } }, { {}, { file = new, gzip = false } },
  { { dir = O } }, { new, {} }, { { "cat", secret }, {}, {} }, { { unix = new } }, { new, print }, { "sha256", secret },
  { { url = "http://127.0.0.1:1/", body_file = secret, source = "file" } },
  { { url = "http://127.0.0.1:1/", ca = secret } },
}
local count = 0
for name in pairs(require "ws.engine".native.effects()) do
  local module, member = name:match("^(.*)%.([^.]+)$")
  local fn = (package.loaded[module] or _G[module] or {})[member]
  if fn and not skipped[name] then
    for _, arguments in ipairs(calls) do
      local results = table.pack(pcall(task.timeout, 5, fn, table.unpack(arguments)))
      count = count + 1
      for i = 1, results.n do io.stdout:write(describe(results[i]), "\n") end
    end
  end
end
for _, file in ipairs(fs.list("out")) do io.stdout:write(file, fs.read("out/" .. file) or "", "\n") end
print("called", count)
]]

return function(test)
  test("no native reads or changes what is outside", function(t)
    local w = cage.world(t)
    local before = cage.snapshot(w.outside)
    local r = cage.run(w, { "--allow-read=out", "--allow-write=out" }, blind)
    local count = r.stdout:match("called\t(%d+)")
    t:ok(count and tonumber(count) > 1000,
      ("ended early (%s %s): %s%s"):format(r.code, r.signal, r.stdout:sub(-300), r.stderr))
    t:ok(not (r.stdout .. r.stderr):find("TOP-" .. "SECRET", 1, true), "the secret was read")
    t:ok(cage.snapshot(w.outside) == before, "something outside has changed")
  end)

  test("every native that writes or executes is refused", function(t)
    local w = cage.world(t)
    local before = fs.list(w.outside)
    local r = cage.run(w, {}, walk)
    t:eq(r.stderr, "")
    t:ok(not r.stdout:find("not refused"), r.stdout)
    t:has(r.stdout, "looking\tuntouched\n\tuntouched\n\t" .. #before .. "\ttrue")
    local _, count = r.stdout:gsub("guarded", "")
    t:ok(count >= 30, r.stdout)
    -- A native with the wrong effect would not be in the walk: these have to be.
    for _, name in ipairs { "ws.fs.native.write", "ws.fs.native.copy", "ws.fs.native.remove", "ws.fs.native.mkdir",
      "ws.fs.native.rename", "ws.fs.native.chmod", "ws.fs.native.symlink", "ws.fs.native.lock", "ws.fs.native.temp_dir",
      "ws.fs.native.temp_file", "ws.fs.native.touch", "ws.archive.native.extract", "ws.process.native.start",
      "ws.provider.native.listen", "os.remove", "os.rename" } do
      t:has(r.stdout, "guarded\t" .. name .. "\n")
    end
    t:eq(fs.list(w.outside), before, "nothing was made")
  end)

  test("what is forbidden stays so", function(t)
    local w = cage.world(t)
    local r = cage.run(w, {}, [[
      local native = require "ws.engine".native
      native.forbid("write")
      native.forbid()
      native.forbid("exec")
      print(pcall(fs.write, O .. "/new", "x"))
      print(select(2, pcall(process.run, { "true" })).kind)
      for name in pairs(native) do assert(not name:find("allow"), name) end]])
    t:has(r.stdout, "false\twrite would change something, and this run may not\ndenied\n")
  end)
end
