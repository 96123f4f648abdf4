--- The sandbox's own endpoints, under `/_sandbox/`.
local json = require "ws.json"
local reply = require "sandbox.reply"
local tokens = require "sandbox.tokens"
local values = require "sandbox.values"

--- Whether a text names the platform: its name stands there, not as a part of a longer word.
local function names_platform(text, platform)
  local from = 1
  while true do
    local first, last = text:find(platform, from, true)
    if not first then return false end
    local before, after = text:sub(first - 1, first - 1), text:sub(last + 1, last + 1)
    if (first == 1 or before:find("[^%w]")) and (after == "" or after:find("[^%w]")) then return true end
    from = first + 1
  end
end

--- Everything that exists, for "nothing is left behind": kind, name, project and labels of each resource.
local function inventory(cloud, query)
  local found = json.array {}
  local function add(kind, name, labels, note)
    local project = name:match("projects/([^/]+)")
    if query.project and query.project ~= "" and project ~= query.project then return end
    local platform = values.given(query.platform)
    if platform and not (labels and labels.platform == platform) and not names_platform(name, platform)
      and not (note and names_platform(note, platform)) then
      return
    end
    found[#found + 1] = { kind = kind, name = name, labels = labels, note = note }
  end
  for _, fn in ipairs(cloud.inventories) do fn(add) end
  table.sort(found, function(a, b)
    if a.kind ~= b.kind then return a.kind < b.kind end
    return a.name < b.name
  end)
  return found
end

return function(cloud)
  local s = cloud:service("admin", { prefixes = { "_sandbox" }, anonymous = true })

  s:on("GET", "/_sandbox/health", function() return { status = "ok" } end)

  s:on("GET", "/_sandbox/status", function()
    if cloud.status then return cloud.status() end
    return { state = cloud.dir }
  end)

  s:on("POST", "/_sandbox/shutdown", function()
    if not cloud.shutdown then reply.fail(400, nil, "this sandbox is not a process of its own") end
    cloud.shutdown()
    return {}
  end)

  s:on("GET", "/_sandbox/resources", function(c)
    local found = inventory(cloud, c.query)
    return { count = #found, resources = found }
  end)

  local function settings()
    return { auth = cloud.auth, operation_seconds = json.array { table.unpack(cloud.operations.duration) },
      token_seconds = cloud.token_seconds or tokens.LIFETIME }
  end
  s:on("GET", "/_sandbox/settings", settings)

  s:on("PATCH", "/_sandbox/settings", function(c)
    local body = c:json()
    for key, value in pairs(body) do
      if key == "auth" then
        if value ~= "emulator" and value ~= "google" and value ~= "off" then
          reply.fail(400, nil, 'auth must be "emulator", "google" or "off"')
        end
      elseif key == "operation_seconds" then
        if type(value) ~= "table" or type(value[1]) ~= "number" or type(value[2]) ~= "number" or value[1] < 0
          or value[2] < value[1] then
          reply.fail(400, nil, "operation_seconds must be two numbers, the second not below the first")
        end
      elseif key == "token_seconds" then
        if type(value) ~= "number" or value <= 0 then reply.fail(400, nil, "token_seconds must be a number above 0") end
      else
        reply.fail(400, nil, ("unknown setting %q; there are auth, operation_seconds, token_seconds"):format(key))
      end
    end
    cloud.auth = body.auth or cloud.auth
    if body.operation_seconds then
      cloud.operations.duration = { body.operation_seconds[1], body.operation_seconds[2] }
    end
    cloud.token_seconds = body.token_seconds or cloud.token_seconds
    return settings()
  end)

  s:on("GET", "/_sandbox/faults", function() return { rules = cloud.faults:list() } end)
  s:on("POST", "/_sandbox/faults", function(c) return cloud.faults:add(c:json()) end)
  s:on("DELETE", "/_sandbox/faults", function()
    cloud.faults:remove()
    return {}
  end)
  s:on("DELETE", "/_sandbox/faults/{id}", function(c)
    if not cloud.faults:remove(c.params.id) then reply.fail(404, nil, "no rule " .. c.params.id) end
    return {}
  end)
end
