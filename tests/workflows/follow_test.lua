-- Which versions a policy allows.
local follow = require "lib.follow"
local semver = require "ws.semver"

local TAGS = { "1.4.1", "1.4.2", "v1.4.3", "1.5.0", "1.5.1-rc.1", "2.0.0", "latest", "1.4.10", "sha-3f2a1c", "1.3.9" }

local function allowed(policy, deployed)
  return follow.candidates(TAGS, follow.policy(policy), deployed and assert(semver.parse(deployed)))
end

return function(test)
  test("ranges, words and globs; newer than the deployed one, newest first", function(t)
    for policy, wanted in pairs {
      ["^1.4"] = { "1.5.0", "1.4.10", "1.4.3" }, ["~1.4.0"] = { "1.4.10", "1.4.3" }, ["1.5.x"] = { "1.5.0" },
      patch = { "1.4.10", "1.4.3" }, minor = { "1.5.0", "1.4.10", "1.4.3" },
      major = { "2.0.0", "1.5.0", "1.4.10", "1.4.3" }, all = { "2.0.0", "1.5.1-rc.1", "1.5.0", "1.4.10", "1.4.3" },
      ["glob:1.4.*"] = { "1.4.10", "1.4.3" }, ["glob:1.4.?"] = { "1.4.3" }, ["glob:*-rc.*"] = { "1.5.1-rc.1" },
      ["pattern:^1%.5%.%d+$"] = { "1.5.0" }, ["<1.4"] = {},
    } do t:eq(allowed(policy, "1.4.2"), wanted, policy) end
    t:eq(allowed("1.4.x"), { "1.4.10", "1.4.3", "1.4.2", "1.4.1" })
    t:eq(#allowed "minor", 7, "nothing is deployed")
    t:eq(allowed("all", "2.0.0"), {})
  end)

  test("what is no policy is refused with what is one", function(t)
    for _, text in ipairs { "newest", "^", "pattern:[", "1.4.2.1" } do
      local err = t:raises("%-%-policy", follow.policy, text)
      t:eq(err.exit, 64)
    end
  end)
end
