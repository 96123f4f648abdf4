-- The programs that build an image by its Dockerfile: docker, buildah, podman. Whether one works is found out by using
-- it: one that is installed and has no daemon, may not make containers, or cannot get the base images, builds nothing.
local crypto = require "ws.crypto"
local dockerfile = require "lib.ci.dockerfile"
local logfile = require "ws.process.logfile"
local process = require "ws.process"
local registry = require "ws.registry"
local task = require "ws.task"
local ws = require "ws"

local M = {}

local PROBE_TIMEOUT = 20 -- seconds
local RESOLVE_TIMEOUT = 8 -- for asking a registry about a base image
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

--- Whether a builder has an image on this machine.
local has_image = {
  docker = function(image) return try { "docker", "image", "inspect", "--format", "{{.Id}}", image } ~= nil end,
  buildah = function(image) return try { "buildah", "inspect", "--type", "image", image } ~= nil end,
  podman = function(image) return try { "podman", "image", "exists", image } ~= nil end,
}

--- The digest that a base image has now, or why it cannot be told.
local function resolve(b, image)
  local full = dockerfile.full_reference(image)
  local found, err = task.timeout(RESOLVE_TIMEOUT, registry.resolve, full, { platform = b.platform })
  return { name = image, reference = full, digest = found and found.digest, problem = err and err.message }
end

--- Looks at base images and builders side by side. Returns the first builder of the list that works, and why the others
--- do not; `b.bases` are the base images.
local function probe(b, names)
  local images, functions = dockerfile.bases(b.dockerfile), {}
  for i, image in ipairs(images) do functions[i] = function() return resolve(b, image) end end
  for i, name in ipairs(names) do
    functions[#images + i] = function()
      local ok, why = probes[name]()
      return { ok = ok ~= nil, why = why }
    end
  end
  local results, err = task.all(functions)
  if not results then error(err, 0) end
  b.bases = table.move(results, 1, #images, 1, {})
  local reasons = {}
  for i, name in ipairs(names) do
    local why = not results[#images + i].ok and results[#images + i].why
    for _, base in ipairs(b.bases) do
      if not why and base.problem and not has_image[name](base.name) then
        why = ("it cannot get %s: %s"):format(base.name, base.problem)
      end
    end
    if not why then return name, reasons end
    reasons[name] = why
  end
  return nil, reasons
end

--- Why none works, in a line; the step's log has the whole reasons.
local function reasons_text(b, reasons)
  local parts = {}
  local log <close> = logfile.open(b.w:log_file())
  for _, name in ipairs(order) do
    local why = reasons[name]
    if why then
      log:write(("%s: %s"):format(name, why))
      parts[#parts + 1] = ("%s: %s"):format(name, #why > 60 and why:sub(1, 57) .. "..." or why)
    end
  end
  return table.concat(parts, "; ")
end

--- Which builder it is: `auto` takes the first that works, and none where there is no Dockerfile or all fail.
---@param b ci.Build
---@return string builder
---@return string why
function M.choose(b)
  local wanted = b.wanted_builder
  if wanted == "none" then return "none", "as asked" end
  if not b.dockerfile then
    local missing = ("there is no %s/Dockerfile"):format(b.shown)
    if wanted == "auto" then return "none", missing end
    ws.fail(("--builder %s: %s"):format(wanted, missing), { kind = "invalid", usage = true,
      hint = "--builder none makes the image of the compiled program" })
  end
  local works, reasons = probe(b, wanted == "auto" and order or { wanted })
  if works then return works, wanted == "auto" and "it works here" or "as asked" end
  if wanted == "auto" then return "none", reasons_text(b, reasons) end
  ws.fail(("%s does not work here: %s"):format(wanted, reasons[wanted]), { kind = "missing_tool",
    hint = "--builder none makes the image of the compiled program, without a daemon" })
end

local function clean_up(argv)
  return setmetatable({}, { __close = function()
    task.shield(process.run, argv, { timeout = PROBE_TIMEOUT, stdout = "discard", stderr = "discard" })
  end })
end

--- Runs one command of a build; what it says is in the step's log.
local function run(b, argv, env)
  local lines = {}
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

--- What each takes beside the common words, how it is told to take base images as they are now, and how the image
--- leaves it.
local tools = {
  docker = { words = {}, pull = "--pull", env = { DOCKER_BUILDKIT = "1", SOURCE_DATE_EPOCH = "0" },
    save = function(b, name)
      local file = b.temp .. "/image.tar"
      run(b, { "docker", "save", "--output", file, name })
      return registry.open_archive(file)
    end },
  buildah = { words = { "--format", "oci", "--timestamp", "0" }, pull = "--pull-always",
    save = function(b, name)
      local dir = b.temp .. "/image"
      run(b, { "buildah", "push", "--format", "oci", name, "oci:" .. dir .. ":latest" })
      return registry.open_layout(dir)
    end },
  podman = { words = { "--format", "oci", "--timestamp", "0" }, pull = "--pull=always",
    save = function(b, name)
      local dir = b.temp .. "/image"
      run(b, { "podman", "save", "--format", "oci-dir", "--output", dir, name })
      return registry.open_layout(dir)
    end },
}

--- Whether every base image is one that a registry has: then what was resolved is what is built on.
local function all_resolved(bases)
  for _, base in ipairs(bases) do
    if not base.digest then return false end
  end
  return #bases > 0
end

--- Builds the image by the Dockerfile. The image does not stay in the builder's own store.
---@param b ci.Build
---@param label string  with the digest of the inputs
---@return ws.registry.Source source
function M.build(b, label)
  local tool, name = tools[b.builder], "wsrun-ci-" .. crypto.random_hex(8)
  local argv = { b.builder, "build", "--file", b.dir .. "/Dockerfile", "--tag", name, "--platform", b.platform,
    "--build-arg", "VERSION=" .. b.version, "--label", ("%s=%s"):format(label, b.inputs) }
  table.move(tool.words, 1, #tool.words, #argv + 1, argv)
  if all_resolved(b.bases) then argv[#argv + 1] = tool.pull end
  argv[#argv + 1] = b.dir
  local _ <close> = clean_up { b.builder, "rmi", "--force", name }
  run(b, argv, tool.env)
  return assert(tool.save(b, name))
end

return M
