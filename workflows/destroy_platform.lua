-- Destroys a platform: the layers in reverse order, and what Google Cloud and Kubernetes made on their own beside them.
local ws = require "ws"
local cluster = require "lib.cluster"
local inputs = require "lib.inputs"
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
    p:confirm(args.confirm)
    p:refuse_protected()
    local lock <close> = p:lock()
    w:step("check", function() p:check() end)

    local has = {}
    for _, layer in ipairs(inputs.layers(p.manifest)) do has[layer] = true end

    if has.monitoring then w:step("monitoring", function() p:destroy("monitoring") end) end
    w:together {
      function()
        w:step("cluster", function() cluster.empty(p) end)
        w:step("kubernetes", function() p:destroy("kubernetes") end)
        w:step("leftovers", function() cluster.remove_leftovers(p) end)
      end,
      function() w:step("data", function() p:destroy("data") end) end,
      function()
        if has.bastion then w:step("bastion", function() p:destroy("bastion") end) end
      end,
    }
    w:step("base", function() p:destroy("base") end)
    w:step("sql-number", function() sql.remove_number(p) end)
    w:step("state", function() p:remove_state() end)
    lock:release()
  end,
}
