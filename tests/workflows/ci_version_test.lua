-- Which version is built: as it was said, or by git's tags.
local semver = require "ws.semver"
local version = require "lib.ci.version"

return function(test)
  test("a version as a person says it", function(t)
    t:eq(version.read "1.4.2", "1.4.2")
    t:eq(version.read "v1.4.2-rc.1+linux", "1.4.2-rc.1+linux")
    t:eq(version.tag "1.4.2-rc.1+linux", "1.4.2-rc.1_linux")
    for _, text in ipairs { "1.4", "latest", "", "1.4.2.1", "01.4.2", "1.4.2-", "vv1.4.2" } do
      local err = t:raises("is not a version such as 1.4.2: ", version.read, text)
      t:eq({ err.kind, err.usage }, { "invalid", true })
      t:ok(err.hint)
    end
  end)

  test("a version from git's description", function(t)
    local function of(description, dirty)
      description.commit = "0a1b2c3"
      return version.of_git(description, dirty or false)
    end
    t:eq(of { tag = "v1.4.2", tags = { "v1.4.2" }, distance = 0 }, "1.4.2")
    t:eq(of { tag = "1.5.0-rc.1", tags = { "1.5.0-rc.1", "v1.5.0", "release" }, distance = 0 }, "1.5.0")
    t:eq(of({ tag = "v1.4.2", tags = { "v1.4.2" }, distance = 0 }, true), "1.4.3-dev.0.g0a1b2c3.dirty")
    t:eq(of { tag = "v1.4.2", distance = 5 }, "1.4.3-dev.5.g0a1b2c3")
    t:eq(of { tag = "1.5.0-rc.1", distance = 5 }, "1.5.0-rc.1.dev.5.g0a1b2c3")
    t:eq(of { distance = 12 }, "0.0.0-dev.12.g0a1b2c3")
    t:has(select(2, of({ tag = "v1.4.2", distance = 1 }, true)), "1 commit after 1.4.2, and changes in no commit")
    t:has(select(2, of { distance = 2 }), "no tag is a version")
    t:raises("the nearest tag is 2024%-spring, which is no version", of, { tag = "2024-spring", distance = 1 })
  end)

  test("versions of commits are in the order of the commits", function(t)
    local last
    for _, d in ipairs { { distance = 3 }, { distance = 10 }, { tag = "v0.1.0", tags = { "v0.1.0" }, distance = 0 },
      { tag = "v0.1.0", distance = 2 }, { tag = "v0.1.0", distance = 11 },
      { tag = "v0.2.0-rc.1", tags = { "v0.2.0-rc.1" }, distance = 0 }, { tag = "v0.2.0-rc.1", distance = 4 },
      { tag = "v0.2.0-rc.2", tags = { "v0.2.0-rc.2" }, distance = 0 },
      { tag = "v0.2.0", tags = { "v0.2.0" }, distance = 0 } } do
      d.commit = "0123456"
      local v = assert(semver.parse((version.of_git(d, false))))
      if last then t:ok(last < v, ("%s is not before %s"):format(last, v)) end
      last = v
    end
  end)
end
