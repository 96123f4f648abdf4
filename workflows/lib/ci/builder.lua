-- The programs that build an image by its Dockerfile: docker, buildah, podman. Whether one works is found out by using
-- it: one that is installed and has no daemon, or may not make containers, builds nothing.
local crypto = require "ws.crypto"
local process = require "ws.process"
local registry = require "ws.registry"
local task = require "ws.task"
local ws = require "ws"

local M = {}

local PROBE_TIMEOUT = 20 -- seconds
local BUILD_TIMEOUT = 3600

local order = { "docker", "buildah", "podman" }

local function last_line(text)
  local last
  for line in (text or ""):gmatch("[^\n]+") do
    if line:find("%S") then last = line:match("^%s*(.-)%s*$") end
  end
  return last
end

--- Runs a short command. Returns its output, or nil and why not.
local function try(argv, opts)
  local result, err = process.run(argv, { timeout = PROBE_TIMEOUT, stdin = opts and opts.stdin })
  if not result then return nil, err.kind == "missing_tool" and "is not installed" or err.message end
  if result.code == 0 then return result.stdout end
  return nil, last_line(result.stderr) or ("ended with %s"):format(tostring(result.code or result.signal))
end

--- Each makes the least that a build makes, and removes it.
local probes = {
  docker = function()
    local version, why = try { "docker", "version", "--format", "{{.Server.Version}}" }
    if version and not version:find("%d") then return nil, "has no daemon" end
    return version, why
  end,
  buildah = function()
    local container, why = try { "buildah", "from", "scratch" }
    if not container then return nil, why end
    return try { "buildah", "rm", (container:match("[^\n]*")) }
  end,
  podman = function()
    local id, why = try({ "podman", "build", "--quiet", "--file", "-" }, { stdin = "FROM scratch\nLABEL probe=1\n" })
    if not id then return nil, why end
    return try { "podman", "rmi", "--force", last_line(id) }
  end,
}

--- Tries builders side by side.
---@async
---@param names string[]
---@return string? works  the first of the list that works
---@return table<string, string> reasons  why the others do not
function M.probe(names)
  local functions = {}
  for i, name in ipairs(names) do
    functions[i] = function()
      local ok, why = probes[name]()
      return { ok = ok ~= nil, why = why }
    end
  end
  local results, err = task.all(functions)
  if not results then error(err, 0) end
  local works, reasons = nil, {}
  for i, name in ipairs(names) do
    if results[i].ok then works = works or name else reasons[name] = results[i].why end
  end
  return works, reasons
end

local function reasons_text(reasons)
  local parts = {}
  for _, name in ipairs(order) do
    if reasons[name] then parts[#parts + 1] = ("%s: %s"):format(name, reasons[name]) end
  end
  return table.concat(parts, "; ")
end

--- Which builder it is for these sources: `auto` takes the first that works, and none where there is no Dockerfile.
---@param wanted "auto"|"docker"|"buildah"|"podman"|"none"
---@param has_dockerfile boolean
---@param shown string  the folder of the sources
---@return string builder
---@return string why
function M.choose(wanted, has_dockerfile, shown)
  if wanted == "none" then return "none", "as asked" end
  if wanted ~= "auto" then
    if not has_dockerfile then
      ws.fail(("--builder %s needs %s/Dockerfile, which does not exist"):format(wanted, shown), { kind = "invalid",
        usage = true, hint = "--builder none makes the image of the compiled program" })
    end
    local works, reasons = M.probe { wanted }
    if works then return wanted, "as asked" end
    ws.fail(("%s does not work here: %s"):format(wanted, reasons[wanted]), { kind = "missing_tool",
      hint = "--builder none makes the image of the compiled program, without a daemon" })
  end
  if not has_dockerfile then return "none", ("there is no %s/Dockerfile"):format(shown) end
  local works, reasons = M.probe(order)
  if works then return works, "it works here" end
  return "none", reasons_text(reasons)
end

local function clean_up(argv)
  return setmetatable({}, { __close = function()
    task.shield(process.run, argv, { timeout = PROBE_TIMEOUT, stdout = "discard", stderr = "discard" })
  end })
end

--- Runs one command of a build; what it says is in the step's log.
local function run(b, argv, env)
  local lines = {}
  local logfile = require "ws.process.logfile"
  local log <close> = logfile.open(b.w:log_file())
  local function take(line)
    log:write(line)
    lines[#lines + 1] = line
    if #lines > 20 then table.remove(lines, 1) end
    if line:find("^#?%d+ ") or line:find("^STEP ") then b.w:progress(line:sub(1, 100)) end
  end
  local result = assert(process.run(argv, { timeout = BUILD_TIMEOUT, stop_signal = "INT", env = env, cwd = b.dir,
    stdout = "discard", stderr = "discard", on_stdout = take, on_stderr = take }))
  if result.code == 0 then return end
  ws.fail(("%s %s failed: %s"):format(argv[1], argv[2], lines[#lines] or "exit code " .. tostring(result.code)), {
    kind = result.signal and "interrupted" or "failed", where = b.shown .. "/Dockerfile",
    detail = table.concat(lines, "\n"), hint = "--builder none makes the image without a daemon, when the Dockerfile's "
      .. "last stage only takes the program" })
end

--- What each takes beside the common words, and how the image leaves it.
local tools = {
  docker = { words = { "--pull" }, env = { DOCKER_BUILDKIT = "1", SOURCE_DATE_EPOCH = "0" },
    save = function(b, name)
      local file = b.temp .. "/image.tar"
      run(b, { "docker", "save", "--output", file, name })
      return registry.open_archive(file)
    end },
  buildah = { words = { "--format", "oci", "--timestamp", "0" },
    save = function(b, name)
      local dir = b.temp .. "/image"
      run(b, { "buildah", "push", "--format", "oci", name, "oci:" .. dir .. ":latest" })
      return registry.open_layout(dir)
    end },
  podman = { words = { "--format", "oci", "--timestamp", "0" },
    save = function(b, name)
      local dir = b.temp .. "/image"
      run(b, { "podman", "save", "--format", "oci-dir", "--output", dir, name })
      return registry.open_layout(dir)
    end },
}

--- Builds the image by the Dockerfile. Nothing of it stays in the builder's own store.
---@param b ci.Build
---@param label string  with the digest of the inputs
---@return ws.registry.Source source
function M.build(b, label)
  local tool, name = tools[b.builder], "wsrun-ci-" .. crypto.random_hex(8)
  local argv = { b.builder, "build", "--file", b.dir .. "/Dockerfile", "--tag", name, "--platform", b.platform,
    "--build-arg", "VERSION=" .. b.version, "--label", ("%s=%s"):format(label, b.inputs) }
  table.move(tool.words, 1, #tool.words, #argv + 1, argv)
  argv[#argv + 1] = b.dir
  local _ <close> = clean_up { b.builder, "rmi", "--force", name }
  run(b, argv, tool.env)
  return assert(tool.save(b, name))
end

return M
