-- The layers under the real terraform and the sandbox's provider, which has the published provider's schema: they are
-- valid, what they plan for both manifests has the names it should have, and wrong inputs are refused with reasons.
--
-- Nothing is created: the states of other layers are files with made-up outputs, the cloud answers with its zones.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local yaml = require "ws.yaml"
local inputs = require "lib.inputs"

local layers = { "project", "base", "bastion", "kubernetes", "data", "monitoring" }

--- What the layers that others read from would give out for a platform.
local function outputs_of(platform)
  local function on(name) return name .. "-" .. platform end
  return {
    base = {
      network = on "lp-net", network_id = "projects/p/global/networks/" .. on "lp-net",
      subnetwork = on "lp-subnet", subnetwork_id = "projects/p/regions/europe-west1/subnetworks/" .. on "lp-subnet",
      pods_range_name = "pods", services_range_name = "services", dns_zone = on "lp-private",
      dns_domain = platform .. ".lp.internal.", peering_range_name = on "lp-peering",
      nodes_service_account = on "lp-nodes" .. "@p.iam.gserviceaccount.com",
      apps_service_account = on "lp-apps" .. "@p.iam.gserviceaccount.com",
    },
    kubernetes = {
      url_map = on "lp-urls", cluster_name = on "lp-cluster", load_balancer_ip = "203.0.113.7",
      domains = json.array {},
    },
    data = { sql_instance = on "lp-sql" .. "-4711", sql_replicas = json.array { on "lp-sql" .. "-4711-replica-0" } },
  }
end

local function output_type(value)
  return type(value) == "table" and json.array { "list", "string" } or "string"
end

--- A state file with nothing but outputs.
local function write_state(path, values)
  local outputs = json.object {}
  for name, value in pairs(values) do outputs[name] = { value = value, type = output_type(value) } end
  assert(fs.mkdir(fs.dirname(path), { parents = true }))
  assert(fs.write(path, json.encode {
    version = 4, terraform_version = "1.5.0", serial = 1, lineage = "test", outputs = outputs,
    resources = json.array {},
  }))
end

--- Sends a layer's states, its own and those that it reads, to files below `dir`.
local function override(layer, dir)
  local text = ('terraform {\n  backend "local" {\n    workspace_dir = "%s/states/%s"\n  }\n}\n'):format(dir, layer)
  for _, needed in ipairs(inputs.needs[layer]) do
    text = text .. ('data "terraform_remote_state" "%s" {\n  backend = "local"\n  config = {\n'
      .. '    workspace_dir = "%s/states/%s"\n  }\n}\n'):format(needed, dir, needed)
  end
  return text
end

--- The only thing that planning asks the cloud for.
local function zones(request)
  local list = {}
  for i, letter in ipairs { "b", "c", "d", "e" } do
    list[i] = { name = "europe-west1-" .. letter, status = "UP",
      region = "https://www.googleapis.com/compute/v1/projects/p/regions/europe-west1" }
  end
  if request.url:match("/zones%f[?\0]") then
    return { status = 200, headers = {}, body = json.encode { items = json.array(list) } }
  end
  return { status = 404, headers = {}, body = '{"error": {"code": 404, "message": "not here"}}' }
end

--- A copy of a layer, initialised in the workspace of a platform, with functions that run terraform there.
local function open(t, layer, platform)
  local dir = t:tmpdir()
  local folder = dir .. "/" .. layer
  assert(fs.mkdir(folder))
  for _, file in ipairs(assert(fs.glob("layers/" .. layer .. "/*"))) do
    assert(fs.copy(file, folder .. "/" .. fs.basename(file)))
  end
  assert(fs.write(folder .. "/test_override.tf", override(layer, dir)))
  for name, values in pairs(outputs_of(platform)) do
    write_state(("%s/states/%s/%s/terraform.tfstate"):format(dir, name, platform), values)
  end
  local server = assert(require "sandbox.provider".serve {
    socket = dir .. "/provider", endpoint = "http://127.0.0.1:1", transport = zones,
  })
  t:defer(function() server:close() end)
  local env = {
    TF_REATTACH_PROVIDERS = server:reattach(), TF_CLI_CONFIG_FILE = "/dev/null", CHECKPOINT_DISABLE = "1",
    TF_IN_AUTOMATION = "1", TF_WORKSPACE = platform, TF_LOG = false,
  }
  local l = { dir = dir, folder = folder }
  function l.terraform(...)
    return assert(process.run({ "terraform", ... }, { cwd = folder, env = env, timeout = 120 }))
  end
  local r = l.terraform("init", "-no-color", "-input=false")
  if r.code ~= 0 then error(r.stdout .. r.stderr, 2) end
  --- Plans with variables; gives the plan as a table, or nil and what terraform said on one line.
  function l.plan(variables)
    assert(fs.write(folder .. "/test.auto.tfvars.json", json.encode(variables)))
    local planned = l.terraform("plan", "-no-color", "-input=false", "-refresh=false", "-out=plan")
    if planned.code ~= 0 then
      return nil, (planned.stderr:gsub("\n[│╵ ]*", " "):gsub("%s+", " "))
    end
    local shown = l.terraform("show", "-json", "plan")
    return assert(json.decode(shown.stdout))
  end
  return l
end

local function manifest(platform)
  local m = assert(yaml.decode(assert(fs.read("manifests/" .. platform .. ".yaml"))))
  m.infrastructure.cloudsql["instance-num"] = 4711
  return m
end

local function variables(layer, m)
  local passwords = {}
  for _, db in ipairs(inputs.databases(m)) do passwords[db.user] = "not-a-secret" end
  return inputs[layer](m, passwords)
end

--- The planned resources, by address.
local function planned(plan)
  local resources = {}
  for _, resource in ipairs(plan.planned_values.root_module.resources) do
    resources[resource.address] = resource.values
  end
  return resources
end

--- What is named without the platform, because what it is in has the platform's name.
local inside = {
  google_container_node_pool = "a cluster", google_compute_instance_group_named_port = "an instance group",
  google_sql_database = "a server", google_sql_user = "a server",
}

return function(test)
  test("every layer is valid by the published provider's schema", function(t)
    for _, layer in ipairs(layers) do
      local r = open(t, layer, "dev-seb").terraform("validate", "-json")
      local result = assert(json.decode(r.stdout))
      t:eq(result.valid, true, layer .. ": " .. r.stdout)
      t:eq(result.warning_count, 0, layer .. ": " .. r.stdout)
    end
  end, { timeout = 180 })

  test("both manifests can be planned, and every name has the platform in it", function(t)
    for _, platform in ipairs { "dev-seb", "prod-eu" } do
      local m = manifest(platform)
      for _, layer in ipairs(inputs.layers(m)) do
        local plan, err = open(t, layer, platform).plan(variables(layer, m))
        t:ok(plan, ("%s of %s: %s"):format(layer, platform, tostring(err)))
        for address, values in pairs(planned(plan)) do
          local name = values.name or values.display_name or values.account_id
          if type(name) == "string" and not inside[address:match("^[%w_]+")] then
            t:ok(name:find(platform, 1, true), ("%s: %s"):format(address, name))
          end
        end
      end
    end
  end, { timeout = 300 })

  test("what dev-seb leaves out is not there, what prod-eu asks for is", function(t)
    local dev, prod = manifest "dev-seb", manifest "prod-eu"
    local frontend = planned(assert(open(t, "kubernetes", "dev-seb").plan(variables("kubernetes", dev))))
    t:eq(frontend["google_compute_global_forwarding_rule.https[0]"], nil)
    frontend = planned(assert(open(t, "kubernetes", "prod-eu").plan(variables("kubernetes", prod))))
    t:ok(frontend["google_compute_global_forwarding_rule.https[0]"])
    t:eq(frontend["google_compute_managed_ssl_certificate.main[0]"].managed[1].domains[1], "app.example.com")
    t:eq(frontend["google_container_cluster.main"].deletion_protection, true)
    t:eq(#frontend["google_container_cluster.main"].master_authorized_networks_config[1].cidr_blocks, 6)

    local data = planned(assert(open(t, "data", "prod-eu").plan(variables("data", prod))))
    local settings = data["google_sql_database_instance.main[0]"].settings[1]
    t:eq(settings.availability_type, "REGIONAL")
    t:eq(settings.backup_configuration[1].point_in_time_recovery_enabled, true)
    t:eq(settings.ip_configuration[1].ipv4_enabled, false)
    t:ok(data["google_sql_database_instance.replica[0]"])
    t:eq(data["google_sql_database_instance.replica[1]"], nil)

    local watched = planned(assert(open(t, "monitoring", "prod-eu").plan(variables("monitoring", prod))))
    t:eq(watched['google_monitoring_alert_policy.threshold["latency"]'].conditions[1].condition_threshold[1]
      .threshold_value, 1500, "seconds in the manifest, milliseconds in the metric")
  end, { timeout = 180 })

  test("any number of ranges may reach the masters", function(t)
    local given = variables("kubernetes", manifest "dev-seb")
    given.whitelist = {}
    for i = 1, 70 do given.whitelist[i] = ("192.0.2.%d/32"):format(i) end
    local cluster = planned(assert(open(t, "kubernetes", "dev-seb").plan(given)))["google_container_cluster.main"]
    t:eq(#cluster.master_authorized_networks_config[1].cidr_blocks, 70)
    t:eq(cluster.private_cluster_config[1].enable_private_nodes, true)
    t:eq(cluster.private_cluster_config[1].enable_private_endpoint, false)
  end)

  test("the backend speaks HTTP/2 to one instance group in each zone", function(t)
    local given = variables("kubernetes", manifest "dev-seb")
    local resources = planned(assert(open(t, "kubernetes", "dev-seb").plan(given)))
    local backend = resources["google_compute_backend_service.nodes"]
    t:eq(backend.protocol, "HTTP2")
    t:eq(backend.port_name, "https")
    t:eq(#backend.backend, 3, "three of the region's four zones")
    for _, zone in ipairs { "europe-west1-b", "europe-west1-c", "europe-west1-d" } do
      t:eq(resources[('google_compute_instance_group_named_port.https["%s"]'):format(zone)].port, 30443)
    end
    local rule = resources["google_compute_url_map.main"].path_matcher[1].path_rule[1]
    t:eq(rule.paths[1], "/static/*")
    t:eq(rule.route_action[1].url_rewrite[1].path_prefix_rewrite, "/")
  end)

  test("a manifest without a database server plans none", function(t)
    local m = manifest "dev-seb"
    m.infrastructure.cloudsql = nil
    m.applications = nil
    local resources = planned(assert(open(t, "data", "dev-seb").plan(variables("data", m))))
    t:eq(resources["google_sql_database_instance.main[0]"], nil)
    t:ok(resources["google_pubsub_topic.events"])
  end)

  --- { layer, what is changed, what terraform says }
  local refusals = {
    { "base", { range_ip = "10.0.0.1/20" }, "range_ip is not a network range" },
    { "base", { range_ip_peering = "10.0.0.0/28" }, "range_ip_peering is not a network range of /24 or larger" },
    { "base", { gcp_project = "No" }, "gcp_project is not a project id" },
    { "base", { infrastructure_version = "1 0" }, "infrastructure_version becomes a label" },
    { "kubernetes", { range_ip_master = "10.0.0.0/24" }, "range_ip_master is not a /28" },
    { "kubernetes", { whitelist = { "everybody" } }, "Each element of whitelist is a range" },
    { "kubernetes", { min_nodes = 20 }, "min_nodes %(20%) is above max_nodes %(3%)" },
    { "kubernetes", { zones = { "us-east1-b" } }, "Every zone must be one of the region europe%-west1" },
    { "kubernetes", { domains = { "*.example.com" } }, "wildcards are not possible" },
    { "data", { passwords = { stranger = "x" } }, "No password was given for the user parcels" },
    { "data", { sql = { availability = "regional" } }, "A regional instance needs backups with point%-in%-time" },
    { "data", { sql = { disk_limit = 5 } }, "sql.disk_limit is not below sql.disk_size" },
    { "data", { sql = { version = "ORACLE_23" } }, "sql.version is a version of PostgreSQL or MySQL" },
    { "data", { sql = { version = "MYSQL_8_0", replicas = 1 } }, "with MySQL point%-in%-time recovery" },
    { "data", { sql = { backups = { enabled = false, point_in_time_recovery = true } } }, "starts from a backup" },
    { "monitoring", { alerts = { nonsense = 1 } }, "alerts knows error%-ratio, latency" },
    { "monitoring", { uptime = { period = 61 } }, "uptime.period is 60, 300, 600 or 900" },
    { "bastion", { disk_size = 5 }, "disk_size is a whole number of GB, at least 10" },
  }

  test("wrong inputs are refused, each with its reason", function(t)
    local opened = {}
    for _, case in ipairs(refusals) do
      local layer, changes, reason = table.unpack(case)
      local m = manifest "dev-seb"
      m.monitoring = { emails = { "a@example.com" } }
      local given = variables(layer, m)
      for name, value in pairs(changes) do
        if name == "sql" then
          for key, v in pairs(value) do given.sql[key] = v end
        else
          given[name] = value
        end
      end
      opened[layer] = opened[layer] or open(t, layer, "dev-seb")
      local plan, said = opened[layer].plan(given)
      t:ok(not plan, layer .. " took what it must refuse: " .. json.encode(changes))
      t:ok(said:find(reason), ("%s: expected %s in %s"):format(layer, reason, tostring(said)))
    end
  end, { timeout = 300 })

  test("the workspace default is no platform, and a name has at most 20 characters", function(t)
    local cases = {
      { "default", "The workspace is the platform's name" },
      -- The provider says it first: an account is named after the platform.
      { "Upper", "account_id" },
      { "a-name-that-is-too-long-1", "account_id" },
    }
    for _, case in ipairs(cases) do
      local plan, said = open(t, "base", case[1]).plan(variables("base", manifest "dev-seb"))
      t:eq(plan, nil)
      t:ok(said:find(case[2]), said)
    end
  end)
end
