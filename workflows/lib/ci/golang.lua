-- The Go program of an application: its toolchain, its modules, and compiling it so that the same sources always give
-- the same bytes.
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local M = {}

local TIMEOUT = 1800 -- seconds for one go command; the first downloads modules

--- What makes the program static and free of paths, times and the repository's state.
M.FLAGS = { "-trimpath", "-buildvcs=false" }
M.LDFLAGS = "-s -w -buildid="

--- The environment of every go command here: the program is for Linux and calls no C.
local function environment(arch)
  return { CGO_ENABLED = "0", GOOS = "linux", GOARCH = arch, GOFLAGS = false, GOWORK = "off" }
end

--- The error of a go command: its first complaint, with file and line from the project's root.
local function failure(what, result, shown)
  local text = result.stderr ~= "" and result.stderr or result.stdout or ""
  for line in text:gmatch("[^\n]+") do
    local file, rest, message = line:match("^([%w_./-]+%.go):(%d+:%d+): (.*)$")
    if not file then file, rest, message = line:match("^go: ([%w_./-]*go%.mod):(%d+): (.*)$") end
    if file then
      return errors.new { kind = "failed", op = what, message = message, result = result, detail = text,
        where = ("%s/%s:%s"):format(shown, file:gsub("^%./", ""), rest) }
    end
  end
  return errors.new { kind = "failed", op = what, status = result.code, result = result, detail = text,
    message = text:match("^%s*([^\n]+)") or ("failed with exit code %s"):format(tostring(result.code)) }
end

local function run(source, args, opts)
  local result, err = process.run({ "go", table.unpack(args) }, { cwd = source.dir, timeout = TIMEOUT,
    stop_signal = "INT", env = environment(source.arch), max_output = 1 << 26 })
  if not result then
    if err.kind == "missing_tool" then err.hint = "install Go, https://go.dev/dl, or build with --builder docker" end
    return nil, err
  end
  if opts and opts.log then fs.write(opts.log, result.stdout .. result.stderr, { durable = false }) end
  if result.code == 0 then return result.stdout end
  return nil, failure("go " .. args[1], result, source.shown)
end

--- Whether a folder has a Go program: a go.mod, and a file of package main.
---@async
---@param dir string
---@return boolean
function M.is_program(dir)
  if not fs.exists(dir .. "/go.mod") then return false end
  for _, file in ipairs(fs.glob("*.go", { dir = dir }) or {}) do
    if not file:find("_test%.go$") and ("\n" .. assert(fs.read(dir .. "/" .. file))):find("\npackage%s+main%f[%W]") then
      return true
    end
  end
  return false
end

--- Whether the program has a variable `version` in package main, which the linker can set.
---@async
---@param dir string
---@return boolean
function M.has_version(dir)
  for _, file in ipairs(fs.glob("*.go", { dir = dir }) or {}) do
    local text = not file:find("_test%.go$") and "\n" .. assert(fs.read(dir .. "/" .. file))
    if text and text:find("\npackage%s+main%f[%W]") and (text:find("\nvar%s+version%s*=%s*\"")
      or text:find("\nvar%s+version%s+string") or text:find("\n\tversion%s*=%s*\"[^\n]*\n")) then
      return true
    end
  end
  return false
end

--- What of the toolchain shows in the program's bytes.
---@async
---@param source { dir: string, shown: string, arch: string }
---@return table<string, string>? facts  GOVERSION and others
---@return ws.Error? err  kinds: `missing_tool`, `failed`
function M.toolchain(source)
  local text, err = run(source, { "env", "-json", "GOVERSION", "GOAMD64", "GOARM64", "GOEXPERIMENT" })
  if not text then return nil, err end
  return json.decode(text)
end

---@class ci.Module
---@field path string
---@field version string
---@field sum? string  "h1:…" of go.sum

-- Path and version of a package's module, or of what replaces it; nothing for the program's own.
local MODULE = "{{with .Module}}{{if not .Main}}{{with .Replace}}{{.Path}} {{.Version}}{{else}}{{.Path}} {{.Version}}"
  .. "{{end}}{{end}}{{end}}"

--- The modules whose packages are in the program, without its own.
---@async
---@param source { dir: string, shown: string, arch: string }
---@return ci.Module[]? modules  in order of their paths
---@return ws.Error? err
function M.modules(source)
  local text, err = run(source, { "list", "-deps", "-f", MODULE, "." })
  if not text then return nil, err end
  local sums, list, seen = {}, {}, {}
  for path, version, sum in (fs.read(source.dir .. "/go.sum") or ""):gmatch("(%S+) (%S+) (h1:%S+)") do
    sums[path .. " " .. version] = sum
  end
  for line in text:gmatch("[^\n]+") do
    local path, version = line:match("^(%S+) ?(%S*)$")
    if path and not seen[line] then
      seen[line] = true
      list[#list + 1] = { path = path, version = version, sum = sums[path .. " " .. version] }
    end
  end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

--- Compiles the program: static, and the same bytes for the same sources, flags and toolchain wherever it is done.
---@async
---@param source { dir: string, shown: string, arch: string }
---@param output string   the file that is written
---@param opts { ldflags: string, log?: string }
---@return true? ok
---@return ws.Error? err  kind `failed` with `where`: file and line of the first mistake
function M.compile(source, output, opts)
  local args = { "build", "-o", output, "-ldflags", opts.ldflags }
  table.move(M.FLAGS, 1, #M.FLAGS, #args + 1, args)
  args[#args + 1] = "."
  local text, err = run(source, args, opts)
  if not text then return nil, err end
  return true
end

return M
