-- The parts that a page is made of: elements, plain text, the timeline and its critical path.
local h = require "ws.report.html"
local plain = require "ws.plain"
local timeline = require "ws.report.timeline"

--- Rows of an attempt from { path, started, ended, needs… }.
local function attempt(...)
  local rows = {}
  for i, spec in ipairs { ... } do
    rows[i] = { path = spec[1], started = spec[2], ended = spec[3], finished = spec[3], attempt = 1,
      needs = { table.unpack(spec, 4) } }
  end
  return { rows = rows }
end

local function path_of(a)
  local names = {}
  for i, row in ipairs(timeline.critical(a)) do names[i] = row.path end
  return table.concat(names, " ")
end

return function(test)
  test("elements: texts and attributes are escaped, what could run or lead out is refused", function(t)
    t:eq(tostring(h.p { title = '"><b>', "a < b & 'c'", nil, false, 7, { h.b { "x" }, "y" } }),
      '<p title="&quot;&gt;&lt;b&gt;">a &lt; b &amp; &#39;c&#39;7<b>x</b>y</p>')
    t:eq(tostring(h.meta { charset = "utf-8" }), '<meta charset="utf-8">')
    t:eq(tostring(h.details { open = true, hidden = false, "\r\nx\ry" }), "<details open>\nx\ny</details>")
    for _, bad in ipairs { { onclick = "x" }, { style = "x" }, { href = "javascript:x" }, { href = "http://x" } } do
      t:raises("a report has no", h.a, bad)
    end
    t:eq(tostring(h.a { href = "#x", "y" }), '<a href="#x">y</a>')
  end)

  test("plain text: terminal commands gone, broken UTF-8 and what turns the writing replaced", function(t)
    t:eq(plain("\27[1;31mred\27[0m \27]8;;http://x\27\\link\27]8;;\7 \27(Bx"), "red link x")
    t:eq(plain("a\0b\127\tc\n"), "a\u{FFFD}b\u{FFFD}\tc\n")
    t:eq(plain("\195\40 \226\130 \237\160\128 é €"), "\u{FFFD}( \u{FFFD} \u{FFFD} é €")
    t:eq(plain("user\u{202E}gnp.exe\u{2066}"), "user\u{FFFD}gnp.exe\u{FFFD}")
    t:eq(plain(12), "12")
    require "ws.secret".new("hunter2-hunter2")
    t:eq(plain("hunter2\27[0m-hunter2"), "***")
  end)

  test("critical path: the last to end, and before each the one that it waited for", function(t)
    t:eq(path_of(attempt()), "")
    t:eq(path_of(attempt({ "a", 0, 1 }, { "b", 1, 3 }, { "c", 1, 2 }, { "d", 3, 4 })), "a b d")
    t:eq(path_of(attempt({ "a", 0, 5 }, { "b", 0, 1 }, { "c", 1, 2 })), "a")
    -- What is declared counts before what happened to end at about the same time, and not when that was long before.
    t:eq(path_of(attempt({ "a", 0, 1.96 }, { "b", 0, 1.99 }, { "c", 2, 3, "a" })), "a c")
    t:eq(path_of(attempt({ "a", 0, 1 }, { "b", 0, 1.99 }, { "c", 2, 3, "a" })), "b c")
    t:eq(path_of(attempt({ "a", 0, 0 }, { "b", 0, 0 }, { "c", 0, 0 })), "c") -- at once: nothing came before
    local nested = attempt({ "a", 0, 4 }, { "a/x", 0, 1 }, { "a/y", 1, 4 }, { "a/z", 1, 2 }, { "a/y/q", 2, 4 })
    t:eq(path_of(nested), "a")
    local marked = {}
    for _, row in ipairs(nested.rows) do marked[row.path] = row.critical end
    t:eq(marked, { a = true, ["a/x"] = true, ["a/y"] = true, ["a/y/q"] = true })
    local long = {}
    for i = 1, 20000 do long[i] = { "s" .. i, i, i + 1 } end
    t:eq(#timeline.critical(attempt(table.unpack(long))), 20000)
  end)

  test("attempts lie one after the other; what was not ended ends with its attempt", function(t)
    local rows = { { path = "a", attempt = 1, started = 10, ended = 12 }, { path = "b", attempt = 1, started = 12 },
      { path = "c", attempt = 1, started = 12, ended = 15 }, { path = "b", attempt = 3, started = 1000, ended = 1005 } }
    local run = { started = 9, ended = 1006, attempt = 3, status = "done" }
    local attempts, length = timeline.attempts(rows, run, 2000)
    t:eq(length, 12)
    t:eq({ attempts[1].from, attempts[1].to, attempts[1].at }, { 9, 15, 0 })
    t:eq({ attempts[2].number, attempts[2].at }, { 3, 6 })
    t:eq(rows[2].finished, 15)
    t:eq(timeline.position(attempts[2], 1000, length), 0.5)
    run = { started = 9, attempt = 3, status = "running" }
    t:eq(select(2, timeline.attempts(rows, run, 1010)), 16)
    t:eq({ timeline.attempts({}, run, 1010) }, { {}, 0.001 })
  end)

  test("the axis has round times, few of them", function(t)
    t:eq(timeline.ticks(11), { 0, 2, 4, 6, 8, 10 })
    t:eq(timeline.ticks(0.001), { 0 })
    t:eq(#timeline.ticks(86400 * 30) <= 21, true)
    t:eq(timeline.ticks(3600)[2], 600)
  end)
end
