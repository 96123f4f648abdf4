local semver = require "ws.semver"

--- Whether the range has each of the versions.
local function check(t, text, inside, outside)
  local range = t:ok(semver.range(text))
  for _, v in ipairs(inside) do t:eq(range:has(v), true, text .. " has " .. v) end
  for _, v in ipairs(outside) do t:eq(range:has(v), false, text .. " has not " .. v) end
end

return function(test)
  test("what the specification calls valid", function(t)
    for _, text in ipairs { "0.0.4", "1.2.3", "10.20.30", "1.1.2-prerelease+meta", "1.1.2+meta", "1.0.0-alpha",
      "1.0.0-alpha.beta.1", "1.0.0-alpha0.valid", "1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay",
      "1.0.0-rc.1+build.123", "1.2.3----RC-SNAPSHOT.12.9.1--.12+788", "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
      "1.0.0-0A.is.legal", "1.0.0-0", "1.0.0-99999999999999999999", "2.0.0+build.1848", "1.2.3+001" } do
      t:eq(tostring(t:ok(semver.parse(text))), text)
    end
    local v = semver.parse "1.22.333-rc.1+b.02"
    t:eq({ v.major, v.minor, v.patch, v.prerelease, v.build }, { 1, 22, 333, "rc.1", "b.02" })
  end)

  test("what it calls invalid, and why", function(t)
    for text, why in pairs {
      [""] = "it is empty", ["1"] = "it has 1 number and not three", ["1.2"] = "it has 2 numbers and not three",
      ["1.2.3.4"] = "it has 4 numbers", ["v1.2.3"] = 'it begins with "v"', ["01.1.1"] = "01 has a leading zero",
      ["1.2.3-0123"] = "0123 with a leading zero", ["1.2.3-rc..1"] = "its prerelease has an empty part",
      ["1.2.3-"] = "its prerelease has an empty part", ["1.2.3+"] = "its build has an empty part",
      ["1.2.3+a_b"] = 'its build has "_"', ["1.2.3-a b"] = 'its prerelease has " "', ["1.x.3"] = 'it has "x"',
      ["1..3"] = "one of its three numbers is empty", ["latest"] = 'it has "l" where digits belong',
      ["1.2.3 "] = 'it has " " where digits belong', ["1.2.3-\n"] = "prerelease has", ["alpha+beta"] = "where digits",
      ["1.2.3+a+b"] = 'its build has "+"', ["1234567890123456789.0.0"] = "is too large", ["-1.0.0"] = "not three",
    } do
      t:has(t:err("parse", semver.parse(text)).message, why)
    end
  end)

  test("precedence", function(t)
    local order = { "0.0.1", "0.9.0", "1.0.0-0", "1.0.0-9", "1.0.0-10", "1.0.0-100000000000000000000", "1.0.0--",
      "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
      "1.0.0-rc.1.dev.5", "1.0.0-rc.2", "1.0.0", "1.0.1", "1.9.0", "1.10.0", "2.0.0" }
    for i, a in ipairs(order) do
      for j, b in ipairs(order) do
        t:eq(semver.compare(a, b), i < j and -1 or i > j and 1 or 0, a .. " and " .. b)
      end
    end
    t:eq(semver.compare("1.0.0+a", "1.0.0+b"), 0)
    local a, b = semver.parse "1.2.0", semver.parse "1.2.0+x"
    t:ok(a == b and a <= b and a >= b)
  end)

  test("ranges", function(t)
    check(t, "^1.2", { "1.2.0", "1.99.0" }, { "1.1.9", "2.0.0", "2.0.0-rc.1", "1.3.0-rc.1" })
    check(t, "^1.2.3", { "1.2.3", "1.3.0" }, { "1.2.2", "2.0.0" })
    check(t, "^0.2.3", { "0.2.3", "0.2.9" }, { "0.3.0", "0.2.2", "1.0.0" })
    check(t, "^0.0.3", { "0.0.3" }, { "0.0.4", "0.1.0" })
    check(t, "^0.0", { "0.0.0", "0.0.9" }, { "0.1.0" })
    check(t, "^0", { "0.0.0", "0.9.0" }, { "1.0.0" })
    check(t, "^0.x", { "0.0.0", "0.9.0" }, { "1.0.0" })
    check(t, "^1.x", { "1.0.0", "1.9.0" }, { "2.0.0" })
    check(t, "~1.4", { "1.4.0", "1.4.9" }, { "1.5.0", "1.3.9" })
    check(t, "~1.4.2", { "1.4.2", "1.4.9" }, { "1.4.1", "1.5.0" })
    check(t, "~> 1", { "1.0.0", "1.9.0" }, { "2.0.0" })
    check(t, "1.x", { "1.0.0", "1.9.9" }, { "2.0.0", "0.9.0" })
    check(t, "1.4.*", { "1.4.0" }, { "1.5.0" })
    check(t, "1.4", { "1.4.0", "1.4.9" }, { "1.5.0" })
    check(t, "v1.4.2", { "1.4.2", "1.4.2+any" }, { "1.4.3" })
    check(t, "*", { "0.0.0", "99.0.0" }, { "1.0.0-rc.1" })
    check(t, ">=1.0 <2", { "1.0.0", "1.9.9" }, { "2.0.0", "0.9.9", "2.0.0-rc.1" })
    check(t, ">= 1.0, < 2", { "1.5.0" }, { "2.0.0" })
    check(t, ">1.4", { "1.5.0" }, { "1.4.9" })
    check(t, "<=1.4", { "1.4.9", "0.1.0" }, { "1.5.0" })
    check(t, ">1.4.2 !=1.4.4", { "1.4.3", "1.4.5" }, { "1.4.2", "1.4.4" })
    check(t, "1.2 - 1.4", { "1.2.0", "1.4.9" }, { "1.1.9", "1.5.0" })
    check(t, "1.2.0 - 1.4.0", { "1.4.0" }, { "1.4.1" })
    check(t, "^1 || ^3", { "1.0.0", "3.1.0" }, { "2.0.0" })
    check(t, ">=1.5.0-rc.1", { "1.5.0-rc.1", "1.5.0-rc.2", "1.5.0", "1.6.0" }, { "1.5.0-beta", "1.6.0-rc.1" })
    check(t, "^1.5.0-rc.1", { "1.5.0-rc.3", "1.6.0" }, { "2.0.0-rc.1" })
    check(t, "1.5.0-rc.1", { "1.5.0-rc.1" }, { "1.5.0" })
  end)

  test("ranges that are none", function(t)
    for text, why in pairs { [""] = "a part of it is empty", ["^1 ||"] = "empty", ["abc"] = '"abc" is no condition',
      ["=>1"] = '"=>1" is no condition', ["1.2.3.4"] = "is no condition", ["1.x.3"] = "is no condition",
      ["> *"] = "is no condition", ["!=1.2"] = "is no condition", ["^"] = "is no condition",
      ["1 - x.1"] = '"x.1" is no condition', ["01.2"] = "is no condition",
      ["^999999999999999999.0.0"] = "is no condition", ["9999999999999999"] = "is no condition" } do
      t:has(t:err("parse", semver.range(text)).message, why)
    end
  end)

  test("the best of a list", function(t)
    local range = semver.range "^1.2"
    t:eq(range:best { "1.3.0", "v1.12.0", "1.9.0", "2.0.0", "latest", "inputs-ab", "1.13.0-rc.1" }, "v1.12.0")
    t:eq(range:best { "0.1.0" }, nil)
    t:eq(tostring(range), "^1.2")
  end)

  test("the example of the README", function(t) t:examples("modules/semver/README.md") end)

  test("misuse raises", function(t)
    t:raises("a string expected, got number", semver.parse, 1)
    t:raises("a string expected, got nil", semver.range)
    t:raises('"1.2" is not a version', semver.compare, "1.2", "1.2.0")
    t:raises("a version expected, got table", semver.compare, {}, "1.2.0")
    t:raises("is not a version", function() semver.range("*"):has("x") end)
    t:raises("a version expected, got number", function() semver.range("*"):has(1) end)
  end)
end
