-- The variables of the layers, and that they are the ones that layers/*/variables.tf declares.
local inputs = require "lib.inputs"

--- A manifest as small as the proof of concept's, with every key that it knew.
local function manifest(changes)
  local m = {
    name = "dev-seb", type = "dev", region = "europe-west1", ["gcp-project"] = "livingpackets-sandbox",
    ["remote-bucket"] = "states", ["prefix-bucket"] = "terraform",
    ips_whitelist = { "203.0.113.10", "198.51.100.0/24" },
    infrastructure = {
      version = "1.0",
      ["range-ip"] = "10.32.0.0/20", ["range-ip-pod"] = "10.36.0.0/14", ["range-ip-svc"] = "10.33.0.0/20",
      ["range-ip-master"] = "10.32.240.0/28", ["range-plateform"] = "10.32.0.0/13",
      bastion = { image = "debian-cloud/debian-12", ["instance-type"] = "e2-small", preemptible = true },
      cloudsql = {
        version = "POSTGRES_16", ["instance-type"] = "db-f1-micro", ["disk-size"] = 10, ["instance-num"] = 4711,
      },
      gke = {
        version = "1.33", preemptible = true, ["instance-type"] = "e2-standard-2",
        ips_whitelist = { "192.0.2.44", "203.0.113.10/32" }, min = 1, max = 3,
      },
    },
    applications = {
      { name = "test-app", version = "1.4.1", namespace = "web" },
      {
        name = "parcels", namespace = "parcels", paths = { "manifests/apps/parcels" },
        cloudsql = { database = "parcels", user = "parcels", ["user-secret"] = "parcels-sql" },
      },
    },
  }
  if changes then changes(m) end
  return m
end

--- The variables that a layer declares: name → "required" or "optional".
local function declared(layer)
  local file = assert(io.open("layers/" .. layer .. "/variables.tf"))
  local text = file:read("a")
  file:close()
  local variables = {}
  for name, body in text:gmatch('variable "([%w_]+)" (%b{})') do
    variables[name] = body:find("\n  default +=") and "optional" or "required"
  end
  return variables
end

--- Names that a layer is given and does not declare, and names that it requires and is not given.
local function mismatch(layer, given)
  local problems, variables = {}, declared(layer)
  for name in pairs(given) do
    if not variables[name] then problems[#problems + 1] = "undeclared " .. name end
  end
  for name, kind in pairs(variables) do
    if kind == "required" and given[name] == nil then problems[#problems + 1] = "missing " .. name end
  end
  table.sort(problems)
  return problems
end

--- Every empty table inside a value, as paths.
local function empties(value, path, found)
  found = found or {}
  if type(value) == "table" then
    if next(value) == nil then found[#found + 1] = path end
    for k, v in pairs(value) do empties(v, path .. "." .. tostring(k), found) end
  end
  return found
end

--- The manifest with every key that a layer reads.
local function full()
  return manifest(function(m)
    local infra = m.infrastructure
    infra["range-ip-peering"] = "10.34.0.0/20"
    infra.bastion["public-ip"], infra.bastion["disk-size"] = false, 20
    local gke, sql = infra.gke, infra.cloudsql
    gke.zones, gke["disk-size"], gke["release-channel"] = { "europe-west1-b" }, 100, "STABLE"
    gke["maintenance-start"], gke["deletion-protection"] = "01:00", true
    infra["load-balancer"] = {
      domains = { "app.example.com" }, cdn = true, timeout = 60, ["node-port"] = 31443, ["health-path"] = "/up",
    }
    sql["disk-limit"], sql.edition, sql.availability, sql.replicas = 50, "ENTERPRISE", "regional", 2
    sql["deletion-protection"], sql.flags = true, { max_connections = "200" }
    sql.maintenance = { day = 6, hour = 4 }
    sql.backups = {
      enabled = true, ["start-time"] = "04:00", retained = 30, location = "eu",
      ["point-in-time-recovery"] = true, ["log-retention-days"] = 5,
    }
    m.monitoring = {
      emails = { "oncall@example.com" }, uptime = { path = "/up", period = 300 }, alerts = { latency = 2 },
      dashboard = true,
    }
  end)
end

return function(test)
  test("every layer is given what it declares, for the smallest and the fullest manifest", function(t)
    for _, m in ipairs { manifest(function(x) x.monitoring = {} end), full() } do
      for _, layer in ipairs { "project", "base", "bastion", "kubernetes", "data", "monitoring" } do
        local given = inputs[layer](m, { parcels = "secret" })
        t:eq(mismatch(layer, given), {}, layer)
        t:eq(empties(given, layer), {})
      end
    end
  end)

  test("the fullest manifest sets every variable that has a key", function(t)
    local without_key = {
      base = { application_roles = true, private_domain = true },
      kubernetes = { log_sample_rate = true },
      data = { ack_deadline = true, message_retention = true },
      project = { services = true },
    }
    for _, layer in ipairs { "project", "base", "bastion", "kubernetes", "data", "monitoring" } do
      local given, unset = inputs[layer](full(), { parcels = "secret" }), {}
      for name in pairs(declared(layer)) do
        if given[name] == nil and not (without_key[layer] or {})[name] then unset[#unset + 1] = name end
      end
      t:eq(unset, {}, layer)
    end
  end)

  test("project and base", function(t)
    t:eq(inputs.project(manifest()), { gcp_project = "livingpackets-sandbox" })
    t:eq(inputs.base(manifest()), {
      gcp_project = "livingpackets-sandbox", region = "europe-west1", platform_type = "dev",
      infrastructure_version = "1.0",
      range_ip = "10.32.0.0/20", range_ip_pod = "10.36.0.0/14", range_ip_svc = "10.33.0.0/20",
    })
  end)

  test("bastion: the whitelist at the top, addresses as ranges", function(t)
    local b = inputs.bastion(manifest())
    t:eq(b.instance_image, "debian-cloud/debian-12")
    t:eq(b.instance_type, "e2-small")
    t:eq(b.preemptible, true)
    t:eq(b.whitelist, { "203.0.113.10/32", "198.51.100.0/24" })
    t:eq(b.remote_bucket, "states")
    t:eq(b.remote_prefix, "terraform")
    t:raises("no infrastructure.bastion", inputs.bastion, manifest(function(m) m.infrastructure.bastion = nil end))
  end)

  test("kubernetes: both whitelists, each range once, any number of them", function(t)
    local k = inputs.kubernetes(manifest())
    t:eq(k.whitelist, { "203.0.113.10/32", "198.51.100.0/24", "192.0.2.44/32" })
    t:eq(k.range_platform, "10.32.0.0/13")
    t:eq(k.range_ip_master, "10.32.240.0/28")
    t:eq(k.kubernetes_version, "1.33")
    t:eq({ k.min_nodes, k.max_nodes }, { 1, 3 })
    local many = inputs.kubernetes(manifest(function(m)
      for i = 1, 60 do m.infrastructure.gke.ips_whitelist[i] = "192.0.2." .. i end
    end))
    t:eq(#many.whitelist, 62)
  end)

  test("kubernetes: applications with a chart act as the application account, those of plain YAML do not", function(t)
    t:eq(inputs.kubernetes(manifest()).workload_identities, { "web/test-app" })
    t:eq(inputs.kubernetes(manifest(function(m) m.applications = nil end)).workload_identities, nil)
    local default = manifest(function(m) m.applications = { { name = "a", version = "1" } } end)
    t:eq(inputs.kubernetes(default).workload_identities, { "default/a" })
  end)

  test("a false in the manifest stays false", function(t)
    local m = full()
    m.infrastructure.gke.preemptible, m.infrastructure.gke["deletion-protection"] = false, false
    m.infrastructure.cloudsql["deletion-protection"], m.infrastructure.cloudsql.backups.enabled = false, false
    t:eq(inputs.kubernetes(m).preemptible, false)
    t:eq(inputs.kubernetes(m).deletion_protection, false)
    t:eq(inputs.bastion(m).public_ip, false)
    local sql = inputs.data(m, { parcels = "secret" }).sql
    t:eq(sql.deletion_protection, false)
    t:eq(sql.backups.enabled, false)
  end)

  test("data: server, databases, users and passwords", function(t)
    local secret = setmetatable({}, { __tostring = function() return "***" end })
    local d = inputs.data(manifest(), { parcels = secret, stranger = "unused" })
    t:eq(d.sql, { instance_num = 4711, version = "POSTGRES_16", tier = "db-f1-micro", disk_size = 10 })
    t:eq(d.databases, { "parcels" })
    t:eq(d.users, { "parcels" })
    t:ok(rawequal(d.passwords.parcels, secret), "a secret is passed on as it is")
    t:eq(d.passwords.stranger, nil)
  end)

  test("data: applications that share a database name it once", function(t)
    local d = inputs.data(manifest(function(m)
      m.applications[1].cloudsql = { database = "parcels", user = "reader", ["user-secret"] = "reader-sql" }
    end), { parcels = "a", reader = "b" })
    t:eq(d.databases, { "parcels" })
    t:eq(d.users, { "parcels", "reader" })
    t:eq(d.passwords, { parcels = "a", reader = "b" })
  end)

  test("data: no server", function(t)
    local m = manifest(function(x) x.infrastructure.cloudsql, x.applications[2] = nil, nil end)
    t:eq(inputs.data(m).sql, nil)
    t:raises('"parcels" asks for a database', inputs.data,
      manifest(function(x) x.infrastructure.cloudsql = nil end), { parcels = "a" })
  end)

  test("data: a number and all passwords are needed", function(t)
    t:raises("instance%-num is missing", inputs.data,
      manifest(function(m) m.infrastructure.cloudsql["instance-num"] = nil end), { parcels = "a" })
    t:raises('no password for the user "parcels" of application "parcels"', inputs.data, manifest(), {})
    t:raises('no password for the user "parcels"', inputs.data, manifest())
  end)

  test("data: a disk that has grown is not asked to shrink", function(t)
    local m = full()
    t:eq(inputs.data(m, { parcels = "a" }).sql.disk_size, 10)
    t:eq(inputs.data(m, { parcels = "a" }, { disk_size = 37 }).sql.disk_size, 37)
    t:eq(inputs.data(m, { parcels = "a" }, { disk_size = 5 }).sql.disk_size, 10)
    m.infrastructure.cloudsql["disk-limit"] = nil
    t:eq(inputs.data(m, { parcels = "a" }, { disk_size = 37 }).sql.disk_size, 10)
  end)

  test("databases: what an application asks for, and where its secret is", function(t)
    t:eq(inputs.databases(manifest()), { {
      application = "parcels", namespace = "parcels", database = "parcels", user = "parcels", secret = "parcels-sql",
    } })
    t:eq(inputs.databases(manifest(function(m) m.applications = nil end)), {})
  end)

  test("monitoring", function(t)
    local m = inputs.monitoring(full())
    t:eq(m.emails, { "oncall@example.com" })
    t:eq(m.uptime, { path = "/up", period = 300 })
    t:eq(m.alerts, { latency = 2 })
    t:eq(m.dashboard, true)
    local defaults = inputs.monitoring(manifest(function(x) x.monitoring = { uptime = {} } end))
    t:eq(defaults.uptime, { path = "/healthz" })
    t:eq(defaults.alerts, nil)
    t:raises("no monitoring", inputs.monitoring, manifest())
  end)

  test("backend: bucket and prefix of each layer's state", function(t)
    t:eq(inputs.backend(manifest(), "base"), { bucket = "states", prefix = "terraform/base" })
    local at_top = manifest(function(m) m["prefix-bucket"] = nil end)
    t:eq(inputs.backend(at_top, "data"), { bucket = "states", prefix = "data" })
    local slashes = manifest(function(m) m["prefix-bucket"] = "/team/a//" end)
    t:eq(inputs.backend(slashes, "data").prefix, "team/a/data")
    t:eq(inputs.data(slashes, { parcels = "a" }).remote_prefix, "team/a")
    t:raises('no layer is called "dat"', inputs.backend, manifest(), "dat")
  end)

  test("workspace: the platform's, and for the layer that platforms share the project's", function(t)
    t:eq(inputs.workspace(manifest(), "base"), "dev-seb")
    t:eq(inputs.workspace(manifest(), "project"), "livingpackets-sandbox")
    local m = manifest(function(x) x["gcp-project"] = "example.com:some-project" end)
    t:eq(inputs.workspace(m, "project"), "example-com-some-project")
  end)

  test("layers: those that the manifest asks for, each after what it reads", function(t)
    t:eq(inputs.layers(manifest()), { "base", "bastion", "kubernetes", "data" })
    t:eq(inputs.layers(full()), { "base", "bastion", "kubernetes", "data", "monitoring" })
    t:eq(inputs.layers(manifest(function(m) m.infrastructure.bastion = nil end)), { "base", "kubernetes", "data" })
    local before = {}
    for _, layer in ipairs(inputs.layers(full())) do
      for _, needed in ipairs(inputs.needs[layer]) do t:ok(before[needed], layer .. " comes before " .. needed) end
      before[layer] = true
    end
  end)

  test("the needs are the remote states that the layers read", function(t)
    for layer, needed in pairs(inputs.needs) do
      local file = assert(io.open("layers/" .. layer .. "/main.tf"))
      local text, read = file:read("a"), {}
      file:close()
      for name in text:gmatch('data "terraform_remote_state" "(%w+)"') do read[#read + 1] = name end
      t:eq(read, needed, layer)
    end
  end)
end
