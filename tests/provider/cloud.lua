--- A cloud in memory, for tests of the provider without the sandbox: collections of JSON objects behind a transport
--- function; compute operations take a moment.
local json = require "ws.json"
local task = require "ws.task"

local M = {}

local function reply(status, value)
  return { status = status, headers = {}, body = json.encode(value) }
end

local function not_found(path)
  return reply(404, { error = { code = 404, message = path .. " was not found",
    errors = { { reason = "notFound" } } } })
end

--- Makes a cloud.
---@param opts? { delay?: number }  seconds that an operation takes
---@return table cloud  `objects`: path → object; `requests`: list of "METHOD path"; `transport`
function M.new(opts)
  local cloud = { objects = {}, requests = {}, operations = {}, serial = 0 }
  local delay = opts and opts.delay or 0

  local function operation(path)
    cloud.serial = cloud.serial + 1
    local name = "operation-" .. cloud.serial
    cloud.operations[name] = require "ws.engine".native.monotonic() + delay
    local region = path:match("/regions/([^/]+)/")
    return reply(200, { name = name, status = delay == 0 and "DONE" or "RUNNING", region = region })
  end

  local methods = {}

  function methods.GET(path)
    local name = path:match("/operations/([^/]+)$")
    if name then
      local finished = require "ws.engine".native.monotonic() >= cloud.operations[name]
      return reply(200, { name = name, status = finished and "DONE" or "RUNNING",
        region = path:match("/regions/([^/]+)/") })
    end
    local object = cloud.objects[path]
    return object and reply(200, object) or not_found(path)
  end

  function methods.POST(path, body)
    local target = path .. "/" .. body.name
    if cloud.objects[target] then return reply(409, { error = { code = 409,
      message = target .. " already exists" } }) end
    cloud.serial = cloud.serial + 1
    body.id = tostring(1000 + cloud.serial)
    body.selfLink = "https://www.googleapis.com/compute/v1/" .. target
    cloud.objects[target] = body
    return operation(path)
  end

  function methods.PATCH(path, body)
    local object = cloud.objects[path]
    if not object then return not_found(path) end
    for k, v in pairs(body) do object[k] = v ~= json.null and v or nil end
    return operation(path)
  end

  function methods.DELETE(path)
    if not cloud.objects[path] then return not_found(path) end
    cloud.objects[path] = nil
    return operation(path)
  end

  function cloud.transport(request)
    local path = request.url:match("/compute/v1/([^?]+)")
    cloud.requests[#cloud.requests + 1] = request.method .. " " .. path
    task.sleep(0)
    if cloud.fail then
      local failed = cloud.fail(request.method, path)
      if failed then return reply(failed, { error = { code = failed, message = "told to fail" } }) end
    end
    local body = request.body and request.body ~= "" and assert(json.decode(request.body)) or nil
    return methods[request.method](path, body)
  end
  return cloud
end

return M
