--- A chart repository with the stand-ins of the project's charts/stand-ins: /_charts/index.yaml and the packages.
local fs = require "ws.fs"
local json = require "ws.json"
local log = require "ws.log"
local packages = require "sandbox.packages"
local reply = require "sandbox.reply"
local time = require "ws.time"

return function(cloud)
  local s = cloud:service("charts", { prefixes = { "_charts" }, anonymous = true })

  --- The packages, made anew for each request: a chart that is edited is served as it is now.
  local function all()
    local found, dir = {}, cloud.project_root and cloud.project_root .. "/charts/stand-ins"
    for _, name in ipairs(dir and fs.list(dir) or {}) do
      if fs.exists(("%s/%s/Chart.yaml"):format(dir, name)) then
        local package, err = packages.chart(dir .. "/" .. name)
        if package then found[#found + 1] = package else log.warn("chart " .. name .. ": " .. tostring(err)) end
      end
    end
    return found
  end

  s:on("GET", "/_charts/index.yaml", function()
    local entries = json.object()
    for _, package in ipairs(all()) do
      local entry = {}
      for key, value in pairs(package.metadata) do entry[key] = value end
      entry.urls = json.array { ("%s-%s.tgz"):format(package.name, package.version) }
      entry.digest, entry.created = package.digest, "1970-01-01T00:00:00Z"
      entries[package.name] = json.array { entry }
    end
    -- JSON is YAML, too.
    return reply.text(json.encode({ apiVersion = "v1", entries = entries, generated = time.rfc3339() }, { indent = 2 }),
      200, { ["Content-Type"] = "application/yaml" })
  end)
  s:on("GET", "/_charts/{file}", function(c)
    for _, package in ipairs(all()) do
      if c.params.file == ("%s-%s.tgz"):format(package.name, package.version) then
        return reply.raw { status = 200, body = package.bytes, headers = { ["Content-Type"] = "application/gzip" } }
      end
    end
    reply.fail(404, "notFound", "There is no chart " .. c.params.file)
  end)
end
