--- Jobs: Pods until enough have ended well, or too many badly.
local replicas = require "sandbox.kubernetes.simulate.replicas"
local simulate = require "sandbox.kubernetes.simulate"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = { on = {
  ["batch/jobs"] = simulate.itself,
  ["/pods"] = simulate.owner "Job",
} }

local ID = "batch/jobs"

local function finished(job)
  for _, c in ipairs(values.get(job, "status", "conditions") or {}) do
    if (c.type == "Complete" or c.type == "Failed") and c.status == "True" then return c end
  end
end

local function counts(sim, job)
  local n = { active = 0, ready = 0, succeeded = 0, failed = 0 }
  local active = {}
  for _, p in ipairs(sim:owned(job, "/pods")) do
    local phase = values.get(p, "status", "phase")
    if phase == "Succeeded" then
      n.succeeded = n.succeeded + 1
    elseif phase == "Failed" then
      n.failed = n.failed + 1
    elseif not p.metadata.deletionTimestamp then
      n.active = n.active + 1
      active[#active + 1] = p
    end
  end
  n.ready = replicas.count_ready(active)
  return n, active
end

local function end_with(sim, job, n, kind, reason, message)
  sim:event(job, kind == "Complete" and "Normal" or "Warning", kind == "Complete" and "Completed" or reason, message,
    "job-controller")
  sim:edit(ID, job, function(o)
    local status, now = values.sub(o, "status"), sim.api:now()
    if kind == "Complete" then
      simulate.set_condition(status, "SuccessCriteriaMet", true, reason, message, now)
      status.completionTime = now
    else
      simulate.set_condition(status, "FailureTarget", true, reason, message, now)
    end
    simulate.set_condition(status, kind, true, reason, message, now)
    for _, c in ipairs(status.conditions) do c.lastProbeTime = c.lastProbeTime or now end
    status.active, status.ready = nil, 0
    status.succeeded, status.failed = n.succeeded > 0 and n.succeeded or nil, n.failed > 0 and n.failed or nil
  end)
end

local function age(timestamp)
  local at = timestamp and time.parse_rfc3339(timestamp)
  return at and time.now() - at or 0
end

local function after_end(sim, job, condition)
  local ttl = job.spec.ttlSecondsAfterFinished
  if not ttl then return nil end
  local left = ttl - age(condition.lastTransitionTime)
  if left > 0 then return left end
  sim:delete(ID, job)
end

function M.reconcile(sim, namespace, name)
  local job = sim:get(ID, namespace, name)
  if not job or job.metadata.deletionTimestamp then return nil end
  local condition = finished(job)
  if condition then return after_end(sim, job, condition) end
  local n, active = counts(sim, job)
  local function stop(kind, reason, message)
    for _, p in ipairs(active) do sim:delete("/pods", p) end
    end_with(sim, job, n, kind, reason, message)
    return 0
  end
  local wanted = job.spec.completions
  local deadline = job.spec.activeDeadlineSeconds
  local started = values.get(job, "status", "startTime")
  if n.succeeded >= (wanted or 1) and (wanted or n.active == 0) then return stop("Complete", "CompletionsReached",
    "Reached expected number of succeeded pods") end
  if n.failed > job.spec.backoffLimit then
    return stop("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
  end
  if deadline and started and age(started) >= deadline then
    return stop("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
  end
  local refused = false
  if job.spec.suspend then
    for _, p in ipairs(active) do sim:delete("/pods", p) end
    n.active = 0
  else
    local room = math.min(job.spec.parallelism, wanted and wanted - n.succeeded or job.spec.parallelism) - n.active
    for _ = 1, room do
      local made = replicas.create_pod(sim, job, replicas.pod(job, job.spec.template, replicas.pod_name(job)),
        "job-controller")
      refused = not made
      if refused then break end
      n.active = n.active + 1
    end
  end
  sim:edit(ID, job, function(o)
    local status = values.sub(o, "status")
    if not o.spec.suspend then status.startTime = status.startTime or sim.api:now() end
    status.active, status.ready = n.active > 0 and n.active or nil, n.ready
    status.succeeded, status.failed = n.succeeded > 0 and n.succeeded or nil, n.failed > 0 and n.failed or nil
    status.terminating, status.uncountedTerminatedPods = 0, values.object()
  end)
  if refused then return replicas.RETRY end
  if deadline then return math.max(0.1, deadline - age(started or sim.api:now())) end
end

return M
