--- When to try again, and after how long: the rules of Google's client libraries.
---
--- https://cloud.google.com/storage/docs/retry-strategy: 408, 429, 5xx and lost connections are worth another try, but
--- only when doing the request twice does no harm. Backoff is truncated and exponential with full jitter; Retry-After
--- is honoured; attempts and total time are bounded.
local native = require "ws.engine".native
local task = require "ws.task"

local M = {}

local FIRST, LONGEST, FACTOR = 0.5, 32, 2 -- seconds, seconds, per attempt
local ATTEMPTS, TOTAL = 6, 120            -- tries, seconds

local safe_methods = { GET = true, HEAD = true, OPTIONS = true, PUT = true, DELETE = true }

--- Whether a request may be sent twice: by its method, unless the caller says.
---@param method string
---@param idempotent? boolean
---@return boolean
function M.is_idempotent(method, idempotent)
  if idempotent ~= nil then return idempotent end
  return safe_methods[method] == true
end

--- Whether an HTTP status is worth another try.
---@param status integer
---@return boolean
function M.is_retryable_status(status)
  return status == 408 or status == 429 or (status >= 500 and status ~= 501)
end

--- Seconds that a Retry-After header asks for, or nil.
---@param value string?
---@return number?
function M.retry_after(value)
  local seconds = value and tonumber(value)
  return seconds and seconds >= 0 and math.min(seconds, LONGEST) or nil
end

--- What an attempt of `run` returns when it failed: the end, or a wish for another try when the error may pass.
---@param err ws.Error
---@param wait? number  seconds that the server asked for
---@return boolean done
---@return any ...
function M.failed(err, wait)
  if err.retryable then return false, wait, nil, err end
  return true, nil, err
end

--- Calls `attempt(n)` until it says that it is done: it returns `true, results…`, or `false, wait?, results…` when
--- another try may help (wait: seconds that the server asked for). The last try's results are returned.
---@async
---@param attempt fun(n: integer): boolean, any ...
---@param opts? { attempts?: integer, total?: number }  total in seconds
---@return any ...
function M.run(attempt, opts)
  local attempts, total = opts and opts.attempts or ATTEMPTS, opts and opts.total or TOTAL
  local deadline, ceiling = native.monotonic() + total, FIRST
  for n = 1, attempts do
    local results = table.pack(attempt(n))
    if results[1] then return table.unpack(results, 2, results.n) end
    local wait = results[2] or math.random() * ceiling
    ceiling = math.min(ceiling * FACTOR, LONGEST)
    if n == attempts or native.monotonic() + wait > deadline then return table.unpack(results, 3, results.n) end
    task.sleep(wait)
  end
end

return M
