--- Resource Manager (projects, v1 and v3) and Cloud Billing (the account of a project).
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"
local operations = require "sandbox.operations"

local BILLING_ACCOUNT = "billingAccounts/000000-000000-000000"

--- The policy that a new project has: whoever made it is its owner.
local OWNER = { role = "roles/owner", members = { "user:owner@example.com" } }

return function(cloud)
  local s = cloud:service("resourcemanager", { prefixes = { "resourcemanager" } })
  local billing = cloud:service("cloudbilling", { prefixes = { "billing" } })
  local projects = cloud.store:collection "projects"

  local function need(c)
    return cloud:need_project(c.params.project)
  end

  local function v1(project)
    return { projectId = project.projectId, projectNumber = project.projectNumber, name = project.name,
      lifecycleState = project.lifecycleState, labels = project.labels, parent = project.parent,
      createTime = project.createTime }
  end

  local function v3(project)
    local parent = project.parent
    return { name = "projects/" .. project.projectNumber, projectId = project.projectId, displayName = project.name,
      state = project.lifecycleState, labels = project.labels, createTime = project.createTime, etag = project.etag,
      parent = parent and ("%ss/%s"):format(parent.type, parent.id) or nil }
  end

  local function start(kind, target, response)
    local name = ("operations/%s.%s"):format(kind == "create" and "cp" or "dp", values.id())
    return operations.longrunning(cloud.operations:start("resourcemanager/" .. name,
      { name = name, type = kind, target = target, response = response }))
  end

  local function create(body, shape)
    local id = body.projectId
    if type(id) ~= "string" or not id:find("^[a-z][a-z0-9-]+[a-z0-9]$") or #id < 6 or #id > 30 then
      reply.fail(400, "badRequest", "field [project_id] has issue [project_id must be 6 to 30 lower case letters, "
        .. "digits or hyphens, start with a letter and not end with a hyphen]")
    end
    if cloud:project(id) then
      reply.fail(409, "alreadyExists", "Requested entity already exists")
    end
    local parent = body.parent
    if type(parent) == "string" then parent = { type = parent:match("^(%a-)s/"), id = values.last(parent) } end
    local project = projects:put(id, values.clean {
      projectId = id, projectNumber = ("%.0f"):format(100000000000 + crypto.crc32c(id)),
      name = body.displayName or body.name or id, lifecycleState = "ACTIVE", labels = body.labels, parent = parent,
      createTime = time.rfc3339(), etag = crypto.base64_encode(crypto.random_bytes(8)),
    })
    cloud.policies:set("projects/" .. id, { bindings = { OWNER } })
    return start("create", id, shape(project))
  end

  s:on("GET", "/resourcemanager/v1/projects", function(c)
    local page, token = reply.page(projects:list(), function(p) return p.projectId end, c.query.pageToken,
      c.query.pageSize)
    return { projects = values.map(page, v1), nextPageToken = token }
  end)
  s:on("POST", "/resourcemanager/v1/projects", function(c) return create(c:json(), v1) end)
  s:on("GET", "/resourcemanager/v1/projects/{project}", function(c) return v1(need(c)) end)
  s:on("PUT", "/resourcemanager/v1/projects/{project}", function(c)
    local body = c:json()
    return v1(projects:update(need(c).projectId, function(p)
      p.name, p.labels = body.name or p.name, body.labels and values.clean(body.labels)
    end))
  end)
  s:on("DELETE", "/resourcemanager/v1/projects/{project}", function(c)
    projects:update(need(c).projectId, function(p) p.lifecycleState = "DELETE_REQUESTED" end)
    return {}
  end)
  s:on("POST", "/resourcemanager/v1/projects/{project}:undelete", function(c)
    projects:update(need(c).projectId, function(p) p.lifecycleState = "ACTIVE" end)
    return {}
  end)
  s:on("POST", "/resourcemanager/v1/projects/{project}:getAncestry", function(c)
    return { ancestor = json.array { { resourceId = { type = "project", id = need(c).projectId } } } }
  end)

  s:on("GET", "/resourcemanager/v3/projects", function() return { projects = values.map(projects:list(), v3) } end)
  s:on("GET", "/resourcemanager/v3/projects:search", function()
    return { projects = values.map(projects:list(), v3) }
  end)
  s:on("POST", "/resourcemanager/v3/projects", function(c) return create(c:json(), v3) end)
  s:on("GET", "/resourcemanager/v3/projects/{project}", function(c) return v3(need(c)) end)
  s:on("PATCH", "/resourcemanager/v3/projects/{project}", function(c)
    local body = c:json()
    local project = projects:update(need(c).projectId, function(p)
      if body.displayName then p.name = body.displayName end
      if body.labels then p.labels = values.clean(body.labels) end
    end)
    return start("update", project.projectId, v3(project))
  end)
  s:on("DELETE", "/resourcemanager/v3/projects/{project}", function(c)
    local project = projects:update(need(c).projectId, function(p) p.lifecycleState = "DELETE_REQUESTED" end)
    return start("delete", project.projectId, v3(project))
  end)

  for _, version in ipairs { "v1", "v3" } do
    s:on("GET", ("/resourcemanager/%s/operations/{operation}"):format(version), function(c)
      local record = cloud.operations:get("resourcemanager/operations/" .. c.params.operation, true)
      if not record then reply.not_found("operations/" .. c.params.operation) end
      return operations.longrunning(record)
    end)
    cloud.policies:routes(s, ("/resourcemanager/%s/projects/{project}"):format(version), function(c)
      return "projects/" .. need(c).projectId
    end)
  end

  local function billing_info(project)
    return { name = ("projects/%s/billingInfo"):format(project.projectId), projectId = project.projectId,
      billingAccountName = project.billing or BILLING_ACCOUNT, billingEnabled = true }
  end
  billing:on("GET", "/billing/v1/projects/{project}/billingInfo", function(c) return billing_info(need(c)) end)
  billing:on("PUT", "/billing/v1/projects/{project}/billingInfo", function(c)
    local account = c:json().billingAccountName
    return billing_info(projects:update(need(c).projectId, function(p) p.billing = account end))
  end)
  billing:on("GET", "/billing/v1/billingAccounts", function()
    return { billingAccounts = json.array { { name = BILLING_ACCOUNT, open = true, displayName = "Sandbox" } } }
  end)

  -- A binding is listed by its members, so that one for an account of a platform shows up as the platform's.
  cloud:on_inventory(function(add)
    for _, name in ipairs(cloud.policies.records:keys()) do
      if name:find("^projects/[^/]+$") then
        for _, binding in ipairs(cloud.policies:get(name).bindings or {}) do
          for _, member in ipairs(binding.members) do
            if member ~= OWNER.members[1] then
              add("iam#projectBinding", ("%s %s %s"):format(name, binding.role, member))
            end
          end
        end
      end
    end
  end)
end
