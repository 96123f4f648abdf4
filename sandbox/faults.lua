--- Faults by rule: what the sandbox does wrong on purpose.
---
--- A rule matches by API, method and path; the first that matches and whose chance comes up is applied. `times` bounds
--- how often. Rules are set by `/_sandbox/faults` or `wsrun sandbox faults`, and survive a restart.
local time = require "ws.time"
local task = require "ws.task"
local json = require "ws.json"
local reply = require "sandbox.reply"
local traffic = require "sandbox.traffic"
local values = require "sandbox.values"

local M = {}

---@class sandbox.Faults
local Faults = {}
Faults.__index = Faults

local FIELDS = {
  id = "string", api = "string", method = "string", path = "string", status = "number", message = "string",
  reason = "string", retry_after = "number", probability = "number", latency = "number", cut = "boolean",
  cut_after = "number", cut_upload_after = "number", rate = "number", times = "number",
}
local EFFECTS = { "status", "latency", "cut", "cut_after", "cut_upload_after", "rate" }

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
  local effect
  for _, name in ipairs(EFFECTS) do effect = effect or rule[name] end
  if not effect then reply.fail(400, nil, "a rule needs one of " .. table.concat(EFFECTS, ", ")) end
  if rule.rate and rule.rate <= 0 then reply.fail(400, nil, "rate must be above 0 (bytes a second)") end
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

--- Applies the rules to a request: waits, cuts its connection, slows it down.
---@async
---@param api string
---@param req table  of the HTTP server; what it reads may be changed
---@param error_form? fun(req: table, status: integer, message: string, headers: table): table  how the API says errors
---@return table? response  to give instead of the real one
---@return (fun(response: table): table)? change  to apply to the real one
function Faults:apply(api, req, error_form)
  for _, id in ipairs { table.unpack(self.rules:keys()) } do
    local rule = self.rules:get(id)
    if rule and matches(rule, api, req.method, req.path)
      and (not rule.probability or math.random() < rule.probability) then
      self.rules:update(id, function(r) r.applied = r.applied + 1 end)
      if rule.latency then task.sleep(rule.latency) end
      if rule.cut then traffic.cut() end
      if rule.cut_upload_after or rule.rate then traffic.limit_request(req, rule.cut_upload_after, rule.rate) end
      if rule.cut_after or rule.rate then
        return nil, function(response) return traffic.limit_response(response, rule.cut_after, rule.rate) end
      end
      if not rule.status then return nil end
      local status = math.floor(rule.status)
      local headers = rule.retry_after and { ["Retry-After"] = tostring(math.floor(rule.retry_after)) } or {}
      local message = rule.message or ("fault rule %s"):format(id)
      if error_form then return error_form(req, status, message, headers) end
      return reply.json(reply.error_body(status, rule.reason, message), status, headers)
    end
  end
end

return M
