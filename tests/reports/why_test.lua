-- `wsrun why`: manifest lines with their commits, defaults, outputs of layers, the runs that changed them.
local fs = require "ws.fs"
local json = require "ws.json"
local manifest = require "lib.manifest"
local scratch = require "scratch"

-- Does what create_platform does to one layer and to one key of the manifest, without Terraform.
local WORKFLOW = [[
local gcs, json, ws, platform = require "ws.gcs", require "ws.json", require "ws", require "lib.platform"
return ws.workflow { summary = "t", args = { { "platform", type = "manifest", doc = "" } }, run = function(w, args)
  local p, m = platform.open(w, args.platform), args.platform
  w:step("kubernetes", function()
    assert(gcs.put(("gs://%s/terraform/kubernetes/%s.tfstate"):format(m["remote-bucket"], m.name), json.encode {
      version = 4, serial = 7, lineage = "aaaa", outputs = { node_port = { value = 30443, type = "number" },
      token = { value = "very-secret-token", type = "string", sensitive = true } } }, { api = "backend_storage" }))
    w:changed("2 added")
  end)
  w:step("sql-number", function()
    p:write_manifest({ "infrastructure", "cloudsql", "instance-num" }, 123456789, "manifest: number")
  end)
end }
]]

return function(test)
  test("keys: lines, defaults, lists by name, what is absent; unknown ones get the nearest", function(t)
    local m = assert(manifest.load("dev-seb", { root = "." }))
    local found = assert(manifest.explain(m, "infrastructure.gke.max"))
    t:eq({ found.from, found.value, found.allowed }, { "manifest", 3, "integer 1..1000" })
    t:eq(found.where, manifest.where(m, { "infrastructure", "gke", "max" }))
    local by_name = assert(manifest.explain(m, "applications.test-app.version"))
    t:eq(by_name.key, "applications[1].version")
    t:eq(assert(manifest.explain(m, "applications[1].version")).value, by_name.value)
    t:eq(assert(manifest.explain(m, 'applications["test-app"].version')).value, by_name.value)
    t:eq(assert(manifest.explain(m, "ips_whitelist[2]")).value, "198.51.100.0/24")
    local absent = assert(manifest.explain(m, "monitoring"))
    t:eq({ absent.from, absent.value, absent.line }, { "absent" })
    local text = assert(fs.read("manifests/dev-seb.yaml"))
    local dir = t:tmpdir()
    assert(fs.mkdir(dir .. "/manifests"))
    assert(fs.write(dir .. "/manifests/dev-seb.yaml", (text:gsub("\n    namespace: [^\n]*", "", 1))))
    local without = assert(manifest.load("dev-seb", { root = dir }))
    local default = assert(manifest.explain(without, "applications[1].namespace"))
    t:eq({ default.from, default.value }, { "default", "default" })
    for key, hint in pairs { ["infrastructure.gke.mx"] = "did you mean infrastructure.gke.max?",
      ["infrastucture.gke.max"] = "did you mean infrastructure.gke.max?",
      ["applications.test-ap.version"] = "did you mean applications.test-app.version?" } do
      local err = t:err("not_found", manifest.explain(m, key))
      t:eq(err.hint, hint)
    end
    t:has(t:err("not_found", manifest.explain(m, "infrastructure.gke.max.x")).message, "gke.max has no key x")
    t:has(t:err("not_found", manifest.explain(m, "applications[9]")).message, "applications has no key 9")
    for _, wrong in ipairs { "", ".", "a..b", "a[x]", "a b[", "[1" } do t:eq(manifest.explain(m, wrong), nil, wrong) end
  end)

  test("in a project: the commit of a line, the run that wrote it, the state of an output and its run", function(t)
    local s = scratch.new(t)
    assert(fs.write(s.dir .. "/workflows/small.lua", WORKFLOW))
    local function why(code, ...)
      local said, out = s:expect(t, code, { "--sandbox", "why", ... })
      return code == 0 and out or said
    end
    local out = why(0, "dev-seb", "infrastructure.gke.max")
    t:has(out, "infrastructure.gke.max = 3\n  manifest manifests/dev-seb.yaml:")
    t:has(out, "wsrun demo, ")
    t:has(out, ": the project as it is\n  run      none of this project wrote it")
    t:has(why(1, "dev-seb", "outputs.kubernetes.node_port"), "layer kubernetes of dev-seb was never applied: gs://")

    s:expect(t, 0, { "--sandbox", "workflows/small.lua", "dev-seb" })
    out = why(0, "dev-seb", "outputs.kubernetes.node_port")
    t:has(out, "outputs.kubernetes.node_port = 30443\n  output   of layer kubernetes\n  state    gs://")
    t:has(out, "/terraform/kubernetes/dev-seb.tfstate, serial 7, of 20")
    t:ok(out:find("\n  run      %d+%-%d+%-%x+  dev%-seb small, changed [%d:TZ-]+: 2 added\n"), out)
    t:has(why(0, "dev-seb", "outputs.kubernetes.token"), "= ***\n")
    t:has(why(64, "dev-seb", "outputs.kubernetes.node_prt"), "did you mean outputs.kubernetes.node_port?")
    t:has(why(64, "dev-seb", "outputs.kubernets.node_port"), "did you mean outputs.kubernetes?")
    t:has(why(64, "dev-seb", "outputs.kubernetes"), "an output is named outputs.LAYER.NAME")

    out = why(0, "dev-seb", "infrastructure.cloudsql.instance-num")
    t:has(out, "infrastructure.cloudsql.instance-num = 123456789")
    t:has(out, ": manifest: number\n")
    t:ok(out:find("\n  run      %d+%-%d+%-%x+  dev%-seb small, wrote "), out)
    s:replace("manifests/dev-seb.yaml", "    max: 3", "    max: 4")
    t:has(why(0, "dev-seb", "infrastructure.gke.max"), "the line is not committed yet")
    local answer = assert(json.decode(why(0, "dev-seb", "infrastructure.gke.max", "--json")))
    t:eq({ answer.value, answer.from, answer.schema_version }, { 4, "manifest", 1 })
    t:has(why(64, "dev-seb"), "why takes a platform and a key")
    t:has(why(1, "dev-sb", "name"), "did you mean dev-seb?")
    t:eq(s:git { "status", "--porcelain", "manifests" }, " M manifests/dev-seb.yaml\n")
  end)
end
