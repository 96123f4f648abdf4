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

  test("misuse raises", function(t)
    t:raises("unknown option 'entires'", archive.tar_create, { entires = {} })
    t:raises("needs a name", archive.tar_create, { entries = { { data = "x" } } })
    t:raises("either data or file", archive.tar_create, { entries = { { name = "x" } } })
    t:raises("either data or file", archive.list, {})
  end)
end
