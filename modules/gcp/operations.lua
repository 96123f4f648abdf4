--- Long-running operations: the kinds that Google's APIs answer with, and waiting for their end.
local errors = require "ws.error"
local native = require "ws.engine".native
local task = require "ws.task"

local M = {}

local FIRST_POLL, LONGEST_POLL = 0.2, 10 -- seconds
local TIMEOUT = 1800                     -- seconds

--- The path of an operation below its API's base, by its kind: compute and sqladmin say who they are, container's has a
--- self link, the others are named by their path.
local function poll_path(api, operation)
  if api == "sqladmin" then
    return ("projects/%s/operations/%s"):format(operation.targetProject or operation.project or "", operation.name)
  end
  if operation.selfLink then
    return (operation.selfLink:match("/(projects/.+)$"))
  end
  return operation.name
end

--- What a finished operation failed with, or nil.
local function failure(operation)
  local problem = operation.error
  if type(problem) == "table" then
    local first = problem.errors and problem.errors[1] or problem
    return first.message or first.code or "unknown", first.code
  end
  if operation.statusMessage and operation.statusMessage ~= "" then return operation.statusMessage end
end

local function is_done(operation)
  return operation.done == true or operation.status == "DONE" or operation.status == "done"
end

--- Waits for an operation; an answer that is none (a resource itself) is returned at once.
---@async
---@param request fun(opts: table): table?, ws.Error?  gcp.request
---@param operation table
---@param opts { api: string, timeout?: number, on_progress?: fun(operation: table) }
---@return table? operation  the finished one
---@return ws.Error? err  kind `failed` with the operation's own words, or `timeout`
function M.wait(request, operation, opts)
  local deadline, pause = native.monotonic() + (opts.timeout or TIMEOUT), FIRST_POLL
  local is_operation = operation.done ~= nil or operation.operationType
    or (operation.name or ""):find("operations/") or (operation.kind or ""):find("#operation$")
  if not is_operation then return operation end
  while not is_done(operation) do
    if native.monotonic() >= deadline then
      return nil, errors.new { kind = "timeout", op = "gcp.wait",
        message = ("operation %s is not done after %.0f s"):format(operation.name, opts.timeout or TIMEOUT) }
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, LONGEST_POLL)
    local next_one, err = request { api = opts.api, path = poll_path(opts.api, operation) }
    if not next_one then return nil, err end
    operation = next_one
    if opts.on_progress then opts.on_progress(operation) end
  end
  local message, code = failure(operation)
  if message then
    return nil, errors.new { kind = "failed", op = "gcp.wait", detail = tostring(code or ""),
      message = ("operation %s failed: %s"):format(operation.name, message) }
  end
  return operation
end

return M
