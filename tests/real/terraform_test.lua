-- Terraform with its states on a real Cloud Storage emulator: the lock that a killed run leaves.
local fs = require "ws.fs"
local process = require "ws.process"
local task = require "ws.task"
local terraform = require "ws.terraform"

local layer_file = [[
terraform {
  backend "gcs" {}
}
variable "wait" {
  type    = number
  default = 0
}
resource "terraform_data" "main" {
  input = var.wait
  provisioner "local-exec" {
    command = "sleep ${var.wait}"
  }
}
output "wait" {
  value = terraform_data.main.output
}
]]

return function(test)
  test("a lock whose holder was killed with its run is given back", function(t)
    for _, tool in ipairs { "terraform", "fake-gcs-server" } do
      if not process.which(tool) then t:skip(tool .. " is not installed") end
    end
    local environment = require "ws.environment"
    local dir = t:tmpdir()
    t:defer(function() process.run({ "tests/real/servers.sh", "stop", dir .. "/servers" }, { timeout = 60 }) end)
    local started = assert(process.check({ "tests/real/servers.sh", "start", "gcs", dir .. "/servers" },
      { timeout = 120, linger = 0.5 }))
    local env = { GOOGLE_OAUTH_ACCESS_TOKEN = "any" }
    for name, value in started.stdout:gmatch("([%u_]+)=(%S+)") do env[name] = value end
    -- Terraform before 1.6 wants the backend's own variable when there is a token.
    env.GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = env.STORAGE_EMULATOR_HOST .. "/storage/v1/"
    environment.set(env)
    t:defer(function() for name in pairs(env) do environment.overlay()[name] = nil end end)
    assert(fs.mkdir(dir .. "/layers/slow"))
    assert(fs.write(dir .. "/layers/slow/main.tf", layer_file))
    local created = require "ws.gcs".create_bucket("states", { project = "p" })
    t:ok(created)
    local options = ([[{ platform = "p", workspace = "p", backend = { bucket = "states", prefix = "slow" },
      vars = { wait = %%d }, state_dir = %q, run_dir = %q }]]):format(dir .. "/state", dir)
    assert(fs.write(dir .. "/run.lua", ("require 'ws.terraform'.layer(%q, %s):apply()"):format(dir .. "/layers/slow",
      options:format(300))))
    local run = t:ok(process.start({ os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), dir .. "/run.lua" }))
    local orphan = require "ws.terraform.orphan"
    local pid
    for _ = 1, 600 do -- until it applies: the lock is there
      task.sleep(0.05)
      pid = orphan.find(dir .. "/state/slow")
      if pid and (fs.read("/proc/" .. pid .. "/cmdline") or ""):find("\0apply\0")
        and require "ws.gcs".stat("gs://states/slow/p.tflock") then
        break
      end
    end
    t:ok(require "ws.gcs".stat("gs://states/slow/p.tflock"))
    run:kill("KILL")
    run:wait(10)
    process.run { "kill", "-KILL", "--", "-" .. pid }
    t:ok(require "ws.gcs".stat("gs://states/slow/p.tflock"), "the lock outlives both")
    local layer = terraform.layer(dir .. "/layers/slow", assert(load("return " .. options:format(0)))())
    local result = t:ok(layer:apply())
    t:eq(result.outputs.wait, 0)
    t:err("not_found", require "ws.gcs".stat("gs://states/slow/p.tflock"))
  end, { timeout = 180 })
end
