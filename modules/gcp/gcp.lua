--- Google Cloud's REST APIs: credentials, requests with retries, pages, long-running operations.
local credentials = require "ws.gcp.credentials"
local endpoints = require "ws.gcp.endpoints"
local errors = require "ws.error"
local fence = require "ws.fence"
local http = require "ws.http"
local json = require "ws.json"
local operations = require "ws.gcp.operations"
local retry = require "ws.gcp.retry"
local secret = require "ws.secret"
local crypto = require "ws.crypto"

local M = {}

local TIMEOUT = 60 -- seconds for one try

local request_options = {
  api = true, path = true, url = true, method = true, query = true, body = true, headers = true, timeout = true,
  idempotent = true, anonymous = true, raw = true, sink = true, attempts = true,
}

--- An access token of this process's credentials.
---@async
---@param opts? { fresh?: boolean }
---@return ws.Secret? token
---@return ws.Error? err  kind `unauthenticated`
function M.token(opts)
  return credentials.token(opts)
end

--- The e-mail of the account, or where its token came from when that is all that is known.
---@async
---@return string? identity
---@return ws.Error? err  kind `unauthenticated`
function M.identity()
  local found, err = credentials.current()
  if not found then return nil, err end
  return found.identity or found.source
end

--- Uses other credentials than those that are found: `{ file = path }`, `{ token = secret }`, `{ metadata = true }`, or
--- nil to look for them again. Raises on anything else.
---@async
---@param opts? { file?: string, token?: ws.Secret|string, metadata?: boolean }
---@return true? ok
---@return ws.Error? err
function M.credentials(opts)
  local found, err
  if opts == nil then found = nil
  elseif opts.file then found, err = credentials.from_file(opts.file)
  elseif opts.token then found = credentials.from_token(opts.token, "given token")
  elseif opts.metadata then found, err = credentials.from_metadata()
  else error("gcp.credentials takes file, token or metadata", 2) end
  if err then return nil, err end
  credentials.use(found)
  return true
end

local kinds = { [400] = "invalid", [401] = "unauthenticated", [403] = "denied", [404] = "not_found", [408] = "timeout",
  [409] = "conflict", [410] = "not_found", [412] = "precondition", [413] = "too_large", [416] = "invalid",
  [429] = "exhausted", [499] = "cancelled", [501] = "unsupported", [503] = "unavailable", [504] = "timeout" }

--- What to do about an error that Google explains.
local function hint_of(problem)
  for _, detail in ipairs(problem.details or {}) do
    local metadata = detail.metadata or {}
    if detail.reason == "SERVICE_DISABLED" then
      return ("activate the service: wsrun workflows/create_project.lua, or %s"):format(metadata.activationUrl
        or "gcloud services enable " .. tostring(metadata.service))
    end
    if metadata.permission then return ("the account lacks the permission %s"):format(metadata.permission) end
  end
end

--- The error object of an HTTP answer with a status of 400 or more.
---@param answer table    of http.request
---@param what string     the request, for people
---@return ws.Error
function M.error_of(answer, what)
  local body = json.decode(answer.body or "")
  local problem = type(body) == "table" and body.error
  local message, reason
  if type(problem) == "table" then
    message = problem.message
    reason = problem.errors and problem.errors[1] and problem.errors[1].reason
  elseif type(problem) == "string" then
    message = type(body.error_description) == "string" and body.error_description or problem
  end
  local kind = kinds[answer.status] or (answer.status >= 500 and "unavailable" or "failed")
  local status_word = type(problem) == "table" and problem.status
  if reason == "alreadyExists" or status_word == "ALREADY_EXISTS" then kind = "exists" end
  return errors.new {
    kind = kind, op = "gcp", status = answer.status, reason = reason,
    message = ("%s: %d %s"):format(what, answer.status, message or (answer.body or ""):sub(1, 200)),
    hint = type(problem) == "table" and hint_of(problem) or nil,
    retryable = retry.is_retryable_status(answer.status),
  }
end

local function build_url(opts)
  local url = opts.url or endpoints.base(opts.api) .. opts.path
  if opts.query and next(opts.query) ~= nil then
    url = url .. (url:find("?", 1, true) and "&" or "?") .. http.query(opts.query)
  end
  return url
end

--- One try: the HTTP answer with a token, which is renewed once when it is refused.
local function send(opts, url, method, headers, body)
  local fresh = false
  while true do
    if not opts.anonymous then
      local token, err = credentials.token { fresh = fresh }
      if not token then return nil, err end
      headers.authorization = secret.join("Bearer ", token)
    end
    local answer, err = http.request { method = method, url = url, headers = headers, body = body, sink = opts.sink,
      timeout = opts.timeout or TIMEOUT }
    if not answer then return nil, err end
    if answer.status ~= 401 or fresh or opts.anonymous then return answer end
    fresh = true
  end
end

local function check_options(opts)
  for key in pairs(opts) do
    if not request_options[key] then error(("gcp.request: unknown option '%s'"):format(tostring(key)), 3) end
  end
  if not opts.url and not (opts.api and opts.path) then error("gcp.request needs api and path, or url", 3) end
end

---@class ws.gcp.RequestOptions
---@field api? string          "compute", "container", ...
---@field path? string         counts from the API's base
---@field url? string          instead of api and path
---@field method? string       default GET, or POST with a body
---@field query? table
---@field body? any            a table is sent as JSON; a string or secret as it is; { file = path } from a file
---@field headers? table
---@field timeout? number      seconds for one try, default 60
---@field idempotent? boolean  sending it twice does no harm; default by the method
---@field anonymous? boolean   without a token
---@field raw? boolean         return the HTTP answer as it is
---@field sink? any            as for http.request
---@field attempts? integer    tries, default 6

--- Sends a request to a Google API and decodes the JSON answer. Tried again after lost connections, 408, 429 and 5xx
--- when sending it twice does no harm (GET, PUT and DELETE, or `idempotent = true`). Raises on an unknown option or
--- API.
---@async
---@param opts ws.gcp.RequestOptions
---@return any? value  the decoded answer; an empty table for an empty one
---@return ws.Error|table err  kinds by status: `not_found`, `denied`, `unauthenticated`, `conflict`, `exists`,
---  `precondition`, `exhausted`, `unavailable`, ...; beside a value the HTTP answer
function M.request(opts)
  check_options(opts)
  local method, url = opts.method or (opts.body ~= nil and "POST" or "GET"), build_url(opts)
  local headers, body = {}, opts.body
  if type(body) == "table" and not body.file then
    body = json.encode(body)
    headers["content-type"] = "application/json"
  end
  for name, value in pairs(opts.headers or {}) do headers[name:lower()] = value end
  local may_repeat = retry.is_idempotent(method, opts.idempotent)
  local invocation = crypto.uuid()
  local reads = method == "GET" or method == "HEAD"
  return retry.run(function(n)
    if not reads then
      local allowed, problem = fence.check()
      if not allowed then return true, nil, problem end
    end
    headers["x-goog-api-client"] = ("wsrun/%s gccl-invocation-id/%s gccl-attempt-count/%d"):format(
      require "ws.engine".native.version, invocation, n)
    local answer, err = send(opts, url, method, headers, body)
    if not answer then
      if may_repeat and err.retryable then return false, nil, nil, err end
      return true, nil, err
    end
    if opts.raw and answer.status < 400 then return true, answer, answer end
    if answer.status < 400 then
      if answer.body == nil or answer.body == "" then return true, {}, answer end
      local value, problem = json.decode(answer.body)
      if value == nil then return true, nil, problem end
      return true, value, answer
    end
    local failure = M.error_of(answer, ("%s %s"):format(method, url:gsub("%?.*", "")))
    if may_repeat and failure.retryable then
      return false, retry.retry_after(answer.headers["retry-after"]), nil, failure
    end
    return true, nil, failure
  end, { attempts = opts.attempts })
end

--- Iterates over the items of a paged list (`items`, or the one list in the answer). A failure is raised.
---
--- ```lua
--- for zone in gcp.pages { api = "compute", path = "projects/p/zones" } do print(zone.name) end
--- ```
---@async
---@param opts table  as for `request`; `items` names the list in the answer
---@return fun(): table?
function M.pages(opts)
  local options = {}
  for key, value in pairs(opts) do options[key] = value end
  local list_name = options.items
  options.items = nil
  local query = {}
  for key, value in pairs(opts.query or {}) do query[key] = value end
  options.query = query
  return coroutine.wrap(function()
    repeat
      local page, err = M.request(options)
      if not page then error(err, 0) end
      local list = list_name and page[list_name] or page.items
      if not list_name and not list then
        for key, value in pairs(page) do
          if type(value) == "table" and key ~= "warning" and #value > 0 then list = value end
        end
      end
      for _, item in ipairs(list or {}) do coroutine.yield(item) end
      query.pageToken = page.nextPageToken
    until not query.pageToken or query.pageToken == ""
  end)
end

--- Waits for a long-running operation of compute, container, sqladmin, or of the kind that newer APIs share.
---@async
---@param operation table  what a request answered
---@param opts? { api?: string, timeout?: number, on_progress?: fun(operation: table) }  api: by default worked out;
---  timeout in seconds, default 1800
---@return table? operation  the finished one
---@return ws.Error? err  kind `failed` with the operation's own words, or `timeout`
function M.wait(operation, opts)
  opts = opts or {}
  local api = opts.api
  if not api then
    local kind = operation.kind and operation.kind:match("^(%w+)#operation$")
    api = kind == "sql" and "sqladmin" or kind or (operation.selfLink and "container")
    if not api then error("gcp.wait: say which api the operation is of", 2) end
  end
  return operations.wait(M.request, operation, { api = api, timeout = opts.timeout, on_progress = opts.on_progress })
end

return M
