--- Service accounts, IAM policies' members and bindings, custom roles.
local json = require "ws.json"
local task = require "ws.task"
local values = require "sandbox.provider.values"

local ACCOUNT = "projects/{project}/serviceAccounts/{email}"

local service_account = {
  service = "iam",
  id = ACCOUNT,
  collection = "projects/{project}/serviceAccounts",
  mutable = { "display_name", "description", "disabled", "create_ignore_already_exists" },
  client = { "account_id", "create_ignore_already_exists" },
  defaults = { disabled = false },
  patterns = { account_id = { "^[a-z][a-z0-9-]+[a-z0-9]$",
    "6 to 30 lower case letters, digits and dashes, beginning with a letter" } },
  validate = function(config)
    local id = config.account_id
    if type(id) == "string" and (#id < 6 or #id > 30) then
      return { require "sandbox.provider.diagnostics".error(("%q has %d characters; an account_id has 6 to 30")
        :format(id, #id), nil, "account_id") }
    end
  end,
  body = function(body, planned)
    return { accountId = planned.account_id, serviceAccount = { displayName = body.displayName,
      description = body.description } }
  end,
  identify = function(planned, answer) planned.email = answer.email end,
  after_create = function(context, planned)
    if not planned.disabled then return true end
    return context.call("POST", "iam", context.fill(ACCOUNT) .. ":disable", { body = {} })
  end,
  actions = { { fields = { "disabled" }, run = function(context, planned)
    return context.call("POST", "iam", context.fill(ACCOUNT) .. (planned.disabled and ":disable" or ":enable"),
      { body = {} })
  end } },
  update = function(context, planned, _, changed)
    local account, mask = {}, {}
    for name, key in pairs { display_name = "displayName", description = "description" } do
      if changed[name] then
        account[key] = planned[name] or ""
        mask[#mask + 1] = name
      end
    end
    table.sort(mask)
    if #mask == 0 then return true end
    return context.call("PATCH", "iam", context.fill(ACCOUNT),
      { body = { serviceAccount = account, updateMask = table.concat(mask, ",") } })
  end,
  state = function(state)
    state.account_id = state.email:match("^[^@]+")
    state.member = "serviceAccount:" .. state.email
    if state.disabled == nil then state.disabled = false end
  end,
  import = function(id)
    local project, email = id:match("^projects/([^/]+)/serviceAccounts/([^/]+)$")
    if not project then project, email = id:match("^([^/]+)/([^/]+@[^/]+)$") end
    email = email or id:match("^[^/]+@[^/]+$")
    return email and { project = project, email = email }
  end,
  import_form = ACCOUNT,
}

-- ---- policies ------------------------------------------------------------------------------------------------------

--- Where the policies of each kind of resource are read and written.
local targets = {
  project = {
    service = "resourcemanager",
    path = function(v) return "projects/" .. values.last(v.project) end,
    prefix = function(v) return v.project end,
    attributes = { "project" },
  },
  service_account = {
    service = "iam",
    path = function(v) return v.service_account_id end,
    prefix = function(v) return v.service_account_id end,
    attributes = { "service_account_id" },
    query = { ["options.requestedPolicyVersion"] = 3 },
  },
  bucket = {
    service = "storage",
    path = function(v) return "b/" .. v.bucket:gsub("^b/", "") end,
    prefix = function(v) return "b/" .. v.bucket:gsub("^b/", "") end,
    attributes = { "bucket" },
    bare = true, -- PUT .../iam with the policy as the body
  },
  topic = {
    service = "pubsub",
    path = function(v, context)
      return v.topic:find("^projects/") and v.topic or context.fill("projects/{project}/topics/") .. v.topic
    end,
    prefix = function(v, context)
      return v.topic:find("^projects/") and v.topic or context.fill("projects/{project}/topics/") .. v.topic
    end,
    attributes = { "topic", "project" },
  },
}

local function get_policy(context, target, v)
  local path = target.path(v, context)
  if target.bare then
    return context.call("GET", target.service, path .. "/iam", { query = { optionsRequestedPolicyVersion = 3 } })
  elseif target.service == "pubsub" then
    return context.call("GET", target.service, path .. ":getIamPolicy",
      { query = { ["options.requestedPolicyVersion"] = 3 } })
  end
  return context.call("POST", target.service, path .. ":getIamPolicy",
    { query = target.query, body = { options = { requestedPolicyVersion = 3 } } })
end

local function set_policy(context, target, v, policy)
  local path = target.path(v, context)
  policy.version = 3
  if target.bare then return context.call("PUT", target.service, path .. "/iam", { body = policy }) end
  return context.call("POST", target.service, path .. ":setIamPolicy",
    { body = { policy = policy, updateMask = "bindings,etag,auditConfigs" } })
end

local function same_condition(block, condition)
  local wanted = type(block) == "table" and block[1] or nil
  if not wanted then return condition == nil end
  return condition ~= nil and wanted.title == condition.title and wanted.expression == condition.expression
end

local function find_binding(policy, v)
  for i, binding in ipairs(policy.bindings or {}) do
    if binding.role == v.role and same_condition(v.condition, binding.condition) then return binding, i end
  end
end

--- Reads the policy, lets fn change its bindings and writes it back; again when somebody else wrote in between.
local function change_policy(context, target, v, fn)
  return context.lock("policy " .. target.path(v, context), function()
    local pause = 0.05
    for attempt = 1, 10 do
      local policy, err = get_policy(context, target, v)
      if not policy then return nil, err end
      policy.bindings = json.array(policy.bindings or {})
      fn(policy)
      local done
      done, err = set_policy(context, target, v, policy)
      if done then return done end
      if attempt == 10 or context.stopped() or (err.status ~= 409 and err.status ~= 412) then return nil, err end
      task.sleep(pause)
      pause = math.min(pause * 2, 2)
    end
  end)
end

local function new_binding(policy, v, members)
  local wanted = type(v.condition) == "table" and v.condition[1] or nil
  policy.bindings[#policy.bindings + 1] = {
    role = v.role, members = json.array(members), condition = wanted and {
      title = wanted.title, description = wanted.description, expression = wanted.expression,
    } or nil,
  }
end

local function index_of(list, wanted)
  for i, v in ipairs(list) do
    if v == wanted then return i end
  end
end

local function identity(target, v, context, ...)
  local parts = { target.prefix(v, context), v.role, ... }
  local condition = type(v.condition) == "table" and v.condition[1]
  if condition then parts[#parts + 1] = condition.title end
  return table.concat(parts, "/")
end

--- "<resource> <role> <member>", as the published provider takes it.
local function importer(target, count)
  return function(id)
    local parts = {}
    for part in id:gmatch("%S+") do parts[#parts + 1] = part end
    if #parts ~= count then return nil end
    local state = { role = parts[2], member = parts[3] }
    state[target.attributes[1]] = parts[1]
    return state
  end
end

local function common(target)
  return {
    service = target.service,
    client = { "service_account_id", "bucket", "topic", "role", "member", "condition" },
    sent = {},
  }
end

local function member_of(kind)
  local target = targets[kind]
  local spec = common(target)
  spec.mutable = {}
  spec.import_form = "<resource> <role> <member>, separated by blanks"
  spec.import = importer(target, 3)
  function spec.create_with(context, planned)
    return change_policy(context, target, planned, function(policy)
      local binding = find_binding(policy, planned)
      if not binding then
        new_binding(policy, planned, { planned.member })
      elseif not index_of(binding.members, planned.member) then
        table.insert(binding.members, planned.member)
      end
    end)
  end
  function spec.read_with(context, prior)
    local policy, err = get_policy(context, target, prior)
    if not policy then return nil, err end
    local binding = find_binding(policy, prior)
    return binding and index_of(binding.members or {}, prior.member) and { etag = policy.etag } or false
  end
  function spec.delete_with(context, prior)
    return change_policy(context, target, prior, function(policy)
      local binding, i = find_binding(policy, prior)
      local at = binding and index_of(binding.members, prior.member)
      if not at then return end
      table.remove(binding.members, at)
      if #binding.members == 0 then table.remove(policy.bindings, i) end
    end)
  end
  function spec.state(state, _, _, context)
    state.id = identity(target, state, context, state.member)
  end
  return spec
end

local function binding_of(kind)
  local target = targets[kind]
  local spec = common(target)
  spec.mutable = { "members" }
  spec.import_form = "<resource> <role>, separated by a blank"
  spec.import = importer(target, 2)
  local function write(context, planned)
    return change_policy(context, target, planned, function(policy)
      local _, i = find_binding(policy, planned)
      if i then table.remove(policy.bindings, i) end
      new_binding(policy, planned, values.copy(planned.members))
    end)
  end
  spec.create_with, spec.update = write, write
  function spec.read_with(context, prior)
    local policy, err = get_policy(context, target, prior)
    if not policy then return nil, err end
    local binding = find_binding(policy, prior)
    return binding and { etag = policy.etag, members = binding.members } or false
  end
  function spec.delete_with(context, prior)
    return change_policy(context, target, prior, function(policy)
      local _, i = find_binding(policy, prior)
      if i then table.remove(policy.bindings, i) end
    end)
  end
  function spec.state(state, _, _, context)
    state.id = identity(target, state, context)
  end
  return spec
end

local ROLE = "projects/{project}/roles/{role_id}"

local custom_role = {
  service = "iam",
  id = ROLE,
  collection = "projects/{project}/roles",
  mutable = { "title", "description", "permissions", "stage" },
  client = { "role_id" },
  names = { permissions = "includedPermissions" },
  update_mask = true,
  defaults = { stage = "GA" },
  body = function(body, planned)
    if planned.name ~= nil and planned.name ~= values.unknown then return body end
    return { roleId = planned.role_id, role = body }
  end,
  read_with = function(context)
    local role, err = context.call("GET", "iam", context.fill(ROLE))
    if role and role.deleted then return false end
    return role, err
  end,
  state = function(state)
    if state.deleted == nil then state.deleted = false end
  end,
}


return {
  google_service_account = service_account,
  google_service_account_iam_member = member_of "service_account",
  google_service_account_iam_binding = binding_of "service_account",
  google_project_iam_member = member_of "project",
  google_project_iam_binding = binding_of "project",
  google_storage_bucket_iam_member = member_of "bucket",
  google_storage_bucket_iam_binding = binding_of "bucket",
  google_pubsub_topic_iam_member = member_of "topic",
  google_project_iam_custom_role = custom_role,
}
