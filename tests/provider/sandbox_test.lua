--- Every resource and data source of the provider against the sandbox's own services: created, planned again without a
--- change, changed in place, imported, destroyed.
local fs = require "ws.fs"
local json = require "ws.json"
local request = require "sandbox.request"
local task = require "ws.task"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local world = dofile(here .. "/world.lua")

local PROVIDER = [[
provider "google" {
  project        = "demo-project"
  region         = "europe-west1"
  default_labels = { platform = "test" }
}

]]

local APIS = { "artifactregistry", "cloudfunctions", "compute", "container", "dns", "iam", "monitoring", "pubsub",
  "secretmanager", "servicenetworking", "sqladmin", "storage" }

--- Terraform never talks to the clusters' own APIs.
local NO_KUBERNETES = { new = function()
  local function nothing() end
  return { stop = nothing, destroy = nothing,
    start = function() return { endpoint = "127.0.0.1:1", ca_cert = "a certificate" } end }
end }

--- A sandbox in this process, without what belongs to the daemon, and a folder whose terraform uses it.
local function sandbox_world(t)
  local dir = t:tmpdir()
  local cloud = assert(require "sandbox.cloud".new { dir = dir, operation_seconds = { 0.01, 0.05 } })
  cloud.ca = require "sandbox.certificates".authority(dir)
  cloud.kubernetes = NO_KUBERNETES
  request.call(cloud, { method = "POST", url = "/resourcemanager/v1/projects", body = { projectId = "demo-project" } })
  local ids = json.array {}
  for i, name in ipairs(APIS) do ids[i] = name .. ".googleapis.com" end
  request.call(cloud, { method = "POST", url = "/serviceusage/v1/projects/demo-project/services:batchEnable",
    body = { serviceIds = ids } })
  while not cloud.store:collection "serviceusage":get "demo-project/storage.googleapis.com" do task.sleep(0.01) end
  local http = assert(require "ws.server".listen { handler = function(req) return cloud:handle(req) end })
  cloud.endpoint = http.url
  local server = assert(require "sandbox.provider".serve { socket = dir .. "/s", endpoint = http.url })
  t:defer(function()
    server:close()
    http:close()
    cloud:close()
  end)
  local w = world.folder(t, { server = server, head = PROVIDER })
  w.cloud = cloud
  return w
end

local function variables(w, changed)
  assert(fs.write(w.dir .. "/terraform.tfvars.json", json.encode {
    team = changed and "blue" or "red", restart = not changed, disabled = changed, google_access = not changed,
    routing_mode = changed and "GLOBAL" or "REGIONAL", range = changed and "10.0.0.0/23" or "10.0.0.0/24",
    channel = changed and "STABLE" or "REGULAR", machine = changed and "e2-medium" or "e2-small",
    secondary = { pods = "10.4.0.0/16", services = "10.5.0.0/20", [changed and "more" or "other"] = "10.6.0.0/20" },
    asn = changed and 64515 or 64514, interval = changed and 20 or 10, nodes = changed and 2 or 1,
    ports = changed and 128 or 64, priority = changed and 900 or 1000, size = changed and 30 or 20,
    ttl = changed and 60 or 300,
  }))
end

--- What terraform would do, as a list of "address: actions".
local function planned(w)
  w.run("plan", "-no-color", "-out=p")
  local plan = assert(json.decode(w.ok("show", "-json", "p")))
  local found = {}
  for _, change in ipairs(plan.resource_changes or {}) do
    local actions = table.concat(change.change.actions, ",")
    if actions ~= "no-op" and actions ~= "read" then found[#found + 1] = change.address .. ": " .. actions end
  end
  return found, #found > 0 and w.ok("show", "-no-color", "p") or ""
end

--- Fails when terraform would do anything.
local function nothing_to_do(t, w, when)
  local found, plan = planned(w)
  t:eq(found, {}, when .. "\n" .. plan)
end

--- What TF_LOG=warn says about results that are not what was planned, without what the published provider does as well.
local function complaints(out)
  local found = {}
  local about
  for line in out:gmatch("[^\n]+") do
    about = line:match("produced an? %a+ new value.-for ([%w_.%[%]\"]+)") or line:match("^%s+%- %.") and about or nil
    if about and line:find("^%s+%- %.") then found[#found + 1] = about .. line end
  end
  return found
end

return function(test)
  test("everything: create, plan, change, plan, destroy", function(t)
    local w = sandbox_world(t)
    w.write(assert(fs.read(here .. "/everything.tf")))
    variables(w, false)
    w.ok("init", "-no-color")
    w.env.TF_LOG = "warn"
    local out = w.ok("apply", "-auto-approve", "-no-color")
    w.env.TF_LOG = false
    t:eq(complaints(out), {})
    nothing_to_do(t, w, "after create")
    local facts = assert(json.decode(w.ok("output", "-json"))).facts.value
    t:eq(facts.range, "10.0.0.0/24")
    t:eq(facts.authority, true)
    t:eq(facts.account, "machines@demo-project.iam.gserviceaccount.com")
    t:eq(facts.iap, "35.235.240.0/20")
    t:ok(facts.server:find("^10%."))
    t:ok(facts.zones >= 3 and facts.versions > 0)
    t:eq(w.ok("output", "-raw", "secret"), "s3cret")
    variables(w, true)
    for _, change in ipairs((planned(w))) do t:ok(change:find(": update$"), change) end
    out = w.ok("apply", "-auto-approve", "-no-color")
    t:has(out, "0 added")
    t:has(out, "0 destroyed")
    nothing_to_do(t, w, "after change")
    w.ok("destroy", "-auto-approve", "-no-color")
    t:eq(w.ok("state", "list"), "")
  end, { timeout = 240 })
end
