-- Services asked through the API server.
local client = require "sandbox.kubernetes.client"
local kubernetes = require "sandbox.kubernetes"

local CORE, APPS = "/api/v1/namespaces/default/", "/apis/apps/v1/namespaces/default/"

local function cluster(image)
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "CA", key = "" } }
  local c = client.new(api, "x")
  c:call("POST", CORE .. "services", { apiVersion = "v1", kind = "Service", metadata = { name = "web" },
    spec = { selector = { app = "web" }, ports = { { name = "http", port = 80 }, { name = "https", port = 443 } } } })
  c:call("POST", APPS .. "deployments", { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" },
    spec = { selector = { matchLabels = { app = "web" } }, template = {
      metadata = { labels = { app = "web", ["app.kubernetes.io/version"] = "1.4.2" } },
      spec = { containers = { { name = "c", image = image } } } } } })
  api:settle()
  return c
end

return function(test)
  test("a ready pod answers, by any of the service's names and ports", function(t)
    local c = cluster "nginx:1"
    for _, name in ipairs { "web:http", "web:80", "https:web:https", "http:web:443" } do
      local status, answer = c:call("GET", CORE .. "services/" .. name .. "/proxy/a/b")
      t:eq({ status, answer.path, answer.image, answer.version, answer.simulated },
        { 200, "/a/b", "nginx:1", "1.4.2", true }, name)
    end
    t:eq(select(2, c:call("GET", CORE .. "services/web:http/proxy/")).path, "/")
  end)

  test("what the API server says when nobody can answer", function(t)
    local c = cluster "broken:1"
    local status, answer = c:call("GET", CORE .. "services/web:http/proxy/")
    t:eq({ status, answer.reason }, { 503, "ServiceUnavailable" })
    t:has(answer.message, 'no endpoints available for service "web"')
    status, answer = c:call("GET", CORE .. "services/web:grpc/proxy/")
    t:eq({ status, answer.message }, { 503, 'no service port "grpc" found for service "web"' })
    t:eq((c:call("GET", CORE .. "services/web/proxy/")), 503, "two ports, and none is named")
    t:eq((c:call("GET", CORE .. "services/none:http/proxy/")), 404)
  end)
end
