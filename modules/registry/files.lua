--- The files of an image: from what a caller says to the entries of one layer, with everything checked that can be
--- checked without running it.
local errors = require "ws.error"
local fs = require "ws.fs"

local M = {}

local function invalid(message, hint)
  return nil, errors.new { kind = "invalid", op = "registry.image", message = message, hint = hint }
end

--- Why a path cannot be in an image, or nil.
local function path_problem(path)
  if path:sub(1, 1) ~= "/" then return "it is not absolute", "write /" .. path:gsub("^%./", "") end
  if path == "/" then return "it is the image's root" end
  if path:find("%c") then return "it has a control character" end
  if path:find("//", 1, true) then return "it has two slashes in a row" end
  if #path > 4096 then return "it is longer than 4096 bytes" end
  for part in path:gmatch("[^/]+") do
    if part == "." or part == ".." then return ("it has a part '%s'"):format(part) end
    if #part > 255 then return "a part of it is longer than 255 bytes" end
    if part:find("^%.wh%.") then
      return "a name that begins with .wh. removes a file of the layers below", "leave the file out"
    end
  end
end

--- What an item says of itself, for people.
local function text_of(item)
  return item.file or item.link and "a link to " .. item.link or item.data and "data" or "a folder"
end

--- The entries of a folder on disk, below `path`.
local function walk(item, path, add)
  for file, entry in fs.walk(item.file) do
    local below = path .. file:sub(#item.file + 1):gsub("^/*", "/")
    local ok, err
    if entry.type == "directory" then
      ok, err = add { path = below .. "/" }
    elseif entry.type == "link" then
      local target = assert(fs.readlink(file))
      ok, err = add { path = below, link = target, shown = file }
    elseif entry.type == "file" then
      ok, err = add { path = below, file = file, mode = item.mode }
    else
      ok, err = invalid(("%s is a %s: an image holds files, folders and links"):format(file, entry.type))
    end
    if not ok then return nil, err end
  end
  return true
end

local function expand(item, add)
  if item.mode and (item.mode < 0 or item.mode > 4095) then -- 07777
    return invalid(("%s: mode %o is not between 0 and 7777"):format(item.path, item.mode))
  end
  if not item.file then return add(item) end
  local stat, err = fs.stat(item.file)
  if not stat then
    return nil, errors.new { kind = err.kind, op = "registry.image", cause = err,
      message = ("%s: its file %s cannot be read: %s"):format(item.path, item.file, err.message) }
  end
  if stat.type == "file" then
    if item.path:sub(-1) == "/" then item = setmetatable({ path = item.path .. fs.basename(item.file) },
      { __index = item }) end
    return add(item)
  end
  if stat.type ~= "directory" then
    return invalid(("%s: %s is a %s, not a file or folder"):format(item.path, item.file, stat.type))
  end
  local path = item.path:gsub("/+$", "")
  if path ~= "" then
    local ok, problem = add { path = path .. "/" }
    if not ok then return nil, problem end
  end
  local called, ok, problem = pcall(walk, item, path, add)
  if called then return ok, problem end
  if errors.is(ok) and ok.kind ~= "cancelled" then return nil, ok end
  error(ok, 0)
end

--- Adds the folders above every path that are not said. They are left out above a base: there an entry would set the
--- mode of the base's folder anew, and replace it where it is a link.
local function add_parents(entries, seen)
  for i = 1, #entries do
    local path = entries[i].path
    for at in path:gmatch("()/") do
      local parent = path:sub(1, at - 1)
      if parent ~= "" and at < #path and not seen[parent] then
        seen[parent] = { path = parent .. "/" }
        entries[#entries + 1] = seen[parent]
      end
    end
  end
end

---@class ws.registry.FileSet
---@field entries ws.archive.Entry[]              of the layer
---@field by_path table<string, table>  path without a slash at its end → what is there

--- Checks the files and makes the entries of a layer of them.
---@async
---@param list table[]      as registry.image takes it
---@param opts { parents: boolean }  whether folders above the files are entries
---@return ws.registry.FileSet? set
---@return ws.Error? err  kinds `invalid`, `not_found`, `denied`
function M.entries(list, opts)
  local entries, seen = {}, {}
  local function add(item)
    local why, hint = path_problem(item.path)
    if why then return invalid(("'%s' cannot be a path in an image: %s"):format(item.path, why), hint) end
    local key = item.path:gsub("/$", "")
    local before = seen[key]
    if before then
      local folders = item.path:sub(-1) == "/" and before.path:sub(-1) == "/"
      if folders and (not item.mode or item.mode == before.mode) then return true end
      if not folders or before.mode then
        return invalid(("%s is given twice: %s, and %s"):format(key, text_of(before), text_of(item)))
      end
      before.mode = item.mode
      return true
    end
    seen[key] = { path = item.path, file = item.file, data = item.data, link = item.link, mode = item.mode }
    entries[#entries + 1] = seen[key]
    return true
  end
  for _, item in ipairs(list) do
    local ok, err = expand(item, add)
    if not ok then return nil, err end
  end
  for _, entry in ipairs(entries) do
    for at in entry.path:gmatch("()/") do
      local parent = seen[entry.path:sub(1, at - 1)]
      if parent and at < #entry.path and parent.path:sub(-1) ~= "/" then
        return invalid(("%s cannot be below %s, which is no folder"):format(entry.path, parent.path))
      end
    end
  end
  if opts.parents then add_parents(entries, seen) end
  local result = { entries = {}, by_path = seen }
  for i, entry in ipairs(entries) do
    result.entries[i] = { name = entry.path:sub(2), file = entry.file, data = entry.data, link = entry.link,
      mode = entry.mode }
  end
  return result
end

return M
