-- Manifests: what is accepted, what is refused and how, and how they are written back.
local fs = require "ws.fs"
local manifest = require "lib.manifest"
local yaml = require "ws.yaml"

local TEXT = assert(fs.read "manifests/dev-seb.yaml")

--- The problems of dev-seb.yaml after replacing one plain text by another.
local function problems(...)
  local text = TEXT
  for _, pair in ipairs { ... } do
    local from, to = text:find(pair[1], 1, true)
    assert(from, pair[1])
    text = text:sub(1, from - 1) .. pair[2] .. text:sub(to + 1)
  end
  local m, err = manifest.parse(text, "manifests/dev-seb.yaml")
  if m then return {} end
  local list = {}
  for line in err.message:gmatch("[^\n]+") do list[#list + 1] = line:gsub("^manifests/dev%-seb%.yaml:", "") end
  return list
end

--- A project with a copy of the manifests.
local function project(t)
  local root = t:tmpdir()
  assert(fs.mkdir(root .. "/manifests"))
  assert(fs.write(root .. "/manifests/dev-seb.yaml", TEXT))
  assert(fs.write(root .. "/manifests/prod-eu.yaml", assert(fs.read "manifests/prod-eu.yaml")))
  return root
end

return function(test)
  test("both manifests are valid, and the keys are those of the file", function(t)
    for _, name in ipairs { "dev-seb", "prod-eu" } do
      local m = t:ok(manifest.load(name, { root = "." }))
      t:eq(m.name, name)
      t:eq(m.path, fs.absolute("manifests/" .. name .. ".yaml"))
      local keys = {}
      for key in pairs(m) do keys[#keys + 1] = key end
      t:eq(keys[1], "name")
      for _, key in ipairs(keys) do t:ok(key ~= "path", key) end
    end
    local m = assert(manifest.load("dev-seb", { root = "." }))
    t:eq(m.infrastructure.gke.version, "1.33")
    t:eq(m.infrastructure.version, "1.0")
    t:eq(manifest.where(m, { "infrastructure", "gke", "max" }):match("^manifests/dev%-seb%.yaml:%d+:5$") ~= nil, true)
    t:eq(manifest.where(m, { "nope" }), "manifests/dev-seb.yaml:11:1")
  end)

  test("the proof of concept's keys are accepted as they were", function(t)
    t:ok(manifest.parse([[
name: dev-seb
region: europe-west1
type: dev
gcp-project: livingpackets-sandbox
remote-bucket: tf-livingpackets-sandbox
prefix-bucket: terraform
ips_whitelist:
  - 203.0.113.10
infrastructure:
  version: 1.0
  range-ip: 10.32.0.0/20
  range-ip-pod: 10.36.0.0/14
  range-ip-svc: 10.33.0.0/20
  range-ip-master: 10.32.240.0/28
  range-plateform: 10.32.0.0/13
  bastion:
    image: debian-cloud/debian-12
    instance-type: g1-small
    preemptible: true
  cloudsql:
    version: POSTGRES_9_6
    instance-type: db-f1-micro
    disk-size: 10
    instance-num: 12
  gke:
    version: 1.13.6-gke.13
    preemptible: true
    instance-type: n1-standard-2
    ips_whitelist: [192.0.2.44/32]
    min: 1
    max: 3
  dependancies:
    certmanager: {enabled: true, version: v0.8.1}
    consul: {enabled: false, version: 0.8.1}
    ingress-controller: {enabled: false}
    prometheus-operator: {enabled: false}
  namespaces:
    - web
    - {name: parcels, prometheus: {name: parcels}}
applications:
  - {name: test-app, version: 1.4.1, namespace: web, documentation: https://example.com}
  - name: parcels
    namespace: parcels
    paths: [manifests/apps/parcels]
    cloudsql: {database: parcels, user: parcels, user-secret: parcels-sql}
charts-bucket: charts-wescale-sandbox
]], "poc.yaml"))
  end)

  test("each mistake is named with its place", function(t)
    for _, case in ipairs {
      { { "max: 3", "max: x" }, '63:10: infrastructure.gke.max: found "x" (string), allowed: integer 1..1000' },
      { { "min: 1", "min: 4" }, "62:10: infrastructure.gke.min: 4 is more than max (3)" },
      { { "region: europe-west1", "region: europe" },
        '16:9: region: found "europe" (string), allowed: region such as europe-west1' },
      { { "gcp-project: livingpackets-sandbox", "gcp-project: UPPER" }, '15:14: gcp-project: found "UPPER" (string), '
        .. "allowed: id of a Google Cloud project: 6 to 30 lower case letters, digits and dashes" },
      { { "range-ip-svc: 10.33.0.0/20", "range-ip-svc: 10.36.16.0/20" },
        "38:17: infrastructure.range-ip-svc: 10.36.16.0/20 overlaps range-ip-pod (10.36.0.0/14)" },
      { { "range-ip-peering: 10.34.0.0/20", "range-ip-peering: 10.99.0.0/20" },
        "40:21: infrastructure.range-ip-peering: 10.99.0.0/20 is not inside range-plateform (10.32.0.0/13)" },
      { { "range-ip-master: 10.32.240.0/28", "range-ip-master: 10.32.240.0/27" },
        "39:20: infrastructure.range-ip-master: "
        .. 'found "10.32.240.0/27" (string), allowed: range of exactly /28 such as 10.32.0.0/28' },
      { { "max: 3", "max: 999" }, { "10.36.0.0/14", "10.36.0.0/18" },
        "63:10: infrastructure.gke.max: 999 nodes, and range-ip-pod has room for 64: GKE gives each node a /24" },
      { { "name: parcels\n    namespace", "name: test-app\n    namespace" },
        '106:11: applications[2].name: "test-app" is the name of applications[1] already' },
      { { "namespace: parcels", "namespace: parcel" },
        '107:16: applications[2].namespace: "parcel" is not in infrastructure.namespaces, did you mean "parcels"?' },
      { { "- test-app", "- parcels" }, { "namespace: test-app", "namespace: parcels" },
        "90:7: infrastructure.namespaces[2]: the namespace parcels is in this list already" },
      { { "certmanager:", "certmanger:" }, { "      issuer: selfsigned\n", "" },
        "72:5: infrastructure.dependancies.certmanger: did you mean certmanager? "
          .. "Any other needs chart and repository" },
      { { "issuer: selfsigned", "issuer: letsencrypt" },
        "76:15: infrastructure.dependancies.certmanager.issuer: Let's Encrypt needs the key email beside it" },
      { { TEXT:match("ingress%-controller:\n.-(      version: [^\n]+\n)"), "" },
        '77:5: infrastructure.dependancies.ingress-controller: the key "version" is '
        .. "missing: which version of the chart to install" },
      { { "disk-size: 10", "disk-size: 10\n    disk-limit: 5" },
        "54:17: infrastructure.cloudsql.disk-limit: 5 is less than disk-size (10); 0 means without limit" },
      { { "\ncharts-bucket", "\n# charts-bucket" },
        '98:14: applications[1].version: its chart is in a bucket, and the key '
        .. '"charts-bucket" is missing' },
      { { TEXT:match("\n(    version: [%d.]+\n    namespace: test%-app\n)"), "    namespace: test-app\n" },
        "97:5: applications[1]: one of the keys version (of the chart) and paths "
        .. "(plain YAML) is needed" },
      { { TEXT:match("version: [%d.]+\n    namespace: test%-app"), "version: 1.4\n    namespace: test-app" },
        '98:14: applications[1].version: found "1.4" (string), allowed: version '
        .. "of three numbers such as 1.4.2 or v1.18.2" },
      { { "name: dev-seb", "name: dev-seb-with-a-long-name" }, '11:7: name: found "dev-seb-with-a-long-name" (string), '
        .. "allowed: name of at most 21 lower case letters, digits and dashes, a letter first, no dash at the end "
        .. "(24 characters)" },
      { { "max: 3", "max: 3\n    zones: [us-east1-b]" },
        "64:13: infrastructure.gke.zones[1]: us-east1-b is not in the region europe-west1" },
      { { "source: app/static/LP-Box.svg", "source: ../secrets" }, '118:13: static-files[1].source: found "../secrets" '
        .. "(string), allowed: path in the project, without .. and not absolute" },
    } do
      local message = table.remove(case)
      local found = problems(table.unpack(case))
      t:ok(#found == 1, ("%d problems for %s: %s"):format(#found, message, table.concat(found, "\n")))
      -- the lines of the manifest move as people work on it: what follows them is compared
      t:eq(found[1]:gsub("^%d+", ""), message:gsub("^%d+", ""))
    end
  end)

  test("several mistakes are reported at once, in the order of the text", function(t)
    local found = problems({ "region:", "regoin:" }, { "range-ip-svc: 10.33.0.0/20", "range-ip-svc: 10.36.16.0/20" },
      { "max: 3", "max: many" }, { "name: parcels\n    namespace", "name: test-app\n    namespace" })
    t:eq(#found, 5, table.concat(found, "\n"))
    for i, part in ipairs { 'the key "region" is missing', 'regoin: no such key, did you mean "region"?',
      "overlaps range-ip-pod", 'gke.max: found "many"', '"test-app" is the name of applications[1] already' } do
      t:has(found[i], part)
      t:ok(found[i]:find("^%d+:%d+: "), found[i])
    end
  end)

  test("text that is no YAML, or no map", function(t)
    local err = t:err("parse", manifest.parse("a: [1\nb: 2\n", "manifests/x.yaml"))
    t:ok(err.message:find("^manifests/x.yaml:2:"), err.message)
    t:has(t:err("parse", manifest.parse("a: 1\n\tb: 2\n", "x.yaml")).message, "x.yaml:2:1: a tab")
    t:has(t:err("invalid", manifest.parse("- a\n", "x.yaml")).message, "x.yaml:1:1: a manifest is a map")
    t:err("invalid", manifest.parse("", "x.yaml"))
  end)

  test("names, paths, and what is not there", function(t)
    local root = project(t)
    t:eq(manifest.names(root), { "dev-seb", "prod-eu" })
    t:eq(t:ok(manifest.load(root .. "/manifests/dev-seb.yaml", { root = root })).name, "dev-seb")
    t:eq(t:ok(manifest.load("manifests/prod-eu.yaml", { root = root })).name, "prod-eu")
    local err = t:err("not_found", manifest.load("dev-sebb", { root = root }))
    t:has(err.message, 'no manifest is called "dev-sebb"; there are dev-seb, prod-eu')
    t:has(err.hint, "did you mean dev-seb?")
    t:err("not_found", manifest.load("manifests/nope.yaml", { root = root }))
    t:has(t:err("not_found", manifest.load("x", { root = t:tmpdir() })).message, "manifests has none")
    assert(fs.rename(root .. "/manifests/prod-eu.yaml", root .. "/manifests/copy.yaml"))
    t:has(t:err("invalid", manifest.load("copy", { root = root })).message,
      'manifests/copy.yaml:8:1: name: found "prod-eu", and the file is called copy')
    t:ok(manifest.load("manifests/copy.yaml", { root = root }))
    t:raises("a name or path expected", manifest.load, nil)
  end)

  test("a manifest that cannot be read", function(t)
    local root = project(t)
    assert(fs.mkdir(root .. "/manifests/folder.yaml"))
    local m, err = manifest.load("folder", { root = root })
    t:eq(m, nil)
    t:has(tostring(err), "manifests/folder.yaml")
    assert(fs.symlink("loop.yaml", root .. "/manifests/loop.yaml"))
    m, err = manifest.load("loop", { root = root })
    t:eq(m, nil)
    t:has(tostring(err), "loop")
    assert(fs.write(root .. "/manifests/closed.yaml", TEXT:gsub("name: dev%-seb", "name: closed", 1), { mode = 0 }))
    m, err = manifest.load("closed", { root = root })
    if m then t:skip("this account may read everything") end
    t:eq(err.kind, "denied")
    t:has(err.message, "manifests/closed.yaml")
  end)

  test("the number of the database server is written and removed, byte for byte", function(t)
    local root = project(t)
    local m = assert(manifest.load("dev-seb", { root = root }))
    local path = { "infrastructure", "cloudsql", "instance-num" }
    t:ok(manifest.set(m, path, 4711))
    t:eq(m.infrastructure.cloudsql["instance-num"], 4711)
    local written = assert(fs.read(m.path))
    t:eq(#written, #TEXT + #"    instance-num: 4711\n")
    t:eq(assert(yaml.decode(written)).infrastructure.cloudsql["instance-num"], 4711)
    t:has(manifest.where(m, path), "manifests/dev-seb.yaml:")
    t:eq(assert(manifest.load("dev-seb", { root = root })).infrastructure.cloudsql["instance-num"], 4711)
    t:ok(manifest.unset(m, path))
    t:eq(m.infrastructure.cloudsql["instance-num"], nil)
    t:eq(fs.read(m.path), TEXT)
    t:ok(manifest.unset(m, path))
    t:eq(fs.read(m.path), TEXT)
  end)

  test("what others wrote meanwhile stays", function(t)
    local m = assert(manifest.load("dev-seb", { root = project(t) }))
    assert(fs.write(m.path, (TEXT:gsub("max: 3", "max: 5"))))
    t:ok(manifest.set(m, { "infrastructure", "cloudsql", "instance-num" }, 1))
    t:has(assert(fs.read(m.path)), "max: 5\n")
  end)

  test("a value that the schema refuses is not written", function(t)
    local m = assert(manifest.load("dev-seb", { root = project(t) }))
    local err = t:err("invalid", manifest.set(m, { "infrastructure", "gke", "max" }, 0))
    t:has(err.message, "infrastructure.gke.max: found 0 (integer), allowed: integer 1..1000")
    t:err("invalid", manifest.set(m, { "infrastructure", "cloudsql", "instance-number" }, 1))
    t:err("invalid", manifest.unset(m, { "region" }))
    t:eq(fs.read(m.path), TEXT)
    t:eq(m.infrastructure.gke.max, 3)
    t:eq(m.region, "europe-west1")
    t:raises("not a manifest that manifest.load gave", manifest.set, {}, { "a" }, 1)
  end)

  test("where only that value cannot be changed, nothing is", function(t)
    local root = project(t)
    local file = root .. "/manifests/dev-seb.yaml"
    local text = TEXT:gsub("  cloudsql:\n    version", "  cloudsql: &sql\n    version", 1)
    assert(fs.write(file, text))
    local m = assert(manifest.load("dev-seb", { root = root }))
    local err = t:err("unsupported", manifest.set(m, { "infrastructure", "cloudsql", "instance-num" }, 1))
    t:has(err.message, "the map or list around it has an anchor")
    t:eq(fs.read(file), text)
  end)

  test("when the file cannot be written it is as it was, and so is the table", function(t)
    local root = project(t)
    local m = assert(manifest.load("dev-seb", { root = root }))
    local write = fs.write
    t:defer(function() fs.write = write end)
    -- what a full disk gives: modules/fs proves on /dev/full that the old file stays
    fs.write = function() return write("/dev/full", "x") end
    local err = t:err("no_space", manifest.set(m, { "infrastructure", "cloudsql", "instance-num" }, 1))
    t:eq(err.op, "manifest.set")
    t:eq(fs.read(m.path), TEXT)
    t:eq(m.infrastructure.cloudsql["instance-num"], nil)
  end)

  test("the generated files are in step with the schema", function(t)
    local hint = "run build/wsrun tools/manifest.lua"
    t:ok(fs.read "manifests/schema.json" == manifest.json_schema(), hint)
    local page = assert(fs.read "docs/manifest.md")
    t:ok(page == manifest.documentation(page), hint)
    t:has(page, "#### `infrastructure.gke`")
    t:raises("has lost the marks", manifest.documentation, "no marks")
  end)
end
