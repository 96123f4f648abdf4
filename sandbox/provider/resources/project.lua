--- APIs that are enabled in a project.
local json = require "ws.json"

local function service_path(context, prior)
  return context.fill("projects/{project}/services/") .. prior.service
end

local function is_enabled(context, prior)
  local token
  repeat
    local list, err = context.call("GET", "serviceusage", context.fill("projects/{project}/services"),
      { query = { filter = "state:ENABLED", fields = "services/name,nextPageToken", pageSize = 200,
        pageToken = token } })
    if not list then return nil, err end
    for _, service in ipairs(list.services or {}) do
      if service.name:match("[^/]*$") == prior.service then return true end
    end
    token = list.nextPageToken
  until not token or token == ""
  return false
end

return {
  google_project_service = {
    service = "serviceusage",
    id = "{project}/{service}",
    mutable = { "disable_on_destroy", "disable_dependent_services" },
    client = { "service", "disable_on_destroy", "disable_dependent_services" },
    patterns = { service = { "^[%w%-]+%.googleapis%.com$", "a service has a name such as compute.googleapis.com" } },
    create_with = function(context, planned)
      local enabled, err = is_enabled(context, planned)
      if enabled ~= false then return enabled, err end
      return context.run("POST", "serviceusage", context.fill("projects/{project}/services:batchEnable"),
        { body = { serviceIds = json.array { planned.service } } })
    end,
    read_with = function(context, prior)
      local project, err = context.call("GET", "resourcemanager", context.fill("projects/{project}"))
      if not project then return nil, err end
      if project.lifecycleState == "DELETE_REQUESTED" then return false end
      local enabled
      enabled, err = is_enabled(context, prior)
      if enabled == nil then return nil, err end
      return enabled and {} or false
    end,
    delete_with = function(context, prior)
      if not prior.disable_on_destroy then return true end
      return context.run("POST", "serviceusage", service_path(context, prior) .. ":disable",
        { body = { disableDependentServices = prior.disable_dependent_services or nil } })
    end,
  },
}
