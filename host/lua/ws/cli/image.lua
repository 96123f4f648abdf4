--- `wsrun image VERB …`: container images and registries.
---
--- stdout has the result alone: the image's name with its digest, the tags, or with --json one object.
local errors = require "ws.error"
local flags = require "ws.flags"
local interrupt = require "ws.cli.interrupt"
local nearest = require "ws.nearest"

local M = {}

local PLATFORM = { "platform", type = "string", value = "OS/ARCH",
  doc = "of a list of images this one, such as linux/amd64" }
local OVERWRITE = { "overwrite", doc = "move a tag that stands for another image" }

local function bytes(n)
  if n >= 1e9 then return ("%.2f GB"):format(n / 1e9) end
  if n >= 1e6 then return ("%.1f MB"):format(n / 1e6) end
  return n >= 1e3 and ("%.1f kB"):format(n / 1e3) or ("%d bytes"):format(n)
end

local function say(globals, text)
  if not globals.quiet then io.stderr:write(text, "\n") end
end

--- The result on stdout: an object with --json, else the text.
local function give(globals, object, text)
  print(globals.json and require "ws.json".encode(object) or text)
  return 0
end

local function with_digest(ref, digest)
  local reference = require "ws.registry.reference"
  return tostring(reference.with(assert(reference.of(ref)), { digest = digest }))
end

--- What a push or copy came to.
local function pushed(globals, ref, result)
  if result.unchanged then
    say(globals, ref .. " is that image already")
  else
    say(globals, ("%d blobs sent (%s), %d mounted, %d there already"):format(result.sent, bytes(result.bytes),
      result.mounted, result.skipped))
  end
  local name = with_digest(ref, result.digest)
  result.reference = name
  return give(globals, result, name)
end

--- An OCI layout's folder or a docker archive's file as a source.
local function open_source(path, tag)
  local stat, err = require "ws.fs".stat(path)
  if not stat then return nil, err end
  local registry = require "ws.registry"
  if stat.type == "directory" then return registry.open_layout(path, tag) end
  return registry.open_archive(path, tag)
end

local function push(args, opts, globals)
  local source, err = open_source(args[1], opts["source-tag"])
  if not source then return nil, err end
  local _ <close> = getmetatable(source) and getmetatable(source).__close and source or nil
  local result, problem = require "ws.registry".push(source, args[2], { overwrite = opts.overwrite,
    jobs = globals.jobs })
  if not result then return nil, problem end
  return pushed(globals, args[2], result)
end

local function pull(args, opts, globals)
  local to = args[2]
  local format = opts.format or (to:find("%.tar$") and "docker" or "oci")
  local result, err = require "ws.registry".pull(args[1], { [format == "oci" and "oci" or "archive"] = to },
    { platform = opts.platform, jobs = globals.jobs })
  if not result then return nil, err end
  say(globals, ("%s came, %d blobs were there already"):format(bytes(result.bytes), result.skipped))
  result.reference = with_digest(args[1], result.digest)
  return give(globals, result, result.reference)
end

local function copy(args, opts, globals)
  local result, err = require "ws.registry".copy(args[1], args[2], { platform = opts.platform,
    overwrite = opts.overwrite, jobs = globals.jobs })
  if not result then return nil, err end
  return pushed(globals, args[2], result)
end

local function ls(args, _, globals)
  local tags, err = require "ws.registry".tags(args[1])
  if not tags then return nil, err end
  if globals.json then return give(globals, { tags = require "ws.json".array(tags) }) end
  for _, tag in ipairs(tags) do print(tag) end
  return 0
end

--- What is known of an image: a table for --json.
local function describe(ref, opts)
  local json, registry = require "ws.json", require "ws.registry"
  local manifest, descriptor = registry.manifest(ref, { platform = opts.platform })
  if not manifest then return nil, descriptor end
  local name = with_digest(ref, descriptor.digest)
  local known = { reference = name, digest = descriptor.digest, mediaType = descriptor.mediaType,
    size = descriptor.size, annotations = manifest.annotations }
  local referrers, err = registry.referrers(name)
  if not referrers then return nil, err end
  known.referrers = json.array(referrers)
  if manifest.manifests then
    known.manifests = manifest.manifests
    return known
  end
  known.layers = manifest.layers
  if manifest.config.mediaType:find("image", 1, true) then
    known.config, err = json.decode((assert(registry.get_blob(name, manifest.config))))
    if not known.config then return nil, err end
  end
  return known
end

local function platform_text(platform)
  if type(platform) ~= "table" then return "" end
  return ("%s/%s%s"):format(platform.os, platform.architecture, platform.variant and "/" .. platform.variant or "")
end

local function row(lines, name, value)
  if value and value ~= "" then lines[#lines + 1] = ("%-12s%s"):format(name, value) end
end

local function image_rows(lines, known)
  local config = known.config or {}
  local settings = config.config or {}
  row(lines, "platform", config.os and platform_text(config))
  row(lines, "created", config.created)
  row(lines, "entrypoint", settings.Entrypoint and table.concat(settings.Entrypoint, " "))
  row(lines, "cmd", settings.Cmd and table.concat(settings.Cmd, " "))
  row(lines, "user", settings.User)
  local total = 0
  for _, layer in ipairs(known.layers) do total = total + layer.size end
  row(lines, "layers", ("%d, %s"):format(#known.layers, bytes(total)))
  for key, value in require "ws.json".pairs(settings.Labels or {}) do
    row(lines, "label", ("%s=%s"):format(key, tostring(value)))
  end
end

local function inspect(args, opts, globals)
  local known, err = describe(args[1], opts)
  if not known then return nil, err end
  if globals.json then return give(globals, known) end
  local lines = {}
  row(lines, "image", known.reference)
  row(lines, "type", known.mediaType)
  if known.layers then image_rows(lines, known) end
  for _, one in ipairs(known.manifests or {}) do
    row(lines, "image", ("%s  %s"):format(one.digest, platform_text(one.platform)))
  end
  for _, one in ipairs(known.referrers) do
    row(lines, "attached", ("%s  %s"):format(one.digest, one.artifactType or one.mediaType))
  end
  print(table.concat(lines, "\n"))
  return 0
end

--- Every verb: name, what it does, words, options, and the function that does it.
M.verbs = {
  require "ws.cli.image_build",
  { "push", "push an OCI layout (folder) or a docker archive (file)", words = { "SOURCE", "IMAGE" }, run = push,
    options = { OVERWRITE,
      { "source-tag", type = "string", value = "TAG", doc = "which image of the source, when it has several" } } },
  { "pull", "pull an image into an OCI layout, or with a name that ends in .tar into a docker archive",
    words = { "IMAGE", "TARGET" }, run = pull, options = { PLATFORM,
      { "format", type = "string", choices = { "oci", "docker" }, doc = "whatever the target's name is" } } },
  { "copy", "copy an image to another repository or registry", words = { "FROM", "TO" }, run = copy,
    options = { PLATFORM, OVERWRITE } },
  { "ls", "list the tags of a repository", words = { "REPOSITORY" }, run = ls, options = {} },
  { "inspect", "show an image: configuration, layers, what is attached", words = { "IMAGE" }, run = inspect,
    options = { PLATFORM } },
}

local function usage_of(verb)
  return ("wsrun image %s %s"):format(verb[1], #verb.words > 0 and table.concat(verb.words, " ") or "[options]")
end

--- The help page.
---@return string
function M.help()
  local lines = { "Usage: wsrun image VERB [options]\n",
    "An image's name is REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:...; credentials are those of docker login, and of",
    "Google for gcr.io and pkg.dev. --json gives an object, -j N transfers N blobs at once.\n" }
  for _, verb in ipairs(M.verbs) do
    lines[#lines + 1] = ("%s\n    %s"):format(usage_of(verb), verb[2])
    if #verb.options > 0 then lines[#lines + 1] = (flags.help(verb.options):gsub("%f[^\n\0]", "  ")) end
  end
  return table.concat(lines, "\n")
end

local function usage_error(message, hint)
  return nil, errors.new { kind = "invalid", usage = true, message = message, hint = hint }
end

local function find_verb(name)
  local names = {}
  for i, verb in ipairs(M.verbs) do
    if verb[1] == name then return verb end
    names[i] = verb[1]
  end
  local meant = name and nearest(name, names)
  return usage_error(name and ("image: unknown verb '%s'"):format(name) or "image needs a verb",
    meant and ("did you mean '%s'?"):format(meant) or "there are " .. table.concat(names, ", "))
end

local function keep(raised)
  if errors.is(raised) then return raised end
  return errors.new { kind = "internal", message = tostring(raised), traceback = debug.traceback(nil, 2) }
end

--- `wsrun image …`; returns the exit code, or nil and an error.
---@async
---@param words string[]
---@param globals table
---@return integer? code
---@return ws.Error? err
function M.main(words, globals)
  local verb, err = find_verb(table.remove(words, 1))
  if not verb then return nil, err end
  local opts, args = flags.parse(verb.options, words)
  if not opts then return nil, args end
  if #args ~= #verb.words then
    local wanted = #verb.words > 0 and table.concat(verb.words, " and ") or "options only"
    return usage_error(("image %s takes %s"):format(verb[1], wanted), usage_of(verb))
  end
  if globals.sandbox then
    local ready, problem = require "ws.cli.run".prepare_sandbox()
    if not ready then return nil, problem end
  end
  local ok, value, signal = interrupt.run(function()
    return xpcall(function()
      local code, problem = verb.run(args, opts, globals)
      if not code then error(problem, 0) end
      return code
    end, keep)
  end)
  if signal then
    io.stderr:write("wsrun: interrupted\n")
    return interrupt.codes[signal]
  end
  if ok then return value end
  return nil, value
end

return M
