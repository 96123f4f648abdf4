-- What an image is made of as one digest, and what the registry tells of it.
local fs = require "ws.fs"
local inputs = require "lib.ci.inputs"
local local_cloud = require "local_cloud"
local registry = require "ws.registry"

local MAIN = "package main\n\nvar version = \"x\"\n\nfunc main() {}\n"

local function build_of(t)
  local dir = t:tmpdir()
  local src = dir .. "/src"
  assert(fs.mkdir(src))
  assert(fs.write(src .. "/go.mod", "module x\n\ngo 1.21\n"))
  assert(fs.write(src .. "/main.go", MAIN))
  return { app = "app", dir = src, shown = "app/src", arch = "amd64", platform = "linux/amd64", builder = "none",
    plan = {}, version = "1.4.2", tag = "1.4.2", repository = "eu.gcr.io/p/app", archive = "results",
    w = { dir = dir, summary = function() end, note = function() end } }
end

local function digest(b)
  inputs.find(b)
  return b.inputs
end

return function(test)
  test("names, modes, bytes and settings count; tests and times do not", function(t)
    local_cloud.start(t, { "results" })
    local b = build_of(t)
    local first = digest(b)
    t:ok(first:find("^sha256:%x+$") and #first == 71)
    t:eq(digest(build_of(t)), first)
    assert(fs.write(b.dir .. "/main_test.go", "package main\n"))
    assert(fs.write(b.dir .. "/main.go", MAIN))
    t:eq(digest(b), first)
    local seen = { [first] = true }
    local function differs(what)
      local now = digest(b)
      t:ok(not seen[now], what)
      seen[now] = true
    end
    b.version = "1.4.3"
    differs "a version that is in the program"
    assert(fs.write(b.dir .. "/main.go", (MAIN:gsub("var", "const"))))
    differs "bytes"
    local shared = b.inputs
    b.version = "1.4.4"
    t:eq(digest(b), shared)
    assert(fs.chmod(b.dir .. "/main.go", 493))
    differs "the mode"
    assert(fs.mkdir(b.dir .. "/page"))
    assert(fs.write(b.dir .. "/page/index.html", "x"))
    differs "another file"
    assert(fs.symlink("page/index.html", b.dir .. "/link"))
    differs "a link"
    t:has(assert(fs.read(b.w.dir .. "/inputs.txt")), "file page/index.html - ")
  end)

  local function push(b, label, ...)
    local image = assert(registry.image { files = { { path = "/x", data = label } }, labels = {
      [inputs.LABEL] = label } })
    for _, tag in ipairs { ... } do assert(registry.push(image, b.repository .. ":" .. tag)) end
    return image.digest
  end

  test("an image of the same inputs is found by its tag, or by the label of the version's image", function(t)
    local_cloud.start(t, { "results" })
    local b = build_of(t)
    inputs.find(b)
    t:eq({ b.found, b.tagged, b.recorded }, { false, false, false })
    local pushed = push(b, b.inputs, "1.4.2")
    inputs.find(b)
    t:eq({ b.found.digest, b.tagged.digest }, { pushed, pushed })
    push(b, b.inputs, b.inputs_tag)
    b.tag = "1.4.3"
    inputs.find(b)
    t:eq({ b.found.digest, b.tagged }, { pushed, false })
  end)

  test("a version whose image is another one is refused", function(t)
    local_cloud.start(t, { "results" })
    local b = build_of(t)
    local other = push(b, "other", "1.4.2")
    local err = t:raises("is in the registry with other content", inputs.find, b)
    t:eq(err.kind, "exists")
    t:has(err.message, other)
    push(b, b.inputs, b.inputs_tag)
    t:raises("is in the registry with other content", inputs.find, b)
  end)
end
