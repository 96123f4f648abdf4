--- HTML that is safe by construction: every text is escaped, attributes too, and a link leads only into the page.
---
--- ```lua
--- local h = require "ws.report.html"
--- assert(tostring(h.p { class = "x", "a < b", h.b { "c" } }) == '<p class="x">a &lt; b<b>c</b></p>')
--- ```
--- A table's list part is what the element holds: texts, numbers, elements, lists of these; nil and false are nothing.
local plain = require "ws.plain"

---@class ws.report.Element
local Element = {}
Element.__index = Element

function Element:__tostring()
  return table.concat(self)
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function escape(text)
  return (plain(text):gsub("\r\n?", "\n"):gsub('[&<>"\']', entities))
end

local void = { meta = true, br = true, rect = true, line = true }

local function add(out, child)
  if child == nil or child == false then return end
  if getmetatable(child) == Element then
    table.move(child, 1, #child, #out + 1, out)
  elseif type(child) == "table" then
    local last = 0
    for i in pairs(child) do last = math.max(last, i) end
    for i = 1, last do add(out, child[i]) end
  else
    out[#out + 1] = escape(child)
  end
end

local function element(name, content)
  local names, children, last = {}, {}, 0
  for key, value in pairs(content) do
    if math.type(key) == "integer" then
      children[key], last = value, math.max(last, key)
    elseif value then
      names[#names + 1] = key
    end
  end
  table.sort(names)
  local out = { "<" .. name }
  for _, key in ipairs(names) do
    local value = content[key]
    if key:find("^on") or key == "style" or (key == "href" and value:sub(1, 1) ~= "#") then
      error(("a report has no %s=%q"):format(key, tostring(value)), 3)
    end
    out[#out + 1] = value == true and " " .. key or (' %s="%s"'):format(key, escape(value))
  end
  out[#out + 1] = ">"
  if not void[name] then
    for i = 1, last do add(out, children[i]) end
    out[#out + 1] = "</" .. name .. ">"
  elseif name ~= "meta" and name ~= "br" then -- of SVG
    out[#out] = "/>"
  end
  return setmetatable(out, Element)
end

return setmetatable({
  --- Markup that this program wrote itself, as it is.
  ---@param text string
  ---@return ws.report.Element
  raw = function(text) return setmetatable({ text }, Element) end,
}, { __index = function(_, name)
  return function(content) return element(name, content) end
end })
