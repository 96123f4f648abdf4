-- Deploys one application of a platform, or takes it back, and says in the manifest what runs.
--
-- The manifest decides which project and cluster are meant. What is to be done is found out first and said with its
-- reason; a deployment that fails leaves its evidence in the run's folder and the version before it in the cluster.
local ws = require "ws"
local cluster = require "lib.cluster"
local delivery = require "lib.delivery"
local follow = require "lib.follow"
local planning = require "lib.plan"
local platform = require "lib.platform"
local release = require "lib.release"
local releases = require "lib.plan.releases"
local static = require "lib.static"

-- Every step looks first and does only what is left: a resumed run begins anew.
local anew, looks = { always = true }, { always = true, plan = "run" }

return ws.workflow {
  summary = "Deploy a version of an application to a platform, or go back to an earlier one",
  args = {
    { "platform", type = "manifest", doc = "name of a manifest in manifests/, or its path" },
    { "release", doc = "name of an application of that manifest" },
    { "version", optional = true, doc = "version that ci.lua published, such as 1.4.2; of a rollback, the target" },
  },
  options = {
    { "rollback", doc = "go back to the version before, or to VERSION" },
    { "allow-downgrade", doc = "deploy a version that is lower than the deployed one" },
    { "deadline", type = "duration", value = "TIME", doc = "until everything is ready; default: the manifest's, 10m" },
    { "tolerate-restarts", type = "integer", value = "N", doc = "of a container; default: the manifest's, 2" },
    { "static", default = true, doc = "bring the static files up to date (--no-static: leave them)" },
    { "watch", doc = "follow the registry and deploy the newest version that the policy allows" },
    { "policy", type = "string", value = "RANGE", doc = "with --watch: ^1.4, patch, minor, major, all, glob:1.4.*" },
    { "once", doc = "with --watch: look once, for cron" },
    { "interval", type = "duration", value = "TIME", doc = "with --watch: between two looks; default 1m" },
    { "approve", doc = "with --watch: ask before each deployment" },
    { "project", type = "string", value = "ID", doc = "the project that is meant; refused when it is another" },
    { "cluster", type = "string", value = "NAME", doc = "the cluster that is meant; refused when it is another" },
  },
  run = function(w, args)
    local p = platform.open(w, args.platform)
    delivery.check_context(p, args)
    local app = delivery.application(p, args.release)
    if args.watch then return follow.run(p, app, args) end
    local version, options = delivery.version(p, app, args), delivery.options(args)
    local lock <close> = p:lock()
    local seen = app.version

    if args.rollback then
      w:step("cluster", looks, function() cluster.connect(p) end)
      version = w:step("rollback", anew, function() return delivery.rollback(p, app, version, options) end)
      w:step("manifest", anew, function() release.write_back(p, app, seen, version) end)
      return lock:release()
    end

    local plan, files
    w:together {
      function()
        w:step("status", looks, function()
          cluster.connect(p)
          plan = delivery.examine(p, app, version, options)
        end)
      end,
      function()
        if args.static then w:step("static-files", looks, function() files = delivery.compare(p) end) end
      end,
    }
    if files then
      w:step("assets", { always = true, plan = function() return planning.files(files) end }, function()
        static.upload_hashed(p, files)
      end)
    end
    w:step("deploy", { always = true, plan = function(step) return releases.plan_release(p, step, app, plan) end },
      function() delivery.deploy(p, app, plan, options) end)
    w:together {
      function()
        if not files then return end -- the plan has them with the assets
        w:step("pages", { always = true, plan = false }, function() static.upload_rest(p, files) end)
      end,
      function()
        w:step("manifest", { always = true, plan = planning.version(p, app, seen, version) }, function()
          release.write_back(p, app, seen, version)
        end)
      end,
    }
    lock:release()
  end,
}
