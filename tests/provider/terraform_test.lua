--- The provider under the real terraform, over a cloud in memory.
local fs = require "ws.fs"
local process = require "ws.process"

local here = (debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")) or "."
local cloud_in_memory = dofile(here .. "/cloud.lua")

local HEAD = [[
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

provider "google" {
  project = "demo"
  region  = "europe-west1"
}
]]

--- A folder with a configuration, a provider for it and functions that run terraform there.
local function world(t, text, opts)
  if not process.which("terraform") then t:skip("terraform is not installed") end
  local dir = t:tmpdir()
  local cloud = opts and opts.cloud or cloud_in_memory.new(opts)
  local server = assert(require "sandbox.provider".serve {
    socket = dir .. "/provider", endpoint = "http://127.0.0.1:1", transport = cloud.transport,
  })
  t:defer(function() server:close() end)
  local w = { dir = dir, cloud = cloud, server = server, env = {
    TF_REATTACH_PROVIDERS = server:reattach(), TF_CLI_CONFIG_FILE = "/dev/null", TF_DATA_DIR = dir .. "/.terraform",
    CHECKPOINT_DISABLE = "1", TF_IN_AUTOMATION = "1", TF_LOG = false,
  } }
  function w.write(body) assert(fs.write(dir .. "/main.tf", HEAD .. body)) end
  function w.terraform(...)
    local r = assert(process.run({ "terraform", ... }, { cwd = dir, env = w.env, timeout = 60 }))
    return r.code, r.stdout .. r.stderr
  end
  function w.ok(...)
    local code, out = w.terraform(...)
    if code ~= 0 then error(("terraform %s: exit %d\n%s"):format((...), code, out), 2) end
    return out
  end
  w.write(text)
  w.ok("init", "-no-color")
  return w
end

local NETWORK = [[
resource "google_compute_network" "a" {
  name                    = "net-a"
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}
]]

return function(test)
  test("create, plan again, update, replace, destroy", function(t)
    local w = world(t, NETWORK, { delay = 0.05 })
    t:has(w.ok("validate", "-no-color"), "The configuration is valid")
    local out = w.ok("apply", "-auto-approve", "-no-color")
    t:has(out, "1 added, 0 changed, 0 destroyed")
    t:has(out, "(known after apply)")
    t:eq(w.cloud.objects["projects/demo/global/networks/net-a"].routingConfig.routingMode, "REGIONAL")
    t:eq(w.terraform("plan", "-detailed-exitcode"), 0)
    w.write((NETWORK:gsub("REGIONAL", "GLOBAL")))
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "0 added, 1 changed, 0 destroyed")
    t:eq(w.cloud.objects["projects/demo/global/networks/net-a"].routingConfig.routingMode, "GLOBAL")
    w.write((NETWORK:gsub("net%-a", "net-b")))
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "1 added, 0 changed, 1 destroyed")
    t:eq(w.cloud.objects["projects/demo/global/networks/net-a"], nil)
    t:has(w.ok("destroy", "-auto-approve", "-no-color"), "1 destroyed")
    t:eq(next(w.cloud.objects), nil)
  end)

  test("init downloads nothing", function(t)
    local w = world(t, NETWORK)
    t:eq(fs.exists(w.dir .. "/.terraform/providers"), false)
    t:eq(fs.exists(w.dir .. "/.terraform.lock.hcl"), false)
  end)
end
