-- fs.write when the disk is full or broken, or the process is killed: the old file stays whole.
local fs = require "ws.fs"
local process = require "ws.process"

local OLD, NEW = ("old\n"):rep(1000), ("new!\n"):rep(2000)

--- Runs a script that writes NEW over a file, with faults put into its system calls; its stderr is the error's kind.
local function write_with(t, dir, inject)
  local script = dir .. "/write.lua"
  if not fs.exists(script) then
    assert(fs.write(script, ([[
      local fs = require "ws.fs"
      local ok, err = fs.write(%q, ("new!\n"):rep(2000))
      io.stderr:write(ok and "ok" or err.kind)
    ]]):format(dir .. "/target/file")))
  end
  local argv = { "strace", "-f", "-qq", "-o", dir .. "/trace", "-e", "trace=write,fsync,linkat,rename,close,openat" }
  for _, fault in ipairs(inject) do
    argv[#argv + 1], argv[#argv + 2] = "-e", "inject=" .. fault
  end
  argv[#argv + 1], argv[#argv + 2] = os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), script
  -- A build with sanitizers cannot look for leaks while it is traced.
  return t:ok(process.run(argv, { timeout = 60, env = { ASAN_OPTIONS = "detect_leaks=0" } }))
end

local function prepare(t)
  if not process.which("strace") then t:skip("strace is not installed") end
  local dir = t:tmpdir()
  assert(fs.mkdir(dir .. "/target"))
  assert(fs.write(dir .. "/target/file", OLD))
  return dir
end

return function(test)
  test("a full disk, a failing sync and a failing rename leave the old file whole", function(t)
    local dir = prepare(t)
    local cases = {
      { "fsync:error=EIO:when=1", kind = "io" },
      { "fsync:error=ENOSPC:when=1", kind = "no_space" },
      { "linkat:error=ENOSPC", kind = "no_space" },
      { "rename:error=EIO", kind = "io" },
    }
    for _, case in ipairs(cases) do
      local r = write_with(t, dir, case)
      t:eq(r.stderr, case.kind, case[1])
      t:has(fs.read(dir .. "/trace"), "INJECTED")
      t:ok(fs.read(dir .. "/target/file") == OLD, case[1] .. ": the old content is gone")
      t:eq(fs.list(dir .. "/target"), { "file" }, case[1])
    end
    t:eq(write_with(t, dir, {}).stderr, "ok")
    t:ok(fs.read(dir .. "/target/file") == NEW, "the new content")
  end)

  test("a file system without O_TMPFILE gets the same from a named file", function(t)
    local dir = prepare(t)
    -- The first file that the pool's thread opens is the unnamed one. (So is the first of the main thread: the dynamic
    -- linker's cache, which it does without.)
    local r = write_with(t, dir, { "openat:error=EOPNOTSUPP:when=1" })
    t:eq(r.stderr, "ok")
    t:has(fs.read(dir .. "/trace"):match("[^\n]*O_TMPFILE[^\n]*"), "INJECTED")
    t:ok(fs.read(dir .. "/target/file") == NEW, "the new content")
    t:eq(fs.list(dir .. "/target"), { "file" })
    assert(fs.write(dir .. "/target/file", OLD))
    r = write_with(t, dir, { "openat:error=EOPNOTSUPP:when=1", "rename:error=EIO" })
    t:eq(r.stderr, "io")
    t:ok(fs.read(dir .. "/target/file") == OLD, "the old content is gone")
    t:eq(fs.list(dir .. "/target"), { "file" })
  end)

  test("killed at any call, the file is the old one or the new one", function(t)
    local dir = prepare(t)
    local seen = {}
    for _, call in ipairs { "write", "fsync", "linkat", "rename" } do
      for when = 1, 2 do
        assert(fs.write(dir .. "/target/file", OLD))
        local r = write_with(t, dir, { ("%s:signal=SIGKILL:when=%d"):format(call, when) })
        local content = fs.read(dir .. "/target/file")
        t:ok(content == OLD or content == NEW, call .. " " .. when .. ": neither old nor new")
        seen[content == OLD and "old" or "new"] = true
        if r.code == 0 then t:eq(content, NEW) end
        for _, name in ipairs(fs.list(dir .. "/target")) do
          if name ~= "file" then
            t:ok(name:find("^%.file%..*%.tmp$"), name)
            assert(fs.remove(dir .. "/target/" .. name))
          end
        end
      end
    end
    t:eq(seen, { old = true, new = true })
  end)

  test("on a disk that is really full the old file stays whole", function(t)
    local dir = t:tmpdir()
    if not process.which("unshare") then t:skip("unshare is not installed") end
    assert(fs.mkdir(dir .. "/disk"))
    assert(fs.write(dir .. "/full.lua", ([[
      local fs = require "ws.fs"
      local file = %q
      assert(fs.write(file, "old"))
      local ok, err = fs.write(file, ("x"):rep(1000000))
      print(ok, err.kind, fs.read(file), #fs.list(fs.dirname(file)))
      ok, err = fs.copy("/dev/zero", file)
      print(ok, err.kind, fs.read(file), #fs.list(fs.dirname(file)))
    ]]):format(dir .. "/disk/file")))
    local r = t:ok(process.run({ "unshare", "--mount", "sh", "-c",
      'mount -t tmpfs -o size=100k tmpfs "$1/disk" || exit 77; exec "$2" "$1/full.lua"', "sh", dir,
      os.getenv("WSRUN") or fs.readlink("/proc/self/exe") }))
    if r.code ~= 0 and r.stdout == "" then t:skip("a file system cannot be mounted here: " .. r.stderr) end
    t:eq(r.stdout, "nil\tno_space\told\t1\nnil\tno_space\told\t1\n", r.stderr)
  end)

  test("a limit on the size of files is an error, not the end", function(t)
    local dir = prepare(t)
    assert(fs.write(dir .. "/limited.lua", ([[
      local ok, err = require "ws.fs".write(%q, ("x"):rep(1000000))
      print(ok, err)
    ]]):format(dir .. "/target/file")))
    local r = t:ok(process.run({ "sh", "-c", "ulimit -f 100; trap '' XFSZ; exec \"$@\"", "sh",
      os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), dir .. "/limited.lua" }))
    t:has(r.stdout, "File too large")
    t:ok(fs.read(dir .. "/target/file") == OLD, "the old content is gone")
    t:eq(fs.list(dir .. "/target"), { "file" })
  end)

  test("a reader of a pipe that says nothing can be cancelled", function(t)
    local task = require "ws.task"
    local pipe = t:tmpdir() .. "/pipe"
    t:ok(process.check { "mkfifo", pipe })
    local reader = task.spawn(fs.read, pipe)
    t:err("timeout", reader:join(0.15))
    reader:cancel()
    t:err("cancelled", reader:join(5))
    reader = task.spawn(fs.read, pipe)
    task.sleep(0.05)
    t:ok(process.check({ "sh", "-c", "echo hello >\"$1\"", "sh", pipe }))
    t:eq({ reader:join(5) }, { true, "hello\n" })
  end)
end
