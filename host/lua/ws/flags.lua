--- Reading a command line from a declaration: options in any order, `--` ends them, an unknown word gets the nearest
--- match.
local errors = require "ws.error"
local nearest = require "ws.nearest"

local M = {}

---@class ws.Option
---@field [1] string      long name without dashes
---@field short? string   one letter
---@field type? string    "boolean" (default), "string", "integer", "number", "duration" (seconds; 90, "10m", "1h30m"),
---  "list" (of texts between commas; given again it adds)
---@field choices? string[]
---@field default? any
---@field many? boolean   may be given more than once; the value is a list
---@field value? string   what help calls the value
---@field doc string

local function usage_error(message, hint)
  return nil, errors.new { kind = "invalid", message = message, hint = hint, usage = true }
end

--- Seconds from `90`, `45s`, `10m`, `1h30m`, or nil.
---@param text string
---@return number?
function M.duration(text)
  if text:match("^%d+%.?%d*$") then return tonumber(text) end
  local total, rest = 0, text
  while rest ~= "" do
    local n, unit, more = rest:match("^(%d+)([hms])(.*)$")
    if not n then return nil end
    total = total + tonumber(n) * ({ h = 3600, m = 60, s = 1 })[unit]
    rest = more
  end
  return text ~= "" and total or nil
end

local converters = {
  string = function(text) return text end,
  integer = function(text) return math.tointeger(tonumber(text)) end,
  number = tonumber,
  duration = M.duration,
  list = function(text)
    local list = {}
    for one in text:gmatch("[^,]+") do list[#list + 1] = one end
    return list
  end,
}

local expected = {
  integer = "a whole number", number = "a number", duration = "a time such as 90, 45s, 10m or 1h30m",
}

local function convert(option, text, name)
  local value = converters[option.type](text)
  if value == nil then
    return usage_error(("%s takes %s, not '%s'"):format(name, expected[option.type], text))
  end
  if option.choices then
    for _, choice in ipairs(option.choices) do
      if choice == value then return value end
    end
    local meant = nearest(text, option.choices)
    return usage_error(("%s takes %s, not '%s'"):format(name, table.concat(option.choices, ", "), text),
      meant and ("did you mean '%s'?"):format(meant))
  end
  return value
end

local function index(options)
  local by_name, names = {}, {}
  for _, option in ipairs(options) do
    option.type = option.type or "boolean"
    by_name["--" .. option[1]] = option
    names[#names + 1] = "--" .. option[1]
    if option.type == "boolean" then by_name["--no-" .. option[1]] = option end
    if option.short then by_name["-" .. option.short] = option end
  end
  return by_name, names
end

--- Splits a command line into option values (by long name) and positional words.
---@param options ws.Option[]
---@param words string[]
---@return table<string, any>? values  with defaults
---@return string[]|ws.Error positional
function M.parse(options, words)
  local by_name, names = index(options)
  local values, positional = {}, {}
  for _, option in ipairs(options) do values[option[1]] = option.default end
  local i = 1
  while i <= #words do
    local word = words[i]
    i = i + 1
    if word == "--" then
      table.move(words, i, #words, #positional + 1, positional)
      break
    elseif word:sub(1, 1) ~= "-" or word == "-" then
      positional[#positional + 1] = word
    else
      local name, text = word:match("^(%-%-[^=]+)=(.*)$")
      name = name or word
      local option = by_name[name]
      if not option then
        local meant = nearest(name, names)
        return usage_error(("unknown option %s"):format(name), meant and ("did you mean %s?"):format(meant))
      end
      if option.type == "boolean" then
        if text then return usage_error(("%s takes no value"):format(name)) end
        values[option[1]] = name:sub(1, 5) ~= "--no-" or option[1]:sub(1, 3) == "no-"
      else
        if not text then
          text, i = words[i], i + 1
          if not text then return usage_error(("%s needs a value"):format(name)) end
        end
        local value, err = convert(option, text, name)
        if value == nil then return nil, err end
        if option.many then
          values[option[1]] = values[option[1]] or {}
          table.insert(values[option[1]], value)
        elseif option.type == "list" and values[option[1]] then
          table.move(value, 1, #value, #values[option[1]] + 1, values[option[1]])
        else
          values[option[1]] = value
        end
      end
    end
  end
  return values, positional
end

--- The lines of help for options.
---@param options ws.Option[]
---@return string
function M.help(options)
  local rows, width = {}, 0
  for _, option in ipairs(options) do
    local left = (option.short and ("-" .. option.short .. ", ") or "    ") .. "--" .. option[1]
    if (option.type or "boolean") ~= "boolean" then
      left = left .. " " .. (option.value or option.type:upper())
    end
    local doc = option.doc
    if option.choices then doc = doc .. " (" .. table.concat(option.choices, ", ") .. ")" end
    if option.default ~= nil and option.default ~= false then doc = doc .. ("; default %s"):format(option.default) end
    rows[#rows + 1] = { left, doc }
    width = math.max(width, #left)
  end
  local lines = {}
  for _, row in ipairs(rows) do
    lines[#lines + 1] = ("  %s%s  %s"):format(row[1], (" "):rep(width - #row[1]), row[2])
  end
  return table.concat(lines, "\n")
end

return M
