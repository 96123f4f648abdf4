--- Changes of one entry in the bytes of a YAML text: replace a value, add an entry, remove an entry.
---
--- Each function gets a text with its nodes (see types.lua, `marks`) and returns the new text, or nil and why it cannot
--- be done. They keep to the bytes of the entry; ws.yaml.edit proves afterwards that nothing else changed.
local native = require "ws.yaml.native"

local M = {}

---@class ws.yaml.Text
---@field text string
---@field root table  node
---@field eol string  "\n" or "\r\n"

---@class ws.yaml.Entry  one key of a map, or one item of a list
---@field parent table     node of the map or list
---@field part string|integer
---@field node? table      of the value; nil when it is to be added
---@field key? table       node of the key
---@field flow boolean     some collection around it is written in brackets

local function splice(text, from, to, new)
  return text:sub(1, from - 1) .. new .. text:sub(to)
end

local function line_start(text, at)
  while at > 1 and text:byte(at - 1) ~= 10 do at = at - 1 end
  return at
end

--- The end of the line, before its line break.
local function line_end(text, at)
  local stop = text:find("\n", at, true) or #text + 1
  if stop > at and text:byte(stop - 1) == 13 then return stop - 1 end
  return stop
end

--- Behind the line break of the line.
local function next_line(text, at)
  return (text:find("\n", at, true) or #text) + 1
end

local function has_line_break(text, from, to)
  local at = text:find("\n", from, true)
  return at ~= nil and at < to
end

--- Behind the last byte of a value: comments and blank lines after it do not belong to it.
local function content_stop(text, node)
  if node.style == "block" then
    return content_stop(text, node.order and node.values[node.order[#node.order]] or node.values[#node.values])
  elseif node.style == "literal" or node.style == "folded" then
    local at = node.stop - 1
    while at > node.start and text:sub(at, at):find("%s") do at = at - 1 end
    return line_end(text, at)
  end
  return node.stop
end

local function scalars(node, list)
  if node.values then
    for _, key in pairs(node.keys or {}) do list[#list + 1] = key end
    for _, value in pairs(node.values) do scalars(value, list) end
  else
    list[#list + 1] = node
  end
  return list
end

--- Whether there is a comment between two places, one of which is the beginning of `node`.
local function has_comment(text, from, to, node)
  local inside = scalars(node, {})
  for at in text:sub(from, to - 1):gmatch("()#") do
    at = from + at - 1
    local comment = at == 1 or text:sub(at - 1, at - 1):find("%s")
    for _, scalar in ipairs(inside) do
      local block = scalar.style == "literal" or scalar.style == "folded"
      local begin = block and next_line(text, scalar.start) or scalar.start
      if at >= begin and at < scalar.stop then comment = false end
    end
    if comment then return true end
  end
  return false
end

--- The column, from 0, in which the entries of a block collection begin, or nil and why they cannot be changed.
local function indentation(t, entry_start)
  local prefix = t.text:sub(line_start(t.text, entry_start), entry_start - 1)
  if prefix:find("\t", 1, true) then return nil, "the line is indented with tabs" end
  if prefix:find("[^ %-]") then return nil, "the key is written with '?', or stands behind an anchor or tag" end
  return #prefix
end

--- Where an entry begins: its key, or its dash.
local function entry_start(t, entry)
  if entry.key then return entry.key.start end
  local parent, i = entry.parent, entry.part
  if i == 1 then return parent.start end
  local from = content_stop(t.text, parent.values[i - 1])
  for line in t.text:sub(1, entry.node.start - 1):gmatch("()\n", from) do
    local dash = t.text:match("^ *()%-", line + 1)
    if dash and dash - line_start(t.text, dash) == parent.column - 1 then return dash end
  end
end

--- The place behind the colon or dash of an entry.
local function behind_indicator(t, entry)
  if not entry.key then return entry_start(t, entry) + 1 end
  local colon = t.text:match("^[ \t]*():", entry.key.stop)
  return colon and colon + 1
end

--- The text of an entry in block style without its key and its last line break: " 1", " []", "\n  - a".
local function block_value(t, entry, indent, value)
  local text = entry.key and native.encode(native.object { x = value }, { indent = indent })
    or native.encode(native.array { value }, { indent = indent })
  return (text:gsub("^x:", ""):gsub("^%-", ""):gsub("\n$", ""):gsub("\n", t.eol))
end

--- Puts a value in block style into the text. A text that would end in a literal block without its last line break gets
--- one: the block would lose it.
local function splice_value(t, from, to, new, value)
  local text = splice(t.text, from, to, new)
  if text:find("\n$") or t.text:find("%S", to) then return text end
  while type(value) == "table" do
    local last
    for _, v in native.pairs(value) do last = v end
    value = last
  end
  return type(value) == "string" and value:find("\n$") and text .. t.eol or text
end

--- A string in the quotes that the old value had.
local function in_quotes(style, value)
  if type(value) ~= "string" or (style ~= "single" and style ~= "double") then return nil end
  local text = native.encode(value, { one_line = true })
  if style == "single" and not value:find("[%c\127]") and (text:sub(1, 1) ~= '"' or not text:find("\\[^\"\\]")) then
    return "'" .. value:gsub("'", "''") .. "'"
  end
  return text:sub(1, 1) == '"' and text or '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

--- Replaces a value that does not stand in the middle of a line, or by one that does not.
local function replace_block(t, entry, value)
  local start = entry_start(t, entry)
  if not start then return nil, "the beginning of the entry was not found" end
  local indent, why = indentation(t, start)
  if not indent then return nil, why end
  local text, node = t.text, entry.node
  local from, stop = behind_indicator(t, entry), content_stop(t.text, node)
  if not from then return nil, "the key is written with '?'" end
  local tail = text:sub(stop, line_end(text, stop) - 1) -- a comment behind the old value
  local new = block_value(t, entry, indent, value)
  local block = node.style == "literal" or node.style == "folded" or node.style == "block"
  if block and has_comment(text, from, stop, node) then return nil, "comments inside the old value would be lost" end
  if new:find("^\r?\n") and not block then
    return splice_value(t, from, stop + #tail, tail:gsub("%s+$", "") .. new, value)
  end
  if new:find("\n") and tail:find("%S") then return nil, "a comment behind the old value would be lost" end
  if not block and not new:find("\n") and node.start > from then return splice(text, node.start, stop, new:sub(2)) end
  return splice_value(t, from, stop, new, value)
end

--- Replaces the value of an entry.
---@param t ws.yaml.Text
---@param entry ws.yaml.Entry
---@param value any
---@return string? text
---@return string? why
function M.replace(t, entry, value)
  local node, text = entry.node, t.text
  if node.style == "alias" then return nil, "it is an alias: the value stands at its anchor" end
  if node.anchor then return nil, "it has an anchor, and aliases may refer to it" end
  if node.tag then return nil, "it has a tag" end
  local flow_node = node.style == "flow"
  if flow_node and has_line_break(text, node.start, node.stop) then
    return nil, "its brackets span several lines"
  end
  local block_node = node.style == "block" or node.style == "literal" or node.style == "folded"
  local keep_flow = entry.flow or (flow_node and native.kind(value) and native.kind(value) ~= "null")
  local new = in_quotes(node.style, value)
  local stop = content_stop(text, node)
  local comment_behind = text:sub(stop, line_end(text, stop) - 1):find("%S")
  local as_block = block_node or type(value) == "table"
    or (type(value) == "string" and value:find("\n", 1, true) and not comment_behind)
  if not new and not keep_flow and as_block then return replace_block(t, entry, value) end
  new = new or native.encode(value, { one_line = true })
  if node.start == node.stop and text:sub(node.start - 1, node.start - 1):find("[:%-]") then new = " " .. new end
  return splice(text, node.start, node.stop, new)
end

local function add_to_flow(t, parent, part, value)
  local text = t.text
  if has_line_break(text, parent.start, parent.stop) then return nil, "the brackets around it span several lines" end
  local entry = native.encode(parent.keys and native.object { [part] = value } or native.array { value },
    { one_line = true })
    :sub(2, -2)
  local last = parent.keys and parent.values[parent.order[#parent.order]] or parent.values[#parent.values]
  if not last then return splice(text, parent.start + 1, parent.stop - 1, entry) end
  local close = parent.stop - 1
  local comma = text:sub(last.stop, close - 1):find(",", 1, true)
  local before = text:sub(last.stop, close - 1):gsub("%s+$", "")
  return splice(text, last.stop, last.stop + #before, before .. (comma and " " or ", ") .. entry)
end

--- Behind the comment lines that follow directly and belong to the entries above: they are indented as far as these,
--- and no entry follows directly that is indented as far as they are.
local function behind_own_comments(text, at, indent)
  local stop, line, least = at, next_line(text, at), math.huge
  while true do
    local column = text:match("^( *)#", line)
    if not column or #column < indent then break end
    least = math.min(least, #column)
    stop = line_end(text, line)
    if stop > #text then return stop end
    line = next_line(text, line)
  end
  local column = text:match("^( *)[^%s#]", line)
  if column and #column >= least then return at end
  return stop
end

--- Adds an entry at the end of a map or list that has some, or has brackets.
---@param t ws.yaml.Text
---@param parent table  node
---@param part string|integer  the new key, or the number of the new item
---@param value any
---@param flow boolean  a collection around the parent is written in brackets
---@return string? text
---@return string? why
function M.add(t, parent, part, value, flow)
  if parent.style == "flow" or flow then return add_to_flow(t, parent, part, value) end
  local text = t.text
  local first = parent.keys and parent.keys[parent.order[1]]
  if parent.keys and not first then return nil, "the map has nothing but <<" end
  local indent, why = indentation(t, first and first.start or parent.start)
  if not indent then return nil, why end
  local stop = content_stop(text, parent)
  local at = line_end(text, stop)
  local tail = text:sub(stop, at - 1)
  if tail:find("%S") and not tail:find("^%s+#") then return nil, "something else follows in the last line" end
  at = behind_own_comments(text, at, indent)
  local entry = native.encode(parent.keys and native.object { [part] = value } or native.array { value },
    { indent = indent })
  entry = (" "):rep(indent) .. entry:gsub("\n$", "")
  return splice_value(t, at, at, t.eol .. entry:gsub("\n", t.eol), value)
end

local function count(node)
  return node.order and #node.order or #node.values
end

local function neighbour(entry, offset)
  local parent = entry.parent
  if not parent.order then
    local i = entry.part + offset
    return parent.values[i] and { parent = parent, part = i, node = parent.values[i], flow = entry.flow }
  end
  for i, key in ipairs(parent.order) do
    if key == entry.part then
      local other = parent.order[i + offset]
      return other and { parent = parent, part = other, node = parent.values[other], key = parent.keys[other],
        flow = entry.flow }
    end
  end
end

local function remove_from_flow(t, entry)
  local text, parent = t.text, entry.parent
  if has_line_break(text, parent.start, parent.stop) then return nil, "the brackets around it span several lines" end
  local function start_of(e) return (e.key or e.node).start end
  local following, before = neighbour(entry, 1), neighbour(entry, -1)
  if following then return splice(text, start_of(entry), start_of(following), "") end
  if before then return splice(text, before.node.stop, entry.node.stop, "") end
  return splice(text, parent.start + 1, parent.stop - 1, "")
end

--- Removes an entry with its lines. The last entry of a map or list cannot be removed here.
---@param t ws.yaml.Text
---@param entry ws.yaml.Entry
---@return string? text
---@return string? why
function M.remove(t, entry)
  local text = t.text
  if entry.node.anchor then return nil, "it has an anchor, and aliases may refer to it" end
  if entry.flow or entry.parent.style == "flow" then return remove_from_flow(t, entry) end
  assert(count(entry.parent) > 1)
  local start = entry_start(t, entry)
  if not start then return nil, "the beginning of the entry was not found" end
  local indent, why = indentation(t, start)
  if not indent then return nil, why end
  local stop = content_stop(text, entry.node)
  local from, to = line_start(text, start), line_end(text, stop)
  local tail = text:sub(stop, to - 1)
  if tail:find("%S") and not tail:find("^%s+#") then return nil, "something else follows in its last line" end
  if not text:sub(from, start - 1):find("-", 1, true) then
    if to > #text and from > 1 then -- the text's last line has no line break: the one before goes
      from = from - (text:sub(from - 2, from - 1) == "\r\n" and 2 or 1)
      return splice(text, from, to, "")
    end
    return splice(text, from, next_line(text, to), "")
  end
  -- It stands on the line of a dash: the next entry takes its place there.
  local following = neighbour(entry, 1)
  local next_start = following and entry_start(t, following)
  if not next_start or text:sub(to, next_start - 1):find("%S") or tail:find("%S") then
    return nil, "a comment behind it would be lost"
  end
  return splice(text, start, next_start, "")
end

return M
