-- Smoke checks after a deployment: the script that an application's key `verify` names returns a function that gets
-- what it may ask and raises (or returns false, or nil and an error) when something is wrong.
--
-- It is bounded: one that waits too long is cancelled, one that computes too long is ended as well.
local errors = require "ws.error"
local json = require "ws.json"
local project = require "ws.project"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local TIMEOUT = 60           -- seconds for the whole check, unless the manifest says otherwise
local PAUSE = 0.5            -- seconds between tries of ctx.eventually
local INSTRUCTIONS = 1000000 -- of Lua between two looks at the clock

---@class VerifyContext
---@field platform string
---@field release string
---@field namespace string
---@field version string
---@field api ws.k8s.Client  the cluster
---@field manifest table     the platform's
local Context = {}
Context.__index = Context

--- Asks the application, through the cluster's API server.
---@async
---@param path string  such as "/healthz"
---@param opts? { service?: string, port?: string|integer, scheme?: "http"|"https", timeout?: number }  service: default
---  the release's name; port: default "http"; timeout: seconds, default 10
---@return ws.http.Response? answer  status, headers, body; of any status
---@return ws.Error? err
function Context:get(path, opts)
  opts = opts or {}
  for key in pairs(opts) do
    if key ~= "service" and key ~= "port" and key ~= "scheme" and key ~= "timeout" then
      error(("ctx:get: unknown option '%s'"):format(tostring(key)), 2)
    end
  end
  return self.api:ask({ name = opts.service or self.release, namespace = self.namespace, port = opts.port or "http",
    scheme = opts.scheme }, path, { timeout = opts.timeout or 10 })
end

--- As `get`, for an answer in JSON; raises unless the status is 200.
---@async
---@param path string
---@param opts? table
---@return any value
function Context:get_json(path, opts)
  local answer = assert(self:get(path, opts))
  if answer.status ~= 200 then
    error(errors.new { kind = "failed", message = ("%s answers %d: %s"):format(path, answer.status,
      answer.body:sub(1, 200)) })
  end
  return (assert(json.decode(answer.body)))
end

--- Tries until the function returns something true, for as long as the check may last.
---@async
---@param fn fun(): any
---@return any value
function Context:eventually(fn) -- luacheck: ignore 212
  while true do
    local value = fn()
    if value then return value end
    task.sleep(PAUSE)
  end
end

--- Says something that stays on the screen.
---@param text string
function Context:say(text)
  self.w:note(text)
end

local function load_check(p, app)
  local path = project.path(app.verify)
  local file, problem = io.open(path, "rb")
  if not file then
    return nil, errors.new { kind = "not_found", where = p:where(app, "verify"),
      message = ("the check %s cannot be read: %s"):format(app.verify, problem) }
  end
  local text = file:read("a")
  file:close()
  local chunk, wrong = load(text or "", "@" .. app.verify, "t")
  local ok, check
  if chunk then ok, check = pcall(chunk) else wrong = tostring(wrong) end
  if ok and type(check) == "function" then return check end
  return nil, errors.new { kind = "invalid", where = p:where(app, "verify"),
    message = not chunk and wrong or not ok and tostring(check)
      or ("%s returned a %s; a check returns a function"):format(app.verify, type(check)),
    hint = "docs/cd.md shows one" }
end

--- The application's check, loaded before anything is changed; nil when it has none. Raises when it is none.
---@param p Platform
---@param app table
---@return function?
function M.load(p, app)
  if not app.verify then return nil end
  return assert(load_check(p, app))
end

--- Calls the check with the clock watched, also while it computes.
local function guarded(check, context, deadline)
  debug.sethook(function()
    if time.monotonic() > deadline then
      error(errors.new { kind = "timeout", message = "the check computes without end" })
    end
  end, "", INSTRUCTIONS)
  local _ <close> = setmetatable({}, { __close = function() debug.sethook() end })
  local result = table.pack(check(context))
  return true, result
end

--- Runs an application's check.
---@async
---@param p Platform
---@param app table
---@param check function  as `load` gave it
---@param version string
---@return true? ok
---@return ws.Error? err
function M.run(p, app, check, version)
  local timeout = app["verify-timeout"] or TIMEOUT
  local deadline = time.monotonic() + timeout
  local context = setmetatable({ w = p.w, api = p.api, manifest = p.manifest, platform = p.name, release = app.name,
    namespace = app.namespace, version = version }, Context)
  local done, result = task.timeout(timeout, guarded, check, context, deadline)
  local err
  if not done then
    err = errors.is(result) and result or errors.new { kind = "failed", message = tostring(result) }
    if err.kind == "cancelled" then error(err, 0) end
    if err.kind == "timeout" and time.monotonic() >= deadline and not err.message:find("computes", 1, true) then
      err = errors.new { kind = "timeout", message = ("it did not end within %g s"):format(timeout) }
    end
  elseif result[1] == false or (result[1] == nil and result[2] ~= nil) then
    err = errors.is(result[2]) and result[2]
      or errors.new { kind = "failed", message = result[2] and tostring(result[2]) or "it says no" }
  end
  if not err then return true end
  return nil, errors.new { kind = err.kind == "timeout" and "timeout" or "failed", retryable = false, cause = err,
    message = ("the check %s of %s %s failed: %s"):format(app.verify, app.name, version, err.message),
    detail = err.detail }
end

return M
