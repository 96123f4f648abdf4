--- Texts with places to fill in.
---
---     {{ platform.name }}                a value; a.2 is the second entry of a list
---     {{ platform | json }}              as JSON; html escapes text for HTML
---     {{ "{{" }}                         text as it is
---     {{ if a.b }} ... {{ else }} ... {{ end }}    false, null, what is absent and empty lists and maps count as no
---     {{ for app in apps }} ... {{ end }}      each entry of a list; {{ for i, app in apps }} counts them from 1
--- app in`
---
--- A line that has nothing but if, else, for or end leaves no line behind. A name that is not there is an error, never
--- an empty text.
local errors = require "ws.error"
local json = require "ws.json"

local M = {}

---@class ws.template.Node
---@field at integer  byte in the text

local filters = {
  json = function(value) return json.encode(value) end,
  html = function(value, text)
    return (text(value):gsub('[&<>"\']', { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
      ["'"] = "&#39;" }))
  end,
}

--- Raises an error object for a place of the template; render catches it.
local function fail(job, kind, at, message, ...)
  local line = select(2, job.text:sub(1, at - 1):gsub("\n", "")) + 1
  error(errors.new { kind = kind, op = "template.render",
    message = ("%s:%d: %s"):format(job.filename, line, message:format(...)) }, 0)
end

local NAME = "[%a_][%w_-]*"

local function is_path(text)
  if not text:find("^" .. NAME) then return false end
  for part in text:gmatch("[^.]+") do
    if not part:find("^" .. NAME .. "$") and not part:find("^%d+$") then return false end
  end
  return not text:find("..", 1, true) and text:sub(-1) ~= "."
end

local function parse_value(job, at, text)
  local literal = text:match('^"([^"]*)"$')
  if literal then return { kind = "text", at = at, text = literal } end
  local path, filter = text:match("^(%S+)%s*|%s*(%a+)$")
  path = path or text
  if not is_path(path) then fail(job, "parse", at, "%q is not a name such as platform.name", text) end
  if filter and not filters[filter] then fail(job, "parse", at, "there is no filter %q: json or html", filter) end
  return { kind = "value", at = at, path = path, filter = filter }
end

--- What stands between the braces.
local function parse_tag(job, at, text)
  local condition = text:match("^if%s+(.+)$")
  if condition then
    if not is_path(condition) then fail(job, "parse", at, "%q is not a name: if takes one", condition) end
    return { kind = "if", at = at, path = condition, body = {} }
  end
  local names, list = text:match("^for%s+(.-)%s+in%s+(.+)$")
  if names then
    local index, name = names:match("^(" .. NAME .. ")%s*,%s*(" .. NAME .. ")$")
    name = name or names:match("^" .. NAME .. "$")
    if not name or not is_path(list) then fail(job, "parse", at, "for is written {{ for name in list }}") end
    return { kind = "for", at = at, name = name, index = index, path = list, body = {} }
  end
  if text == "else" or text == "end" then return { kind = text, at = at } end
  return parse_value(job, at, text)
end

--- Whether a tag stands alone on its line: begin and end of the line then.
local function alone(text, from, to)
  local before = text:sub(1, from - 1):match("()[ \t]*$")
  local _, after = text:find("^[ \t]*\r?\n", to + 1)
  if not after and text:find("^[ \t]*$", to + 1) then after = #text end
  if after and (before == 1 or text:byte(before - 1) == 10) then return before, after end
end

local function parse(job)
  local text, position = job.text, 1
  local root = { body = {} }
  local stack, body = { root }, root.body
  while true do
    local from, to, inner = text:find("{{%s*(.-)%s*}}", position)
    local unclosed = text:find("{{", position, true)
    if unclosed and (not from or unclosed < from) then fail(job, "parse", unclosed, "{{ without }}") end
    if not from then break end
    if inner:find('^"[^"]*$') then -- braces inside a text in quotes
      from, to, inner = text:find('{{%s*("[^"]*")%s*}}', from)
      if not from then fail(job, "parse", unclosed, "the text in quotes does not end") end
    end
    local node = parse_tag(job, from, inner)
    local first, last = from, to
    if node.kind ~= "value" and node.kind ~= "text" then first, last = alone(text, from, to) end
    body[#body + 1] = { kind = "text", text = text:sub(position, (first or from) - 1) }
    position = (last or to) + 1
    local top = stack[#stack]
    if node.kind == "if" or node.kind == "for" then
      body[#body + 1], stack[#stack + 1], body = node, node, node.body
    elseif node.kind == "else" then
      if top.kind ~= "if" or top.otherwise then fail(job, "parse", node.at, "else without if") end
      top.otherwise = {}
      body = top.otherwise
    elseif node.kind == "end" then
      if #stack == 1 then fail(job, "parse", node.at, "end without if or for") end
      stack[#stack] = nil
      top = stack[#stack]
      body = top.otherwise or top.body
    else
      body[#body + 1] = node
    end
  end
  if #stack > 1 then fail(job, "parse", stack[#stack].at, "%s without end", stack[#stack].kind) end
  body[#body + 1] = { kind = "text", text = text:sub(position) }
  return root.body
end

local function look_up(scope, path)
  local value = scope
  for part in path:gmatch("[^.]+") do
    if type(value) ~= "table" then return nil end
    local found = value[part]
    if found == nil and part:find("^%d+$") then found = value[math.tointeger(part)] end
    value = found
  end
  return value
end

local function holds(value)
  if value == nil or value == false or value == json.null then return false end
  return type(value) ~= "table" or next(value) ~= nil
end

local render_nodes

local render = {
  text = function(_, node, _, out) out[#out + 1] = node.text end,
  value = function(job, node, scope, out)
    local value = look_up(scope, node.path)
    if value == nil then fail(job, "invalid", node.at, "there is no %s", node.path) end
    local function plain(v)
      if type(v) == "string" or type(v) == "number" or type(v) == "boolean" then return tostring(v) end
      local kind = ({ array = "list", object = "map" })[json.kind(v)] or json.kind(v) or type(v)
      fail(job, "invalid", node.at, "%s is a %s, not text%s", node.path, kind,
        type(v) == "table" and ": write it with | json" or "")
    end
    out[#out + 1] = node.filter and filters[node.filter](value, plain) or plain(value)
  end,
  ["if"] = function(job, node, scope, out)
    local body = holds(look_up(scope, node.path)) and node.body or node.otherwise
    if body then render_nodes(job, body, scope, out) end
  end,
  ["for"] = function(job, node, scope, out)
    local list = look_up(scope, node.path)
    if list == nil then fail(job, "invalid", node.at, "there is no %s", node.path) end
    if json.kind(list) ~= "array" and holds(list) then fail(job, "invalid", node.at, "%s is no list", node.path) end
    for i, entry in ipairs(type(list) == "table" and list or {}) do
      local inner = setmetatable({ [node.name] = entry }, { __index = scope })
      if node.index then inner[node.index] = i end
      render_nodes(job, node.body, inner, out)
    end
  end,
}

function render_nodes(job, nodes, scope, out)
  for _, node in ipairs(nodes) do render[node.kind](job, node, scope, out) end
end

--- Fills in a template.
---
--- ```lua
--- local template = require "ws.template"
--- local text = "{{ for app in apps }}\n- {{ app.name }}\n{{ end }}\n"
--- assert(template.render(text, { apps = { { name = "a" }, { name = "b" } } }) == "- a\n- b\n")
--- ```
---@param text string
---@param vars table
---@param opts? { filename?: string }  for messages; default "template"
---@return string? text
---@return ws.Error? err  kinds `parse` (the template is wrong), `invalid` (a value is missing or is no text); the
---  message
---  begins with file and line
function M.render(text, vars, opts)
  if type(text) ~= "string" then error("render: a text expected, got " .. type(text), 2) end
  if type(vars) ~= "table" then error("render: a table of values expected, got " .. type(vars), 2) end
  for key in pairs(opts or {}) do
    if key ~= "filename" then error(("render: unknown option '%s'"):format(tostring(key)), 2) end
  end
  local job = { text = text, filename = opts and opts.filename or "template" }
  local out = {}
  local ok, err = pcall(function() render_nodes(job, parse(job), vars, out) end)
  if not ok then
    if errors.is(err) and err.op == "template.render" then return nil, err end
    error(err, 0)
  end
  return table.concat(out)
end

return M
