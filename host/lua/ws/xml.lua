--- Text within XML 1.0 documents: secrets masked, colours gone, what is no character there replaced by U+FFFD.
local secret = require "ws.secret"

local M = {}

local replacement = "\239\191\189" -- U+FFFD

local function one_char(c)
  local ok, point = pcall(utf8.codepoint, c)
  if not ok or (point < 0x20 and not c:find("[\t\n\r]")) or point == 0xFFFE or point == 0xFFFF then
    return replacement
  end
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;",
  ["\r"] = "&#13;", ["\t"] = "&#9;" }

local function clean(text)
  text = secret.redact(tostring(text)):gsub("\27%[[%d;?]*%a", "")
  if not text:find("[^\t\n\r\32-\126]") then return text end
  return (text:gsub("[\0-\127\194-\244][\128-\191]*", one_char):gsub("[\128-\255]+", function(bytes)
    return utf8.len(bytes) and bytes or replacement
  end))
end

--- Text for an attribute in double quotes.
---@param text any
---@return string
function M.attribute(text)
  return (clean(text):gsub('[&<>"\n\r\t]', entities))
end

--- Text for the content of an element.
---@param text any
---@return string
function M.body(text)
  return (clean(text):gsub("[&<>\r]", entities))
end

return M
