--- Spans as OTLP/HTTP has them in JSON, and their way to a collector.
--- https://opentelemetry.io/docs/specs/otlp/#otlphttp
local http = require "ws.http"
local json = require "ws.json"
local now = require "ws.engine".native.monotonic
local plain = require "ws.plain"
local secret = require "ws.secret"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local BATCH = 512           -- spans of one request
local INTERRUPTED_LIMIT = 3 -- seconds, when a person waits for the end
local INTERNAL = 1          -- SpanKind
local OK, ERROR = 1, 2      -- StatusCode

local function value_of(value)
  if type(value) == "boolean" then return { boolValue = value } end
  if math.type(value) == "integer" then return { intValue = tostring(value) } end
  if type(value) == "number" then return { doubleValue = value } end
  if type(value) == "table" then
    local values = json.array {}
    for i, member in ipairs(value) do values[i] = value_of(member) end
    return { arrayValue = { values = values } }
  end
  return { stringValue = plain(value) }
end

local function attributes(values)
  local names, list = {}, json.array {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = { key = name, value = value_of(values[name]) } end
  return list
end

--- A moment of the monotonic clock as nanoseconds since 1970.
local function clock()
  local offset = time.now() - now()
  return function(moment) return ("%d000"):format(math.floor((moment + offset) * 1e6)) end
end

local function exception(err, at)
  return json.array { { name = "exception", timeUnixNano = at, attributes = attributes {
    ["exception.type"] = err.kind, ["exception.message"] = err.message, ["wsrun.error.hint"] = err.hint,
    ["wsrun.error.where"] = err.where,
  } } }
end

local function step_span(trace, step, nano)
  local file, line = (step.line or ""):match("^(.*):(%d+)$")
  local parent, links = step.parent, json.array {}
  local ended = nano(step.started + (step.seconds or now() - step.started))
  local err = step.status == "failed" and step.err
  for _, needed in ipairs(step.needed) do
    if needed.span_id then links[#links + 1] = { traceId = trace.trace_id, spanId = needed.span_id } end
  end
  return {
    traceId = trace.trace_id, spanId = require "ws.trace".span_id(step), kind = INTERNAL, name = plain(step.path),
    parentSpanId = parent and require "ws.trace".span_id(parent) or trace.span_id, flags = 1,
    startTimeUnixNano = nano(step.started), endTimeUnixNano = ended, links = links,
    attributes = attributes { ["wsrun.step.path"] = step.path, ["wsrun.step.status"] = step.status,
      ["wsrun.step.summary"] = step.summary, ["wsrun.step.changes"] = #step.changes > 0 and step.changes or nil,
      ["code.file.path"] = file, ["code.line.number"] = math.tointeger(tonumber(line)),
      ["error.type"] = err and err.kind or nil },
    events = err and not step.inherited and exception(err, ended) or nil,
    status = err and { code = ERROR, message = plain(err.message) } or step.status == "done" and { code = OK } or nil,
  }
end

--- The spans of a run: its own first, then those of the steps that ran in this process.
---@param trace ws.Trace
---@param run ws.Run
---@param outcome { status: string, exit: integer, err?: ws.Error }
---@return table[]
function M.spans(trace, run, outcome)
  local nano, reused = clock(), 0
  trace.interrupted = run.interrupted
  for _, step in ipairs(run.steps) do -- links need the ids of those that are linked to
    if step.started then require "ws.trace".span_id(step) end
    if step.reused then reused = reused + 1 end
  end
  local tally, err, ended = run:tally(), outcome.err, nano(now())
  local spans = { {
    traceId = trace.trace_id, spanId = trace.span_id, parentSpanId = trace.parent_id, kind = INTERNAL, flags = 1,
    name = plain((run.title:gsub("%s+", " "))), startTimeUnixNano = nano(run.started), endTimeUnixNano = ended,
    attributes = attributes { ["wsrun.run"] = run.id, ["wsrun.status"] = outcome.status, ["wsrun.exit"] = outcome.exit,
      ["wsrun.changes"] = run.change_count, ["wsrun.sandbox"] = run.sandbox, ["wsrun.steps.done"] = tally.done,
      ["wsrun.steps.failed"] = tally.failed, ["wsrun.steps.skipped"] = tally.skipped, ["wsrun.steps.reused"] = reused,
      ["error.type"] = err and err.kind or nil },
    events = err and exception(err, ended) or nil,
    status = err and { code = ERROR, message = plain(err.message) } or { code = OK },
  } }
  for _, step in ipairs(run.steps) do
    if step.started then spans[#spans + 1] = step_span(trace, step, nano) end
  end
  return spans
end

local again = { [429] = true, [502] = true, [503] = true, [504] = true }

--- Posts one request until it is taken or cannot be; returns what was wrong, or nil.
local function post(trace, body, deadline)
  local headers = { ["content-type"] = "application/json", ["user-agent"] = "wsrun" }
  for name, value in pairs(trace.headers) do headers[name:lower()] = value end
  local delay = 0.5
  while true do
    local left = deadline - now()
    if left <= 0 then return "the collector took too long" end
    local answer, err = http.post(trace.url, { headers = headers, body = body, timeout = left, connect_timeout = left,
      max_body = 1 << 20, reads = true })
    if not answer then return tostring(err.message) end
    if answer.status >= 200 and answer.status < 300 then
      local said = json.decode(answer.body)
      local partial = type(said) == "table" and said.partialSuccess
      local rejected = type(partial) == "table" and tonumber(partial.rejectedSpans) or 0
      if rejected > 0 then
        return ("the collector refused %d spans: %s"):format(rejected, tostring(partial.errorMessage or ""))
      end
      return nil
    end
    local wait = tonumber(answer.headers["retry-after"]) or delay
    if not again[answer.status] or now() + wait >= deadline then
      return ("%s answered %d"):format(trace.url:gsub("[?#].*$", ""):gsub("//[^/@]*@", "//"), answer.status)
    end
    task.sleep(wait)
    delay = delay * 2
  end
end

--- Sends spans.
---@async
---@param trace ws.Trace
---@param spans table[]
---@return string? problem
function M.send(trace, spans)
  local deadline = now() + (trace.interrupted and math.min(trace.timeout, INTERRUPTED_LIMIT) or trace.timeout)
  local resource = { attributes = attributes(trace.resource) }
  local scope = { name = "wsrun", version = require "ws.engine".native.version }
  for i = 1, #spans, BATCH do
    local part = json.array(table.move(spans, i, math.min(i + BATCH - 1, #spans), 1, {}))
    local body = json.encode { resourceSpans = json.array { { resource = resource,
      scopeSpans = json.array { { scope = scope, spans = part } } } } }
    local problem = post(trace, secret.redact(body), deadline)
    if problem then return problem end
  end
end

return M
