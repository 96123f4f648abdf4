--- What a run asks a person: on the terminal, or by parking the run.
local display = require "ws.display"
local errors = require "ws.error"
local native = require "ws.engine".native
local time = require "ws.time"

local M = {}

--- Who says yes.
---@return { by: string, at: string }
function M.given()
  return { by = os.getenv("USER") or os.getenv("LOGNAME") or "unknown", at = time.rfc3339() }
end

local function parked(run, what)
  return errors.new { kind = "parked", exit = 75, message = ("waits for approval: %s"):format(what.text),
    next = "wsrun approve " .. run.id }
end

--- Asks, and returns the approval; raises an error of kind `parked` where nobody can be asked, `denied` after a no.
---@async
---@param run ws.Run
---@param what { text: string }
---@return { by: string, at: string }
function M.ask(run, what)
  if run.options.yes then return M.given() end
  if run.options.input == false or not native.is_tty(0) or not native.is_tty(2) then error(parked(run, what), 0) end
  display.write(("\n%s\nGo on? [y/N] "):format(what.text))
  local answer = (require "ws.fs".read("/dev/tty", { length = 1 }) or ""):lower()
  if answer ~= "y" then
    error(errors.new { kind = "denied", message = ("not approved: %s"):format(what.text),
      hint = "wsrun resume asks again" }, 0)
  end
  return M.given()
end

return M
