--- When a run's steps ran, on one axis, and which of them the run's length came from.
---
--- The axis is the time in which the run's processes lived: what lies between an attempt and the one that resumed it,
--- perhaps a night, is left out. The critical path of an attempt is found from its end: the step that ended last;
--- before it the step at the same level that had ended last when it began, one that it declares to need before others;
--- and so on. Inside a step of the path, its sub-steps are looked at likewise.
local M = {}

local TOGETHER = 0.005 -- seconds; ends and beginnings that are nearer than this are the same moment
local NEEDED = 0.1     -- a declared need counts as the reason when nothing else ended this much later

--- The attempts that the rows belong to, each with its place on the axis.
---@param rows table[]   of the journal: every attempt of every step; `finished` is set in them
---@param run table      of the journal
---@param now number     seconds since 1970
---@return table[] attempts  { number, from, to, at, rows }
---@return number length     of the axis, in seconds
function M.attempts(rows, run, now)
  local attempts, by_number = {}, {}
  for _, row in ipairs(rows) do
    local attempt = by_number[row.attempt]
    if not attempt then
      attempt = { number = row.attempt, from = row.started, to = row.started, rows = {} }
      by_number[row.attempt] = attempt
      attempts[#attempts + 1] = attempt
    end
    attempt.from = math.min(attempt.from, row.started)
    attempt.to = math.max(attempt.to, row.ended or row.started)
    attempt.rows[#attempt.rows + 1] = row
  end
  table.sort(attempts, function(a, b) return a.number < b.number end)
  local first, last = attempts[1], attempts[#attempts]
  if first and first.number == 1 then first.from = math.min(first.from, run.started) end
  if last and last.number == run.attempt then
    last.to = math.max(last.to, run.ended or run.status == "running" and now or last.to)
  end
  local length = 0
  for _, attempt in ipairs(attempts) do
    attempt.at, length = length, length + attempt.to - attempt.from
    for _, row in ipairs(attempt.rows) do row.finished = row.ended or attempt.to end
  end
  return attempts, math.max(length, 0.001)
end

--- Where a moment of an attempt lies on the axis: a share of its length.
---@param attempt table
---@param moment number
---@param length number
---@return number
function M.position(attempt, moment, length)
  return math.min(1, math.max(0, (attempt.at + moment - attempt.from) / length))
end

local function parent_of(path)
  return path:match("^(.*)/[^/]*$") or ""
end

--- Walks one level from its end to its beginning. Ends and beginnings only get earlier on the way, so one pass over the
--- steps in the order of their ends is enough.
local function chain_of(level)
  local by_path, chain = {}, {}
  table.sort(level, function(a, b)
    if a.finished ~= b.finished then return a.finished < b.finished end
    return a.started < b.started
  end)
  for _, row in ipairs(level) do by_path[row.path] = row end
  local i = #level
  local row = level[i]
  while row do
    table.insert(chain, row)
    while i > 0 and (level[i].finished > row.started + TOGETHER or level[i].started >= row.started) do i = i - 1 end
    local latest = level[i]
    for _, path in ipairs(row.needs or {}) do
      local needed = by_path[path]
      if needed and latest and needed.started < row.started and needed.finished <= row.started + TOGETHER
        and needed.finished >= level[i].finished - NEEDED and needed.finished >= (latest == level[i] and 0
        or latest.finished) then
        latest = needed
      end
    end
    row = latest
  end
  local forward = {}
  for n = #chain, 1, -1 do forward[#forward + 1] = chain[n] end
  return forward
end

local function mark(levels, path)
  local level = levels[path]
  if not level then return {} end
  local chain = chain_of(level)
  for _, row in ipairs(chain) do
    row.critical = true
    mark(levels, row.path)
  end
  return chain
end

--- Marks the steps of an attempt that its length came from: `critical` is set in their rows.
---@param attempt table
---@return table[] rows  those of the top level, in order
function M.critical(attempt)
  local levels = {}
  for _, row in ipairs(attempt.rows) do
    local parent = parent_of(row.path)
    levels[parent] = levels[parent] or {}
    table.insert(levels[parent], row)
  end
  return mark(levels, "")
end

--- Round times for the axis: the first is 0, the last at most `length`.
---@param length number  seconds
---@return number[]
function M.ticks(length)
  local step
  for _, nice in ipairs { 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600,
    7200, 14400, 43200, 86400 } do
    step = nice
    if length / nice <= 6 then break end
  end
  local ticks = {}
  for i = 0, math.min(20, math.floor(length / step)) do ticks[#ticks + 1] = i * step end
  return ticks
end

return M
