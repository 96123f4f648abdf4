local time = require "ws.time"

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/time/README.md"
  end)

  test("the clocks go forward", function(t)
    local a, b, c = time.now(), time.monotonic(), time.boottime()
    require "ws.task".sleep(0.01)
    t:ok(math.abs(time.now() - os.time()) < 2)
    t:ok(time.now() > a)
    local passed = time.monotonic() - b
    t:ok(passed >= 0.01 and passed < 5, passed)
    t:ok(time.boottime() - c >= 0.01)
    t:ok(time.boottime() >= time.monotonic() - passed) -- it has counted the time that the other one slept
  end)

  test("times as text and back", function(t)
    local cases = {
      [0] = "1970-01-01T00:00:00Z",
      [1582934400] = "2020-02-29T00:00:00Z",
      [-1] = "1969-12-31T23:59:59Z",
      [253402300799] = "9999-12-31T23:59:59Z",
      [-62135596800] = "0001-01-01T00:00:00Z",
      [951868799] = "2000-02-29T23:59:59Z",
      [4107542400] = "2100-03-01T00:00:00Z",
    }
    for seconds, text in pairs(cases) do
      t:eq(time.rfc3339(seconds), text)
      t:eq(time.parse_rfc3339(text), seconds)
    end
    for day = -200000, 2000000, 997 do
      t:eq(time.parse_rfc3339(time.rfc3339(day * 86400 + 4711)), day * 86400 + 4711)
    end
    t:eq(time.rfc3339(1.9996, 3), "1970-01-01T00:00:01.999Z")
    t:eq(time.parse_rfc3339("1970-01-01T00:00:01.25Z"), 1.25)
    t:eq(time.parse_rfc3339("1970-01-01t05:30:00+05:30"), 0)
    t:eq(time.parse_rfc3339("1969-12-31 23:00:00-01:00"), 0)
    t:eq(time.parse_rfc3339("1990-12-31T23:59:60Z"), time.parse_rfc3339("1991-01-01T00:00:00Z"))
    t:eq(math.type(time.parse_rfc3339("2026-11-22T18:45:36Z")), "integer")
  end)

  test("what is no time is refused", function(t)
    for _, text in ipairs { "", "2026-11-22", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
      "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+25:00", "2026-01-01T00:00:00Zx",
      "2026-01-01T00:00:0012Z", "2026-01-00T00:00:00Z", "x2026-01-01T00:00:00Z" } do
      t:err("parse", time.parse_rfc3339(text))
    end
    t:raises("string expected", time.parse_rfc3339, 5)
    t:raises("years 0 to 9999", time.rfc3339, 1e12)
    t:raises("years 0 to 9999", time.rfc3339, 0 / 0)
  end)
end
