--- The REST calls of the provider: endpoints, errors, retries, long-running operations.
local error_object = require "ws.error"
local json = require "ws.json"
local task = require "ws.task"

local M = {}

--- Each API's path below the sandbox's address, and the variable that the published provider reads its endpoint from.
M.services = {
  artifactregistry = { path = "artifactregistry/v1/", variable = "ARTIFACT_REGISTRY" },
  cloudbilling = { path = "billing/v1/", variable = "CLOUD_BILLING" },
  cloudfunctions = { path = "cloudfunctions/v2/", variable = "CLOUDFUNCTIONS2" },
  compute = { path = "compute/v1/", variable = "COMPUTE" },
  container = { path = "container/v1/", variable = "CONTAINER" },
  dns = { path = "dns/v1/", variable = "DNS" },
  iam = { path = "iam/v1/", variable = "IAM_BETA" },
  monitoring = { path = "monitoring/", variable = "MONITORING" },
  pubsub = { path = "pubsub/v1/", variable = "PUBSUB" },
  resourcemanager = { path = "resourcemanager/v1/", variable = "RESOURCE_MANAGER" },
  secretmanager = { path = "secretmanager/v1/", variable = "SECRET_MANAGER" },
  servicenetworking = { path = "servicenetworking/v1/", variable = "SERVICE_NETWORKING" },
  serviceusage = { path = "serviceusage/v1/", variable = "SERVICE_USAGE" },
  sql = { path = "sql/v1beta4/", variable = "SQL" },
  storage = { path = "storage/v1/", variable = "STORAGE" },
}

local KINDS = {
  [400] = "invalid", [401] = "unauthenticated", [403] = "denied", [404] = "not_found", [409] = "conflict",
  [412] = "precondition", [413] = "too_large", [429] = "exhausted", [501] = "unsupported", [503] = "unavailable",
}

local FIRST_PAUSE, LONGEST_PAUSE, ATTEMPTS = 0.1, 3, 7

local function decode_error(method, url, response)
  local body = json.decode(response.body or "")
  local said = type(body) == "table" and type(body.error) == "table" and body.error or {}
  local reason = type(said.errors) == "table" and type(said.errors[1]) == "table" and said.errors[1].reason
  return error_object.new {
    kind = KINDS[response.status] or "failed", status = response.status, reason = reason,
    message = ("%s %s: Error %d: %s%s"):format(method, url, response.status, said.message or response.body or "",
      reason and ", " .. reason or ""),
  }
end

local function retryable(response, err, opts)
  if not response then return err.kind == "connection" or err.kind == "timeout" end
  local status = response.status
  if status == 409 then
    return opts.retry_conflict or (response.body or ""):find("operationInProgress", 1, true) ~= nil
  end
  return status == 429 or status == 500 or status == 502 or status == 503
end

--- Percent-encodes a part of a path or query.
---@param text string
---@return string
function M.escape(text)
  return (text:gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function query_string(query)
  local parts = {}
  for k, v in pairs(query or {}) do parts[#parts + 1] = k .. "=" .. M.escape(tostring(v)) end
  table.sort(parts)
  return #parts > 0 and "&" .. table.concat(parts, "&") or ""
end

--- The address of an API, with slash at the end.
---@param context table
---@param service string
---@return string
function M.endpoint(context, service)
  return context.provider.endpoints[service]
    or error(("the provider has no endpoint for %s"):format(service))
end

---@class sandbox.provider.Call
---@field query? table<string, any>
---@field body? table|string  a table is sent as JSON
---@field headers? table<string, string>
---@field url? string  instead of the service's endpoint and path
---@field raw? boolean  return the body's bytes

--- Calls an API. Statuses above 399 are errors; what may pass by itself is tried again a few times.
---@async
---@param context table
---@param method string
---@param service string
---@param path string  below the endpoint
---@param opts? sandbox.provider.Call
---@return any? object  the decoded body
---@return ws.Error? err
function M.call(context, method, service, path, opts)
  opts = opts or {}
  local url = (opts.url or M.endpoint(context, service) .. path)
  url = url .. (url:find("?", 1, true) and "&" or "?") .. "alt=json" .. query_string(opts.query)
  local headers = { authorization = "Bearer " .. context.provider.token, ["user-agent"] = context.provider.user_agent }
  local body = opts.body
  if type(body) == "table" then
    body = json.encode(body)
    headers["content-type"] = "application/json"
  elseif not body and method ~= "GET" and method ~= "DELETE" then
    body = ""
  end
  for k, v in pairs(opts.headers or {}) do headers[k] = v end
  local pause = FIRST_PAUSE
  for attempt = 1, ATTEMPTS do
    local response, err = context.provider.transport { method = method, url = url, headers = headers, body = body }
    if response and response.status < 400 then
      if opts.raw then return response.body end
      if not (response.body or ""):find("%S") then return {} end
      return json.decode(response.body)
    end
    if attempt == ATTEMPTS or context.stopped() or not retryable(response, err, opts) then
      if response then return nil, decode_error(method, url, response) end
      return nil, err
    end
    task.sleep(pause)
    pause = math.min(pause * 2, LONGEST_PAUSE)
  end
end

-- ---- operations ----------------------------------------------------------------------------------------------------

local function compute_place(operation)
  local function last(link) return link:match("([^/]+)$") end
  if operation.zone then return "zones/" .. last(operation.zone) end
  if operation.region then return "regions/" .. last(operation.region) end
  return "global"
end

--- For each kind of operation: where it is polled, whether it is finished, and how it says that it failed.
local kinds = {
  compute = {
    path = function(o, params) return ("projects/%s/%s/operations/%s"):format(params.project, compute_place(o),
      o.name) end,
    done = function(o) return o.status == "DONE" end,
    failure = function(o) return o.error and o.error.errors and o.error.errors[1] and o.error.errors[1].message end,
  },
  container = {
    path = function(o, params)
      return ("projects/%s/locations/%s/operations/%s"):format(params.project, params.location, o.name)
    end,
    done = function(o) return o.status == "DONE" end,
    failure = function(o)
      return o.error and o.error.message or (o.statusMessage ~= "" and o.statusMessage or nil)
    end,
  },
  sql = {
    path = function(o, params) return ("projects/%s/operations/%s"):format(params.project, o.name) end,
    done = function(o) return o.status == "DONE" end,
    failure = function(o) return o.error and (o.error.errors and o.error.errors[1] and o.error.errors[1].message) end,
  },
  longrunning = {
    path = function(o) return o.name end,
    done = function(o) return o.done == true end,
    failure = function(o) return o.error and o.error.message end,
  },
}

--- Which kind of operation each API answers with; an API that is not here answers with the resource itself.
M.operation_kinds = {
  compute = "compute", container = "container", sql = "sql", serviceusage = "longrunning",
  servicenetworking = "longrunning", cloudfunctions = "longrunning", artifactregistry = "longrunning",
}

--- Waits until an operation has finished. An answer that is no operation is returned as it is.
---@async
---@param context table  `params` name project and location; `deadline` bounds the wait
---@param service string
---@param operation table
---@return table? operation
---@return ws.Error? err  kinds `failed`, `timeout`
function M.wait(context, service, operation)
  local kind = kinds[M.operation_kinds[service]]
  if not kind or not operation.name or (operation.status == nil and operation.done == nil
    and not tostring(operation.name):find("operations/", 1, true)) then
    return operation
  end
  local pause = 0.02
  while not kind.done(operation) do
    if context.now() > context.deadline then
      return nil, error_object.new { kind = "timeout", message = ("operation %s did not end within the timeout")
        :format(operation.name) }
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, 1)
    local err
    operation, err = M.call(context, "GET", service, kind.path(operation, context.params))
    if not operation then return nil, err end
  end
  local why = kind.failure(operation)
  if why then return nil, error_object.new { kind = "failed", message = "operation failed: " .. why } end
  return operation
end

--- Calls an API and waits for the operation that it answers with.
---@async
---@param context table
---@param method string
---@param service string
---@param path string
---@param opts? sandbox.provider.Call
---@return table? answer
---@return ws.Error? err
function M.run(context, method, service, path, opts)
  local answer, err = M.call(context, method, service, path, opts)
  if not answer then return nil, err end
  return M.wait(context, service, answer)
end

return M
