--- Filter expressions of list methods: `name = "x"`, `labels.platform:dev*`, `(status eq RUNNING) (name ne .*old.*)`,
--- with AND, OR, NOT and parentheses. `eq` and `ne` take a regular expression for the whole value.
local reply = require "sandbox.reply"

local M = {}

--- Tokens: words, quoted texts, operators.
local function tokenize(text)
  local tokens, i = {}, 1
  while true do
    i = text:find("%S", i)
    if not i then return tokens end
    local ch = text:sub(i, i)
    local quoted = ch == '"' or ch == "'"
    if quoted then
      local stop = text:find(ch, i + 1, true)
      if not stop then reply.fail(400, "invalid", "Invalid list filter expression: a quote is not closed.") end
      tokens[#tokens + 1] = { text = text:sub(i + 1, stop - 1), quoted = true }
      i = stop + 1
    else
      local operator = text:match("^[!<>]=", i) or text:match("^[()=<>:]", i)
      local word = operator or text:match("^[^%s()=<>:!\"']+", i) or ch
      tokens[#tokens + 1] = { text = word }
      i = i + #word
    end
  end
end

local function field(item, path)
  for key in path:gmatch("[^.]+") do
    if type(item) ~= "table" then return nil end
    item = item[key]
  end
  if type(item) == "boolean" or type(item) == "number" then return tostring(item) end
  return item
end

--- A pattern for the regular expressions that clients send: literal text, `.*`, `.`, `\b` (dropped), alternatives.
local function regex(expression)
  local patterns = {}
  for option in (expression:gsub("^%((.*)%)$", "%1") .. "|"):gmatch("([^|]*)|") do
    local pattern = option:gsub("\\b", ""):gsub("\\(.)", "%1"):gsub("[%%%+%-%?%[%]%^%$]", "%%%0")
    patterns[#patterns + 1] = "^" .. pattern .. "$"
  end
  return function(value)
    for _, pattern in ipairs(patterns) do
      if value:find(pattern) then return true end
    end
    return false
  end
end

local function glob(text)
  return "^" .. text:lower():gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
end

--- A link is equal to its last part, too: `zone = europe-west1-b`.
local function equal(value, wanted)
  return type(value) == "string" and (value == wanted or value:match("([^/]*)$") == wanted)
end

local COMPARE = {
  ["="] = function(value, wanted)
    if wanted:find("*", 1, true) then return type(value) == "string" and value:lower():find(glob(wanted)) ~= nil end
    return equal(value, wanted)
  end,
  [":"] = function(value, wanted)
    if wanted == "*" then return value ~= nil end
    if type(value) == "table" then return value[wanted] ~= nil end
    return type(value) == "string" and value:lower():find(glob("*" .. wanted .. "*")) ~= nil
  end,
  [">"] = function(value, wanted) return type(value) == "string" and value > wanted end,
  ["<"] = function(value, wanted) return type(value) == "string" and value < wanted end,
  [">="] = function(value, wanted) return type(value) == "string" and value >= wanted end,
  ["<="] = function(value, wanted) return type(value) == "string" and value <= wanted end,
  eq = function(value, wanted) return type(value) == "string" and regex(wanted)(value) end,
  ne = function(value, wanted) return type(value) ~= "string" or not regex(wanted)(value) end,
}
COMPARE["!="] = function(value, wanted) return not COMPARE["="](value, wanted) end

local parse_or

local function parse_one(state)
  local token = state.tokens[state.at]
  if not token then reply.fail(400, "invalid", "Invalid list filter expression: it ends too early.") end
  state.at = state.at + 1
  if not token.quoted and token.text == "(" then
    local inner = parse_or(state)
    local closing = state.tokens[state.at]
    if not closing or closing.text ~= ")" then
      reply.fail(400, "invalid", "Invalid list filter expression: a parenthesis is not closed.")
    end
    state.at = state.at + 1
    return inner
  elseif not token.quoted and token.text == "NOT" then
    local inner = parse_one(state)
    return function(item) return not inner(item) end
  end
  local operator, value = state.tokens[state.at], state.tokens[state.at + 1]
  local compare = operator and COMPARE[operator.text]
  if not compare or not value then
    reply.fail(400, "invalid", ("Invalid list filter expression near '%s'."):format(token.text))
  end
  state.at = state.at + 2
  return function(item) return compare(field(item, token.text), value.text) end
end

local function parse_and(state)
  local parts = { parse_one(state) }
  while state.tokens[state.at] and state.tokens[state.at].text ~= ")" and state.tokens[state.at].text ~= "OR" do
    if state.tokens[state.at].text == "AND" then state.at = state.at + 1 end
    parts[#parts + 1] = parse_one(state)
  end
  return function(item)
    for _, part in ipairs(parts) do
      if not part(item) then return false end
    end
    return true
  end
end

function parse_or(state)
  local parts = { parse_and(state) }
  while state.tokens[state.at] and state.tokens[state.at].text == "OR" do
    state.at = state.at + 1
    parts[#parts + 1] = parse_and(state)
  end
  return function(item)
    for _, part in ipairs(parts) do
      if part(item) then return true end
    end
    return false
  end
end

--- The function that says whether an item passes; without expression everything passes. Fails the request with 400 for
--- an expression that it does not understand.
---@param text string?
---@return fun(item: table): boolean
function M.compile(text)
  if not text or not text:find("%S") then return function() return true end end
  local state = { tokens = tokenize(text), at = 1 }
  local test = parse_or(state)
  if state.tokens[state.at] then
    reply.fail(400, "invalid", ("Invalid list filter expression near '%s'."):format(state.tokens[state.at].text))
  end
  return test
end

return M
