--- Text that a report can hold, whatever a program wrote: secrets masked, terminal commands gone, bytes that are no
--- character of UTF-8 or no character of XML and HTML replaced by U+FFFD.
local secret = require "ws.secret"

local replacement = "\239\191\189" -- U+FFFD

local function one_char(c)
  local ok, point = pcall(utf8.codepoint, c)
  if not ok or (point < 0x20 and not c:find("[\t\n\r]")) or (point >= 0x7F and point < 0xA0) or point == 0xFFFE
    or point == 0xFFFF or (point >= 0x202A and point <= 0x202E) or (point >= 0x2066 and point <= 0x2069) then
    return replacement -- the last two ranges turn the direction of writing: what follows would read otherwise
  end
end

--- Makes such text.
---
--- ```lua
--- assert(require "ws.plain" ("\27[31mred\27[0m\0") == "red\u{FFFD}")
--- ```
---@param text any  shown with tostring
---@return string
return function(text)
  text = tostring(text):gsub("\27%[[%d;:?<=>]*[ -/]*[@-~]", ""):gsub("\27%][^\7\27]*\7", "")
    :gsub("\27%][^\7\27]*\27\\", ""):gsub("\27[%(%)].", "")
  if text:find("[^\t\n\r\32-\126]") then
    text = text:gsub("[\0-\127\194-\244][\128-\191]*", one_char):gsub("[\128-\255]+", function(bytes)
      return utf8.len(bytes) and bytes or replacement
    end)
  end
  return secret.redact(text)
end
