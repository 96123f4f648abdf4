--- The display for programs: one JSON object per event on stdout.
--- Every object has `schema_version`, `type`, `time` (RFC 3339) and `run`; the last one, `run_end`, is the result. The
--- schema is docs/events.schema.json.
local json = require "ws.json"
local secret = require "ws.secret"
local time = require "ws.time"

local M = {}

local SCHEMA_VERSION = 1

local function step_fields(event)
  local step = event.step
  local fields = { step = step.path, status = step.status, line = step.line, summary = step.summary,
    seconds = step.seconds, text = event.text, progress = event.type == "step_progress" and step.progress or nil,
    changes = event.type ~= "step_start" and #step.changes > 0 and json.array(step.changes) or nil,
    reused = step.reused and true or nil }
  if step.err then fields.error = M.error_fields(step.err) end
  return fields
end

--- The fields of an error object that programs get.
---@param err ws.Error
---@return table
function M.error_fields(err)
  return { code = err.kind, message = err.message, hint = err.hint, where = err.where, status = err.status,
    op = err.op }
end

function M.new()
  return {
    emit = function(event)
      local fields = event.fields or event.step and step_fields(event) or { text = event.text }
      fields.schema_version, fields.type, fields.time = SCHEMA_VERSION, event.type, time.rfc3339(nil, 3)
      fields.run = event.run and event.run.id
      -- in a string "\u0023" is "#": no CI takes what stands in one for a command
      io.stdout:write((secret.redact(json.encode(fields)):gsub("##%[", "#\\u0023[")), "\n")
      io.stdout:flush()
    end,
    close = function() end,
  }
end

return M
