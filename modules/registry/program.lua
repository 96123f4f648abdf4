--- Whether an image's program can start: looked at before anything is built, because a container that does not start
--- says no more than "no such file or directory".
local errors = require "ws.error"
local fs = require "ws.fs"

local M = {}

local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

-- e_machine of ELF (https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html) by architecture
local machines = { [0x03] = "386", [0x15] = "ppc64le", [0x16] = "s390x", [0x28] = "arm", [0x3e] = "amd64",
  [0xb7] = "arm64", [0xf3] = "riscv64", [0x102] = "loong64" }

--- What the first bytes of a program say: the architecture and the interpreter (of a script or the dynamic loader).
---@param head string
---@return string? architecture
---@return string? interpreter
function M.inspect(head)
  if head:find("^#!") then return nil, head:match("^#!%s*(%S+)") end
  if head:sub(1, 4) ~= "\x7fELF" or #head < 64 then return nil end
  local wide, little = head:byte(5) == 2, head:byte(6) == 1
  local order = little and "<" or ">"
  local architecture = machines[string.unpack(order .. "I2", head, 19)]
  local at, size, count
  if wide then
    at, size, count = string.unpack(order .. "I8", head, 33), string.unpack(order .. "I2I2", head, 55)
  else
    at, size, count = string.unpack(order .. "I4", head, 29), string.unpack(order .. "I2I2", head, 43)
  end
  for i = 0, count - 1 do
    local header = at + i * size + 1
    if header < 1 or header + 56 > #head + 1 then break end
    if string.unpack(order .. "I4", head, header) == 3 then -- PT_INTERP
      local from = string.unpack(order .. (wide and "I8" or "I4"), head, header + (wide and 8 or 4))
      if from < 0 or from >= #head then break end
      return architecture, head:match("^[^%z]+", from + 1)
    end
  end
  return architecture
end

local function invalid(message, hint)
  return nil, errors.new { kind = "invalid", op = "registry.image", message = message, hint = hint }
end

--- What is at a path of the image, links followed; nil when nothing is.
local function lookup(by_path, path)
  for _ = 1, 16 do
    local target
    for at in (path .. "/"):gmatch("()/") do
      local entry = by_path[path:sub(1, at - 1)]
      if entry and entry.link then
        local link = entry.link:sub(1, 1) == "/" and entry.link or fs.dirname(entry.path) .. "/" .. entry.link
        target = fs.normalize(link .. path:sub(at))
        break
      end
    end
    if not target then return by_path[path] end
    path = target
  end
end

local function find(name, set, opts)
  if name:sub(1, 1) == "/" then return lookup(set.by_path, fs.normalize(name)) end
  if name:find("/", 1, true) then
    return lookup(set.by_path, fs.normalize((opts.workdir or "/") .. "/" .. name))
  end
  for folder in (opts.path or PATH):gmatch("[^:]+") do
    local entry = lookup(set.by_path, fs.normalize(folder .. "/" .. name))
    if entry then return entry end
  end
end

local function check_head(entry, set, opts)
  local head, err = entry.data and entry.data:sub(1, 65536)
  if not head then
    head, err = fs.read(entry.file, { length = 65536 })
    if not head then return nil, err end
  end
  local architecture, interpreter = M.inspect(head)
  if architecture and architecture ~= opts.architecture then
    return invalid(("%s is a program for %s, the image is for %s"):format(entry.path, architecture, opts.architecture),
      "build it for the image's platform, or give the image another one")
  end
  if interpreter and not opts.base and not lookup(set.by_path, fs.normalize(interpreter)) then
    return invalid(("%s needs %s, which is not in the image"):format(entry.path, interpreter),
      head:find("^#!") and "add it, or build on a base that has it"
        or "link it statically (Go: CGO_ENABLED=0), or build on a base that has the loader")
  end
  return true
end

--- Checks that the program is in the image, can be executed and is one for its platform.
---@async
---@param words string[]  entry point, or command without one
---@param set ws.registry.FileSet
---@param opts { base: boolean, architecture: string, path?: string, workdir?: string }
---@return true? ok
---@return ws.Error? err  kind `invalid`
function M.check(words, set, opts)
  local name = words[1]
  if not name then return true end
  local entry = find(name, set, opts)
  if not entry then
    if opts.base then return true end -- it may be the base's
    local paths = {}
    for path, one in pairs(set.by_path) do
      if one.file or one.data then paths[#paths + 1] = path end
    end
    table.sort(paths)
    local meant = require "ws.nearest"(name, paths)
    return invalid(("the entry point %s is not in the image"):format(name),
      meant and ("did you mean %s?"):format(meant) or "there is no base, so files has to have it")
  end
  if not entry.file and not entry.data then return invalid(("the entry point %s is a folder"):format(name)) end
  local mode = entry.mode
  if not mode and entry.file then
    local stat, err = fs.stat(entry.file)
    if not stat then return nil, err end
    mode = stat.mode
  end
  if (mode or 0) & 73 == 0 then -- 0111
    return invalid(("the entry point %s cannot be executed"):format(name), "give it mode 755")
  end
  return check_head(entry, set, opts)
end

return M
