-- wsrun image: what it prints, and its exit codes.
local fs = require "ws.fs"
local json = require "ws.json"
local oci = require "oci_registry"
local process = require "ws.process"
local registry = require "ws.registry"

local program = os.getenv("WSRUN") or "build/wsrun"

local function image(words, opts)
  local r = assert(process.run({ program, "image", table.unpack(words) }, opts))
  return r.code, r.stdout, r.stderr
end

return function(test)
  test("ls and inspect", function(t)
    local r = oci.start(t)
    local one = oci.image { "layer", "second" }
    t:ok(registry.push(one, r.host .. "/app:1"))
    t:ok(registry.tag(r.host .. "/app:1", "2"))
    t:eq({ image { "ls", r.host .. "/app" } }, { 0, "1\n2\n", "" })
    local _, text = image { "ls", r.host .. "/app", "--json" }
    t:eq(json.decode(text), { tags = { "1", "2" } })

    t:ok(registry.attach(r.host .. "/app:1", { artifact_type = "a/b", media_type = "c/d", data = "x" }))
    local code, shown = image { "inspect", r.host .. "/app:1" }
    t:eq(code, 0)
    for _, part in ipairs { ("%s/app@%s"):format(r.host, one.root.digest), "linux/amd64", "entrypoint  /app",
      "2, 11 bytes", "a/b" } do
      t:has(shown, part)
    end
    _, text = image { "--json", "inspect", r.host .. "/app:1" }
    local known = t:ok(json.decode(text))
    t:eq({ known.digest, known.config.os, #known.layers, known.referrers[1].artifactType },
      { one.root.digest, "linux", 2, "a/b" })

    local index = oci.index { ["linux/amd64"] = one, ["linux/arm64/v8"] = oci.image { "arm" } }
    t:ok(registry.push(index, r.host .. "/app:multi"))
    _, shown = image { "inspect", r.host .. "/app:multi" }
    t:has(shown, "linux/arm64/v8")
    _, shown = image { "inspect", r.host .. "/app:multi", "--platform", "linux/amd64" }
    t:has(shown, one.root.digest)
  end)

  test("copy, and a tag that stands for another image", function(t)
    local a, b = oci.start(t), oci.start(t)
    local one, two = oci.image { "one" }, oci.image { "two" }
    t:ok(registry.push(one, a.host .. "/app:1"))
    t:ok(registry.push(two, a.host .. "/app:2"))
    local code, out, err = image { "copy", a.host .. "/app:1", b.host .. "/app:1" }
    t:eq({ code, out }, { 0, ("%s/app@%s\n"):format(b.host, one.root.digest) })
    t:has(err, "2 blobs sent")
    code, out, err = image { "copy", a.host .. "/app:1", b.host .. "/app:1", "--json", "-q" }
    t:eq({ code, json.decode(out).unchanged, err }, { 0, true, "" })
    code, out, err = image { "copy", a.host .. "/app:2", b.host .. "/app:1" }
    t:eq({ code, out }, { 1, "" })
    t:has(err, "--overwrite")
    t:eq(image { "copy", a.host .. "/app:2", b.host .. "/app:1", "--overwrite", "-j", "1" }, 0)
    t:eq(b:at "app".tags["1"], two.root.digest)
  end)

  test("pull into a layout and an archive, and push from them", function(t)
    local r, dir = oci.start(t), t:tmpdir()
    local one = oci.image { ("layer"):rep(100000), "second" }
    t:ok(registry.push(one, r.host .. "/app:1"))
    local code, out, err = image { "pull", r.host .. "/app:1", dir .. "/layout" }
    t:eq({ code, out }, { 0, ("%s/app@%s\n"):format(r.host, one.root.digest) })
    t:has(err, "500.3 kB came")
    t:eq(fs.read(dir .. "/layout/blobs/sha256/" .. one.root.digest:sub(8)), one.contents[one.root.digest])
    code, out, err = image { "pull", r.host .. "/app:1", dir .. "/layout" }
    t:eq({ code, out }, { 0, ("%s/app@%s\n"):format(r.host, one.root.digest) })
    t:has(err, "3 blobs were there already")
    code, out = image { "push", dir .. "/layout", r.host .. "/from-layout:1", "--json", "-q" }
    local pushed = t:ok(json.decode(out))
    t:eq({ code, pushed.digest, pushed.sent, pushed.reference },
      { 0, one.root.digest, 3, ("%s/from-layout@%s"):format(r.host, one.root.digest) })

    t:eq(image({ "pull", r.host .. "/app:1", dir .. "/app.tar" }, { env = { WSRUN_STATE_DIR = dir .. "/state" } }), 0)
    code, out, err = image { "push", dir .. "/app.tar", r.host .. "/from-archive:1" }
    t:eq(code, 0, err)
    t:has(err, "3 blobs sent") -- compressed on the way
    t:ok(r:at "from-archive".tags["1"])
    t:has(out, "/from-archive@sha256:")
    for name in fs.walk(dir) do t:ok(not name:find(".part", 1, true), name) end

    r:at "app".blobs[one.manifest.layers[1].digest] = "damaged"
    code, out, err = image { "pull", r.host .. "/app:1", dir .. "/other" }
    t:eq({ code, out }, { 1, "" })
    t:has(err, "damaged; nothing of it was kept")
  end)

  test("wrong words, wrong names, refusals", function(t)
    local dir, r = t:tmpdir(), oci.start(t, { auth = "basic", user = "me:pw" })
    local env = { env = { DOCKER_CONFIG = dir, HOME = dir } }
    for _, case in ipairs {
      { { }, 64, "needs a verb" }, { { "pusch" }, 64, "did you mean 'push'" }, { { "ls" }, 64, "ls takes REPOSITORY" },
      { { "copy", "a" }, 64, "wsrun image copy FROM TO" },
      { { "ls", "x.y/a", "--platform", "z" }, 64, "unknown option" },
      { { "pull", "x.y/a:1", "to", "--format", "zip" }, 64, "oci, docker" },
      { { "ls", "alpine" }, 1, "docker.io/library/alpine" },
      { { "push", dir .. "/none", "x.y/a:1" }, 1, "none" },
      { { "ls", r.host .. "/app" }, 4, "docker login " .. r.host },
    } do
      local code, out, err = image(case[1], env)
      t:eq({ code, out }, { case[2], "" }, case[3])
      t:has(err, case[3])
    end
    assert(fs.write(dir .. "/config.json", json.encode { auths = { [r.host] = { username = "me", password = "pw" } } }))
    t:has(select(3, image({ "ls", r.host .. "/app" }, env)), "is not in the registry")
    for _, words in ipairs { { "help", "image" }, { "image", "push", "-h" } } do
      local shown = assert(process.run({ program, table.unpack(words) })).stdout
      for _, verb in ipairs(require "ws.cli.image".verbs) do t:has(shown, "wsrun image " .. verb[1]) end
    end
  end)

  test("a signal ends a copy, and nothing is left", function(t)
    local a, child = oci.start(t), nil
    local one = oci.image { ("x"):rep(1 << 20) }
    t:ok(registry.push(one, a.host .. "/app:1"))
    local b = oci.start(t, { fault = function(req)
      if req.method == "PUT" then
        child:kill "INT"
        while not req:gone() do require "ws.task".sleep(0.02) end
        oci.cut()
      end
    end })
    child = t:ok(process.start { program, "image", "copy", a.host .. "/app:1", b.host .. "/app:1" })
    local result = t:ok(child:wait(20))
    t:eq({ result.code, result.stdout }, { 130, "" })
    t:has(result.stderr, "interrupted")
    t:eq(b:at "app".tags["1"], nil)
  end)
end
