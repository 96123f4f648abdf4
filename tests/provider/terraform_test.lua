--- The provider under the real terraform, over a cloud in memory: the life of a resource.
local fs = require "ws.fs"
local json = require "ws.json"
local task = require "ws.task"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local world = dofile(here .. "/world.lua")
world.cloud = dofile(here .. "/cloud.lua")

local NETWORK = [[
resource "google_compute_network" "a" {
  name                    = "net-a"
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}
]]

local PATH = "projects/demo/global/networks/net-a"

local function many(count)
  return ([[
resource "google_compute_network" "n" {
  count = %d
  name  = "${var.prefix}-${count.index}"
}

variable "prefix" {
  type = string
}
]]):format(count)
end

return function(test)
  test("create, plan again, update, replace, destroy", function(t)
    local w = world.in_memory(t, NETWORK, { delay = 0.05 })
    t:has(w.ok("validate", "-no-color"), "The configuration is valid")
    local out = w.ok("apply", "-auto-approve", "-no-color")
    t:has(out, "1 added, 0 changed, 0 destroyed")
    t:has(out, "(known after apply)")
    t:eq(w.cloud.objects[PATH].routingConfig.routingMode, "REGIONAL")
    t:eq(w.run("plan", "-detailed-exitcode"), 0)
    w.write((NETWORK:gsub("REGIONAL", "GLOBAL")))
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "0 added, 1 changed, 0 destroyed")
    t:eq(w.cloud.objects[PATH].routingConfig.routingMode, "GLOBAL")
    w.write((NETWORK:gsub("net%-a", "net-b")))
    t:has(w.ok("plan", "-no-color"), "forces replacement")
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "1 added, 0 changed, 1 destroyed")
    t:eq(w.cloud.objects[PATH], nil)
    t:has(w.ok("destroy", "-auto-approve", "-no-color"), "1 destroyed")
    t:eq(next(w.cloud.objects), nil)
  end)

  test("init downloads nothing", function(t)
    local w = world.in_memory(t, NETWORK)
    t:eq(fs.exists(w.dir .. "/.terraform/providers"), false)
    t:eq(fs.exists(w.dir .. "/.terraform.lock.hcl"), false)
  end)

  test("values that the cloud computes are unknown in the plan and known after apply", function(t)
    local w = world.in_memory(t, NETWORK .. [[
resource "google_compute_subnetwork" "s" {
  name          = "sub"
  network       = google_compute_network.a.id
  ip_cidr_range = "10.0.0.0/24"
}

output "link" {
  value = google_compute_network.a.self_link
}
]])
    w.ok("plan", "-no-color", "-out=p")
    local plan = assert(json.decode(w.ok("show", "-json", "p")))
    for _, change in ipairs(plan.resource_changes) do
      t:eq(change.change.after_unknown.self_link, true, change.address)
      t:eq(change.change.after.project, "demo", change.address)
    end
    w.ok("apply", "-no-color", "p")
    t:has(w.ok("output", "-no-color"), "https://www.googleapis.com/compute/v1/" .. PATH)
    t:eq(w.cloud.objects["projects/demo/regions/europe-west1/subnetworks/sub"].network, PATH)
    t:eq(w.run("plan", "-detailed-exitcode"), 0)
  end)

  test("what was deleted or changed behind Terraform's back is planned again", function(t)
    local w = world.in_memory(t, NETWORK)
    w.ok("apply", "-auto-approve", "-no-color")
    w.cloud.objects[PATH].routingConfig.routingMode = "GLOBAL"
    local code, out = w.run("plan", "-detailed-exitcode", "-no-color")
    t:eq(code, 2)
    t:has(out, '"GLOBAL" -> "REGIONAL"')
    w.cloud.objects[PATH] = nil
    code, out = w.run("plan", "-detailed-exitcode", "-no-color")
    t:eq(code, 2)
    t:has(out, "1 to add, 0 to change, 0 to destroy")
    w.ok("apply", "-refresh-only", "-auto-approve", "-no-color")
    t:eq(w.ok("state", "list"), "")
    w.ok("apply", "-auto-approve", "-no-color")
    t:ok(w.cloud.objects[PATH])
    w.cloud.objects[PATH] = nil
    t:has(w.ok("destroy", "-auto-approve", "-no-color", "-refresh=false"), "1 destroyed", "it is gone already")
  end)

  test("import by every form of id; a missing object is an error", function(t)
    local w = world.in_memory(t, NETWORK)
    for _, id in ipairs { PATH, "demo/net-a", "net-a", "https://www.googleapis.com/compute/v1/" .. PATH } do
      w.cloud.objects[PATH] = { name = "net-a", id = "7", selfLink = "https://www.googleapis.com/compute/v1/" .. PATH,
        autoCreateSubnetworks = false, routingConfig = { routingMode = "REGIONAL" } }
      w.ok("import", "-no-color", "google_compute_network.a", id)
      t:has(w.ok("state", "show", "-no-color", "google_compute_network.a"), 'routing_mode')
      w.ok("state", "rm", "google_compute_network.a")
    end
    w.ok("import", "google_compute_network.a", "net-a")
    t:eq(w.run("apply", "-auto-approve", "-no-color"), 0)
    t:eq(w.run("plan", "-detailed-exitcode"), 0)
    w.ok("state", "rm", "google_compute_network.a")
    local code, out = w.run("import", "-no-color", "google_compute_network.a", "nowhere")
    t:eq(code, 1)
    t:has(out, "non-existent remote object")
    code, out = w.run("import", "-no-color", "google_compute_network.a", "a/b/c/d/e/f")
    t:eq(code, 1)
    t:has(out, "projects/{project}/global/networks/{name}")
  end)

  test("a taint and a failed create lead to a new object", function(t)
    local w = world.in_memory(t, NETWORK)
    w.cloud.fail = function(method) return method == "POST" and 403 end
    local code, out = w.run("apply", "-auto-approve", "-no-color")
    t:eq(code, 1)
    t:has(out, 'Error creating compute network "net-a"')
    t:has(out, "told to fail")
    t:has(out, "main.tf line")
    t:eq(w.ok("state", "list"), "")
    w.cloud.fail = nil
    w.ok("apply", "-auto-approve", "-no-color")
    w.ok("taint", "google_compute_network.a")
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "1 added, 0 changed, 1 destroyed")
  end)

  test("a failed update keeps the old state", function(t)
    local w = world.in_memory(t, NETWORK)
    w.ok("apply", "-auto-approve", "-no-color")
    w.write((NETWORK:gsub("REGIONAL", "GLOBAL")))
    w.cloud.fail = function(method) return method == "PATCH" and 400 end
    t:eq(w.run("apply", "-auto-approve", "-no-color"), 1)
    t:has(w.ok("state", "show", "-no-color", "google_compute_network.a"), "REGIONAL")
    w.cloud.fail = nil
    t:has(w.ok("apply", "-auto-approve", "-no-color"), "1 changed")
  end)

  test("what passes by itself is tried again", function(t)
    local w = world.in_memory(t, NETWORK)
    local left = 2
    w.cloud.fail = function()
      left = left - 1
      return left >= 0 and 503
    end
    w.ok("apply", "-auto-approve", "-no-color")
    t:ok(w.cloud.objects[PATH])
  end)

  test("two terraforms at once, sixty resources each", function(t)
    local a = world.in_memory(t, many(60), { delay = 0.2 })
    local b = world.folder(t, { server = a.server })
    b.write(many(60))
    b.ok("init", "-no-color")
    local results = assert(task.all {
      function() return a.ok("apply", "-auto-approve", "-no-color", "-parallelism=60", "-var=prefix=a") end,
      function() return b.ok("apply", "-auto-approve", "-no-color", "-parallelism=60", "-var=prefix=b") end,
    })
    t:has(results[1], "60 added")
    t:has(results[2], "60 added")
    local count = 0
    for _ in pairs(a.cloud.objects) do count = count + 1 end
    t:eq(count, 120)
    assert(task.all {
      function() return a.ok("destroy", "-auto-approve", "-no-color", "-parallelism=60", "-var=prefix=a") end,
      function() return b.ok("destroy", "-auto-approve", "-no-color", "-parallelism=60", "-var=prefix=b") end,
    })
    t:eq(next(a.cloud.objects), nil)
  end)

  test("one Ctrl-C lets what runs come to its end and keeps it in the state", function(t)
    local w = world.in_memory(t, many(1), { delay = 1.5 })
    local child = w.start("apply", "-auto-approve", "-no-color", "-var=prefix=a")
    while #w.cloud.requests < 2 do task.sleep(0.02) end
    child:kill("INT")
    local r = assert(child:wait(30))
    t:eq(r.code, 1)
    t:has(r.stdout, "execution halted")
    t:has(w.ok("state", "list"), "google_compute_network.n[0]")
    t:eq(w.run("plan", "-detailed-exitcode", "-var=prefix=a"), 0)
  end)

  test("kill -9 of terraform leaves the provider serving the next one", function(t)
    local w = world.in_memory(t, many(5), { delay = 0.5 })
    local child = w.start("apply", "-auto-approve", "-no-color", "-var=prefix=a")
    while #w.cloud.requests < 3 do task.sleep(0.02) end
    child:kill("KILL")
    child:wait(10)
    task.sleep(1) -- what was begun comes to its end
    local made = 0
    for _ in pairs(w.cloud.objects) do made = made + 1 end
    t:ok(made > 0)
    t:eq(next(w.server.server.connections), nil)
    t:eq(next(w.server.server.running), nil)
    local code, out = w.run("plan", "-no-color", "-detailed-exitcode", "-lock=false", "-var=prefix=a")
    t:eq(code, 2)
    t:has(out, "5 to add")
  end)
end
