-- create_platform is killed at a record of the journal and resumed: it comes to the same platform.
local scratch = require "scratch"

return function(test)
  test("killed in the middle, resumed, and nothing is left to do", function(t)
    local s = scratch.new(t)
    local again = 0
    for _, record in ipairs { 4, 9, 16 } do
      s:wsrun_command { "sandbox", "reset" }
      s:git { "checkout", "-q", "--", "." }
      s:git { "reset", "-q", "--hard", "origin/main" }
      local env = { WSRUN_TEST_CRASH_AFTER = tostring(record) }
      for key, value in pairs(s.env) do env[key] = value end
      local killed = s:wsrun_command({ "--sandbox", "workflows/create_platform.lua", "dev-seb" }, { env = env })
      t:eq(killed.signal, "KILL", killed.stderr)
      local _, plan = s:expect(t, 0, { "resume", "--plan" })
      local reused = tonumber(plan:match("(%d+) reused"))
      local said = s:expect(t, 0, { "resume" })
      t:has(said, "dev-seb  create_platform")
      again = again + reused
      local second = s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
      t:has(second, "nothing changed")
    end
    t:ok(again >= 6, again)
  end, { timeout = 400 })
end
