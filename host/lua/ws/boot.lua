-- boot.lua - the first Lua that runs: what scripts may not have, and where modules come from.
--
-- `require` is written in Lua so that a module may wait while it loads, and so that a circular import is an error with
-- both names and not a half-made table. Names are looked up in this order:
--   ws.X[.Y]     the program: host/lua/ws/X.lua, modules/X/X.lua, modules/X/Y.lua; ws.X.native is the C half
--   sandbox.X    the program: sandbox/X.lua
--   lib.X, X     the script's own folder, then the project's workflows/ folder
-- With WSRUN_SOURCE=<tree> the program's Lua is read from that tree instead of the embedded copies.
local native, openers = ...

local source_tree = os.getenv("WSRUN_SOURCE")
if source_tree == "" then source_tree = nil end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- The text of a file of the program itself, by its path in the source tree, and the name for tracebacks.
local function program_file(path)
  if source_tree then
    local text = read_file(source_tree .. "/" .. path)
    return text, text and ("@" .. source_tree .. "/" .. path)
  end
  local text = native.source(path)
  return text, text and ("@" .. path)
end

--- A Lua file of the program, loaded.
local function program_chunk(path)
  if not source_tree then return native.chunk(path) end
  local text, chunkname = program_file(path)
  return text and assert(load(text, chunkname, "t"))
end

local function program_candidates(name)
  local root, rest = name:match("^(%w+)%.?(.*)$")
  if not root then return nil end
  local path = rest:gsub("%.", "/")
  if root == "ws" then
    if rest == "" then return { "host/lua/ws/init.lua" } end
    local first, deeper = path:match("^([^/]+)/?(.*)$")
    return {
      "host/lua/ws/" .. path .. ".lua",
      "modules/" .. first .. "/" .. (deeper == "" and first or deeper) .. ".lua",
    }
  elseif root == "sandbox" then
    if rest == "" then return { "sandbox/init.lua" } end
    return { "sandbox/" .. path .. ".lua", "sandbox/" .. path .. "/init.lua" }
  end
end

local script_folders = {}

local function find(name)
  local candidates = program_candidates(name)
  if candidates then
    for _, path in ipairs(candidates) do
      local chunk = program_chunk(path)
      if chunk then return chunk end
    end
    return openers[name] or openers[name .. ".native"], candidates
  end
  local path, tried = name:gsub("%.", "/"), {}
  for _, folder in ipairs(script_folders) do
    for _, ending in ipairs { ".lua", "/init.lua" } do
      local file = folder .. "/" .. path .. ending
      local text = read_file(file)
      if text then
        local chunk, message = load(text, "@" .. file, "t")
        if not chunk then error(message, 0) end
        return chunk
      end
      tried[#tried + 1] = file
    end
  end
  return nil, tried
end

local loaded, loading = package.loaded, {}

function require(name)
  if type(name) ~= "string" then error("require: a module's name expected, got " .. type(name), 2) end
  if loaded[name] ~= nil then return loaded[name] end
  if loading[name] then
    error(("circular require: %s is still being loaded"):format(name), 2)
  end
  local loader, tried = find(name)
  if not loader then
    error(("module '%s' not found (looked for %s)"):format(name, table.concat(tried or {}, ", ")), 2)
  end
  loading[name] = true
  local _ <close> = setmetatable({}, { __close = function() loading[name] = nil end })
  local value = loader(name)
  if value == nil then value = true end
  loaded[name] = value
  return value
end

-- Programs are started by ws.process, which knows about effects and secrets; code is loaded from Lua text only.
os.execute, io.popen, os.setlocale, os.tmpname = nil, nil, nil, nil
package.loadlib, package.cpath, package.searchers, package.path, package.searchpath, package.preload =
  nil, nil, nil, nil, nil, nil
-- What goes to the standard streams is masked, across the borders of single writes.
local methods = getmetatable(io.stdout).__index
local raw_write, streams = methods.write, {}
function methods.write(file, ...)
  local secret = (file == io.stdout or file == io.stderr) and loaded["ws.secret"]
  if not secret then return raw_write(file, ...) end
  streams[file] = streams[file] or secret.stream()
  local texts = table.pack(...)
  for i = 1, texts.n do
    local text = texts[i]
    if type(text) == "number" then text = ("%s"):format(text) end -- as write itself does
    texts[i] = type(text) == "string" and streams[file]:feed(text) or text
  end
  return raw_write(file, table.unpack(texts, 1, texts.n))
end
function io.write(...)
  return io.output():write(...)
end
function print(...)
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  io.stdout:write(table.concat(words, "\t", 1, words.n), "\n")
  io.stdout:flush() -- as Lua's own does
end
--- Ends the script (and what runs beside it) as an error does, so that children, temporary files and locks are
--- released; the program's exit code is `code`.
function os.exit(code)
  code = (code == nil or code == true) and 0 or code == false and 1 or code
  if math.type(code) ~= "integer" then error("os.exit: an integer or a boolean expected, got " .. type(code), 2) end
  error(require "ws.error".new { kind = "failed", message = ("the script called os.exit(%d)"):format(code),
    exit = code & 0xff, exited = true }, 0)
end
local raw_load = load
function load(chunk, chunkname, _, ...)
  return raw_load(chunk, chunkname, "t", ...)
end
local raw_loadfile = loadfile
function loadfile(path, _, ...)
  return raw_loadfile(path, "t", ...)
end
function dofile(path)
  return assert(loadfile(path))()
end

loaded["ws.engine"] = {
  native = native,
  openers = openers,
  program_file = program_file,
  source_tree = source_tree,
  --- Writes what the standard streams keep back as it may be the beginning of a secret: for the end of the program.
  finish_streams = function()
    for file, stream in pairs(streams) do raw_write(file, stream:finish()) end
  end,
  --- Folders in which `require` looks for modules that are not the program's own.
  script_folders = script_folders,
}
