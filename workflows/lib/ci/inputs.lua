-- What an image is made of, as one digest, and whether the registry has an image of it already.
--
-- The digest covers every source file (names, modes, bytes), the Dockerfile, the settings of the build, the toolchain
-- and the base images. An image is tagged `inputs-HEX` when it and what is attached to it are complete, so one request
-- tells whether a build can be left out.
local build = require "lib.ci.build"
local crypto = require "ws.crypto"
local dockerfile = require "lib.ci.dockerfile"
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local golang = require "lib.ci.golang"
local json = require "ws.json"
local registry = require "ws.registry"
local task = require "ws.task"

local M = {}

--- The label of an image with the digest of its inputs.
M.LABEL = "wsrun.inputs"

--- A line for each source file. Go's own tests are in no program.
local function source_lines(dir)
  local lines = {}
  for path, entry in fs.walk(dir, { enter = function(path) return not fs.basename(path):find("^%.") end }) do
    local name = fs.relative(path, dir)
    if entry.type == "file" and not name:find("_test%.go$") then
      local mode = assert(fs.stat(path)).mode & 64 ~= 0 and "x" or "-" -- 0100
      lines[#lines + 1] = ("file %s %s %s"):format(name, mode, assert(crypto.sha256_file(path)))
    elseif entry.type == "link" then
      lines[#lines + 1] = ("link %s %s"):format(name, assert(fs.readlink(path)))
    end
  end
  return lines
end

--- A base image with the digest that it has now.
local function resolved(b, reference)
  local full = dockerfile.full_reference(reference)
  return { reference = full, digest = assert(registry.resolve(full, { platform = b.platform })).digest }
end

--- The settings of a build without a daemon: the Go toolchain, its flags, the base image.
local function own_settings(b)
  local facts = assert(golang.toolchain(b))
  b.go_version = facts.GOVERSION
  b.has_version = golang.has_version(b.dir)
  b.ldflags = golang.LDFLAGS .. (b.has_version and " -X main.version=" .. b.version or "")
  b.bases = b.plan.base and { resolved(b, b.plan.base) } or {}
  return { flags = table.concat(golang.FLAGS, " "), ldflags = b.ldflags, go = facts.GOVERSION,
    ["go.amd64"] = facts.GOAMD64, ["go.experiment"] = facts.GOEXPERIMENT }
end

--- The settings of a build by the Dockerfile; its base images were looked at when the builder was chosen.
local function daemon_settings(b)
  return { version = dockerfile.takes(b.dockerfile, "VERSION") and b.version or nil }
end

--- Works out the digest of the inputs: `b.inputs`, and `b.settings` as they went into it.
local function digest(b)
  local settings = b.builder == "none" and own_settings(b) or daemon_settings(b)
  settings.builder, settings.platform = b.builder, b.platform
  for i, base in ipairs(b.bases) do
    settings["base." .. i] = ("%s@%s"):format(base.reference, base.digest or "unknown")
  end
  local lines = source_lines(b.dir)
  for name, value in pairs(settings) do lines[#lines + 1] = ("setting %s %s"):format(name, value) end
  table.sort(lines)
  b.settings = settings
  b.inputs = "sha256:" .. crypto.sha256(table.concat(lines, "\n"))
  b.inputs_tag = "inputs-" .. b.inputs:match("%x+$")
  assert(fs.write(b.w.dir .. "/inputs.txt", table.concat(lines, "\n") .. "\n"))
end

local function unless_missing(value, err)
  if value == nil and err.kind ~= "not_found" then error(err, 0) end
  return value or false
end

--- Whether the image under the version's tag was made of these inputs: its label says so.
local function has_label(b)
  local config, err = registry.config(("%s@%s"):format(b.repository, b.tagged.digest), { platform = b.platform })
  if not config then error(err, 0) end
  local labels = type(config.config) == "table" and config.config.Labels
  return type(labels) == "table" and labels[M.LABEL] == b.inputs
end

--- Works out the inputs and looks at what is published: `b.found` is the image of these inputs, `b.tagged` the one of
--- this version, `b.recorded` the version's artifacts.json. Refuses a version whose image is another one.
---@param b ci.Build
function M.find(b)
  digest(b)
  b.artifacts_url = ("gs://%s/%s/%s/artifacts.json"):format(b.archive, b.app, b.version)
  local results, err = task.all {
    function() return unless_missing(registry.resolve(("%s:%s"):format(b.repository, b.inputs_tag))) end,
    function() return unless_missing(registry.resolve(("%s:%s"):format(b.repository, b.tag))) end,
    function() return unless_missing(gcs.get(b.artifacts_url)) end,
  }
  if not results then error(err, 0) end
  b.found, b.tagged = results[1], results[2]
  b.recorded = results[3] and assert(json.decode(results[3], { filename = b.artifacts_url }))
  if b.tagged and not b.found and has_label(b) then b.found = b.tagged end
  if b.tagged and b.tagged.digest ~= (b.found and b.found.digest) then
    local other = b.recorded and type(b.recorded.commit) == "string" and ", built from commit "
      .. b.recorded.commit:sub(1, 12) or ""
    build.refuse_change("image", ("%s:%s is in the registry with other content (%s%s)"):format(b.repository, b.tag,
      b.tagged.digest, other))
  end
  b.w:summary(("%s, %s"):format(b.inputs:sub(1, 19), b.found and "built before" or "not built yet"))
end

return M
