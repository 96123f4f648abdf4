-- The main job with real servers: Terraform's states and the lock on fake-gcs-server, the cluster on kube-apiserver.
local environment = require "ws.environment"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local scratch = require "scratch"
local servers = require "servers"

return function(test)
  test("create, create again, destroy", function(t)
    local host = servers.start(t, "gcs").STORAGE_EMULATOR_HOST
    environment.set { STORAGE_EMULATOR_HOST = host }
    assert(gcp.credentials { token = "any-token" })
    t:defer(function()
      environment.set { STORAGE_EMULATOR_HOST = false }
      gcp.credentials(nil)
    end)
    t:ok(gcs.create_bucket("tf-livingpackets-sandbox", { project = "p" }))

    local s = scratch.new(t)
    s.env.WSRUN_SANDBOX_STATES = host .. "/storage/v1/"
    s:expect(t, 0, { "sandbox", "up", "--kubernetes=real" })
    local create = { "--sandbox", "workflows/create_platform.lua", "dev-seb" }
    s:expect(t, 0, create)
    for _, layer in ipairs { "base", "bastion", "kubernetes", "data" } do
      t:ok(gcs.stat(("gs://tf-livingpackets-sandbox/terraform/%s/dev-seb.tfstate"):format(layer)))
    end
    t:has(s:in_sandbox(t, { "kubectl", "get", "--raw", "/version" }), '"gitVersion": "v1.34')
    t:has(s:in_sandbox(t, { "kubectl", "get", "deploy", "-A" }), "test-app")
    t:has(s:expect(t, 0, create), "nothing changed")
    s:expect(t, 0, { "--sandbox", "workflows/destroy_platform.lua", "dev-seb", "--confirm=dev-seb" })
    for _, object in ipairs(t:ok(gcs.list "gs://tf-livingpackets-sandbox/")) do
      -- terraform init makes an empty state of the default workspace, which belongs to no platform.
      t:ok(object.name:find("/default%.tfstate$"), object.name)
    end
  end, { timeout = 500 })
end
