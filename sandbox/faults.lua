--- Faults by rule: what the sandbox does wrong on purpose.
---
--- A rule matches by API, method and path; the first that matches and whose chance comes up is applied. `times` bounds
--- how often. Rules are set by `/_sandbox/faults` or `wsrun sandbox faults`, and survive a restart.
local time = require "ws.time"
local task = require "ws.task"
local json = require "ws.json"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

---@class sandbox.Faults
local Faults = {}
Faults.__index = Faults

local FIELDS = {
  id = "string", api = "string", method = "string", path = "string", status = "number", message = "string",
  reason = "string", retry_after = "number", probability = "number", latency = "number", cut = "boolean",
  cut_after = "number", times = "number",
}

--- Makes the faults of a sandbox.
---@param store sandbox.Store
---@return sandbox.Faults
function M.new(store)
  return setmetatable({ rules = store:collection "faults" }, Faults)
end

--- Adds a rule; see docs/sandbox.md for its fields. Fails the request with 400 for a wrong one.
---@param rule table
---@return table rule  with its id
function Faults:add(rule)
  if type(rule) ~= "table" then reply.fail(400, nil, "a rule is an object") end
  for key, value in pairs(rule) do
    if not FIELDS[key] then
      reply.fail(400, nil, ("unknown field %q; a rule has %s"):format(key, table.concat(values.keys(FIELDS), ", ")))
    elseif type(value) ~= FIELDS[key] then
      reply.fail(400, nil, ("%s must be a %s"):format(key, FIELDS[key]))
    end
  end
  if not (rule.status or rule.latency or rule.cut or rule.cut_after) then
    reply.fail(400, nil, "a rule needs status, latency, cut or cut_after")
  end
  if rule.status and (rule.status < 200 or rule.status > 599) then
    reply.fail(400, nil, "status must be between 200 and 599")
  end
  if rule.probability and (rule.probability < 0 or rule.probability > 1) then
    reply.fail(400, nil, "probability must be between 0 and 1")
  end
  local stored = values.copy(rule)
  stored.id = rule.id or ("%s-%s"):format(time.rfc3339(time.now()), values.id())
  stored.applied = 0
  return self.rules:put(stored.id, stored)
end

--- Removes a rule by its id, or all.
---@param id? string
---@return boolean removed
function Faults:remove(id)
  if id then return self.rules:delete(id) end
  self.rules:clear()
  return true
end

--- All rules, oldest first.
---@return table[]
function Faults:list()
  return json.array((self.rules:list()))
end

--- A pattern of a rule: `*` stands for anything, the rest for itself.
local function glob(pattern)
  return "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"):gsub("%*", ".*") .. "$"
end

local function matches(rule, api, method, path)
  return (not rule.api or rule.api == api)
    and (not rule.method or rule.method == method)
    and (not rule.path or path:find(glob(rule.path)) ~= nil)
    and (not rule.times or rule.applied < rule.times)
end

--- A response that ends in the middle: the client sees a connection that was cut.
local function cut(bytes)
  return reply.raw {
    status = 200,
    headers = { ["Content-Length"] = tostring(bytes + 1000000), ["Content-Type"] = "application/octet-stream" },
    stream = function(write)
      if bytes > 0 then write((" "):rep(bytes)) end
      -- The server ends the connection of a handler that was cancelled, without a word in its log.
      error(require "ws.error".new { kind = "cancelled", message = "connection cut by a fault rule" }, 0)
    end,
  }
end

--- Applies the rules to a request: waits, and returns the response to give instead of the real one, if any.
---@async
---@param api string
---@param method string
---@param path string
---@return table? response
function Faults:apply(api, method, path)
  for _, id in ipairs { table.unpack(self.rules:keys()) } do
    local rule = self.rules:get(id)
    if rule and matches(rule, api, method, path) and (not rule.probability or math.random() < rule.probability) then
      self.rules:update(id, function(r) r.applied = r.applied + 1 end)
      if rule.latency then task.sleep(rule.latency) end
      if rule.cut or rule.cut_after then return cut(rule.cut_after or 0) end
      if rule.status then
        local headers = rule.retry_after and { ["Retry-After"] = tostring(math.floor(rule.retry_after)) } or {}
        local message = rule.message or ("fault rule %s"):format(id)
        return reply.json(reply.error_body(math.floor(rule.status), rule.reason, message), math.floor(rule.status),
          headers)
      end
      return nil
    end
  end
end

return M
