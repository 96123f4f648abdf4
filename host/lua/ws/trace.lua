--- Traces of runs by OpenTelemetry's protocol: a span for the run, one for each step that ran in it.
---
--- The variables of OpenTelemetry's SDKs switch it on and direct it. The run's span is a child of TRACEPARENT (W3C
--- Trace Context); programs that a step starts get a TRACEPARENT of the step. Nothing here can fail a run.
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local secret = require "ws.secret"
local task = require "ws.task"
local url = require "ws.http.url"

local M = {}

---@class ws.Trace
---@field trace_id string   32 hexadecimal digits
---@field span_id string    of the run, 16 hexadecimal digits
---@field parent_id? string
---@field url string        where spans are posted to
---@field headers table<string, ws.Secret>
---@field resource table<string, string>
---@field timeout number    seconds for all of the export
---@field problems string[] what of the environment was not understood

local function first(...)
  for i = 1, select("#", ...) do
    local value = os.getenv((select(i, ...)))
    if value and value ~= "" then return value end
  end
end

--- Reads a TRACEPARENT; nil when it is none. https://www.w3.org/TR/trace-context/#traceparent-header
---@param text? string
---@return { trace_id: string, parent_id: string, sampled: boolean }?
function M.parse_traceparent(text)
  local version, trace_id, parent_id, flags, rest = (text or ""):match("^(%x%x)%-(%x+)%-(%x+)%-(%x%x)(.*)$")
  if not version or text:find("%u") or #trace_id ~= 32 or #parent_id ~= 16 or version == "ff"
    or (rest ~= "" and (version == "00" or rest:sub(1, 1) ~= "-"))
    or not trace_id:find("[^0]") or not parent_id:find("[^0]") then
    return nil
  end
  return { trace_id = trace_id, parent_id = parent_id, sampled = tonumber(flags, 16) & 1 == 1 }
end

--- Reads "name=value,name=value" with percent-escapes, as the baggage header has it.
local function pairs_of(text, on_wrong)
  local values = {}
  for entry in (text or ""):gmatch("[^,]+") do
    local name, value = entry:match("^%s*([^=%s]+)%s*=%s*(.-)%s*$")
    value = value and url.decode(value)
    if name and value and not value:find("%c") and name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      values[name] = value
    else
      on_wrong()
    end
  end
  return values
end

local function read_headers(trace)
  local text = first("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
  if not text then return end
  secret.new(text)
  local values = pairs_of(text, function()
    trace.problems[1] = "an entry of OTEL_EXPORTER_OTLP_HEADERS is not name=value"
  end)
  for name, value in pairs(values) do
    secret.new(value:match("^%a+ (%S+)$") or value) -- "Bearer TOKEN"
    trace.headers[name] = secret.new(value)
  end
end

local function read_resource()
  local resource = { ["service.name"] = "wsrun" }
  for name, value in pairs(pairs_of(os.getenv("OTEL_RESOURCE_ATTRIBUTES"), function() end)) do
    resource[name] = value
  end
  resource["service.name"] = first("OTEL_SERVICE_NAME") or resource["service.name"]
  resource["service.version"] = resource["service.version"] or require "ws.engine".native.version
  resource["host.name"] = resource["host.name"] or require "ws.machine".place().host
  resource["telemetry.sdk.name"], resource["telemetry.sdk.language"] = "wsrun", "lua"
  return resource
end

--- Where spans go, or nil when the environment asks for none.
local function endpoint()
  if (os.getenv("OTEL_SDK_DISABLED") or ""):lower() == "true" or os.getenv("OTEL_TRACES_EXPORTER") == "none" then
    return nil
  end
  local whole, base = first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), first("OTEL_EXPORTER_OTLP_ENDPOINT")
  return whole or base and (base:gsub("/+$", "") .. "/v1/traces")
end

--- The id of a step's span.
---@param step ws.Step
---@return string
function M.span_id(step)
  step.span_id = step.span_id or crypto.random_hex(8)
  return step.span_id
end

--- Begins the trace of a run when the environment asks for one; `finish` ends it.
---@return ws.Trace?
function M.begin()
  local target = endpoint()
  if not target then return nil end
  local parent = M.parse_traceparent(os.getenv("TRACEPARENT"))
  if parent and not parent.sampled then return nil end -- whoever began the trace does not record it
  local trace = { url = target, headers = {}, problems = {}, resource = read_resource(),
    trace_id = parent and parent.trace_id or crypto.random_hex(16), parent_id = parent and parent.parent_id,
    span_id = crypto.random_hex(8) }
  read_headers(trace)
  local milliseconds = first("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
  trace.timeout = math.min(math.max((tonumber(milliseconds) or 10000) / 1000, 0.001), 60)
  environment.of_task = function()
    local step = task.get("step")
    return { TRACEPARENT = ("00-%s-%s-01"):format(trace.trace_id, step and M.span_id(step) or trace.span_id) }
  end
  return trace
end

--- Sends what the run did; in time or not at all.
---@async
---@param trace ws.Trace
---@param run ws.Run
---@param outcome { status: string, exit: integer, err?: ws.Error }
---@return string[] problems  one line each
function M.finish(trace, run, outcome)
  environment.of_task = nil
  local ok, err = pcall(function()
    return require "ws.trace.otlp".send(trace, require "ws.trace.otlp".spans(trace, run, outcome))
  end)
  local problem = not ok and tostring(err) or err
  if problem then trace.problems[#trace.problems + 1] = "the trace was not sent: " .. tostring(problem) end
  return trace.problems
end

return M
