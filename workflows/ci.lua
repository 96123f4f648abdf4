-- Tests, builds and publishes a version of an application: image, chart, SBOM, provenance, and what vouches for them.
--
-- Reads from top to bottom: what can be looked at side by side is; nothing is published before all of it is right. It
-- can be run again at any time: what was built is not built again, and what was published never changes.
local ws = require "ws"
local build = require "lib.ci.build"
local chart = require "lib.ci.chart"
local image = require "lib.ci.image"
local inputs = require "lib.ci.inputs"
local publish = require "lib.ci.publish"
local tests = require "lib.ci.tests"

-- Steps hand each other what they found, and each does only what is left: a resumed run begins anew.
local anew = { always = true }

return ws.workflow {
  summary = "Test, build and publish a version of an application",
  args = {
    { "version", optional = true, doc = "such as 1.4.2; without it git's tags tell" },
  },
  options = {
    { "app", type = "string", default = "app", value = "NAME", doc = "application: NAME/src, charts/NAME-chart" },
    { "platform", type = "string", value = "NAME", doc = "rehearse the installation in this platform's cluster" },
    { "builder", type = "string", choices = { "auto", "docker", "buildah", "podman", "none" },
      doc = "what builds the image; auto takes one that works" },
    { "registry", type = "string", value = "HOST/PATH", doc = "where the image goes" },
    { "charts-bucket", type = "string", value = "BUCKET", doc = "where the chart goes" },
    { "archive-bucket", type = "string", value = "BUCKET", doc = "where results are kept; default: charts-bucket" },
    { "oci", doc = "publish the chart in the registry, too" },
    { "tests", default = true, doc = "run the tests (--no-tests: another job has)" },
  },
  run = function(w, args)
    local b <close> = build.open(w, args)
    w:step("version", anew, function() b:find_version() end)

    w:together {
      function() if args.tests then w:step("test", anew, function() tests.run(b) end) end end,
      function()
        w:step("lint", anew, function() chart.lint(b) end) -- first: a mistake is told once
        w:together {
          function() w:step("template", anew, function() chart.template(b) end) end,
          function() w:step("dry-run", anew, function() chart.dry_run(b) end) end,
        }
      end,
      function()
        w:step("builder", anew, function() image.choose(b) end)
        w:step("inputs", anew, function() inputs.find(b) end)
        w:step("image", anew, function() image.make(b) end)
        w:step("package", anew, function() chart.package(b) end)
      end,
    }

    w:step("push", anew, function() publish.push(b) end)
    w:step("chart", anew, function() publish.chart(b) end)
    w:together {
      function() w:step("tag", anew, function() publish.tag(b) end) end,
      function() w:step("index", anew, function() publish.index(b) end) end,
      function() if args.oci then w:step("oci", anew, function() publish.oci(b) end) end end,
    }
    w:step("archive", anew, function() publish.archive(b) end)
    publish.say(b)
  end,
}
