--- Setting and removing single values of a YAML text; see `yaml.edit` and `yaml.remove`.
---
--- A change is broken down into changes of single entries, each made by ws.yaml.splice on the text as it is then. At
--- the end the whole text is read again, and must have the old value with exactly the change that was asked for.
local native = require "ws.yaml.native"
local splice = require "ws.yaml.splice"
local errors = require "ws.error"

local M = {}

local function path_text(path)
  if #path == 0 then return "the whole text" end
  local parts = {}
  for i, part in ipairs(path) do
    parts[i] = math.type(part) and ("[%d]"):format(part) or (i > 1 and "." or "") .. tostring(part)
  end
  return table.concat(parts)
end

local function head(path, n)
  return table.move(path, 1, n, 1, {})
end

local function extend(path, part)
  local longer = head(path, #path)
  longer[#longer + 1] = part
  return longer
end

local function refuse(job, kind, node, path, why)
  local place = ("%s%s"):format(job.filename and job.filename .. ":" or "",
    node and ("%d:%d: "):format(node.line, node.column) or (job.filename and " " or ""))
  return nil, errors.new { kind = kind, op = job.op, message = ("%s%s: %s"):format(place, path_text(path), why) }
end

--- Whether two values are the same for a reader; the order of keys does not count.
local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b and math.type(a) == math.type(b) or (a ~= a and b ~= b)
  end
  if native.kind(a) ~= native.kind(b) then return false end
  for k, v in next, a do
    if b[k] == nil or not same(v, b[k]) then return false end
  end
  for k in next, b do
    if a[k] == nil then return false end
  end
  return true
end

local function get(value, path)
  for _, part in ipairs(path) do
    if type(value) ~= "table" then return nil end
    value = value[part]
  end
  return value
end

local function read(job, text)
  local value, err = native.decode(text, { filename = job.filename })
  if value == nil then
    err.op = job.op
    return nil, err
  end
  local root
  root, err = native.marks(text)
  if root == nil and err then return nil, err end
  return { text = text, root = root, value = value, eol = text:find("\r\n", 1, true) and "\r\n" or "\n" }
end

--- Walks down the path. Returns the entry, which has no node when its parent lacks it, and how much of the path it is.
local function find(t, path)
  local node, flow, entry = t.root, false, nil
  for i, part in ipairs(path) do
    if not node.values then return entry, i - 1 end
    flow = flow or node.style == "flow"
    entry = { parent = node, part = part, node = node.values[part], key = node.keys and node.keys[part], flow = flow }
    if not entry.node then return entry, i end
    node = entry.node
  end
  return entry, #path
end

--- A value wrapped in maps for the parts of the path after the nth.
local function wrap(path, n, value)
  for i = #path, n + 1, -1 do
    value = native.object { [path[i]] = value }
  end
  return value
end

local function is_empty(node, text)
  local source = text:sub(node.start, node.stop - 1)
  return node.style == "plain" and (source == "" or source == "~" or source == "null")
end

--- Sets one entry: replaces it, or adds it with what is missing above it.
local function set_entry(job, t, path, value)
  if not t.root then -- comments at most
    local lines = native.encode(wrap(path, 0, value)):gsub("\n", t.eol)
    local gap = t.text ~= "" and not t.text:find("\n$") and t.eol or ""
    return t.text .. gap .. lines
  end
  local entry, depth = find(t, path)
  if not entry then return refuse(job, "unsupported", t.root, path, "the text is a single value, not a map or list") end
  local reached, rest = head(path, depth), wrap(path, depth, value)
  local text, why
  if entry.node and depth < #path and not is_empty(entry.node, t.text) then
    if entry.node.style == "alias" then
      return refuse(job, "unsupported", entry.node, reached, "it is an alias: the value stands at its anchor")
    end
    return refuse(job, "not_found", entry.node, path, ("%s is neither map nor list"):format(path_text(reached)))
  elseif entry.node then
    text, why = splice.replace(t, entry, rest)
  elseif not entry.parent.keys and entry.part ~= #entry.parent.values + 1 then
    return refuse(job, "not_found", entry.parent, path, ("the list has %d entries"):format(#entry.parent.values))
  elseif entry.parent.anchor then
    return refuse(job, "unsupported", entry.parent, reached, "the map or list around it has an anchor")
  else
    text, why = splice.add(t, entry.parent, entry.part, rest, entry.flow)
  end
  if not text then return refuse(job, "unsupported", entry.node or entry.parent, reached, why) end
  return text
end

local remove_path, set_path

--- The entries to take out of `old` so that `new` remains, from the last to the first, or nil when that is not enough.
local function removals(old, new)
  local out, j = {}, #new
  for i = #old, 1, -1 do
    if j > 0 and same(old[i], new[j]) then
      j = j - 1
    else
      out[#out + 1] = i
    end
  end
  return j == 0 and out or nil
end

local function each(job, text, list, fn)
  for _, item in ipairs(list) do
    local err
    text, err = fn(job, text, item)
    if not text then return nil, err end
  end
  return text
end

local function set_list(job, text, path, old, new)
  local out = removals(old, new)
  if not out then
    out = {}
    for i = #old, #new + 1, -1 do out[#out + 1] = i end
  end
  local err
  text, err = each(job, text, out, function(_, s, i) return remove_path(job, s, extend(path, i)) end)
  if not text then return nil, err end
  local indices = {}
  for i = 1, #new do indices[i] = i end
  return each(job, text, indices, function(_, s, i) return set_path(job, s, extend(path, i), new[i]) end)
end

local function set_map(job, text, path, old, new)
  local gone, kept = {}, {}
  for key in native.pairs(old) do
    if new[key] == nil then gone[#gone + 1] = key end
  end
  for key in native.pairs(new) do kept[#kept + 1] = key end
  local err
  text, err = each(job, text, gone, function(_, s, key) return remove_path(job, s, extend(path, key)) end)
  if not text then return nil, err end
  return each(job, text, kept, function(_, s, key) return set_path(job, s, extend(path, key), new[key]) end)
end

local function share_a_key(a, b)
  for key in next, a do
    if b[key] ~= nil then return true end
  end
  return false
end

--- Sets the value at the path, by as small changes as there are.
function set_path(job, text, path, value)
  local t, err = read(job, text)
  if not t then return nil, err end
  local old = get(t.value, path)
  if old ~= nil and same(old, value) then return text end
  local kind = type(old) == "table" and type(value) == "table" and native.kind(old) == native.kind(value)
    and native.kind(old)
  local entry = t.root and find(t, path)
  if kind and not (entry and entry.node and entry.node.style == "alias") then
    if kind == "array" and #old > 0 and #value > 0 then return set_list(job, text, path, old, value) end
    if kind == "object" and share_a_key(old, value) then return set_map(job, text, path, old, value) end
  end
  if #path == 0 then
    return refuse(job, "unsupported", t.root, path, "replacing the whole text is no edit: write a new one")
  end
  return set_entry(job, t, path, value)
end

--- Removes the entry at the path; a map or list that becomes empty is written as {} or [].
function remove_path(job, text, path)
  local t, err = read(job, text)
  if not t then return nil, err end
  if get(t.value, path) == nil then
    return refuse(job, "not_found", nil, path, "there is no such key")
  end
  local entry, depth = find(t, path)
  if depth < #path or not entry.node then
    return refuse(job, "unsupported", entry.node or entry.parent, path, "it comes from an alias or from <<")
  end
  local parent = entry.parent
  if parent.style == "block" and #(parent.order or parent.values) == 1 and not parent.merge then
    local above = head(path, #path - 1)
    if #above == 0 then return refuse(job, "unsupported", entry.node, path, "nothing would remain of the text") end
    return set_entry(job, t, above, parent.keys and native.object() or native.array())
  end
  local changed, why = splice.remove(t, entry)
  if not changed then return refuse(job, "unsupported", entry.node, path, why) end
  return changed
end

--- Checks what was given, makes the change, and proves it.
local function run(op, text, path, opts, make, expect)
  if type(text) ~= "string" then error(op .. ": a text expected, got " .. type(text), 4) end
  if type(path) ~= "table" then error(op .. ": a path expected, got " .. type(path), 4) end
  for _, part in ipairs(path) do
    if type(part) ~= "string" and math.type(part) ~= "integer" then error(op .. ": a path has keys and indices", 4) end
  end
  local job = { op = "yaml." .. op, filename = opts and opts.filename }
  local expected, err = native.decode(text, { filename = job.filename })
  if expected == nil then
    err.op = job.op
    return nil, err
  end
  if text:find("\r[^\n]") or text:find("\r$") then
    return refuse(job, "unsupported", nil, path, "the text has line ends that are neither LF nor CRLF")
  end
  local changed
  changed, err = make(job)
  if not changed then return nil, err end
  expected = expect(expected)
  local got = native.decode(changed)
  if got == nil or not same(got, expected) then
    return refuse(job, "unsupported", nil, path, "it cannot be changed without changing other values")
  end
  return changed
end

--- See `yaml.edit`.
---@param text string
---@param path (string|integer)[]
---@param value any
---@param opts? { filename?: string }
---@return string? text
---@return ws.Error? err
function M.set(text, path, value, opts)
  return run("edit", text, path, opts, function(job)
    return set_path(job, text, path, value)
  end, function(whole)
    if #path == 0 then return value end
    if whole == native.null then whole = native.object() end
    local at = whole
    for i = 1, #path - 1 do
      if at[path[i]] == nil or at[path[i]] == native.null then at[path[i]] = native.object() end
      at = at[path[i]]
    end
    at[path[#path]] = value
    return whole
  end)
end

--- See `yaml.remove`.
---@param text string
---@param path (string|integer)[]
---@param opts? { filename?: string }
---@return string? text
---@return ws.Error? err
function M.remove(text, path, opts)
  if type(path) == "table" and #path == 0 then error("remove: the path is empty", 3) end
  return run("remove", text, path, opts, function(job)
    return remove_path(job, text, path)
  end, function(whole)
    local at = get(whole, head(path, #path - 1))
    if native.kind(at) == "array" then
      table.remove(at, path[#path])
    else
      at[path[#path]] = nil
    end
    return whole
  end)
end

return M
