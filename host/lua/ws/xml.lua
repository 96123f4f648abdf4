--- Text within XML 1.0 documents: secrets masked, colours gone, what is no character there replaced by U+FFFD.
local plain = require "ws.plain"

local M = {}

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;",
  ["\r"] = "&#13;", ["\t"] = "&#9;" }

--- Text for an attribute in double quotes.
---@param text any
---@return string
function M.attribute(text)
  return (plain(text):gsub('[&<>"\n\r\t]', entities))
end

--- Text for the content of an element.
---@param text any
---@return string
function M.body(text)
  return (plain(text):gsub("[&<>\r]", entities))
end

return M
