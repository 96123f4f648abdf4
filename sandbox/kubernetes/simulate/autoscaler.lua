--- HorizontalPodAutoscalers: keep their target between the limits and say so; there is no load to follow.
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local ID = "autoscaling/horizontalpodautoscalers"

M.on[ID] = simulate.itself

--- A target wakes the autoscalers of its namespace.
local function of_target(sim, change)
  local meta = change.object.metadata
  for _, hpa in ipairs(sim.store:list(ID, meta.namespace)) do
    if values.get(hpa, "spec", "scaleTargetRef", "name") == meta.name then sim:enqueue(M, meta.namespace,
      hpa.metadata.name, 0) end
  end
end
M.on["apps/deployments"] = of_target
M.on["apps/statefulsets"] = of_target

function M.reconcile(sim, namespace, name)
  local hpa = sim:get(ID, namespace, name)
  if not hpa then return nil end
  local ref, now = hpa.spec.scaleTargetRef, sim.api:now()
  local resource = sim.api.resources:of_kind(ref.apiVersion or "apps/v1", ref.kind or "")
  local target = resource and sim:get(resource.id, namespace, ref.name)
  local replicas = target and values.get(target, "spec", "replicas")
  local wanted = replicas and math.max(hpa.spec.minReplicas or 1, math.min(hpa.spec.maxReplicas, replicas))
  if replicas and replicas ~= 0 and wanted ~= replicas then
    target = sim:edit(resource.id, target, function(o) o.spec.replicas = wanted end)
    sim:event(hpa, "Normal", "SuccessfulRescale", ("New size: %d; reason: limits"):format(wanted),
      "horizontal-pod-autoscaler")
  end
  sim:edit(ID, hpa, function(o)
    local before = o.status or {}
    local status = values.object { conditions = before.conditions, lastScaleTime = before.lastScaleTime,
      observedGeneration = o.metadata.generation, currentReplicas = target and values.get(target, "status", "replicas")
        or 0,
      desiredReplicas = wanted or 0 }
    if not target then
      simulate.set_condition(status, "AbleToScale", false, "FailedGetScale",
        ('the HPA controller was unable to get the target\'s '
        .. 'current scale: %s "%s" not found'):format((ref.kind or ""):lower() .. "s.apps", ref.name), now)
    else
      simulate.set_condition(status, "AbleToScale", true, "ReadyForNewScale", "recommended size matches current size",
        now)
      simulate.set_condition(status, "ScalingActive", true, "ValidMetricFound",
        "the HPA was able to compute a replica count", now)
      simulate.set_condition(status, "ScalingLimited", false, "DesiredWithinRange",
        "the desired count is within the acceptable range", now)
      status.currentMetrics = values.array()
      for i, metric in ipairs(o.spec.metrics or {}) do
        local goal = values.get(metric, "resource", "target", "averageUtilization")
        if goal then
          status.currentMetrics[i] = { type = "Resource", resource = { name = metric.resource.name,
            current = { averageUtilization = goal // 2, averageValue = "10m" } } }
        end
      end
      if #status.currentMetrics == 0 then status.currentMetrics = nil end
    end
    o.status = status
  end)
end

return M
