--- What must hold before a run changes anything: that its locks are still its own.
---
--- Asked by the modules, right before they write: ws.gcp and ws.k8s for every request that is no read, ws.terraform,
--- ws.helm and ws.git before they start what changes something. Outside of a run, and in one without locks, it agrees.
local task = require "ws.task"

local M = {}

--- Whether the current run may change something.
---@async
---@param opts? { long?: boolean }  long: what follows takes long, so the server is asked for proof
---@return true? ok
---@return ws.Error? err  kind `locked`: a lock of the run was lost
function M.check(opts)
  local run = task.get("run")
  for _, lock in ipairs(run and run.locks or {}) do
    if not lock.released then
      local ok, err
      if opts and opts.long then ok, err = lock:prove() else ok, err = lock:guard() end
      if not ok then return nil, err end
    end
  end
  return true
end

return M
