-- Which program builds the image, how it is called, and that nothing stays in its store.
local builder = require "lib.ci.builder"
local environment = require "ws.environment"
local fs = require "ws.fs"
local local_cloud = require "local_cloud"
local process = require "ws.process"
local registry = require "ws.registry"

--- A build of a folder with this Dockerfile.
local function build_of(t, text, fields)
  local dir = assert(fs.realpath(t:tmpdir()))
  assert(fs.mkdir(dir .. "/src"))
  if text then assert(fs.write(dir .. "/src/Dockerfile", text)) end
  local b = { dir = dir .. "/src", shown = "app/src", temp = dir, version = "1.4.2", platform = "linux/amd64",
    inputs = "sha256:" .. ("a"):rep(64), dockerfile = text, wanted_builder = "auto", w = {
      log_file = function() return dir .. "/log" end, progress = function() end, note = function() end } }
  for name, value in pairs(fields or {}) do b[name] = value end
  return b, dir
end

--- Puts shell scripts first, and alone with the system's, on PATH.
local function programs(t, scripts)
  local bin = t:tmpdir()
  for name, script in pairs(scripts) do
    assert(fs.write(bin .. "/" .. name, "#!/bin/sh\n" .. script .. "\n", { mode = 493 }))
  end
  for _, name in ipairs { "cp", "sh" } do assert(fs.symlink(assert(process.which(name)), bin .. "/" .. name)) end
  local path = environment.get "PATH"
  environment.set { PATH = bin }
  t:defer(function() environment.set { PATH = path } end)
  return bin
end

local SCRATCH = "FROM scratch\nCOPY file /file\nCMD [\"/file\"]\n"

return function(test)
  test("the first that works is taken, and it is said why the others do not", function(t)
    programs(t, { docker = "echo 'Cannot connect to the daemon' >&2; exit 1",
      buildah = "[ $1 = from ] && echo working-1 || exit 0", podman = "exit 3" })
    t:eq({ builder.choose(build_of(t, SCRATCH)) }, { "buildah", "it works here" })
    programs(t, { docker = "echo; exit 0", podman = "echo starting >&2; echo 'newuidmap: not allowed' >&2; exit 125" })
    local b, dir = build_of(t, SCRATCH)
    local name, why = builder.choose(b)
    t:eq(name, "none")
    t:eq(why, "docker: has no daemon; buildah: is not installed; podman: newuidmap: not allowed")
    t:has(assert(fs.read(dir .. "/log")), "podman: newuidmap: not allowed")
  end)

  test("one that cannot get the base images does not work, unless it has them", function(t)
    local_cloud.start(t, {})
    programs(t, { docker = "case $1 in version) echo 28.1;; *) exit 1;; esac" })
    local b = build_of(t, "FROM nowhere/base:1\n")
    local name, why = builder.choose(b)
    t:eq(name, "none")
    t:has(why, "docker: it cannot get nowhere/base:1: docker.io/nowhere/base:1")
    programs(t, { docker = "case $1 in version) echo 28.1;; image) echo sha256:1;; esac" })
    t:eq({ builder.choose(b) }, { "docker", "it works here" })
    t:eq({ b.bases[1].reference, b.bases[1].digest }, { "docker.io/nowhere/base:1", nil })
  end)

  test("what was asked for has to work; without a Dockerfile there is nothing for it to do", function(t)
    programs(t, { docker = "echo no >&2; exit 1" })
    local err = t:raises("docker does not work here: no", builder.choose, build_of(t, SCRATCH,
      { wanted_builder = "docker" }))
    t:eq(err.kind, "missing_tool")
    t:ok(err.hint)
    err = t:raises("there is no app/src/Dockerfile", builder.choose, build_of(t, nil, { wanted_builder = "podman" }))
    t:eq(err.usage, true)
    t:eq({ builder.choose(build_of(t)) }, { "none", "there is no app/src/Dockerfile" })
    t:eq({ builder.choose(build_of(t, SCRATCH, { wanted_builder = "none" })) }, { "none", "as asked" })
  end)

  test("docker: version and label are given, its image is taken and removed, also when it fails", function(t)
    local made = assert(registry.image { files = { { path = "/file", data = "x" } }, labels = { of = "docker" } })
    local archive = t:tmpdir() .. "/saved.tar"
    assert(registry.save(made, { archive = archive }, { name = "localhost/x:1" }))
    local bin = programs(t, { docker = [[
      echo "$@" >>"${0%/*}/calls"
      case $1 in
      save) cp ]] .. archive .. [[ "$3";;
      build) [ -z "$FAIL" ] || { echo 'line 3: boom' >&2; exit 1; };;
      esac]] })
    local b = build_of(t, SCRATCH, { builder = "docker", bases = { { name = "x", digest = "sha256:1" } } })
    local source = builder.build(b, "wsrun.inputs")
    t:ok(source.root.digest:find("^sha256:"))
    local calls = assert(fs.read(bin .. "/calls"))
    local name = calls:match("%-%-tag (wsrun%-ci%-%x+)")
    t:has(calls, "--build-arg VERSION=1.4.2 --label wsrun.inputs=" .. b.inputs)
    t:ok(calls:find("%-%-pull /"), calls)
    t:has(calls, "--file " .. b.dir .. "/Dockerfile")
    t:has(calls, "rmi --force " .. name)
    b.bases[1].digest = nil
    environment.set { FAIL = "1" }
    t:defer(function() environment.set { FAIL = false } end)
    local err = t:raises("docker build failed: line 3: boom", builder.build, b, "wsrun.inputs")
    t:eq(err.where, "app/src/Dockerfile")
    calls = assert(fs.read(bin .. "/calls"))
    t:eq(select(2, calls:gsub("%-%-pull", "")), 1, "what only this machine has is not pulled")
    local _, removed = calls:gsub("rmi %-%-force", "")
    t:eq(removed, 2)
  end)

  test("buildah itself: the same image twice, and nothing left in its store", function(t)
    local b = build_of(t, SCRATCH, { wanted_builder = "buildah", builder = "buildah" })
    if not pcall(builder.choose, b) then t:skip("buildah does not work here") end
    assert(fs.write(b.dir .. "/file", "content"))
    local function images() return assert(process.check { "buildah", "images", "--all", "--quiet" }).stdout end
    local before = images()
    local digests = {}
    for i = 1, 2 do
      b.temp = t:tmpdir()
      local source = builder.build(b, "wsrun.inputs")
      digests[i] = source.root.digest
      local manifest = assert(require "ws.json".decode((source:read(source.root))))
      local config = source:read(manifest.config)
      t:has(type(config) == "string" and config or assert(fs.read(config.file)), '"wsrun.inputs":"' .. b.inputs .. '"')
    end
    t:eq(digests[1], digests[2])
    t:eq(images(), before)
  end, { timeout = 120 })
end
