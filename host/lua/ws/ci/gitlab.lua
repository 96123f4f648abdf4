--- GitLab CI: sections of the job's log. Failures reach its pages through the JUnit report.
---
--- A section begins and ends at a marker, wherever it stands in a line.
--- https://docs.gitlab.com/ci/jobs/job_logs/
local secret = require "ws.secret"

local M = { name = "gitlab" }

--- The text with no section marker in it.
---@param text string
---@return string
function M.harmless(text)
  return (text:gsub("section_(%a+:%d)", "section %1"))
end

--- Folded lines under a title; a failed step's are open. The section's times are the step's, so GitLab shows how long
--- the step took.
---@param title string
---@param lines string[]
---@param step ws.Step
---@return string
function M.group(title, lines, step)
  local now = os.time()
  local name = "wsrun_" .. step.path:gsub("[^%w_.-]", "_")
  local from = now - math.floor((step.seconds or 0) + 0.5)
  local text = M.harmless(secret.redact(title .. "\n" .. table.concat(lines, "\n")))
  return ("\27[0Ksection_start:%d:%s%s\r\27[0K%s\n\27[0Ksection_end:%d:%s\r\27[0K\n"):format(from, name,
    step.status == "failed" and "" or "[collapsed=true]", text, now, name)
end

return M
