--- The full log of a child: each line as it comes, secrets masked, in a file that several children may share.
local secret = require "ws.secret"

local M = {}

---@class ws.process.LogFile
local LogFile = {}
LogFile.__index = LogFile

--- Opens a log for appending; without a path a log that keeps nothing.
---@param path? string
---@return ws.process.LogFile
function M.open(path)
  local file = path and assert(io.open(path, "a"))
  if file then file:setvbuf("line") end
  return setmetatable({ file = file, masked = secret.stream() }, LogFile)
end

--- Appends a line.
---@param line string
function LogFile:write(line)
  if self.file then self.file:write(self.masked:feed(line .. "\n")) end
end

function LogFile:__close()
  if self.file then
    self.file:write(self.masked:finish())
    self.file:close()
  end
  self.file = nil
end

return M
