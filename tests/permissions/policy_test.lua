-- How a policy is said, what its errors say, what is recorded, and what a kernel without the means does.
local cage = require "cage"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local function with_yaml(t, text)
  local w = cage.world(t)
  assert(fs.write(w.project .. "/wsrun.yaml", text))
  return w
end

local report = [[
print(fs.read("pub/a.txt") and "read", select(2, fs.read("pub/b/c.txt")) or "deep",
  select(2, fs.read("secret.txt")) or "secret",
  select(2, fs.write("out/x", "x")) or "written", select(2, process.run { "true" }) or "ran")
]]

return function(test)
  test("the section of wsrun.yaml is enforced, its denials win, flags add", function(t)
    local w = with_yaml(t, "permissions:\n  read: [pub]\n  deny: { read: [pub/b] }\n")
    local r = cage.run(w, {}, report)
    t:has(r.stdout, "read\tfs.read: " .. w.project .. "/pub/b/c.txt may not be read: it is denied (read: pub/b)\t")
    t:has(r.stdout, "secret.txt may not be read: this run's permissions do not list it")
    t:has(r.stdout, "out/x may not be changed")
    t:has(r.stdout, "may not be started")
    r = cage.run(w, { "--allow-read=pub/b,secret.txt", "--allow-write=out", "--allow-run=true" }, report)
    t:has(r.stdout, "(read: pub/b)\tsecret\twritten\tran")
    r = cage.run(w, { "--deny-read=pub" }, report)
    t:has(r.stdout, "nil\t")
    r = cage.run(with_yaml(t, "permissions: {}\n"), {}, report)
    t:has(r.stdout, "nil\t", "an empty section allows nothing")
  end)

  test("without a policy everything is as it was, with denials alone everything else is", function(t)
    local w = cage.world(t)
    t:has(cage.run(w, {}, report .. "print(debug.getregistry ~= nil)").stdout, "read\tdeep\tsecret\twritten\tran")
    t:eq(fs.exists(w.project .. "/.wsrun/runs"), false)
    local r = cage.run(w, { "--deny-read=secret.txt", "--deny-env=TOKEN" }, report
      .. "print(os.getenv 'TOKEN', os.getenv 'OTHER', "
      .. "out { 'sh', '-c', 'cat secret.txt pub/a.txt; echo $TOKEN-$OTHER' })",
      { env = { TOKEN = "t", OTHER = "o" } })
    t:has(r.stdout, "may not be read: it is denied (read: secret.txt)")
    t:has(r.stdout, "written\tran")
    t:has(r.stdout, "nil\to\tpublic\n-o\n")
    t:has(r.stdout, "ermission denied")
  end)

  test("an entry that is not understood ends it before the script runs", function(t)
    for text, message in pairs {
      ["permissions: {net: ['https://x']}"] = "permissions: net: 'https://x' is not understood",
      ["permissions: {net: ['x:99999']}"] = "'x:99999' is not understood",
      ["permissions: {net: ['10.0.0.0/33']}"] = "'10.0.0.0/33' is not understood",
      ["permissions: {net: ['a*b']}"] = "'a*b' is not understood",
      ["permissions: {run: ['sh@sha256:12']}"] = "is not understood",
      ["permissions: {read: pub}"] = "wsrun.yaml:1:",
      ["permissions: {raed: [pub]}"] = 'no such key, did you mean "read"?',
      ["permissions: {read: ['']}"] = "wsrun.yaml:1:",
    } do
      local r = cage.run(with_yaml(t, text), {}, "print 'ran'")
      t:eq({ r.code, r.stdout }, { 65, "" }, text)
      t:has(r.stderr, message)
    end
  end)

  test("an error says what, why, and which option allows it", function(t)
    local w = cage.world(t)
    local r = cage.run(w, { "--allow-env=X" }, [[
      local function say(_, err) print(err.kind, err.op, err.retryable, err.hint) end
      say(fs.read("pub/a.txt"))
      say(fs.write(O .. "/x", ""))
      say(process.run { "sh" })
      say(http.get "http://example.com:81/")
      say(os.getenv "SOME")
      print(io.open("pub/a.txt"))]], { env = { SOME = "thing" } })
    t:has(r.stdout, "denied\tfs.read\tfalse\tallow it with --allow-read=pub/a.txt, "
      .. "or in wsrun.yaml under permissions: read: [pub/a.txt]")
    t:has(r.stdout, "--allow-write=" .. w.outside .. "/x,")
    t:has(r.stdout, "denied\tprocess.start\tfalse\tallow it with --allow-run=sh,")
    t:has(r.stdout, "denied\thttp.request\tfalse\tallow it with --allow-net=example.com:81")
    t:has(r.stdout, "--allow-env=SOME")
    t:has(r.stdout, "nil\t" .. w.project
      .. "/pub/a.txt may not be read: this run's permissions do not list it (allow it")
  end)

  test("a program can be pinned by its digest", function(t)
    local w = cage.world(t)
    local digest = assert(crypto.sha256_file(w.project .. "/bin/tool"))
    local script = "print(process.run { P .. '/bin/tool' })"
    local flags = { "--allow-run=$P/bin/tool@sha256:" .. digest, "--allow-read=." }
    t:has(cage.run(w, flags, script).stdout, "table")
    assert(fs.write(w.project .. "/bin/tool", "#!/bin/sh\necho other\n", { mode = 493 }))
    t:has(cage.run(w, flags, script).stdout, "its SHA-256 is not the one that the permissions name")
  end)

  test("what a run has used is printed as a section that lets it run again", function(t)
    local w = cage.world(t)
    local script = [[
      assert(fs.read "pub/a.txt")
      assert(fs.write("out/x", os.getenv "TOKEN"))
      local r = assert(process.run { "sh", "-c", "echo child" })
      http.get "http://127.0.0.1:1/"
      http.get "http://xyz.invalid/"
      print(r.stdout)]]
    local env = { TOKEN = "t" }
    local r = cage.run(w, { "--audit" }, script, { env = env })
    t:eq({ r.code, r.stderr }, { 0, "" })
    local section = r.stdout:match("permissions:.*")
    for _, part in ipairs { "  run:\n    - sh\n", "  net:\n    - 127.0.0.1:1\n    - xyz.invalid:80\n",
      "  read:\n    - pub/a.txt\n",
      "  write:\n    - out/x\n", "  env:\n    - TOKEN\n" } do t:has(section, part) end
    assert(fs.write(w.project .. "/wsrun.yaml", section))
    r = cage.run(w, {}, script, { env = env })
    t:eq({ r.code, r.stderr, r.stdout }, { 0, "", "child\n\n" })
    r = cage.run(w, { "--audit" }, "fs.read 'secret.txt'")
    t:has(r.stdout, "  # refused: read " .. w.project .. "/secret.txt")
  end)

  test("many files of a folder are one line of the section", function(t)
    local w = cage.world(t)
    local r = cage.run(w, { "--audit" }, "for i = 1, 5 do fs.write('out/' .. i, 'x') end fs.read 'pub/b/c.txt'")
    t:has(r.stdout, "  write:\n    - out\n")
    t:has(r.stdout, "  read:\n    - pub/b/c.txt\n")
  end)

  test("each decision is one line in the run's folder", function(t)
    local w = cage.world(t)
    cage.run(w, { "--allow-read=pub" },
      "for _ = 1, 3 do fs.read 'pub/a.txt' fs.read 'secret.txt' fs.read 'tab\\there\"' end")
    local files = fs.glob(w.project .. "/.wsrun/runs/*/permissions.ndjson")
    t:eq(#files, 1)
    t:eq(fs.stat(files[1]).mode, 384)
    local seen = {}
    for line in fs.read(files[1]):gmatch("[^\n]+") do
      local d = assert(json.decode(line))
      t:ok(d.time:find("^%d%d%d%d%-%d%d%-%d%dT"), line)
      if not d.own then seen[#seen + 1] = ("%s %s %s"):format(d.list, d.value:gsub("^.*/", ""), d.allowed) end
    end
    table.sort(seen)
    t:eq(seen, { "read a.txt true", "read secret.txt false", 'read tab\there" false' })
  end)

  test("a script may load its own modules, use temporary files, and its children too", function(t)
    local w = cage.world(t)
    local r = cage.run(w, { "--allow-run=sh,ls" }, [[
      print(require "lib.mine")
      local dir = assert(fs.temp_dir())
      assert(fs.write(dir .. "/a", "b"))
      print(process.run({ "sh", "-c", "echo x > $TMPDIR/y; ls $0; read a < $TMPDIR/y; echo $a", dir }).stdout)
      print(fs.exists(dir), #fs.read("/dev/urandom", { length = 4 }))
      io.stderr:write(dir:match("^(.*)/"))]])
    t:eq(r.stdout, "mine\na\nx\n\ntrue\t4\n")
    t:eq(fs.exists(r.stderr), false, "the run's own folder is removed")
  end)

  test("a workflow runs under a policy", function(t)
    local w = cage.world(t)
    local r = cage.run(w, { "--allow-write=out", "--plain" }, [[
      local ws = require "ws"
      local args = {}
      for i = 1, 5 do args[i] = { "a" .. i, doc = "what the harness gives" } end
      return ws.workflow { summary = "test", args = args, run = function(w)
        w:step("fine", function() assert(fs.write("out/x", "x")) end)
        w:step("not fine", function() assert(fs.write("../outside/x", "x")) end)
      end }]])
    t:eq(r.code, 1)
    t:has(r.stderr, "outside/x may not be changed")
    t:has(r.stderr, "--allow-write=")
    t:eq(#fs.glob(w.project .. "/.wsrun/runs/*"), 1)
  end)

  test("a resumed run has the permissions that it began with", function(t)
    local w = cage.world(t)
    local script = [[
      local ws = require "ws"
      local args = {}
      for i = 1, 5 do args[i] = { "a" .. i, doc = "what the harness gives" } end
      return ws.workflow { summary = "test", args = args, run = function(w)
        w:step("first", function() assert(fs.write("out/x", "x")) end)
        w:step("second", function() assert(fs.read("secret.txt")) w:summary("got it") end)
      end }]]
    t:eq(cage.run(w, { "--allow-write=out", "--plain" }, script).code, 1)
    local function resume(...)
      return t:ok(process.run({ os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), "resume", "--plain", ... },
        { cwd = w.project, env = { WSRUN_STATE_DIR = w.project .. "/.wsrun" } }))
    end
    local r = resume()
    t:eq(r.code, 1)
    t:has(r.stderr, "secret.txt may not be read")
    r = resume("--allow-read=secret.txt")
    t:eq(r.code, 0, r.stderr)
    t:has(r.stderr, "got it")
  end)

  local function traced(t, inject, flags, script)
    if not process.which("strace") then t:skip("strace is not installed") end
    local w = cage.world(t)
    assert(fs.write(w.project .. "/t.lua", script))
    local argv = { "strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=" .. inject .. ":error=ENOSYS",
      os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), "t.lua", table.unpack(flags) }
    return t:ok(process.run(argv, { cwd = w.project, env = { ASAN_OPTIONS = "detect_leaks=0" } }))
  end

  test("a kernel without Landlock: said once, and the rest is enforced", function(t)
    local r = traced(t, "444", { "--allow-run=sh" }, [[
      local process = require "ws.process"
      for _ = 1, 2 do print(process.run { "sh", "-c", "echo hello" }) end
      print(require "ws.fs".read "secret.txt", process.run { "cat", "secret.txt" })]])
    local _, count = r.stderr:gsub("no Landlock", "")
    t:eq(count, 1, r.stderr)
    t:has(r.stdout, "table")
    local _, refused = r.stdout:gsub("may not be", "")
    t:eq(refused, 1)
  end)

  test("a kernel without openat2 checks all the same", function(t)
    local r = traced(t, "openat2", { "--allow-read=pub" }, [[
      local fs = require "ws.fs"
      print(fs.read "pub/a.txt", select(2, fs.read "pub/../secret.txt"))
      print(select(2, fs.read "/proc/self/cwd/secret.txt"))]])
    local _, refused = r.stdout:gsub("secret.txt may not be read", "")
    t:eq(refused, 2, r.stdout .. r.stderr)
    t:has(r.stdout, "public")
  end)
end
