--- The metadata server of a virtual machine, <https://cloud.google.com/compute/docs/metadata/overview>: how programs
--- learn their project and get tokens.
local json = require "ws.json"
local reply = require "sandbox.reply"
local tokens = require "sandbox.tokens"
local values = require "sandbox.values"

local ZONE = "europe-west1-b"

return function(cloud)
  local s = cloud:service("metadata", { prefixes = { "computeMetadata" }, anonymous = true })

  local function answer(text)
    return reply.raw { status = 200, body = text,
      headers = { ["Content-Type"] = "application/text", ["Metadata-Flavor"] = "Google",
        Server = "Metadata Server for VM" } }
  end

  local function on(path, fn)
    s:on("GET", path, function(c)
      if (c.headers["metadata-flavor"] or ""):lower() ~= "google" or c.headers["x-forwarded-for"] then
        if path == "/" then return cloud.fallback.handler(c) end -- the XML API's list of buckets
        reply.abort(reply.text("Missing required header \"Metadata-Flavor\": \"Google\"\n", 403))
      end
      local value = fn(c)
      if type(value) == "table" then
        local response = answer(json.encode(value))
        response.headers["Content-Type"] = "application/json"
        return response
      end
      return answer(value)
    end)
  end

  local function project()
    return tokens.default_project(cloud) or reply.abort(reply.text("no project\n", 404))
  end

  local function account(c)
    local email = tokens.default_email(cloud)
    if c.params.account ~= "default" and c.params.account ~= email then
      reply.abort(reply.text("Not Found\n", 404))
    end
    return email
  end

  local ROOT = "/computeMetadata/v1"
  on("/", function() return "computeMetadata/\n" end)
  on(ROOT, function() return "instance/\nproject/\nuniverse/\n" end)
  on(ROOT .. "/project/project-id", function() return project().projectId end)
  on(ROOT .. "/project/numeric-project-id", function() return project().projectNumber end)
  on(ROOT .. "/universe/universe-domain", function() return "googleapis.com" end)
  on(ROOT .. "/instance/zone", function()
    return ("projects/%s/zones/%s"):format(project().projectNumber, ZONE)
  end)
  on(ROOT .. "/instance/id", function() return "4520031799277581759" end)
  on(ROOT .. "/instance/name", function() return "sandbox" end)
  on(ROOT .. "/instance/hostname", function()
    return ("sandbox.%s.c.%s.internal"):format(ZONE, project().projectId)
  end)
  on(ROOT .. "/instance/attributes", function() return "" end)
  local ACCOUNTS = ROOT .. "/instance/service-accounts"
  local scopes = "https://www.googleapis.com/auth/cloud-platform"
  on(ACCOUNTS, function(c)
    local email = tokens.default_email(cloud)
    if values.flag(c.query.recursive) then
      local entry = { aliases = json.array { "default" }, email = email, scopes = json.array { scopes } }
      return { [email] = entry, default = entry }
    end
    return "default/\n" .. email .. "/\n"
  end)
  on(ACCOUNTS .. "/{account}", function(c)
    local email = account(c)
    if values.flag(c.query.recursive) then
      return { aliases = json.array { "default" }, email = email, scopes = json.array { scopes } }
    end
    return "aliases\nemail\nidentity\nscopes\ntoken\n"
  end)
  on(ACCOUNTS .. "/{account}/email", account)
  on(ACCOUNTS .. "/{account}/aliases", function() return "default\n" end)
  on(ACCOUNTS .. "/{account}/scopes", function() return scopes .. "\n" end)
  on(ACCOUNTS .. "/{account}/token", function(c) return tokens.grant(cloud, account(c), scopes) end)
end
