--- Paths as text; nothing here looks at the disk.
local M = {}

--- Joins parts with one slash between them. An absolute part starts anew only as the first: the others are relative.
---
--- ```lua
--- assert(path.join("a/", "/b", "c") == "a/b/c")
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

return M
