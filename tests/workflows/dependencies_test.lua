-- What the platform's own chart is given, and how values of a manifest lie over those of the platform.
local dependencies = require "lib.dependencies"

local function manifest(dependancies, namespaces)
  return { infrastructure = { dependancies = dependancies, namespaces = namespaces } }
end

return function(test)
  test("platform chart: nothing is asked for", function(t)
    t:eq(dependencies.platform_values(manifest()), nil)
    t:eq(dependencies.platform_values(manifest({ certmanager = { enabled = true } })), nil)
    t:eq(dependencies.platform_values(manifest({ certmanager = { enabled = false, issuer = "selfsigned" } })), nil)
  end)

  test("platform chart: an issuer when cert-manager is there", function(t)
    t:eq(dependencies.platform_values(manifest {
      certmanager = { enabled = true, issuer = "letsencrypt", email = "a@example.com" },
    }), { issuer = { name = "letsencrypt", email = "a@example.com" } })
  end)

  test("platform chart: a Prometheus server for each namespace that asks, when the operator is there", function(t)
    local namespaces = { "plain", { name = "bare" }, { name = "web", prometheus = { name = "web-metrics" } } }
    t:eq(dependencies.platform_values(manifest({ ["prometheus-operator"] = { enabled = true } }, namespaces)),
      { prometheus = { { name = "web-metrics", namespace = "web" } } })
    t:eq(dependencies.platform_values(manifest({ ["prometheus-operator"] = { enabled = false } }, namespaces)), nil)
  end)

  test("values: maps are merged, everything else is replaced", function(t)
    t:eq(dependencies.merge({ a = { b = 1, c = 2 }, l = { 1, 2 } }, { a = { c = 3 }, l = { 9 }, n = false }),
      { a = { b = 1, c = 3 }, l = { 9 }, n = false })
    t:eq(dependencies.merge(nil, { a = 1 }), { a = 1 })
    t:eq(dependencies.merge({ a = 1 }, nil), { a = 1 })
    t:eq(dependencies.merge(nil, nil), {})
    local base = { a = { b = 1 } }
    dependencies.merge(base, { a = { b = 2 } })
    t:eq(base, { a = { b = 1 } }, "what is laid over changes nothing below")
  end)
end
