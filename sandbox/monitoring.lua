--- Cloud Monitoring: alert policies, notification channels, uptime checks (v3), dashboards (v1). Time series are
--- accepted and forgotten.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

return function(cloud)
  local s = cloud:service("monitoring", { prefixes = { "monitoring" }, api = "monitoring.googleapis.com" })

  --- One kind of resource: the server gives the name, everything else is the client's.
  local function define(kind, opts)
    local collection = cloud.store:collection("monitoring." .. kind)
    local all = ("/monitoring/%s/projects/{project}/%s"):format(opts.version or "v3", kind)
    local function shown_name(c, id)
      local project = opts.numbered and cloud:project(c.params.project).projectNumber or c.params.project
      return ("projects/%s/%s/%s"):format(project, kind, id)
    end
    local function key_of(c) return ("projects/%s/%s/%s"):format(c.params.project, kind, c.params.id) end
    local function need(c)
      return collection:get(key_of(c))
        or reply.fail(404, "notFound", ("Cannot find %s with name '%s'."):format(kind, shown_name(c, c.params.id)))
    end

    s:on("GET", all, function(c)
      local page, token = reply.page(collection:list(("projects/%s/"):format(c.params.project)),
        function(r) return r.name end, c.query.pageToken, c.query.pageSize)
      return { [kind] = page, nextPageToken = token }
    end)
    s:on("POST", all, function(c)
      local resource, now = values.clean(c:json()), time.rfc3339()
      c.params.id = opts.id and opts.id(resource) or values.id()
      resource.name = shown_name(c, c.params.id)
      if opts.prepare then opts.prepare(resource, now) end
      return collection:put(key_of(c), resource)
    end)
    s:on("GET", all .. "/{id}", need)
    s:on("PATCH|PUT", all .. "/{id}", function(c)
      local resource, body = need(c), c:json()
      if opts.etag and body.etag and body.etag ~= resource.etag then
        reply.fail(409, "aborted", "The etag does not match: it was changed meanwhile.", "ABORTED")
      end
      return collection:update(key_of(c), function(r)
        if values.given(c.query.updateMask) then
          values.apply_mask(r, body, c.query.updateMask)
        else
          for field in pairs(values.copy(r)) do r[field] = nil end
          values.merge(r, body)
        end
        r.name = resource.name
        if opts.prepare then opts.prepare(r, time.rfc3339(), resource) end
      end)
    end)
    s:on("DELETE", all .. "/{id}", function(c)
      local resource = need(c)
      if opts.before_delete then opts.before_delete(c, resource) end
      collection:delete(key_of(c))
      return {}
    end)
    cloud:on_inventory(function(add)
      for _, key in ipairs(collection:keys()) do
        local resource = collection:get(key)
        add("monitoring#" .. kind, key, resource.userLabels, resource.displayName)
      end
    end)
    return collection
  end

  local policies = define("alertPolicies", { prepare = function(policy, now, before)
    for _, condition in ipairs(policy.conditions or {}) do
      condition.name = condition.name or ("%s/conditions/%s"):format(policy.name, values.id())
    end
    policy.creationRecord = before and before.creationRecord or { mutateTime = now, mutatedBy = "sandbox@example.com" }
    policy.mutationRecord = { mutateTime = now, mutatedBy = "sandbox@example.com" }
  end })
  define("notificationChannels", {
    prepare = function(channel, _, before)
      channel.verificationStatus = before and before.verificationStatus
    end,
    before_delete = function(c, channel)
      for _, policy in ipairs((policies:list())) do
        for _, name in ipairs(policy.notificationChannels or {}) do
          if name == channel.name and not values.flag(c.query.force) then
            reply.fail(400, "failedPrecondition",
              ("Cannot delete the channel: it is used by '%s'."):format(policy.name), "FAILED_PRECONDITION")
          end
        end
      end
    end,
  })
  define("uptimeCheckConfigs", {
    id = function(check)
      local words = tostring(check.displayName or "check"):lower():gsub("[^%w]+", "-")
      return ("%s-%s"):format(words, crypto.random_hex(5))
    end,
  })
  define("dashboards", {
    version = "v1", numbered = true, etag = true,
    id = function() return crypto.uuid() end,
    prepare = function(dashboard) dashboard.etag = crypto.random_hex(16) end,
  })

  s:on("POST", "/monitoring/v3/projects/{project}/timeSeries", function(c)
    c:json()
    return {}
  end)
  s:on("GET", "/monitoring/v3/projects/{project}/timeSeries", function() return { timeSeries = json.array {} } end)
  s:on("GET", "/monitoring/v3/projects/{project}/metricDescriptors", function()
    return { metricDescriptors = json.array {} }
  end)
end
