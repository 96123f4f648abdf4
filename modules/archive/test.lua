local archive = require "ws.archive"
local fs = require "ws.fs"
local process = require "ws.process"

--- A tar archive as another program makes it.
local function foreign(t, script)
  local dir = t:tmpdir()
  local r = assert(process.run({ "sh", "-ec", script }, { cwd = dir }))
  t:eq(r.code, 0, r.stderr)
  return dir
end

return function(test)
  test("the same entries give the same bytes, in any order", function(t)
    local a = { name = "x/a", data = "1" }
    local b = { name = "x/b", data = ("2"):rep(100000), mode = 493 }
    local one = t:ok(archive.tar_create { entries = { a, b } })
    t:eq(one, t:ok(archive.tar_create { entries = { b, a } }))
    t:eq(t:ok(archive.list { data = one }), { { name = "x/a", size = 1, mode = 420, type = "file" },
      { name = "x/b", size = 100000, mode = 493, type = "file" } })
    t:ok(#one < 2000)
    t:ok(one ~= archive.tar_create { entries = { a, b }, mtime = 5 })
  end)

  test("other programs read it, and it reads theirs", function(t)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/run.sh", "#!/bin/sh\n", { mode = 493 }))
    t:eq(archive.tar_create { file = dir .. "/x.tgz", entries = { { name = "c/run.sh", file = dir .. "/run.sh" },
      { name = ("long/"):rep(30) .. "name", data = "deep" } } }, true)
    local r = assert(process.run({ "tar", "-tvzf", dir .. "/x.tgz" }))
    t:has(r.stdout, "-rwxr-xr-x 0/0")
    t:has(r.stdout, "c/run.sh")
    local other = foreign(t, "mkdir -p d/e; echo hi >d/e/f; tar -czf x.tgz d; mkdir out")
    t:ok(archive.extract({ file = other .. "/x.tgz" }, other .. "/out"))
    t:eq(fs.read(other .. "/out/d/e/f"), "hi\n")
    t:err("exists", archive.extract({ file = other .. "/x.tgz" }, other .. "/out"))
  end)

  test("what would lead outside is refused", function(t)
    local dir = foreign(t, [[
      mkdir in out; echo x >in/f; ln -s /etc in/link; mkdir -p deep/er; echo y >evil
      tar -cf dots.tar --absolute-names -C in --transform 's,^,../,' f
      tar -cf root.tar --absolute-names "$PWD/in/f"
      tar -cf link.tar -C in link
      ln in/f in/hard; tar -cf hard.tar -C in f hard
      ln -s "$PWD/deep" out/deep; mkdir -p t/deep; echo z >t/deep/f; tar -cf through.tar -C t deep/f]])
    for _, name in ipairs { "dots", "root", "link", "hard" } do
      t:err("denied", archive.extract({ file = dir .. "/" .. name .. ".tar" }, dir .. "/out"))
    end
    t:ok(select(2, archive.extract({ file = dir .. "/through.tar" }, dir .. "/out")))
    t:eq(fs.exists(dir .. "/deep/f"), false)
  end)

  test("damaged, cut and huge archives", function(t)
    local good = archive.tar_create { entries = { { name = "a", data = ("x"):rep(5000000) } } }
    local dir = t:tmpdir()
    t:err("parse", archive.list { data = "this is no archive at all, not even nearly" })
    t:err("parse", archive.extract({ data = good:sub(1, #good // 2) }, dir))
    local other = t:tmpdir()
    t:err("too_large", archive.extract({ data = good }, other, { max_bytes = 4000000 }))
    t:err("not_found", archive.extract({ file = dir .. "/none" }, dir))
    t:err("not_found", archive.extract({ data = good }, dir .. "/none"))
    t:err("not_found", archive.tar_create { entries = { { name = "a", file = dir .. "/none" } } })
    t:err("not_found", archive.tar_create { file = dir .. "/no/x", entries = {} })
  end)

  test("gzip and back", function(t)
    local text = ("hello "):rep(100000)
    local packed = archive.gzip(text)
    t:eq(packed, archive.gzip(text))
    t:ok(#packed < 5000)
    t:eq(archive.gunzip(packed), text)
    t:eq(archive.gunzip(archive.gzip ""), "")
    t:err("too_large", archive.gunzip(packed, { max_bytes = 1000 }))
    t:err("parse", archive.gunzip(packed:sub(1, 100)))
    local r = assert(process.run({ "gzip", "-dc" }, { stdin = packed }))
    t:eq(r.stdout, text)
  end)

  test("any name, in any locale, read back by tar", function(t)
    local dir, entries = t:tmpdir(), {}
    local deep = ("d/"):rep(60) .. "f"
    for _, name in ipairs { "a/\u{e9}\u{4e16}.txt", "bad\xff", ("x"):rep(100), ("y"):rep(101), ("z"):rep(255), deep,
      ("folder/"):rep(20) .. ("n"):rep(120), ("p"):rep(155) .. "/" .. ("q"):rep(100) } do
      entries[#entries + 1] = { name = name, data = name }
    end
    entries[#entries + 1] = { name = "empty/", mode = 448 }
    entries[#entries + 1] = { name = ("link"):rep(40), link = ("t/"):rep(100) }
    entries[#entries + 1] = { name = "short", link = "a" }
    t:ok(archive.tar_create { file = dir .. "/x.tar", gzip = false, entries = entries })
    t:ok(fs.mkdir(dir .. "/out"))
    local r = assert(process.run({ "tar", "-xf", "../x.tar" }, { cwd = dir .. "/out", env = { LC_ALL = "C.UTF-8" } }))
    t:eq({ r.code, r.stderr }, { 0, "" })
    for _, entry in ipairs(entries) do
      local path = dir .. "/out/" .. entry.name
      if entry.data then t:eq(fs.read(path), entry.data) end
      if entry.link then t:eq(fs.readlink(path), entry.link) end
    end
    t:eq(fs.stat(dir .. "/out/empty").mode, 448)
    -- where the contents are
    local listed = {}
    for _, entry in ipairs(t:ok(archive.list { file = dir .. "/x.tar" })) do listed[entry.name] = entry end
    for _, entry in ipairs(entries) do
      local found = t:ok(listed[entry.name], entry.name)
      if entry.data then
        t:eq(fs.read(dir .. "/x.tar", { offset = found.offset, length = found.size }), entry.data)
      end
      t:eq(found.target, entry.link)
      t:eq(found.type, entry.data and "file" or entry.link and "link" or "directory")
    end
  end)

  test("offsets in archives of other programs", function(t)
    local dir = foreign(t, [[
      mkdir -p d; printf one >d/short; head -c 700 /dev/zero >d/zeros; ln d/short d/hard; ln -s ../other d/soft
      n=d/$(printf 'x%.0s' $(seq 200)); printf long >$n; printf caf >d/caf$(printf '\303\251')
      for f in gnu pax ustar v7; do tar --format $f -cf $f.tar d || true; done 2>/dev/null
      tar -czf x.tgz d]])
    for _, format in ipairs { "gnu", "pax", "ustar" } do
      local file = ("%s/%s.tar"):format(dir, format)
      local seen = 0
      for _, entry in ipairs(t:ok(archive.list { file = file })) do
        if entry.type == "file" then
          seen = seen + 1
          t:eq(fs.read(file, { offset = entry.offset, length = entry.size }), fs.read(fs.join(dir, entry.name)))
        elseif entry.type == "hardlink" then
          t:has("d/hard d/short", entry.target)
        elseif entry.type == "link" then
          t:eq(entry.target, "../other")
        end
      end
      t:ok(seen >= 3, format)
    end
    for _, entry in ipairs(t:ok(archive.list { file = dir .. "/x.tgz" })) do t:eq(entry.offset, nil) end
  end)

  test("packing hashes in one pass", function(t)
    local dir = t:tmpdir()
    local content = require "ws.crypto".random_bytes(300000) .. ("0"):rep(700000)
    t:ok(fs.write(dir .. "/in", content))
    local sha256 = require "ws.crypto".sha256
    local entries = { { name = "b", file = dir .. "/in" }, { name = "a", data = "x" } }
    local packed = t:ok(archive.pack { entries = entries, gzip = true, file = dir .. "/out" })
    local written = t:ok(fs.read(dir .. "/out"))
    t:eq({ packed.size, packed.sha256 }, { #written, sha256(written) })
    local tar = archive.gunzip(written)
    t:eq({ packed.raw_size, packed.raw_sha256 }, { #tar, sha256(tar) })
    t:eq(tar, archive.tar_create { entries = entries, gzip = false })
    t:eq(written, archive.tar_create { entries = entries })
    local measured = t:ok(archive.pack { entries = entries })
    t:eq({ measured.raw_sha256, measured.sha256 }, { packed.raw_sha256, packed.raw_sha256 })
    -- a part of a file, as it is
    local from = { file = dir .. "/in", offset = 299990, length = 20 }
    t:eq(archive.pack({ from = from, file = dir .. "/part" }).sha256, sha256(content:sub(299991, 300010)))
    t:eq(fs.read(dir .. "/part"), content:sub(299991, 300010))
    t:err("invalid", archive.pack { from = { file = dir .. "/in", offset = 999990, length = 20 }, file = dir .. "/no" })
    t:err("invalid", archive.pack { from = { file = dir .. "/in", offset = 2000000 }, file = dir .. "/no" })
    t:err("invalid", archive.pack { from = { file = dir }, file = dir .. "/no" })
    t:err("not_found", archive.pack { entries = { { name = "x", file = dir .. "/none" } }, file = dir .. "/no" })
    t:eq(fs.exists(dir .. "/no"), false)
    t:eq(process.run({ "mkfifo", dir .. "/fifo" }).code, 0)
    t:err("invalid", archive.pack { from = { file = dir .. "/fifo" } })
    t:err("no_space", archive.pack { from = { file = dir .. "/in" }, file = "/dev/full" })
  end)

  test("packing is given up with its task", function(t)
    local dir, task = t:tmpdir(), require "ws.task"
    t:eq(process.run({ "truncate", "-s", "20G", dir .. "/huge" }).code, 0)
    local child = task.spawn(archive.pack, { from = { file = dir .. "/huge" }, gzip = true, file = dir .. "/out" })
    task.sleep(0.05)
    child:cancel()
    local _, err = child:join(20)
    t:eq(err.kind, "cancelled")
    t:eq(fs.exists(dir .. "/out"), false)
  end)

  test("misuse raises", function(t)
    t:raises("either entries or from", archive.pack, {})
    t:raises("unknown option 'gz'", archive.pack, { entries = {}, gz = true })
    t:raises("a folder, whose name ends", archive.tar_create, { entries = { { name = "x/", data = "x" } } })
    t:raises("out of range", archive.tar_create, { entries = {}, mtime = -1 })
    t:raises("unknown option 'entires'", archive.tar_create, { entires = {} })
    t:raises("needs a name", archive.tar_create, { entries = { { data = "x" } } })
    t:raises("either data, file or link", archive.tar_create, { entries = { { name = "x" } } })
    t:raises("either data or file", archive.list, {})
  end)
end
