-- Creates the platform that a manifest describes, or brings it up to date.
--
-- Reads from top to bottom: check, the Terraform layers as early as their inputs allow, the cluster, what runs in it.
-- It can be run again at any time; what is right already is left alone.
local ws = require "ws"
local applications = require "lib.applications"
local cluster = require "lib.cluster"
local dependencies = require "lib.dependencies"
local inputs = require "lib.inputs"
local plan = require "lib.plan"
local platform = require "lib.platform"
local sql = require "lib.sql"
local static = require "lib.static"

return ws.workflow {
  summary = "Create or update the platform that a manifest describes",
  args = {
    { "platform", type = "manifest", doc = "name of a manifest in manifests/, or its path" },
  },
  options = {
    { "skip-apps", doc = "leave the applications and static files as they are" },
  },
  run = function(w, args)
    local p = platform.open(w, args.platform)
    local lock <close> = p:lock()
    w:step("check", { plan = "run", always = true }, function() p:check() end)

    local function layer(name, needs)
      w:step(name, { needs = needs, plan = plan.layer(p, name), inputs = p:facts(name),
        read = function() return p:read_outputs(name) end }, function() return p:apply(name) end)
    end

    local has = {}
    for _, name in ipairs(inputs.layers(p.manifest)) do has[name] = true end
    local apps = not args["skip-apps"]

    w:together {
      function() layer "base" end,
      function() if has.bastion then layer("bastion", { "base" }) end end,
      function()
        layer("kubernetes", { "base" })
        w:step("cluster", { plan = plan.cluster(p), always = true }, function() cluster.prepare(p) end)
        w:step("dependencies", { plan = true }, function() dependencies.install(p) end)
      end,
      function()
        w:step("sql-number", { plan = plan.sql_number(p) }, function() sql.draw_number(p) end)
        w:step("data", { needs = { "base" }, plan = plan.data(p), always = true }, function()
          return p:apply("data", sql.passwords(p), sql.current(p))
        end)
        w:step("sql-secrets", { needs = { "cluster" }, plan = plan.sql_secrets(p) }, function()
          sql.store_secrets(p)
        end)
      end,
      function() if has.monitoring then layer("monitoring", { "kubernetes", "data" }) end end,
      function()
        if not apps then return end
        w:step("static-files", { needs = { "kubernetes" }, plan = plan.static_files(p), always = true }, function()
          static.upload(p)
        end)
      end,
      function()
        if not apps then return end
        w:step("applications", { needs = { "dependencies", "sql-secrets" }, plan = true }, function()
          applications.deploy(p)
        end)
      end,
    }
    lock:release()
  end,
}
