--- IPv4 addresses and ranges as numbers.
local M = {}

--- The number of an address; nil when the text is none.
---@param text string
---@return integer?
function M.parse(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then return nil end
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if a > 255 or b > 255 or c > 255 or d > 255 then return nil end
  return a << 24 | b << 16 | c << 8 | d
end

--- The text of an address.
---@param n integer
---@return string
function M.format(n)
  return ("%d.%d.%d.%d"):format(n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255)
end

--- First address and size of a range such as 10.0.0.0/20; nil when the text is none.
---@param text string
---@return integer? first
---@return integer? size
function M.range(text)
  local address, bits = text:match("^([%d.]+)/(%d+)$")
  local first = address and M.parse(address)
  bits = tonumber(bits)
  if not first or bits > 32 then return nil end
  local size = 1 << (32 - bits)
  return first & ~(size - 1), size
end

--- Whether two ranges have an address in common.
---@param a string
---@param b string
---@return boolean
function M.overlap(a, b)
  local a_first, a_size = M.range(a)
  local b_first, b_size = M.range(b)
  if not a_first or not b_first then return false end
  return a_first < b_first + b_size and b_first < a_first + a_size
end

--- Whether a range holds an address.
---@param range string
---@param address string
---@return boolean
function M.contains(range, address)
  local first, size = M.range(range)
  local n = M.parse(address)
  return first ~= nil and n ~= nil and n >= first and n < first + size
end

--- The lowest address of a range, from its `skip`-th on, that is not in `used`; nil when the range is full.
---@param range string
---@param used table<string, boolean>
---@param skip integer  addresses at the beginning that are never given out
---@return string?
function M.free(range, used, skip)
  local first, size = M.range(range)
  for n = first + skip, first + size - 2 do
    local address = M.format(n)
    if not used[address] then return address end
  end
end

return M
