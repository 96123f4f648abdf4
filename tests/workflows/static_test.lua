-- Which files the manifest's static files are, and what of a folder is gone.
local fs = require "ws.fs"
local static = require "lib.static"

local function folder(t)
  local dir = t:tmpdir()
  for _, name in ipairs { "index.html", "a.css", "img/box.svg", "img/deep/x.bin", "z.txt" } do
    assert(fs.mkdir(fs.dirname(dir .. "/" .. name), { parents = true }))
    assert(fs.write(dir .. "/" .. name, name))
  end
  return dir
end

local function targets(files)
  local list = {}
  for i, file in ipairs(files) do list[i] = file.target end
  return list
end

return function(test)
  test("a file keeps its name or gets the target's", function(t)
    local dir = folder(t)
    t:eq(static.expand({ source = "app/index.html" }, dir .. "/index.html"), {
      { path = dir .. "/index.html", target = "index.html", content_type = "text/html; charset=utf-8",
        cache_control = "no-cache" },
    })
    local entry = { source = "img/box.svg", target = "image.svg", ["cache-control"] = "no-cache" }
    t:eq(static.expand(entry, dir .. "/img/box.svg"), { {
      path = dir .. "/img/box.svg", target = "image.svg", content_type = "image/svg+xml", cache_control = "no-cache",
    } })
  end)

  test("a folder is all its files, pages last", function(t)
    local dir = folder(t)
    local files = static.expand({ source = "app/static" }, dir)
    t:eq(targets(files), { "a.css", "img/box.svg", "img/deep/x.bin", "z.txt", "index.html" })
    t:eq(files[3].path, dir .. "/img/deep/x.bin")
    t:eq(files[3].content_type, "application/octet-stream")
    t:eq(targets(static.expand({ source = "app/static", target = "v1/" }, dir))[1], "v1/a.css")
  end)

  test("what does not exist is nil", function(t)
    t:eq(static.expand({ source = "x" }, t:tmpdir() .. "/x"), nil)
  end)

  test("names with a hash of the content come first and are kept for ever, pages are asked for anew", function(t)
    for name, hashed in pairs {
      ["app.3f2a1c.js"] = true, ["css/app-3f2a1c9b.css"] = true, ["chunk-QX3ZK2PA.js"] = true, ["app.js"] = false,
      ["photo-20240101.jpg"] = false, ["app.decade.js"] = false, ["jquery-3.7.1.js"] = false, ["v1.2.3/app.js"] = false,
      ["report-final24.pdf"] = false, ["3f2a1c.js"] = false,
    } do t:eq(static.is_hashed(name), hashed, name) end
    local dir = t:tmpdir()
    for _, name in ipairs { "a.txt", "index.html", "z.3f2a1c.js", "LOGO.PNG" } do
      assert(fs.write(dir .. "/" .. name, name))
    end
    local files = static.expand({ source = "x" }, dir)
    t:eq(targets(files), { "z.3f2a1c.js", "LOGO.PNG", "a.txt", "index.html" })
    local headers = {}
    for i, file in ipairs(files) do headers[i] = file.cache_control or "-" end
    t:eq(headers, { "public, max-age=31536000, immutable", "-", "-", "no-cache" })
    t:eq({ files[1].content_type, files[2].content_type }, { "text/javascript; charset=utf-8", "image/png" })
    t:eq(static.expand({ source = "x", ["cache-control"] = "no-store" }, dir .. "/z.3f2a1c.js")[1].cache_control,
      "no-store")
  end)

  test("only what is below the target and in no entry is stale", function(t)
    local names = { "a.css", "old.css", "v1/a.css", "v1/old.css", "v10/b" }
    t:eq(static.stale(names, { target = "v1" }, { ["v1/a.css"] = true }), { "v1/old.css" })
    t:eq(static.stale(names, {}, { ["a.css"] = true, ["v1/a.css"] = true, ["v1/old.css"] = true, ["v10/b"] = true }),
      { "old.css" })
  end)
end
