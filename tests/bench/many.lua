-- The workflow of the benchmark of many platforms: four steps, each a child that takes a quarter of a second.
local ws = require "ws"
local process = require "ws.process"

return ws.workflow {
  summary = "four children",
  args = { { "platform", type = "manifest", doc = "one of many" } },
  run = function(w)
    for i = 1, 4 do
      w:step("child " .. i, function() assert(process.check { "sleep", "0.25" }) end)
    end
  end,
}
