--- Files and folders.
---
--- Contents and whole directories are read and written in a thread pool, so other tasks go on meanwhile. A write
--- replaces the whole file or leaves the old one as it was. Paths are byte strings; relative ones start from the
--- directory in which wsrun was started.
local native = require "ws.fs.native"
local path = require "ws.fs.path"

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
  symlink = native.symlink,
  readlink = native.readlink,
  realpath = native.realpath,
  cwd = native.cwd,
  watch = native.watch,
  join = path.join,
  dirname = path.dirname,
  basename = path.basename,
  extension = path.extension,
  normalize = path.normalize,
  relative = path.relative,
}

local function check_options(opts, known, level)
  if opts == nil then return {} end
  if type(opts) ~= "table" then error("options: table expected, got " .. type(opts), level + 1) end
  for key in pairs(opts) do
    if not known[key] then error(("unknown option '%s'"):format(tostring(key)), level + 1) end
  end
  return opts
end

--- The absolute, normalized form of a path; it need not exist, links are not resolved.
---@param p string
---@return string
function M.absolute(p)
  if p:sub(1, 1) == "/" then return path.normalize(p) end
  return path.normalize(path.join(assert(native.cwd()), p))
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
        local file = path.join(top.dir, entry.name)
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
      local copy = path.join(to, file:sub(#from + 1))
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
