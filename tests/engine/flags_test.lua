local flags = require "ws.flags"
local nearest = require "ws.nearest"

local options = {
  { "jobs", short = "j", type = "integer", doc = "" },
  { "wait", type = "duration", doc = "" },
  { "color", default = true, doc = "" },
  { "mode", type = "string", choices = { "fast", "slow" }, doc = "" },
  { "no-input", doc = "" },
  { "file", type = "string", many = true, doc = "" },
}

return function(test)
  test("options stand anywhere, -- ends them", function(t)
    local values, words = flags.parse(options, { "a", "-j", "3", "b", "--wait=1h30m", "--no-color", "--", "--jobs" })
    t:eq(values, { jobs = 3, wait = 5400, color = false })
    t:eq(words, { "a", "b", "--jobs" })
    t:eq(flags.parse(options, { "--no-input" })["no-input"], true)
    t:eq(flags.parse(options, { "--file", "a", "--file=b" }).file, { "a", "b" })
  end)

  test("wrong options say what was meant", function(t)
    local cases = {
      { { "--job", "3" }, "unknown option %-%-job$", "%-%-jobs" },
      { { "--jobs" }, "needs a value" },
      { { "--jobs", "three" }, "takes a whole number, not 'three'" },
      { { "--wait", "soon" }, "takes a time" },
      { { "--color=yes" }, "takes no value" },
      { { "--mode", "fst" }, "takes fast, slow, not 'fst'", "'fast'" },
      { { "-x" }, "unknown option %-x" },
    }
    for _, case in ipairs(cases) do
      local err = t:err(case[2], flags.parse(options, case[1]))
      t:eq(err.usage, true)
      if case[3] then t:ok(err.hint:find(case[3]), err.hint) end
    end
  end)

  test("durations", function(t)
    for text, seconds in pairs { ["90"] = 90, ["1.5"] = 1.5, ["45s"] = 45, ["10m"] = 600, ["1h1m1s"] = 3661 } do
      t:eq(flags.duration(text), seconds, text)
    end
    for _, text in ipairs { "", "m", "10x", "-1", "1m2" } do t:eq(flags.duration(text), nil, text) end
  end)

  test("the nearest word", function(t)
    t:eq(nearest("dev-sebb", { "prod-eu", "dev-seb" }), "dev-seb")
    t:eq(nearest("tset", { "test", "list" }), "test")
    t:eq(nearest("zzz", { "test", "list" }), nil)
    t:eq(nearest("a", {}), nil)
  end)
end
