--- What a step said, for a CI's log and for reports: how it went on, and the end of what its children wrote.
local display = require "ws.display"
local now = require "ws.engine".native.monotonic

local M = {}

local LINES = 200      -- of each log, and of the progress
local BYTES = 32 * 1024

--- What a line of progress says beside its counts and times: "3 tests" and "4 tests (20s)" say the same.
---@param text string
---@return string
function M.gist(text)
  local what = (" " .. text:gsub(" %(%d+s%)$", "") .. " "):gsub("(%s)%d[%d./]*%f[%s]", "%1N")
  return what
end

--- Remembers a step's progress. What differs only in a count or a time is told once.
---@param step ws.Step
function M.note(step)
  local history = step.history or { last = {} }
  step.history = history
  local text = tostring(step.progress.text)
  local what = M.gist(text)
  if history.last[what] then return end
  history.last[what] = true
  history[#history + 1] = ("%8s  %s"):format("+" .. display.duration(now() - step.started), text)
  if #history > 2 * LINES then table.move(history, LINES + 1, #history + LINES, 1) end
end

--- The last lines of a file, without colours; read at once, so that nothing else is shown meanwhile.
local function tail(path)
  local file = io.open(path, "rb")
  if not file then return {} end
  local size = file:seek("end") or 0
  file:seek("set", math.max(0, size - BYTES))
  local text = (file:read("a") or ""):gsub("\27%[[%d;?]*%a", ""):gsub("\r\n", "\n")
  file:close()
  local lines = {}
  for line in text:gmatch("[^\n]+") do lines[#lines + 1] = line end
  if size > BYTES then table.remove(lines, 1) end -- it has lost its beginning
  local dropped = size > BYTES or #lines > LINES
  lines = table.move(lines, math.max(1, #lines - LINES + 1), #lines, 1, {})
  if dropped then table.insert(lines, 1, ("... (all of it: %s)"):format(path)) end
  return lines
end

--- The end of the logs that a step asked for by w:log_file.
---@param step ws.Step
---@return string[]
function M.log(step)
  local lines = {}
  for _, path in ipairs(step.logs or {}) do
    local last = tail(path)
    table.move(last, 1, #last, #lines + 1, lines)
  end
  return lines
end

--- Progress and logs of a step, each line indented.
---@param step ws.Step
---@return string[]
function M.lines(step)
  local lines = {}
  local history = step.history or {}
  table.move(history, math.max(1, #history - LINES + 1), #history, 1, lines)
  local log = M.log(step)
  table.move(log, 1, #log, #lines + 1, lines)
  for i, line in ipairs(lines) do lines[i] = "  " .. line end
  return lines
end

return M
