local fs = require "ws.fs"
local task = require "ws.task"
local secret = require "ws.secret"

local function octal(mode) return ("%04o"):format(mode) end

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/fs/README.md"
  end)

  test("what was written is read, byte for byte", function(t)
    local dir = t:tmpdir()
    local file = fs.join(dir, "a")
    for _, content in ipairs { "", "x", "a\0b\n", ("0123456789abcdef"):rep(100000) } do
      t:ok(fs.write(file, content))
      t:ok(fs.read(file) == content, "content differs")
    end
    t:eq(fs.read(file, { offset = 3, length = 5 }), "34567")
    t:eq(fs.read(file, { offset = 1600000 - 2 }), "ef")
    t:eq(fs.read(file, { offset = 1700000 }), "")
    local err = t:err("too_large", fs.read(file, { max = 1000 }))
    t:has(err.message, "1000 bytes")
    t:has(assert(fs.read("/proc/self/status")), "Umask", "a file whose size is said to be 0")
  end)

  test("errors say what and why", function(t)
    local dir = t:tmpdir()
    local err = t:err("not_found", fs.read(dir .. "/none"))
    t:has(tostring(err), "fs.read: " .. dir .. "/none: No such file")
    t:err("invalid", fs.read(dir))
    t:err("invalid", fs.write(dir, "x"))
    t:err("not_found", fs.write(dir .. "/none/x", "x"))
    t:err("not_found", fs.list(dir .. "/none"))
    t:err("not_found", fs.stat(dir .. "/none"))
    t:err("not_found", fs.rename(dir .. "/none", dir .. "/x"))
    t:err("not_found", fs.remove(dir .. "/none"))
    t:eq(fs.remove(dir .. "/none", { missing_ok = true }), true)
    t:raises("unknown option 'bogus'", fs.read, dir, { bogus = 1 })
    t:raises("NUL", fs.read, "a\0b")
    t:raises("NUL", fs.write, "a\0b", "")
    t:raises("NUL", fs.rename, "a", "b\0")
    t:raises("empty", fs.stat, "")
    t:raises("string expected", fs.write, dir .. "/x", {})
  end)

  test("a write keeps the mode, follows links and leaves nothing beside the file", function(t)
    local dir = t:tmpdir()
    local file, link = fs.join(dir, "file"), fs.join(dir, "link")
    t:ok(fs.write(file, "1", { mode = tonumber("640", 8) }))
    t:ok(fs.symlink("file", link))
    t:ok(fs.write(link, "2"))
    t:eq(fs.readlink(link), "file")
    t:eq(fs.read(file), "2")
    t:eq(octal(fs.stat(file).mode), "0640")
    t:ok(fs.write(file, "3", { mode = tonumber("600", 8) }))
    t:eq(octal(fs.stat(file).mode), "0600")
    t:ok(fs.symlink("made-later", fs.join(dir, "dangling")))
    t:ok(fs.write(fs.join(dir, "dangling"), "4"))
    t:eq(fs.read(fs.join(dir, "made-later")), "4")
    t:eq(fs.list(dir), { "dangling", "file", "link", "made-later" })
    t:ok(fs.symlink("loop", fs.join(dir, "loop")))
    t:err("invalid", fs.write(fs.join(dir, "loop"), "x"))
  end)

  test("create refuses what exists, append appends", function(t)
    local file = fs.join(t:tmpdir(), "a")
    t:ok(fs.write(file, "1", { how = "create" }))
    t:err("exists", fs.write(file, "2", { how = "create" }))
    t:eq(fs.read(file), "1")
    t:ok(fs.write(file, "2", { how = "append" }))
    t:eq(fs.read(file), "12")
    t:raises("invalid option", fs.write, file, "", { how = "app" })
    -- of many who create it at once, one wins
    local other, won, tasks = file .. "2", 0, {}
    for i = 1, 20 do
      tasks[i] = task.spawn(function() if fs.write(other, tostring(i), { how = "create" }) then won = won + 1 end end)
    end
    for _, x in ipairs(tasks) do assert(x:join()) end
    t:eq(won, 1)
  end)

  test("a secret's file is private", function(t)
    local file = fs.join(t:tmpdir(), "password")
    t:ok(fs.write(file, "old", { mode = tonumber("644", 8) }))
    t:ok(fs.write(file, secret.new("hunter2-hunter2")))
    t:eq(octal(fs.stat(file).mode), "0600")
    t:ok(fs.read(file) == "hunter2-hunter2", "content")
  end)

  test("a device is written to, and a full one is an error", function(t)
    t:eq(fs.write("/dev/null", "x"), true)
    t:err("no_space", fs.write("/dev/full", "x"))
  end)

  test("mkdir makes what is missing", function(t)
    local dir = t:tmpdir()
    local deep = fs.join(dir, "a/b/c")
    t:ok(fs.mkdir(deep))
    t:ok(fs.mkdir(deep))
    t:err("exists", fs.mkdir(deep, { exclusive = true }))
    t:err("not_found", fs.mkdir(fs.join(dir, "x/y"), { parents = false }))
    t:ok(fs.write(fs.join(dir, "file"), ""))
    t:err("exists", fs.mkdir(fs.join(dir, "file")))
    t:err("not_found", fs.mkdir(fs.join(dir, "file/below")))
  end)

  test("touch sets the time of what is there", function(t)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/f", "x"))
    t:eq(require "ws.process".run({ "touch", "-d", "2001-02-03", dir .. "/f" }).code, 0)
    local before = require "ws.time".now()
    t:ok(fs.touch(dir .. "/f"))
    t:ok(fs.stat(dir .. "/f").mtime > before - 5)
    t:err("not_found", fs.touch(dir .. "/none"))
    t:eq(fs.exists(dir .. "/none"), false)
  end)

  test("removing a tree does not follow links", function(t)
    local dir = t:tmpdir()
    t:ok(fs.mkdir(fs.join(dir, "keep/below")))
    t:ok(fs.write(fs.join(dir, "keep/below/file"), "x"))
    t:ok(fs.mkdir(fs.join(dir, "gone/below")))
    t:ok(fs.symlink(fs.join(dir, "keep"), fs.join(dir, "gone/below/link")))
    local err = t:err("exists", fs.remove(fs.join(dir, "gone")))
    t:has(err.hint, "recursive")
    t:ok(fs.remove(fs.join(dir, "gone"), { recursive = true }))
    t:ok(fs.symlink(fs.join(dir, "keep"), fs.join(dir, "link")))
    t:ok(fs.remove(fs.join(dir, "link"), { recursive = true }))
    t:eq(fs.read(fs.join(dir, "keep/below/file")), "x")
    t:eq(fs.list(dir), { "keep" })
  end)

  test("copy keeps content, mode and links", function(t)
    local dir = t:tmpdir()
    local from = fs.join(dir, "from")
    t:ok(fs.mkdir(fs.join(from, "sub/empty")))
    local big = ("x"):rep(3000000)
    t:ok(fs.write(fs.join(from, "sub/big"), big, { mode = tonumber("750", 8) }))
    t:ok(fs.symlink("sub/big", fs.join(from, "link")))
    t:ok(fs.copy(from, fs.join(dir, "to"), { recursive = true }))
    t:ok(fs.read(fs.join(dir, "to/sub/big")) == big, "content")
    t:eq(octal(fs.stat(fs.join(dir, "to/sub/big")).mode), "0750")
    t:eq(fs.readlink(fs.join(dir, "to/link")), "sub/big")
    t:eq(fs.list(fs.join(dir, "to/sub")), { "big", "empty" })
    t:ok(fs.copy("/proc/self/status", fs.join(dir, "status")))
    t:has(fs.read(fs.join(dir, "status")), "Umask")
    t:err("invalid", fs.copy(from, fs.join(dir, "again")))
    t:err("invalid", fs.copy(from, fs.join(from, "sub/inside"), { recursive = true }))
    t:err("invalid", fs.copy(fs.join(from, "sub/big"), fs.join(from, "link")))
    t:ok(fs.read(fs.join(from, "sub/big")) == big, "copied onto itself")
    t:err("not_found", fs.copy(fs.join(dir, "none"), fs.join(dir, "x")))
    t:raises("unknown option", fs.copy, "a", "b", { recurse = true })
  end)

  test("walk goes in order and enters what it is told to", function(t)
    local dir = t:tmpdir()
    for _, file in ipairs { "b/2", "b/1", "a/deep/er/x", "c" } do
      t:ok(fs.mkdir(fs.dirname(fs.join(dir, file))))
      t:ok(fs.write(fs.join(dir, file), file))
    end
    t:ok(fs.symlink("b", fs.join(dir, "link")))
    local seen = {}
    for file, entry in fs.walk(dir) do
      seen[#seen + 1] = fs.relative(file, dir) .. ":" .. entry.type:sub(1, 1) .. entry.depth
    end
    t:eq(table.concat(seen, " "),
      "a:d1 a/deep:d2 a/deep/er:d3 a/deep/er/x:f4 b:d1 b/1:f2 b/2:f2 c:f1 link:l1")
    seen = {}
    for file in fs.walk(dir, { depth = 2, enter = function(p) return fs.basename(p) ~= "b" end }) do
      seen[#seen + 1] = fs.basename(file)
    end
    t:eq(seen, { "a", "deep", "b", "c", "link" })
    t:raises("No such file", fs.walk, dir .. "/none")
  end)

  test("glob", function(t)
    local dir = t:tmpdir()
    for _, file in ipairs { "a.tf", "b.tf", "b.tfvars", ".hidden.tf", "sub/c.tf", "sub/deep/d.tf", "sub/.x/e.tf",
      "sub/[x].md" } do
      t:ok(fs.mkdir(fs.dirname(fs.join(dir, file))))
      t:ok(fs.write(fs.join(dir, file), ""))
    end
    t:ok(fs.symlink("..", fs.join(dir, "sub/up")))
    local cases = {
      ["*.tf"] = "a.tf b.tf",
      [".*.tf"] = ".hidden.tf",
      ["**/*.tf"] = "a.tf b.tf sub/c.tf sub/deep/d.tf",
      ["*.{tf,tfvars}"] = "a.tf b.tf b.tfvars",
      ["{sub,none}/{c,deep/{d,z}}.tf"] = "sub/c.tf sub/deep/d.tf",
      ["[!b].t?"] = "a.tf",
      ["[b-z].tf"] = "b.tf",
      ["sub/*"] = "sub/[x].md sub/c.tf sub/deep sub/up",
      ["sub/**"] = "sub sub/[x].md sub/c.tf sub/deep sub/deep/d.tf sub/up",
      ["none/*"] = "",
      ["sub/c.tf"] = "sub/c.tf",
      ["sub/up/a.tf"] = "sub/up/a.tf",
      ["sub/[[]x*"] = "sub/[x].md",
    }
    for pattern, expected in pairs(cases) do
      t:eq(table.concat(assert(fs.glob(pattern, { dir = dir })), " "), expected, pattern)
    end
    t:eq(fs.glob(dir .. "/*.tfvars"), { dir .. "/b.tfvars" })
    t:raises("pattern expected", fs.glob, "")
  end)

  test("temporary paths are private and known until they are removed", function(t)
    local dir = assert(fs.temp_dir())
    local file = assert(fs.temp_file { dir = dir, prefix = "p-", suffix = ".json" })
    t:eq(octal(fs.stat(dir).mode), "0700")
    t:eq(octal(fs.stat(file).mode), "0600")
    t:ok(file:match("/p%-......%.json$"), file)
    t:eq(#fs.temp_left(), 2)
    t:ok(fs.remove(file))
    t:ok(fs.remove(dir, { recursive = true }))
    t:eq(fs.temp_left(), {})
    t:err("not_found", fs.temp_dir { dir = "/nowhere" })
    t:raises("no '/'", fs.temp_file, { prefix = "../x" })
  end)

  test("a watcher tells of changes, times out and ends", function(t)
    local dir = t:tmpdir()
    local watcher <close> = assert(fs.watch(dir))
    t:err("timeout", watcher:next(0.01))
    local waiter = task.spawn(function() return watcher:next(10) end)
    task.sleep(0.01)
    t:ok(fs.write(fs.join(dir, "a"), "x", { how = "append" }))
    local _, event = t:ok(waiter:join())
    t:eq(event.name, "a")
    t:eq(event.type, "rename")
    t:eq(t:ok(watcher:next(10)).type, "change")
    local second = task.spawn(function() return watcher:next() end)
    task.sleep(0.01)
    t:raises("another task waits", watcher.next, watcher)
    watcher:close()
    t:eq({ second:join() }, { true, nil })
    t:eq(watcher:next(1), nil)
    watcher:close()
    t:err("not_found", fs.watch(dir .. "/none"))
    local forgotten = task.spawn(function() return assert(fs.watch(dir)):next() end)
    task.sleep(0.01)
    forgotten:cancel()
    t:err("cancelled", forgotten:join())
  end)

  test("a lock keeps others out until it is released or collected", function(t)
    local file = fs.join(t:tmpdir(), "lock")
    local lock = t:ok(fs.lock(file))
    t:err("locked", fs.lock(file))
    t:err("locked", fs.lock(file, { wait = 0.05, shared = true }))
    local waiter = task.spawn(fs.lock, file, { wait = 10 })
    local cancelled = task.spawn(fs.lock, file, { wait = 10 })
    task.sleep(0.03)
    cancelled:cancel()
    t:err("cancelled", cancelled:join())
    lock:release()
    lock:release()
    local _, second = t:ok(waiter:join())
    second:release()
    local a <close> = t:ok(fs.lock(file, { shared = true }))
    local b <close> = t:ok(fs.lock(file, { shared = true }))
    t:err("locked", fs.lock(file))
    t:ok(a ~= b)
    t:err("not_found", fs.lock(file .. "/none/x"))
  end)

  test("paths", function(t)
    t:eq(fs.join("a", "b"), "a/b")
    t:eq(fs.join("a/", "/b/", "", "c"), "a/b/c")
    t:eq(fs.join("", "a"), "a")
    t:eq(fs.join("/", "a"), "/a")
    t:raises("string expected", fs.join, "a", nil)
    for p, dir in pairs { ["a/b"] = "a", a = ".", ["/a"] = "/", ["/"] = "/", ["a/b/"] = "a", ["a//b"] = "a" } do
      t:eq(fs.dirname(p), dir, p)
    end
    t:eq(fs.basename("a/b.tf"), "b.tf")
    t:eq(fs.basename("a/b.tf", ".tf"), "b")
    t:eq(fs.basename("a/b/"), "b")
    t:eq(fs.basename("/"), "/")
    t:eq(fs.extension("a.d/b.tar.gz"), ".gz")
    t:eq(fs.extension(".profile"), "")
    local normal = { ["a/./b//c/"] = "a/b/c", ["a/../.."] = "..", ["/../a"] = "/a", [""] = ".", ["../a/.."] = ".." }
    for p, n in pairs(normal) do
      t:eq(fs.normalize(p), n, p)
    end
    t:eq(fs.relative("/a/b/c", "/a/d"), "../b/c")
    t:eq(fs.relative("a", "a"), ".")
    t:eq(fs.relative("a", "."), "a")
    t:eq(fs.absolute("a/.."), fs.cwd())
    t:eq(fs.absolute("/x/../y"), "/y")
  end)
end
