-- Destroys a platform: the layers in reverse order, and what Google Cloud and Kubernetes made on their own beside them.
local ws = require "ws"
local cluster = require "lib.cluster"
local inputs = require "lib.inputs"
local plan = require "lib.plan"
local platform = require "lib.platform"
local sql = require "lib.sql"

return ws.workflow {
  summary = "Destroy a platform and everything that belongs to it",
  args = {
    { "platform", type = "manifest", doc = "name of a manifest in manifests/, or its path" },
  },
  options = {
    { "confirm", type = "string", value = "NAME", doc = "the platform's name again: nothing is destroyed without it" },
  },
  run = function(w, args)
    local p = platform.open(w, args.platform)
    if not w.plan then p:confirm(args.confirm) end
    p:refuse_protected()
    local lock <close> = p:lock()
    w:step("check", { plan = "run", always = true }, function() p:check() end)

    local has = {}
    for _, layer in ipairs(inputs.layers(p.manifest)) do has[layer] = true end

    local function destroy(name)
      w:step(name, { plan = plan.destroy_layer(p, name) }, function() p:destroy(name) end)
    end
    if has.monitoring then destroy("monitoring") end
    w:together {
      function()
        w:step("cluster", { plan = plan.empty_cluster(p) }, function() cluster.empty(p) end)
        destroy("kubernetes")
        w:step("leftovers", { plan = plan.no_leftovers(p) }, function() cluster.remove_leftovers(p) end)
      end,
      function() destroy("data") end,
      function()
        if has.bastion then destroy("bastion") end
      end,
    }
    destroy("base")
    w:step("sql-number", { plan = plan.no_sql_number(p) }, function() sql.remove_number(p) end)
    w:step("state", { plan = plan.no_states(p) }, function() p:remove_state() end)
    lock:release()
  end,
}
