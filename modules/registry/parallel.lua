--- Work on a list, several at once; the first failure ends the rest.
local task = require "ws.task"

--- Calls fn(item) for each item in order, at most `jobs` at once. The first that fails ends those that run; when this
--- returns, none runs any more.
---@async
---@param list any[]
---@param jobs integer
---@param fn fun(item: any): any, ws.Error?  returns something true, or nil and an error
---@return true? ok
---@return ws.Error? err
return function(list, jobs, fn)
  local next_one, ends, workers = 1, task.queue(), {}
  local _ <close> = setmetatable({}, { __close = function()
    for _, worker in ipairs(workers) do worker:cancel() end
    task.shield(function() for _, worker in ipairs(workers) do worker:join() end end)
  end })
  local function work()
    while next_one <= #list do
      local item = list[next_one]
      next_one = next_one + 1
      local called, ok, err = pcall(fn, item)
      if not called or not ok then return ends:push { raised = not called and ok or nil, err = err } end
    end
    ends:push { done = true }
  end
  for i = 1, math.min(jobs, #list) do workers[i] = task.spawn(work) end
  for _ = 1, #workers do
    local finished = ends:pop()
    if finished.raised then error(finished.raised, 0) end
    if not finished.done then return nil, finished.err end
  end
  return true
end
