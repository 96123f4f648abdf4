--- Files and folders.
---
--- Contents and whole directories are read and written in a thread pool, so other tasks go on meanwhile. A write
--- replaces the whole file or leaves the old one as it was. Paths are byte strings; relative ones start from the
--- directory in which wsrun was started.
local native = require "ws.fs.native"

local M = {
  read = native.read,
  write = native.write,
  list = native.list,
  remove = native.remove,
  temp_dir = native.temp_dir,
  temp_file = native.temp_file,
  temp_left = native.temp_left,
  stat = native.stat,
  exists = native.exists,
  mkdir = native.mkdir,
  rename = native.rename,
  chmod = native.chmod,
  touch = native.touch,
  symlink = native.symlink,
  readlink = native.readlink,
  realpath = native.realpath,
  cwd = native.cwd,
  lock = native.lock,
  watch = native.watch,
}

local function check_options(opts, known, level)
  if opts == nil then return {} end
  if type(opts) ~= "table" then error("options: table expected, got " .. type(opts), level + 1) end
  for key in pairs(opts) do
    if not known[key] then error(("unknown option '%s'"):format(tostring(key)), level + 1) end
  end
  return opts
end

-- Paths as text; nothing here looks at the disk.

--- Joins parts with one slash between them. An absolute part starts anew only as the first: the others are relative.
---
--- ```lua
--- assert(fs.join("a/", "/b", "c") == "a/b/c")
--- ```
---@param first string
---@param ... string
---@return string
function M.join(first, ...)
  local result = first
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) ~= "string" then
      error(("bad argument #%d to 'join' (string expected, got %s)"):format(i + 1, type(part)), 2)
    end
    part = part:gsub("^/+", "")
    if part ~= "" then
      if result == "" then result = part
      elseif result:sub(-1) == "/" then result = result .. part
      else result = result .. "/" .. part end
    end
  end
  return result
end

--- The folder that a path is in: `a/b` → `a`, `a` → `.`, `/a` → `/`.
---@param p string
---@return string
function M.dirname(p)
  local trimmed = p:gsub("(.)/+$", "%1")
  local dir = trimmed:match("^(.*)/[^/]*$")
  if not dir then return "." end
  dir = dir:gsub("/+$", "")
  return dir == "" and "/" or dir
end

--- The last part of a path, without `suffix` when it ends so: `a/b.tf` → `b.tf`.
---@param p string
---@param suffix? string
---@return string
function M.basename(p, suffix)
  local trimmed = p:gsub("(.)/+$", "%1")
  local name = trimmed:match("([^/]+)$") or "/"
  if suffix and #suffix > 0 and #name > #suffix and name:sub(-#suffix) == suffix then
    name = name:sub(1, -#suffix - 1)
  end
  return name
end

--- The end of a file's name from the last dot: `a/b.tar.gz` → `.gz`, `.profile` → ``.
---@param p string
---@return string
function M.extension(p)
  return M.basename(p):match("[^.](%.[^.]*)$") or ""
end

--- Removes doubled slashes, `.` and, as far as they can be solved in the text, `..`.
---@param p string
---@return string
function M.normalize(p)
  local root = p:sub(1, 1) == "/" and "/" or ""
  local parts = {}
  for part in p:gmatch("[^/]+") do
    if part == ".." then
      if #parts > 0 and parts[#parts] ~= ".." then parts[#parts] = nil
      elseif root == "" then parts[#parts + 1] = ".." end
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local joined = root .. table.concat(parts, "/")
  return joined == "" and "." or joined
end

--- How to get from the folder `base` to `p`; both relative or both absolute.
---@param p string
---@param base string
---@return string
function M.relative(p, base)
  if (p:sub(1, 1) == "/") ~= (base:sub(1, 1) == "/") then
    error("relative: both paths must be absolute, or both relative", 2)
  end
  local to, from = {}, {}
  for part in M.normalize(p):gmatch("[^/]+") do to[#to + 1] = part end
  for part in M.normalize(base):gmatch("[^/]+") do from[#from + 1] = part end
  if to[1] == "." then to = {} end
  if from[1] == "." then from = {} end
  local same = 0
  while same < #to and same < #from and to[same + 1] == from[same + 1] do same = same + 1 end
  local parts = {}
  for _ = same + 1, #from do parts[#parts + 1] = ".." end
  for i = same + 1, #to do parts[#parts + 1] = to[i] end
  return #parts == 0 and "." or table.concat(parts, "/")
end

--- The absolute, normalized form of a path; it need not exist, links are not resolved.
---@param p string
---@return string
function M.absolute(p)
  if p:sub(1, 1) == "/" then return M.normalize(p) end
  return M.normalize(M.join(assert(native.cwd()), p))
end

--- Iterates over everything below a directory, a directory before its content, names in order. Symbolic links are
--- reported and not followed. The loop may wait.
---
--- ```lua
--- for file, entry in fs.walk("layers") do
---   if entry.type == "file" then print(file) end
--- end
--- ```
--- Raises an error object when a directory cannot be read.
---@async
---@param dir string
---@param opts? { depth?: integer, enter?: fun(path: string, entry: ws.fs.Entry): boolean }  `depth`: 1 is the
---  directory itself; `enter` says whether to look into a directory (default: every one)
---@return fun(): string?, ws.fs.Entry?
function M.walk(dir, opts)
  opts = check_options(opts, { depth = true, enter = true }, 2)
  local max_depth = opts.depth or math.huge
  local stack = { { dir = dir, depth = 1, entries = assert(native.list(dir, { types = true })), next = 1 } }
  return function()
    while #stack > 0 do
      local top = stack[#stack]
      local entry = top.entries[top.next]
      if entry then
        top.next = top.next + 1
        local file = M.join(top.dir, entry.name)
        entry.depth = top.depth
        if entry.type == "directory" and top.depth < max_depth and (not opts.enter or opts.enter(file, entry)) then
          stack[#stack + 1] = {
            dir = file, depth = top.depth + 1, entries = assert(native.list(file, { types = true })), next = 1,
          }
        end
        return file, entry
      end
      stack[#stack] = nil
    end
  end
end

--- Lists the paths that match a pattern, in order. `*` and `?` match within a name, `[a-z]` and `[!a-z]` one
--- character, `**` any number of folders (links to folders are not entered), `{a,b}` alternatives. A name that begins
--- with a dot matches only a pattern that says the dot.
---
--- ```lua
--- for _, file in ipairs(assert(fs.glob("layers/**/*.{tf,tfvars}"))) do print(file) end
--- ```
---@async
---@param pattern string
---@param opts? { dir?: string }  where relative patterns start; the results are relative to it
---@return string[]? paths
---@return ws.Error? err
function M.glob(pattern, opts)
  opts = check_options(opts, { dir = true }, 2)
  if type(pattern) ~= "string" or pattern == "" then error("a pattern expected", 2) end
  return require "ws.fs.glob".glob(pattern, opts.dir)
end

--- Copies a file, or with `recursive` a directory with its content. The copy has the same mode; links are copied as
--- links. An existing file is replaced whole; in an existing directory files are added or replaced.
---@async
---@param from string
---@param to string
---@param opts? { recursive?: boolean, mode?: integer, durable?: boolean }
---@return true? ok
---@return ws.Error? err  kinds: `not_found`, `denied`, `invalid` (a directory, or the same file), `no_space`, `io`
function M.copy(from, to, opts)
  opts = check_options(opts, { recursive = true, mode = true, durable = true }, 2)
  local file_opts = { mode = opts.mode, durable = opts.durable }
  if not opts.recursive then return native.copy(from, to, file_opts) end
  local stat, err = native.stat(from)
  if not stat then return nil, err end
  if stat.type ~= "directory" then return native.copy(from, to, file_opts) end
  local source, target = M.absolute(from), M.absolute(to)
  if (target .. "/"):sub(1, #source + 1) == source .. "/" then
    return nil, require "ws.error".new {
      kind = "invalid", op = "fs.copy", message = ("%s cannot be copied into itself (%s)"):format(from, to),
    }
  end
  local ok, made_err = native.mkdir(to, { mode = stat.mode | 448 }) -- 0700: we have to write into it
  if not ok then return nil, made_err end
  local done, walk_err = pcall(function()
    for file, entry in M.walk(from) do
      local copy = M.join(to, file:sub(#from + 1))
      if entry.type == "directory" then
        assert(native.mkdir(copy, { mode = assert(native.stat(file)).mode | 448 }))
      elseif entry.type == "link" then
        native.remove(copy, { missing_ok = true })
        assert(native.symlink(assert(native.readlink(file)), copy))
      else
        assert(native.copy(file, copy, { durable = opts.durable }))
      end
    end
  end)
  if not done then
    if require "ws.error".is(walk_err) and walk_err.kind ~= "cancelled" then return nil, walk_err end
    error(walk_err, 0)
  end
  return true
end

return M
