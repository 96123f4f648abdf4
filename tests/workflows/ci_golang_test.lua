-- The Go program: what is one, what the linker can set, its modules, and where it does not compile.
local fs = require "ws.fs"
local golang = require "lib.ci.golang"

local function program(t, files)
  local dir = assert(fs.realpath(t:tmpdir()))
  for name, text in pairs(files) do assert(fs.write(dir .. "/" .. name, text)) end
  return { dir = dir, shown = "app/src", arch = "amd64" }
end

local MOD = "module example.com/x\n\ngo 1.21\n"

return function(test)
  test("what is a program", function(t)
    t:eq(golang.is_program "app/src", true)
    t:eq(golang.is_program(program(t, { ["go.mod"] = MOD, ["a.go"] = "// x\npackage main\n" }).dir), true)
    t:eq(golang.is_program(program(t, { ["go.mod"] = MOD, ["a.go"] = "package x\n" }).dir), false)
    t:eq(golang.is_program(program(t, { ["go.mod"] = MOD, ["a_test.go"] = "package main\n" }).dir), false)
    t:eq(golang.is_program(program(t, { ["a.go"] = "package main\n" }).dir), false)
    t:eq(golang.is_program "/nowhere", false)
  end)

  test("which have a version that the linker can set", function(t)
    local function has(text) return golang.has_version(program(t, { ["a.go"] = text }).dir) end
    t:eq(golang.has_version "app/src", true)
    t:eq(has "package main\n\nvar version string\n", true)
    t:eq(has "package main\n\nvar (\n\tversion = \"x\"\n)\n", true)
    t:eq(has "package main\n\nconst version = \"x\"\n", false)
    t:eq(has "package main\n\nvar versions = \"x\"\n", false)
    t:eq(has "package other\n\nvar version = \"x\"\n", false)
  end)

  test("its modules, with the sums of go.sum", function(t)
    local modules = t:ok(golang.modules { dir = "app/src", shown = "app/src", arch = "amd64" })
    local by_path = {}
    for _, module in ipairs(modules) do by_path[module.path] = module end
    t:ok(by_path["google.golang.org/grpc"].version:find("^v1%."))
    t:ok(by_path["google.golang.org/grpc"].sum:find("^h1:"))
    t:eq(by_path.app, nil)
  end)

  test("the same bytes wherever it is compiled; a mistake is told at its place", function(t)
    local files = { ["go.mod"] = MOD,
      ["main.go"] = "package main\n\nvar version string\n\nfunc main() { println(version) }\n" }
    local one, two = program(t, files), program(t, files)
    local opts = { ldflags = golang.LDFLAGS .. " -X main.version=1.4.2" }
    for _, source in ipairs { one, two } do t:ok(golang.compile(source, source.dir .. "/out", opts)) end
    t:ok(assert(fs.read(one.dir .. "/out")) == assert(fs.read(two.dir .. "/out")))
    local r = assert(require "ws.process".run { one.dir .. "/out" })
    t:eq({ r.code, r.stderr }, { 0, "1.4.2\n" })
    assert(fs.write(one.dir .. "/main.go", "package main\n\nfunc main() { nothing() }\n"))
    local err = t:err("failed", golang.compile(one, one.dir .. "/out", opts))
    t:eq({ err.where, err.message }, { "app/src/main.go:3:15", "undefined: nothing" })
    assert(fs.write(one.dir .. "/go.mod", "nonsense\n"))
    err = t:err("failed", golang.compile(one, one.dir .. "/out", opts))
    t:has(err.detail, "go.mod:1")
  end, { timeout = 120 })
end
