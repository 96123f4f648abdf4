-- Activates the services that a new Google Cloud project needs. Run once a project, never by create_platform.
local ws = require "ws"
local plan = require "lib.plan"
local platform = require "lib.platform"

return ws.workflow {
  summary = "Activate the services that a Google Cloud project needs, once",
  args = {
    { "platform", type = "manifest", doc = "any manifest of the project" },
  },
  run = function(w, args)
    local p = platform.open(w, args.platform)
    w:step("check", { plan = "run", always = true }, function() p:check() end)
    w:step("project", { plan = plan.layer(p, "project") }, function() return p:apply("project") end)
  end,
}
