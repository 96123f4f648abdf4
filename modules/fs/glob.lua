--- Patterns of file names; see fs.glob.
local native = require "ws.fs.native"
local fs = require "ws.fs"

local M = {}

local EXPANSIONS_MAX = 1024

--- Splits the text between braces at its top-level commas.
local function alternatives(text)
  local parts, depth, start = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c == "{" then depth = depth + 1
    elseif c == "}" then depth = depth - 1
    elseif c == "," and depth == 0 then
      parts[#parts + 1] = text:sub(start, i - 1)
      start = i + 1
    end
  end
  parts[#parts + 1] = text:sub(start)
  return parts
end

--- `a{b,c}d` → { "abd", "acd" }; braces may be nested.
---@param pattern string
---@return string[]
function M.expand(pattern)
  local first, last = pattern:find("%b{}")
  if not first then return { pattern } end
  local result = {}
  for _, middle in ipairs(alternatives(pattern:sub(first + 1, last - 1))) do
    for _, rest in ipairs(M.expand(pattern:sub(1, first - 1) .. middle .. pattern:sub(last + 1))) do
      result[#result + 1] = rest
      if #result > EXPANSIONS_MAX then error("the pattern has too many alternatives: " .. pattern, 0) end
    end
  end
  return result
end

local function quote(c)
  return (c:gsub("%W", "%%%0"))
end

--- The Lua pattern for one name of a glob pattern, or nil when the name has nothing special in it.
local function name_pattern(name)
  if not name:find("[*?%[]") then return nil end
  local out, i = { "^" }, 1
  while i <= #name do
    local c = name:sub(i, i)
    local set_end = c == "[" and name:find("]", i + 2, true)
    if c == "*" then out[#out + 1] = ".*"
    elseif c == "?" then out[#out + 1] = "."
    elseif set_end then
      local inner = name:sub(i + 1, set_end - 1)
      local negated = inner:match("^[!^]")
      inner = (negated and inner:sub(2) or inner):gsub("[%%%]^]", "%%%0")
      out[#out + 1] = "[" .. (negated and "^" or "") .. inner .. "]"
      i = set_end
    else
      out[#out + 1] = quote(c)
    end
    i = i + 1
  end
  out[#out + 1] = "$"
  return table.concat(out)
end

local function is_missing(err)
  return err.kind == "not_found" or err.kind == "denied"
end

--- Adds to `found` what matches parts[i…] below `at` ("" is where the pattern starts). Folders that vanish or may not
--- be read are passed over, as a shell does.
local function match(root, at, parts, i, found)
  local part = parts[i]
  if not part then
    found[at] = true
    return
  end
  local here = at == "" and (root or ".") or (root and at:sub(1, 1) ~= "/" and fs.join(root, at) or at)
  local last = i == #parts
  if part == "**" then
    local entries, err = native.list(here, { types = true })
    if not entries then
      if not is_missing(err) then error(err, 0) end
      return
    end
    match(root, at, parts, i + 1, found)
    for _, entry in ipairs(entries) do
      if entry.name:sub(1, 1) ~= "." then
        local child = at == "" and entry.name or fs.join(at, entry.name)
        if entry.type == "directory" then match(root, child, parts, i, found)
        elseif last then found[child] = true end
      end
    end
    return
  end
  local pattern = name_pattern(part)
  if not pattern then
    local child = at == "" and part or fs.join(at, part)
    local full = root and child:sub(1, 1) ~= "/" and fs.join(root, child) or child
    -- A folder on the way is passed through: whether it is there shows in what follows, and it need not be readable.
    if not last or native.stat(full, { follow = false }) then match(root, child, parts, i + 1, found) end
    return
  end
  local names, err = native.list(here)
  if not names then
    if not is_missing(err) then error(err, 0) end
    return
  end
  for _, name in ipairs(names) do
    if name:find(pattern) and (name:sub(1, 1) ~= "." or part:sub(1, 1) == ".") then
      match(root, at == "" and name or fs.join(at, name), parts, i + 1, found)
    end
  end
end

--- See fs.glob.
function M.glob(pattern, root)
  local found = {}
  for _, one in ipairs(M.expand(pattern)) do
    local parts = {}
    for part in one:gmatch("[^/]+") do
      if not (part == "**" and parts[#parts] == "**") then parts[#parts + 1] = part end
    end
    local ok, err = pcall(match, root, one:sub(1, 1) == "/" and "/" or "", parts, 1, found)
    if not ok then
      if require "ws.error".is(err) and err.kind ~= "cancelled" then return nil, err end
      error(err, 0)
    end
  end
  found[""], found["/"] = nil, nil
  local list = {}
  for p in pairs(found) do list[#list + 1] = p end
  table.sort(list)
  return list
end

return M
