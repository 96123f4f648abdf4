--- CronJobs: a Job each time the schedule says so.
local simulate = require "sandbox.kubernetes.simulate"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = { on = {
  ["batch/cronjobs"] = simulate.itself,
  ["batch/jobs"] = simulate.owner "CronJob",
} }

local SHORTHANDS = {
  ["@hourly"] = "0 * * * *", ["@daily"] = "0 0 * * *", ["@midnight"] = "0 0 * * *", ["@weekly"] = "0 0 * * 0",
  ["@monthly"] = "0 0 1 * *", ["@yearly"] = "0 0 1 1 *", ["@annually"] = "0 0 1 1 *",
}

--- Whether a number fits a field of a schedule: `*`, `a`, `a-b`, `*/n`, `a-b/n`, lists of them.
local function fits(field, n, low, high)
  for part in field:gmatch "[^,]+" do
    local range, step = part:match "^(.-)/(%d+)$"
    range = range or part
    local from, to
    if range == "*" or range == "?" then
      from, to = low, high
    else
      from, to = range:match "^(%d+)%-(%d+)$"
      from = tonumber(from or range)
      to = tonumber(to) or (step and high or from)
    end
    if from and n >= from and n <= to and (n - from) % (tonumber(step) or 1) == 0 then return true end
  end
  return false
end

--- Whether a schedule names the minute of a time (UTC).
---@param schedule string
---@param at number  unix seconds
---@return boolean
function M.due(schedule, at)
  local minute, hour, day, month, weekday = (SHORTHANDS[schedule]
    or schedule):match "^(%S+)%s+(%S+)%s+(%S+)%s+(%S+)%s+(%S+)$"
  if not minute then return false end
  local t = os.date("!*t", math.floor(at))
  return fits(minute, t.min, 0, 59) and fits(hour, t.hour, 0, 23) and fits(day, t.day, 1, 31)
    and fits(month, t.month, 1, 12)
    and (fits(weekday, t.wday - 1, 0, 7) or (t.wday == 1 and fits(weekday, 7, 0, 7)))
end

local function active_jobs(sim, cron)
  local out = values.array()
  for _, job in ipairs(sim:owned(cron, "batch/jobs")) do
    if values.is_empty(values.get(job, "status", "conditions")) then
      out[#out + 1] = { apiVersion = "batch/v1", kind = "Job", name = job.metadata.name,
        namespace = job.metadata.namespace,
        uid = job.metadata.uid, resourceVersion = job.metadata.resourceVersion }
    end
  end
  return out
end

function M.reconcile(sim, namespace, name)
  local cron = sim:get("batch/cronjobs", namespace, name)
  if not cron or cron.metadata.deletionTimestamp then return nil end
  local now = time.now()
  local minute = math.floor(now / 60) * 60
  local stamp = time.rfc3339(minute)
  local active = active_jobs(sim, cron)
  local last = values.get(cron, "status", "lastScheduleTime")
  local forbidden = cron.spec.concurrencyPolicy == "Forbid" and #active > 0
  local born = time.parse_rfc3339(cron.metadata.creationTimestamp)
  if not cron.spec.suspend and last ~= stamp and minute > born and M.due(cron.spec.schedule, minute)
    and not forbidden then
    local template = cron.spec.jobTemplate
    local job = sim:create("batch/jobs", namespace, values.object {
      metadata = values.object { name = ("%s-%d"):format(name, minute // 60),
        labels = values.copy(values.get(template, "metadata", "labels")),
        annotations = values.copy(values.get(template, "metadata", "annotations")),
          ownerReferences = simulate.owned_by(cron) },
      spec = values.copy(template.spec),
    })
    sim:event(cron, "Normal", "SuccessfulCreate", "Created job " .. job.metadata.name, "cronjob-controller")
    last = stamp
    active = active_jobs(sim, cron)
  end
  sim:edit("batch/cronjobs", cron, function(o)
    o.status = values.object { active = #active > 0 and active or nil, lastScheduleTime = last }
  end)
  return 60 - now % 60 + 0.05
end

return M
