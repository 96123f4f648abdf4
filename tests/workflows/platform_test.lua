-- What is asked before a platform is destroyed.
local manifest = require "lib.manifest"
local platform = require "lib.platform"

return function(test)
  test("a protected platform is not destroyed, and the line that says so is named", function(t)
    local m = assert(manifest.load("prod-eu"))
    local p = platform.open({}, m)
    local err = t:raises("prod%-eu is protected from deletion", p.refuse_protected, p)
    t:eq(err.where, manifest.where(m, { "infrastructure", "gke", "deletion-protection" }))
    m.infrastructure.gke["deletion-protection"] = false
    err = t:raises("protected", p.refuse_protected, p)
    t:eq(err.where, manifest.where(m, { "infrastructure", "cloudsql", "deletion-protection" }))
    m.infrastructure.cloudsql["deletion-protection"] = nil
    p:refuse_protected()
  end)

  test("a platform that protects nothing may be destroyed", function()
    platform.open({}, assert(manifest.load("dev-seb"))):refuse_protected()
  end)
end
