--- multipart bodies as Cloud Storage's clients send them (RFC 2046, and what they make of it).
---
--- gcloud and gsutil end lines with a bare LF and put the boundary in single quotes that do not belong to it; rclone's
--- second part has no headers at all. The media part is byte-exact up to the line end before the next boundary.
local M = {}

--- The boundary that a Content-Type names.
---@param content_type string?
---@return string?
function M.boundary(content_type)
  local value = (content_type or ""):match("[;%s][Bb][Oo][Uu][Nn][Dd][Aa][Rr][Yy]%s*=%s*(.*)$")
  if not value then return nil end
  return value:match('^"([^"]*)"') or value:match("^'([^']*)'") or value:match("^([^%s;]+)")
end

---@class sandbox.Pull
local Pull = {}
Pull.__index = Pull

--- Reads more; false at the end.
function Pull:more()
  local chunk, err = self.read()
  if chunk then
    self.buffer = self.buffer .. chunk
    return true
  end
  self.problem = err
  return false
end

--- The text up to the next LF, without line end; nil at the end.
function Pull:line()
  while true do
    local line, rest = self.buffer:match("^([^\n]*)\n()")
    if line then
      self.buffer = self.buffer:sub(rest)
      return (line:gsub("\r$", ""))
    end
    if #self.buffer > 1 << 20 or not self:more() then return nil end
  end
end

--- Hands the bytes before the next boundary to `sink`; returns whether it was the last one, or nil when the body ended
--- before.
local function part_body(pull, boundary, sink)
  local mark, begins_line = "--" .. boundary, true
  while true do
    local first = pull.buffer:find(mark, 1, true)
    -- A mark counts at the beginning of a line only.
    while first and not (first == 1 and begins_line) and pull.buffer:sub(first - 1, first - 1) ~= "\n" do
      first = pull.buffer:find(mark, first + 1, true)
    end
    if first then
      local stop = first - 1
      if stop >= 1 then stop = stop - 1 end
      if stop >= 1 and pull.buffer:sub(stop, stop) == "\r" then stop = stop - 1 end
      if stop >= 1 then sink(pull.buffer:sub(1, stop)) end
      pull.buffer = pull.buffer:sub(first + #mark)
      while #pull.buffer < 2 and pull:more() do end
      local last = pull.buffer:sub(1, 2) == "--"
      pull:line()
      return last
    end
    local keep = #mark + 2
    if #pull.buffer > keep then
      sink(pull.buffer:sub(1, #pull.buffer - keep))
      pull.buffer, begins_line = pull.buffer:sub(-keep), false
    end
    if not pull:more() then return nil end
  end
end

local function part_headers(pull)
  local headers = {}
  while true do
    local line = pull:line()
    if not line then return nil end
    if line == "" then return headers end
    local name, value = line:match("^([%w%-]+)%s*:%s*(.*)$")
    if not name then return nil end
    headers[name:lower()] = value
  end
end

--- Reads all parts. `on_part(headers, index)` returns the sink for the bytes of a part.
---@async
---@param read fun(): string?, ws.Error?  the next piece of the body
---@param boundary string
---@param on_part fun(headers: table<string, string>, index: integer): fun(bytes: string)
---@return integer? count  of parts
---@return string? problem
function M.parse(read, boundary, on_part)
  local pull = setmetatable({ read = read, buffer = "" }, Pull)
  if part_body(pull, boundary, function() end) == nil then
    return nil, pull.problem and tostring(pull.problem) or "the boundary does not occur in the body"
  end
  local index = 0
  while true do
    index = index + 1
    local headers = part_headers(pull)
    if not headers then return nil, ("part %d has no end of its headers"):format(index) end
    local last = part_body(pull, boundary, on_part(headers, index))
    if last == nil then return nil, pull.problem and tostring(pull.problem) or "the last boundary is missing" end
    if last then return index end
  end
end

return M
