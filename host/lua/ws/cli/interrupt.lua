--- What a signal does to a command that is no workflow: the first one cancels it, so that it releases what it holds.
local M = {}

--- Exit codes by the signal's name.
M.codes = { INT = 130, TERM = 143, HUP = 129 }

--- Calls a function in a task of its own: the first signal cancels it, which stops its children and waits for them; a
--- second one ends those that ignore it. The function returns whether it succeeded, and a value or error.
---@async
---@param fn fun(...): boolean, any
---@param ... any
---@return boolean ok
---@return any value    what fn returned, or the error that ended it
---@return string? signal  that came
function M.run(fn, ...)
  local signal
  local running = require "ws.task".spawn(fn, ...)
  require "ws.signal.native".handle(function(name)
    if signal then require "ws.process".interrupt_all("TERM") end
    signal = signal or name
    running:cancel()
  end)
  local ended, ok, value = running:join()
  if not ended then return false, ok, signal end
  return ok, value, signal
end

return M
