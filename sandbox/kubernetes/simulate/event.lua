--- Events are forgotten after an hour.
local M = { on = {} }

local LIFETIME = 3600 -- seconds

M.on["/events"] = function(_, change)
  if change.type == "DELETED" then return nil end
  return change.object.metadata.namespace, change.object.metadata.name, LIFETIME
end

function M.reconcile(sim, namespace, name)
  local event = sim:get("/events", namespace, name)
  if event then sim:delete("/events", event) end
end

return M
