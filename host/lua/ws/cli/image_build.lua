--- `wsrun image build`: an image of files, without a daemon.
local errors = require "ws.error"

local function usage(message, hint)
  return nil, errors.new { kind = "invalid", usage = true, message = message, hint = hint }
end

--- `LOCAL=/PATH` or `LOCAL=/PATH:MODE`.
local function file_of(text)
  local file, path = text:match("^(.-)=(/.*)$")
  if not file or file == "" then
    return usage(("--file takes LOCAL=/PATH or LOCAL=/PATH:MODE, not '%s'"):format(text),
      "such as --file bin/app=/app/app:755")
  end
  local bare, mode = path:match("^(.*):(%d+)$")
  if mode and (mode:find("[89]") or #mode > 5) then
    return usage(("--file %s: %s is no mode in octal, such as 755"):format(text, mode))
  end
  return { path = bare or path, file = file, mode = mode and tonumber(mode, 8) }
end

--- The words of --entrypoint or --cmd: each option one word, or one JSON list.
local function words_of(list, name)
  if not list then return nil end
  if #list > 1 or list[1]:sub(1, 1) ~= "[" then return list end
  local json = require "ws.json"
  local words, err = json.decode(list[1])
  local right = json.kind(words) == "array"
  for _, word in ipairs(right and words or {}) do right = right and type(word) == "string" end
  if right then return words end
  return usage(("--%s: %s is not a JSON list of texts%s"):format(name, list[1], err and ": " .. err.message or ""))
end

local function map_of(list, name)
  if not list then return nil end
  local map = {}
  for _, text in ipairs(list) do
    local key, value = text:match("^([^=]+)=(.*)$")
    if not key then return usage(("--%s takes NAME=VALUE, not '%s'"):format(name, text)) end
    map[key] = value
  end
  return map
end

--- Seconds since 1970 from a time or a number; SOURCE_DATE_EPOCH where nothing is said
--- (https://reproducible-builds.org/specs/source-date-epoch/).
local function created_of(text)
  local name = "--created"
  if not text then text, name = os.getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH" end
  if not text or text == "" then return 0 end
  local seconds = math.tointeger(tonumber(text)) or require "ws.time".parse_rfc3339(text)
  seconds = seconds and math.floor(seconds)
  if seconds and seconds >= 0 and seconds < 1 << 33 then return seconds end
  return usage(("%s takes a time such as 2024-05-01T12:00:00Z or seconds since 1970, not '%s'"):format(name, text))
end

local function port_problem(ports)
  for _, port in ipairs(ports or {}) do
    local number = tonumber(port:match("^(%d+)$") or port:match("^(%d+)/tcp$") or port:match("^(%d+)/udp$"))
    if not number or number < 1 or number > 65535 then
      return ("--port takes a port such as 8080 or 53/udp, not '%s'"):format(port)
    end
  end
end

--- What --spec's file says, with the options laid over it.
local function image_options(opts)
  local o, err = { files = {} }
  if opts.spec then o, err = require "ws.registry.spec".load(opts.spec) end
  if not o then return nil, err end
  for _, text in ipairs(opts.file or {}) do
    local file, problem = file_of(text)
    if not file then return nil, problem end
    table.insert(o.files, file)
  end
  for _, name in ipairs { "entrypoint", "cmd" } do
    if opts[name] then
      o[name], err = words_of(opts[name], name)
      if not o[name] then return nil, err end
    end
  end
  for name, key in pairs { label = "labels", annotation = "annotations", env = "env" } do
    local map, problem = map_of(opts[name], name)
    if problem then return nil, problem end
    for label, value in pairs(map or {}) do
      o[key] = o[key] or {}
      o[key][label] = value
    end
  end
  local problem = port_problem(opts.port)
  if problem then return usage(problem) end
  o.exposed_ports = opts.port or o.exposed_ports
  if opts.workdir and opts.workdir:sub(1, 1) ~= "/" then
    return usage(("--workdir takes an absolute path, not '%s'"):format(opts.workdir))
  end
  if opts.platform and not pcall(require "ws.registry.manifest".platform, opts.platform) then
    return usage(("--platform takes OS/ARCH such as linux/amd64, not '%s'"):format(opts.platform))
  end
  for _, name in ipairs { "base", "platform", "user", "workdir" } do o[name] = opts[name] or o[name] end
  if opts.created or not o.created then
    o.created, err = created_of(opts.created)
    if not o.created then return nil, err end
  end
  return o
end

--- Where the image goes: pushed, into a layout, into an archive.
local function deliver(image, opts, refs, globals)
  local registry = require "ws.registry"
  local name = opts.tag and opts.tag[1]
  local pushes = {}
  for kind, target in pairs { oci = opts.oci, archive = opts.archive } do
    local shown = kind == "oci" and refs[1] and refs[1].tag or kind == "archive" and name or nil
    local ok, err = registry.save(image, { [kind] = target }, { name = shown })
    if not ok then return nil, err end
  end
  for i, ref in ipairs(globals.push and refs or {}) do
    local result, err = registry.push(image, ref, { overwrite = opts.overwrite, jobs = globals.jobs })
    if not result then return nil, err end
    pushes[i] = result
  end
  return pushes
end

local function run(_, opts, globals)
  local registry, refs = require "ws.registry", {}
  for i, tag in ipairs(opts.tag or {}) do
    local ref, err = registry.parse(tag)
    if not ref then return nil, err end
    if not ref.tag or ref.digest then return usage(("--tag takes REGISTRY/NAME:TAG, not '%s'"):format(tag)) end
    refs[i] = ref
  end
  if globals.push and #refs == 0 then return usage("--push needs --tag: where to") end
  local options, err = image_options(opts)
  if not options then return nil, err end
  local image, problem = registry.image(options)
  if not image then return nil, problem end
  local pushes, failure = deliver(image, opts, refs, globals)
  if not pushes then return nil, failure end
  if not globals.quiet then
    for i, result in ipairs(pushes) do
      io.stderr:write(("%s: %s\n"):format(opts.tag[i], result.unchanged and "is that image already"
        or ("%d blobs sent, %d mounted, %d there already"):format(result.sent, result.mounted, result.skipped)))
    end
  end
  local json = require "ws.json"
  print(globals.json and json.encode { digest = image.digest, size = image.size, mediaType = image.root.mediaType,
    platform = image.root.platform, layers = image.manifest.layers, tags = json.array(opts.tag or {}),
    pushed = json.array(pushes), oci = opts.oci, archive = opts.archive } or image.digest)
  return 0
end

return { "build", "make an image of files, without a daemon, and print its digest", words = {}, run = run, options = {
  { "file", type = "string", value = "LOCAL=/PATH[:MODE]", many = true, doc = "a file or folder of the image" },
  { "spec", short = "f", type = "string", value = "FILE", doc = "read these options from a YAML file" },
  { "base", type = "string", value = "IMAGE", doc = "the image to build on; default: none" },
  { "entrypoint", type = "string", value = "WORD", many = true, doc = "what starts; word by word, or a JSON list" },
  { "cmd", type = "string", value = "WORD", many = true, doc = "its arguments, likewise; --cmd=-v for a dash" },
  { "env", type = "string", value = "NAME=VALUE", many = true, doc = "environment" },
  { "user", type = "string", value = "USER", doc = "user or number it runs as" },
  { "workdir", type = "string", value = "/PATH", doc = "where it starts" },
  { "port", type = "string", value = "PORT", many = true, doc = "a port it listens on" },
  { "label", type = "string", value = "NAME=VALUE", many = true, doc = "label" },
  { "annotation", type = "string", value = "NAME=VALUE", many = true, doc = "annotation of the manifest" },
  { "platform", type = "string", value = "OS/ARCH", doc = "default linux/amd64" },
  { "created", type = "string", value = "TIME", doc = "of image and files; default SOURCE_DATE_EPOCH, else 1970" },
  { "tag", type = "string", value = "IMAGE", many = true,
    doc = "its name, REGISTRY/NAME:TAG; with --push it is sent there" },
  { "oci", type = "string", value = "DIR", doc = "write an OCI layout" },
  { "archive", type = "string", value = "FILE", doc = "write an archive for docker load" },
  { "overwrite", doc = "with --push: move a tag that stands for another image" },
} }
