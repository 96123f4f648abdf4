--- Service Usage: which APIs are enabled in a project. An API that is not refuses its calls with 403.
local json = require "ws.json"
local reply = require "sandbox.reply"
local values = require "sandbox.values"
local operations = require "sandbox.operations"

return function(cloud)
  local s = cloud:service("serviceusage", { prefixes = { "serviceusage" } })
  local enabled = cloud.store:collection "serviceusage"

  local function entry(project, name)
    local full = ("projects/%s/services/%s"):format(project.projectNumber, name)
    return { name = full, parent = "projects/" .. project.projectNumber,
      state = enabled:get(project.projectId .. "/" .. name) and "ENABLED" or "DISABLED",
      config = { name = name, title = name } }
  end

  local function check(name)
    if not name:find("^[%w-]+%.googleapis%.com$") then
      reply.fail(403, "forbidden", ("Not found or permission denied for service(s): %s."):format(name))
    end
    return name
  end

  local function start(kind, project, response)
    local name = ("operations/acat.p2-%s-%s"):format(project.projectNumber, values.id())
    return operations.longrunning(cloud.operations:start("serviceusage/" .. name,
      { name = name, type = kind, response = response }))
  end

  local function enable(project, names)
    for _, name in ipairs(names) do check(name) end
    for _, name in ipairs(names) do
      local key = project.projectId .. "/" .. name
      if not enabled:get(key) then enabled:put(key, { enabled = true }) end
    end
  end

  local SERVICES = "/serviceusage/v1/projects/{project}/services"

  s:on("GET", SERVICES, function(c)
    local project, found = cloud:need_project(c.params.project), {}
    if (c.query.filter or ""):find("state:DISABLED", 1, true) then return {} end
    local _, keys = enabled:list(project.projectId .. "/")
    for _, key in ipairs(keys) do found[#found + 1] = entry(project, values.last(key)) end
    local page, token = reply.page(found, function(e) return e.name end, c.query.pageToken, c.query.pageSize)
    return { services = page, nextPageToken = token }
  end)
  s:on("POST", SERVICES .. ":batchEnable", function(c)
    local project, names = cloud:need_project(c.params.project), c:json().serviceIds
    if type(names) ~= "table" or #names == 0 or #names > 20 then
      reply.fail(400, "badRequest", "serviceIds must name 1 to 20 services.")
    end
    enable(project, names)
    return start("batchEnable", project,
      { services = values.map(names, function(name) return entry(project, name) end) })
  end)
  s:on("GET", SERVICES .. ":batchGet", function(c)
    local project, found = cloud:need_project(c.params.project), json.array {}
    for name in (c.query.names or ""):gmatch("[^,]+") do found[#found + 1] = entry(project, values.last(name)) end
    return { services = found }
  end)
  s:on("GET", SERVICES .. "/{service}", function(c)
    return entry(cloud:need_project(c.params.project), check(c.params.service))
  end)
  s:on("POST", SERVICES .. "/{service}:enable", function(c)
    local project = cloud:need_project(c.params.project)
    enable(project, { c.params.service })
    return start("enable", project, { service = entry(project, c.params.service) })
  end)
  s:on("POST", SERVICES .. "/{service}:disable", function(c)
    local project = cloud:need_project(c.params.project)
    enabled:delete(project.projectId .. "/" .. check(c.params.service))
    return start("disable", project, { service = entry(project, c.params.service) })
  end)
  s:on("GET", "/serviceusage/v1/operations/{operation}", function(c)
    local record = cloud.operations:get("serviceusage/operations/" .. c.params.operation, true)
    if not record then reply.not_found("operations/" .. c.params.operation) end
    return operations.longrunning(record)
  end)
end
