--- IPv4 addresses and ranges.
local M = {}

---@class ws.Range
---@field first integer   lowest address as a number
---@field last integer    highest address
---@field prefix integer  0 to 32

local function address_text(n)
  return ("%d.%d.%d.%d"):format(n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255)
end

local function address(text)
  local parts = { text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
  if #parts ~= 4 then return nil end
  local n = 0
  for _, part in ipairs(parts) do
    local byte = tonumber(part)
    if #part > 3 or byte > 255 or (#part > 1 and part:sub(1, 1) == "0") then return nil end
    n = n << 8 | byte
  end
  return n
end

--- Reads a range such as "10.32.0.0/20"; a single address is a range of one.
---
--- ```lua
--- local range = assert(require "ws.cidr".parse "10.32.0.0/20")
--- assert(range.last - range.first == 4095)
--- ```
---@param text string
---@return ws.Range? range
---@return string? why  what is wrong with the text
function M.parse(text)
  local ip, prefix_text = text:match("^([%d.]+)/(%d%d?)$")
  local first, prefix = address(ip or text), tonumber(prefix_text or 32)
  if not first or prefix > 32 then return nil, "not a range of IPv4 addresses" end
  local size = 1 << (32 - prefix)
  if first % size ~= 0 then
    return nil, ("%s is inside the range that begins at %s/%d"):format(ip, address_text(first - first % size), prefix)
  end
  return { first = first, last = first + size - 1, prefix = prefix }
end

--- Whether two ranges have an address in common.
---@param a ws.Range
---@param b ws.Range
---@return boolean
function M.overlap(a, b)
  return a.first <= b.last and b.first <= a.last
end

--- Whether every address of `b` is in `a`.
---@param a ws.Range
---@param b ws.Range
---@return boolean
function M.contains(a, b)
  return a.first <= b.first and b.last <= a.last
end

return M
