-- The workflow that is killed everywhere: twenty steps, some side by side, some within others. Each appends its name to
-- the file "effects", whole lines, so that it can be seen how often it was run.
local ws = require "ws"

local function effect(name)
  local file <close> = assert(io.open("effects", "a"))
  file:setvbuf("full")
  assert(file:write(name, "\n"))
  return { name = name, square = (#name) ^ 2 }
end

return ws.workflow {
  summary = "twenty steps",
  run = function(w)
    local function step(name, opts) return w:step(name, opts or {}, function() return effect(name) end) end
    for i = 1, 6 do assert(step("a" .. i, { inputs = { i } }).name == "a" .. i) end
    w:together {
      function() for i = 1, 3 do step("b" .. i) end end,
      function() for i = 1, 3 do step("c" .. i, { needs = i > 1 and { "c" .. i - 1 } or nil }) end end,
      function()
        w:step("group", function()
          for i = 1, 3 do step("d" .. i) end
          return effect "group"
        end)
      end,
    }
    local sum = 0
    for i = 1, 4 do sum = sum + step("e" .. i, { needs = { "group", "b3" } }).square end
    assert(sum == 16)
  end,
}
