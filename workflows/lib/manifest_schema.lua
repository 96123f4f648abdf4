-- What a manifest may say: the one definition from which checks, manifests/schema.json and docs/manifest.md come.
--
-- Keys without a default here get theirs from the variables of the layers; "otherwise" says which.
local s = require "ws.schema"
local formats = require "lib.manifest_formats"
local cidr = require "ws.cidr"
local nearest = require "ws.nearest"

local function text(format, spec)
  spec.format = formats[format]
  return s.string(spec)
end

local function version(format, spec)
  spec.format = formats[format]
  return s.version(spec)
end

local function whitelist(doc)
  return s.list { of = s.cidr { single = true }, unique = true, doc = doc, otherwise = "none" }
end

local values = s.map { of = s.any(), doc = "Values of the chart, laid over those that the platform gives." }

-- In the checks, false stands for what is wrong by itself and was reported already; nil is what the manifest has not.

-- Ranges that nodes, pods and so on take their addresses from: none may overlap another.
local RANGES = { "range-ip", "range-ip-pod", "range-ip-svc", "range-ip-master", "range-ip-peering" }

local function range_of(infra, name)
  return infra[name] and cidr.parse(infra[name])
end

local function check_ranges(infra, report)
  local whole = range_of(infra, "range-plateform")
  for i, name in ipairs(RANGES) do
    local range = range_of(infra, name)
    for j = 1, range and i - 1 or 0 do
      local other = range_of(infra, RANGES[j])
      if other and cidr.overlap(range, other) then
        report({ name }, ("%s overlaps %s (%s)"):format(infra[name], RANGES[j], infra[RANGES[j]]))
      end
    end
    if range and whole and not cidr.contains(whole, range) then
      report({ name }, ("%s is not inside range-plateform (%s)"):format(infra[name], infra["range-plateform"]))
    end
  end
end

-- GKE gives each node a /24 of the pods' range; Google keeps four addresses of a subnet for itself.
local function check_room(infra, report)
  local max, pods, nodes = infra.gke and infra.gke.max, range_of(infra, "range-ip-pod"), range_of(infra, "range-ip")
  if not (max and pods and nodes) then return end
  local by_pods, by_nodes = 1 << math.max(0, 24 - pods.prefix), (1 << (32 - nodes.prefix)) - 4
  if max > by_pods then
    report({ "gke", "max" }, ("%d nodes, and range-ip-pod has room for %d: GKE gives each node a /24"):format(max,
      by_pods))
  elseif max > by_nodes then
    report({ "gke", "max" }, ("%d nodes, and range-ip has room for %d"):format(max, by_nodes))
  end
end

local bastion = s.record {
  doc = "A machine to reach the private network from.", otherwise = "there is none",
  fields = {
    { "image", text("image", { doc = "Boot image, a Debian.", otherwise = "debian-cloud/debian-12" }) },
    { "instance-type", text("machine", { doc = "Machine type.", otherwise = "e2-small" }) },
    { "preemptible", s.boolean { doc = "Cheaper, and Google may stop it at any time.", otherwise = "true" } },
    { "disk-size", s.integer { min = 10, max = 65536, doc = "Boot disk, in GB.", otherwise = "10" } },
    { "public-ip", s.boolean {
      doc = "A public address, which ips_whitelist may reach. Without one there is only Identity-Aware Proxy.",
      otherwise = "true" } },
  },
}

local cloudsql = s.record {
  doc = "A database server on the private network. Databases and users come from the applications that ask for them.",
  otherwise = "there is none",
  fields = {
    { "version", text("sql_version", { required = true, doc = "Database and version." }) },
    { "instance-type", text("sql_tier", { required = true, doc = "Size of the server." }) },
    { "disk-size", s.integer { required = true, min = 10, max = 65536, doc = "Disk, in GB." } },
    { "disk-limit", s.integer { min = 0, max = 65536, otherwise = "the disk does not grow",
      doc = "Up to this size, in GB, the disk grows by itself; 0 means without limit." } },
    { "instance-num", s.integer { min = 1,
      doc = "Number in the server's name, since Google keeps the name of a deleted server for a week. The platform's "
        .. "creation draws it and commits it here; its destruction removes it.", otherwise = "drawn" } },
    { "edition", s.enum { one_of = { "ENTERPRISE", "ENTERPRISE_PLUS" },
      doc = "It decides which instance types there are.", otherwise = "ENTERPRISE" } },
    { "availability", s.enum { one_of = { "zonal", "regional" }, otherwise = "zonal",
      doc = "regional: a standby in a second zone takes over by itself." } },
    { "backups", s.record { doc = "Nightly backups.", otherwise = "as with an empty block", fields = {
      { "enabled", s.boolean { doc = "Whether there are backups.", otherwise = "true" } },
      { "start-time", text("time", { doc = "Begin, in UTC.", otherwise = "02:00" }) },
      { "retained", s.integer { min = 1, max = 365, doc = "Number of backups that are kept.", otherwise = "7" } },
      { "location", s.string { doc = "Region or multi-region that keeps them, such as eu.",
        otherwise = "Google chooses" } },
      { "point-in-time-recovery", s.boolean { doc = "Any second of the last days can be restored.",
        otherwise = "false" } },
      { "log-retention-days", s.integer { min = 1, max = 35, doc = "Days of which any second can be restored.",
        otherwise = "7" } },
    } } },
    { "replicas", s.integer { min = 0, max = 10, doc = "Read replicas, each a server of its own.", otherwise = "0" } },
    { "deletion-protection", s.boolean { otherwise = "false",
      doc = "While true, Terraform and Google refuse to delete the server." } },
    { "maintenance", s.record { doc = "When Google may maintain the server, in UTC.", otherwise = "Sunday at 3",
      fields = {
      { "day", s.integer { min = 1, max = 7, doc = "1 is Monday.", otherwise = "7" } },
      { "hour", s.integer { min = 0, max = 23, doc = "Hour of the day.", otherwise = "3" } },
    } } },
    { "flags", s.map { of = s.string(), doc = "Flags of the database, as Google names them; every value in quotes.",
      otherwise = "none" } },
  },
  check = function(sql, report)
    local limit = sql["disk-limit"]
    if limit and limit ~= 0 and sql["disk-size"] and limit < sql["disk-size"] then
      report({ "disk-limit" }, ("%d is less than disk-size (%d); 0 means without limit"):format(limit,
        sql["disk-size"]))
    end
  end,
}

local gke = s.record {
  required = true, doc = "The Kubernetes cluster.",
  fields = {
    { "version", version("gke_version", { required = true,
      doc = "Version of the masters at least; the release channel may be ahead." }) },
    { "release-channel", s.enum { one_of = { "RAPID", "REGULAR", "STABLE", "EXTENDED" }, otherwise = "REGULAR",
      doc = "How early Google upgrades masters and nodes." } },
    { "maintenance-start", text("time", { doc = "Begin of the daily maintenance of four hours, in UTC.",
      otherwise = "03:00" }) },
    { "zones", s.list { of = text("zone", {}), unique = true, doc = "Zones of the nodes.",
      otherwise = "three zones of the region" } },
    { "instance-type", text("machine", { doc = "Machine type of the nodes.", otherwise = "e2-standard-2" }) },
    { "disk-size", s.integer { min = 10, max = 65536, doc = "Boot disk of a node, in GB.", otherwise = "50" } },
    { "preemptible", s.boolean { doc = "Cheaper nodes that are gone after a day at most.", otherwise = "false" } },
    { "min", s.integer { required = true, min = 0, max = 1000, doc = "Least number of nodes, over all zones." } },
    { "max", s.integer { required = true, min = 1, max = 1000, doc = "Greatest number of nodes, over all zones." } },
    { "deletion-protection", s.boolean { doc = "While true, the cluster is not deleted.", otherwise = "false" } },
    { "ips_whitelist", whitelist "Addresses that may reach the masters, in addition to the list at the top." },
    { "admins", s.list { of = text("member", {}), unique = true, otherwise = "nobody else",
      doc = "Who gets the role cluster-admin, besides the account that runs the workflow." } },
  },
  check = function(cluster, report)
    if cluster.min and cluster.max and cluster.min > cluster.max then
      report({ "min" }, ("%d is more than max (%d)"):format(cluster.min, cluster.max))
    end
  end,
}

local load_balancer = s.record {
  doc = "The HTTP(S) load balancer in front of the applications and of /static/.", otherwise = "HTTP only",
  fields = {
    { "domains", s.list { of = text("domain", {}), unique = true, otherwise = "HTTP only",
      doc = "Domains of the certificate that Google manages; HTTP is redirected to HTTPS then." } },
    { "cdn", s.boolean { doc = "Cloud CDN in front of the static files.", otherwise = "false" } },
    { "timeout", s.integer { min = 1, max = 86400, otherwise = "300",
      doc = "Longest time of a request or gRPC stream, in seconds." } },
    { "node-port", s.integer { min = 30000, max = 32767, doc = "Port of the nodes that requests are sent to.",
      otherwise = "30443" } },
    { "health-path", text("path", { doc = "Path of the health check on that port.", otherwise = "/healthz" }) },
  },
}

local KNOWN_DEPENDENCIES = { "certmanager", "ingress-controller", "prometheus-operator", "consul" }

local dependency = s.record {
  fields = {
    { "enabled", s.boolean { required = true, doc = "Whether it is installed." } },
    { "version", version("chart_version", { doc = "Version of the chart; needed when it is installed." }) },
    { "repository", text("url", { doc = "Chart repository.", otherwise = "the public one" }) },
    { "chart", s.string { doc = "Name of the chart.", otherwise = "the usual one" } },
    { "namespace", text("kubernetes", { doc = "Namespace that it is installed in.", otherwise = "the usual one" }) },
    { "release", text("release", { doc = "Name of the Helm release.", otherwise = "the chart's name" }) },
    { "values", values },
    { "issuer", text("secret_name", { otherwise = "none",
      doc = "certmanager only: a ClusterIssuer of this name; selfsigned, letsencrypt or letsencrypt-staging." }) },
    { "email", text("email", { doc = "certmanager only: where Let's Encrypt sends warnings." }) },
  },
}

local function check_dependencies(dependencies, report)
  for name, wanted in pairs(dependencies) do
    local known = table.concat(KNOWN_DEPENDENCIES, " "):find(name, 1, true)
    wanted = wanted or { version = false, chart = false, repository = false }
    if wanted.enabled and wanted.version == nil then
      report({ name }, 'the key "version" is missing: which version of the chart to install', true)
    end
    if not known and (wanted.chart == nil or wanted.repository == nil) then
      local near = nearest(name, KNOWN_DEPENDENCIES)
      report({ name }, near and ("did you mean %s? Any other needs chart and repository"):format(near)
        or "not one of " .. table.concat(KNOWN_DEPENDENCIES, ", ") .. ": it needs chart and repository", true)
    end
    if name ~= "certmanager" and (wanted.issuer or wanted.email) then
      report({ name, wanted.issuer and "issuer" or "email" }, "only certmanager has this key", true)
    elseif wanted.issuer and wanted.issuer:find("^letsencrypt") and wanted.email == nil then
      report({ name, "issuer" }, "Let's Encrypt needs the key email beside it")
    end
  end
end

local namespace = s.either { of = {
  text("kubernetes", {}),
  s.record { fields = {
    { "name", text("kubernetes", { required = true, doc = "Name of the namespace." }) },
    { "prometheus", s.record { doc = "A Prometheus server for this namespace.", otherwise = "none", fields = {
      { "name", text("kubernetes", { required = true, doc = "Name of the server." }) },
    } } },
  } },
} }

local function namespace_name(entry)
  if type(entry) == "table" then return entry.name end
  return entry
end

local infrastructure = s.record {
  required = true, doc = "The infrastructure that Terraform makes, and what every cluster gets.",
  fields = {
    { "version", version("layers_version", { doc = "Version of the layers that the platform is meant for; a label.",
      otherwise = "1.0" }) },
    { "range-plateform", s.cidr { required = true, doc = "The whole private range; it may reach the nodes' ports." } },
    { "range-ip", s.cidr { required = true, least = 8, most = 29, doc = "Nodes and bastion." } },
    { "range-ip-pod", s.cidr { required = true, least = 9, most = 24, doc = "Pods; each node takes a /24." } },
    { "range-ip-svc", s.cidr { required = true, least = 12, most = 27, doc = "Kubernetes services." } },
    { "range-ip-master", s.cidr { required = true, least = 28, most = 28, doc = "Kubernetes masters." } },
    { "range-ip-peering", s.cidr { least = 8, most = 24, doc = "Cloud SQL, behind the peering.",
      otherwise = "Google chooses a /20" } },
    { "bastion", bastion },
    { "cloudsql", cloudsql },
    { "gke", gke },
    { "load-balancer", load_balancer },
    { "dependancies", s.map { of = dependency, keys = formats.kubernetes, otherwise = "none",
      doc = "What is installed in the cluster by Helm: certmanager, ingress-controller, prometheus-operator, consul; "
        .. "others with chart and repository." } },
    { "namespaces", s.list { of = namespace, doc = "Namespaces of the applications.", otherwise = "none" } },
  },
  check = function(infra, report)
    check_ranges(infra, report)
    check_room(infra, report)
    check_dependencies(infra.dependancies or {}, function(path, ...)
      report({ "dependancies", table.unpack(path) }, ...)
    end)
    local seen = {}
    for i, entry in ipairs(infra.namespaces or {}) do
      local name = namespace_name(entry)
      if name and seen[name] then
        report({ "namespaces", i }, ("the namespace %s is in this list already"):format(name))
      end
      if name then seen[name] = true end
    end
  end,
}

local application = s.record {
  fields = {
    { "name", text("release", { required = true, doc = "Name, also of the Helm release." }) },
    { "version", version("chart_version", { doc = "Version of chart and image." }) },
    { "namespace", text("kubernetes", { default = "default", doc = "Namespace; one of infrastructure.namespaces." }) },
    { "documentation", s.string { doc = "Where people read on: a path or an address.", otherwise = "none" } },
    { "chart", s.string { doc = "Name of the chart in the charts bucket.", otherwise = "app-chart" } },
    { "values", values },
    { "deadline", s.integer { min = 10, max = 86400, otherwise = "600",
      doc = "Seconds until everything of the chart is ready; then the deployment has failed and is taken back." } },
    { "tolerate-restarts", s.integer { min = 0, max = 1000, otherwise = "2",
      doc = "How often a container may end and be restarted before the deployment has failed." } },
    { "verify", text("file", { otherwise = "none",
      doc = "A smoke check in Lua that runs after a deployment; docs/cd.md shows one. Its failure takes it back." }) },
    { "verify-timeout", s.integer { min = 1, max = 3600, doc = "Seconds that the check may take.", otherwise = "60" } },
    { "paths", s.list { of = text("file", {}), min = 1, unique = true,
      doc = "Instead of a chart: files or folders of plain Kubernetes YAML, applied in this order." } },
    { "cloudsql", s.record { doc = "A database and a user of its own.", otherwise = "none", fields = {
      { "database", text("sql_name", { required = true, doc = "Name of the database." }) },
      { "user", text("sql_name", { required = true, doc = "Name of the user." }) },
      { "user-secret", text("secret_name", { required = true,
        doc = "Kubernetes secret with username, password, database and host. A password that it has is used." }) },
    } } },
  },
  check = function(app, report)
    for _, key in ipairs { "deadline", "tolerate-restarts", "verify", "verify-timeout" } do
      if app.paths and app[key] then report({ key }, "only an application with a chart has this key", true) end
    end
    if app.paths and (app.version or app.chart or app.values) then
      report({ "paths" }, "an application has either paths, or version with chart and values", true)
    elseif app.paths == nil and app.version == nil then
      report({}, "one of the keys version (of the chart) and paths (plain YAML) is needed", true)
    end
  end,
}

local alerts = s.record {
  doc = "Thresholds; each raises an alert when it is passed for five minutes.", otherwise = "no alerts",
  fields = {
    { "error-ratio", s.number { above = 0, max = 1, doc = "Answers 5xx of the load balancer, part of all." } },
    { "latency", s.number { above = 0, doc = "95th percentile of the load balancer, in seconds." } },
    { "node-cpu", s.number { above = 0, max = 1, doc = "Part of what the nodes have." } },
    { "sql-cpu", s.number { above = 0, max = 1, doc = "Part of what the server has." } },
    { "sql-disk", s.number { above = 0, max = 1, doc = "Part of the disk." } },
    { "sql-replica-lag", s.number { above = 0, doc = "Delay of a replica, in seconds." } },
  },
}

local monitoring = s.record {
  doc = "Google Cloud Monitoring.", otherwise = "there is none",
  fields = {
    { "emails", s.list { of = text("email", {}), unique = true, doc = "Who is told.", otherwise = "nobody" } },
    { "uptime", s.record { doc = "Asks the load balancer from outside.", otherwise = "no such check", fields = {
      { "path", text("path", { doc = "Path that is asked for.", otherwise = "/healthz" }) },
      { "period", s.integer { one_of = { 60, 300, 600, 900 }, doc = "Seconds between two checks.", otherwise = "60" } },
    } } },
    { "alerts", alerts },
    { "dashboard", s.boolean { doc = "A dashboard of the platform.", otherwise = "true" } },
  },
}

local static_file = s.record { fields = {
  { "source", text("file", { required = true, doc = "File or folder of the project." }) },
  { "target", text("file", { doc = "Name in the bucket; of a folder, what goes before its files' names.",
    otherwise = "the file's name; of a folder nothing" }) },
  { "content-type", s.string { doc = "Content type.", otherwise = "by the file's ending" } },
  { "cache-control", s.string { doc = "How long browsers and the CDN keep it.",
    otherwise = "for ever when the name carries a hash (app.3f2a1c.js), not at all for pages, else an hour" } },
  { "delete", s.boolean { doc = "Of a folder: remove what is gone from it.", otherwise = "false" } },
} }

-- What one application asks for and the rest of the manifest has to give. `seen` remembers names and secrets.
local function check_application(manifest, i, seen, report)
  local app, infra = manifest.applications[i], manifest.infrastructure or {}
  local function say(key, ...) report({ "applications", i, key }, ...) end
  if app.name and seen.names[app.name] then
    say("name", ("%q is the name of applications[%d] already"):format(app.name, seen.names[app.name]))
  elseif app.name then
    seen.names[app.name] = i
  end
  if app.namespace and infra.namespaces ~= false and not seen.spaces[app.namespace] then
    local near = nearest(app.namespace, seen.spaces)
    say("namespace", ("%q is not in infrastructure.namespaces%s"):format(app.namespace,
      near and (", did you mean %q?"):format(near) or ""))
  end
  if app.version and manifest["charts-bucket"] == nil then
    say("version", 'its chart is in a bucket, and the key "charts-bucket" is missing')
  end
  if not app.cloudsql then return end
  if manifest.infrastructure and infra.cloudsql == nil then
    say("cloudsql", "asks for a database, and there is no infrastructure.cloudsql", true)
  end
  local secret = app.namespace and app.cloudsql["user-secret"]
  if secret then
    secret = app.namespace .. "/" .. secret
    if seen.secrets[secret] then
      report({ "applications", i, "cloudsql", "user-secret" },
        ("%s holds the database of applications[%d] already"):format(secret, seen.secrets[secret]))
    end
    seen.secrets[secret] = i
  end
end

local function check_applications(manifest, report)
  local seen = { names = {}, secrets = {}, spaces = { "default", default = true } }
  for _, entry in ipairs(manifest.infrastructure and manifest.infrastructure.namespaces or {}) do
    local name = namespace_name(entry)
    if name then
      seen.spaces[name] = true
      table.insert(seen.spaces, name)
    end
  end
  for i, app in ipairs(manifest.applications or {}) do
    if app then check_application(manifest, i, seen, report) end
  end
end

local function check_zones(manifest, report)
  local cluster = manifest.infrastructure and manifest.infrastructure.gke
  for i, zone in ipairs(cluster and cluster.zones or {}) do
    if zone and manifest.region and zone:sub(1, -3) ~= manifest.region then
      report({ "infrastructure", "gke", "zones", i }, ("%s is not in the region %s"):format(zone, manifest.region))
    end
  end
end

return s.record {
  fields = {
    { "name", text("platform", { required = true,
      doc = "Name of the platform: its Terraform workspace, and the end of the name of every object." }) },
    { "type", text("label", { doc = "Kind of platform, such as dev, staging or prod; a label.", otherwise = "dev" }) },
    { "gcp-project", text("project", { required = true, doc = "Google Cloud project." }) },
    { "region", text("region", { required = true, doc = "Region." }) },
    { "remote-bucket", text("bucket", { required = true, doc = "Bucket of the Terraform states." }) },
    { "prefix-bucket", text("folder", { doc = "Folder of the states in that bucket.",
      otherwise = "the top of the bucket" }) },
    { "charts-bucket", text("bucket", { doc = "Bucket of the applications' charts; needed when one has a chart." }) },
    { "archive-bucket", text("bucket", { otherwise = "ci.archive-bucket of wsrun.yaml, else charts-bucket",
      doc = "Bucket of what ci.lua archives of each version: artifacts.json with every digest, test results." }) },
    { "images-registry", text("registry", { doc = "Registry of the applications' images.",
      otherwise = "eu.gcr.io/<gcp-project>" }) },
    { "ips_whitelist", whitelist "Public addresses that may reach the Kubernetes masters and the bastion's SSH." },
    { "infrastructure", infrastructure },
    { "monitoring", monitoring },
    { "applications", s.list { of = application, doc = "What runs on the platform.", otherwise = "nothing" } },
    { "static-files", s.list { of = static_file, otherwise = "none",
      doc = "Files for the bucket that the load balancer serves under /static/." } },
  },
  check = function(manifest, report)
    check_applications(manifest, report)
    check_zones(manifest, report)
  end,
}
