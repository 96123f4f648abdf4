--- IAM policies of any resource, kept by the resource's full name.
---
--- Reading and writing as <https://cloud.google.com/iam/docs/policies>: every change gives a new etag, and an etag that
--- is not the last one is refused with 409.
local json = require "ws.json"
local crypto = require "ws.crypto"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

local EMPTY_ETAG = "ACAB"

---@class sandbox.Policies
local Policies = {}
Policies.__index = Policies

--- Makes the policies of a sandbox.
---@param store sandbox.Store
---@return sandbox.Policies
function M.new(store)
  return setmetatable({ records = store:collection "policies" }, Policies)
end

--- The policy of a resource; the empty one when none was set.
---@param name string
---@return table
function Policies:get(name)
  return self.records:get(name) or { version = 1, etag = EMPTY_ETAG }
end

local function check_member(self, member)
  if type(member) ~= "string" then reply.fail(400, "badRequest", "Invalid member: a string is expected.") end
  if member == "allUsers" or member == "allAuthenticatedUsers" then return end
  local kind, rest = member:match("^(%a+):(.+)$")
  local known = { user = true, serviceAccount = true, group = true, domain = true, deleted = true, principal = true,
    principalSet = true, projectOwner = true, projectEditor = true, projectViewer = true }
  if not known[kind] then
    reply.fail(400, "badRequest", ("Invalid value for member: %s."):format(member))
  end
  if kind == "serviceAccount" and self.account_exists and not self.account_exists(rest) then
    reply.fail(400, "badRequest", ("Service account %s does not exist."):format(rest))
  end
end

--- Replaces the policy of a resource. Fails the request with 409 for an old etag, 400 for a member that cannot be.
---@param name string
---@param policy table
---@return table policy  as stored
function Policies:set(name, policy)
  local current = self:get(name)
  if policy.etag and policy.etag ~= "" and policy.etag ~= current.etag then
    reply.fail(409, "aborted", "There were concurrent policy changes. Please retry the whole read-modify-write with "
      .. "exponential backoff.", "ABORTED")
  end
  local bindings = json.array {}
  for _, binding in ipairs(policy.bindings or {}) do
    if type(binding.role) ~= "string" or not binding.role:find("roles/", 1, true) then
      reply.fail(400, "badRequest", ("Role %s is not supported for this resource."):format(tostring(binding.role)))
    end
    for _, member in ipairs(binding.members or {}) do check_member(self, member) end
    if binding.members and #binding.members > 0 then bindings[#bindings + 1] = values.clean(binding) end
  end
  local stored = { version = policy.version or 1, etag = crypto.base64_encode(crypto.random_bytes(8)),
    auditConfigs = policy.auditConfigs and values.clean(policy.auditConfigs) or nil,
    bindings = #bindings > 0 and bindings or nil }
  return self.records:put(name, stored)
end

--- Whether anybody at all may use the resource in one of the roles.
---@param name string
---@param roles table<string, boolean>
---@return boolean
function Policies:public(name, roles)
  for _, binding in ipairs(self:get(name).bindings or {}) do
    for _, member in ipairs(binding.members) do
      if member == "allUsers" and roles[binding.role] and not binding.condition then return true end
    end
  end
  return false
end

--- Forgets the policies of a deleted resource and of what is below it.
---@param name string
function Policies:drop(name)
  self.records:delete(name)
  for _, key in ipairs { table.unpack(self.records:keys()) } do
    if key:sub(1, #name + 1) == name .. "/" then self.records:delete(key) end
  end
end

--- Replaces `serviceAccount:EMAIL` everywhere by the form that Google gives members that are gone.
---@param email string
---@param unique_id string
function Policies:account_deleted(email, unique_id)
  local member = "serviceAccount:" .. email
  for _, key in ipairs { table.unpack(self.records:keys()) } do
    local policy, found = values.copy(self.records:get(key)), false
    for _, binding in ipairs(policy.bindings or {}) do
      for i, m in ipairs(binding.members) do
        if m == member then
          binding.members[i], found = ("deleted:serviceAccount:%s?uid=%s"):format(email, unique_id), true
        end
      end
    end
    if found then self.records:put(key, policy) end
  end
end

--- Adds the usual three methods for the resources that a pattern names: `:getIamPolicy` (GET or POST), `:setIamPolicy`,
--- `:testIamPermissions`.
---@param service sandbox.Service
---@param pattern string
---@param name_of fun(c: sandbox.Context): string  full name; fails the request when the resource does not exist
function Policies:routes(service, pattern, name_of)
  service:on("GET|POST", pattern .. ":getIamPolicy", function(c) return self:get(name_of(c)) end)
  service:on("POST", pattern .. ":setIamPolicy", function(c)
    local name, body = name_of(c), c:json()
    if type(body.policy) ~= "table" then reply.fail(400, "badRequest", "The field 'policy' is required.") end
    return self:set(name, body.policy)
  end)
  service:on("POST", pattern .. ":testIamPermissions", function(c)
    name_of(c)
    return { permissions = c:json().permissions }
  end)
end

return M
