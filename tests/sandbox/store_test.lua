local fs = require "ws.fs"
local json = require "ws.json"
local store = require "sandbox.store"

return function(test)
  test("values survive, with their types", function(t)
    local dir = t:tmpdir()
    local s = t:ok(store.open(dir))
    local c = s:collection "things"
    c:put("a", { list = json.array {}, map = json.object(), n = 9007199254740993, text = "é\0" })
    c:put("b", { n = 1 })
    t:eq(c:delete "b", true)
    t:eq(c:delete "b", false)
    s:close()
    local again = t:ok(store.open(dir))
    local value = again:collection("things"):get "a"
    t:eq(json.encode(value.list), "[]")
    t:eq(json.encode(value.map), "{}")
    t:eq(value.n, 9007199254740993)
    t:eq(value.text, "é\0")
    t:eq(again:collection("things"):get "b", nil)
    again:close()
    t:raises("closed", again.collection(again, "things").put, again:collection "things", "x", 1)
  end)

  test("a line that was cut off is the end", function(t)
    local dir = t:tmpdir()
    local s = t:ok(store.open(dir))
    s:collection("c"):put("whole", { n = 1 })
    s:collection("c"):put("torn", { n = 2 })
    s:close()
    local text = t:ok(fs.read(dir .. "/journal.ndjson"))
    t:ok(fs.write(dir .. "/journal.ndjson", text:sub(1, -5)))
    local again = t:ok(store.open(dir))
    t:eq(again:collection("c"):get("whole").n, 1)
    t:eq(again:collection("c"):get "torn", nil)
    -- What is written after that is not lost behind the torn line.
    again:collection("c"):put("later", { n = 3 })
    again:close()
    local third = t:ok(store.open(dir))
    t:eq(third:collection("c"):keys(), { "later", "whole" })
    third:close()
  end)

  test("a journal full of old lines is rewritten", function(t)
    local dir = t:tmpdir()
    local s = t:ok(store.open(dir))
    local c = s:collection "c"
    for i = 1, 9000 do
      c:put("k" .. i % 7, { n = i })
      -- The change that makes the journal be rewritten must be in the new one.
      if s.lines < 10 then t:ok(fs.read(s.path):find(('"n":%d}'):format(i), 1, true)) end
    end
    t:ok(s.lines < 8000, "it grew to " .. s.lines)
    s:close()
    local again = t:ok(store.open(dir))
    t:eq(again:collection("c"):get("k5").n, 9000)
    t:eq(again:collection("c").count, 7)
    again:close()
  end)

  test("update changes a copy, and nothing when it fails", function(t)
    local s = t:ok(store.open(t:tmpdir()))
    local c = s:collection "c"
    c:put("k", { list = { 1 } })
    t:raises("stop", c.update, c, "k", function(value)
      value.list[1] = 2
      error "stop"
    end)
    t:eq(c:get("k").list[1], 1)
    t:eq(c:update("k", function(value) value.list[1] = 3 end).list[1], 3)
    t:raises("has no", c.update, c, "absent", function() end)
    t:raises("use delete", c.put, c, "k", nil)
    s:close()
  end)

  test("lists are sorted and follow changes", function(t)
    local s = t:ok(store.open(t:tmpdir()))
    local c = s:collection "c"
    for _, key in ipairs { "b/2", "a", "b/1", "c" } do c:put(key, { key = key }) end
    t:eq(c:keys(), { "a", "b/1", "b/2", "c" })
    local _, keys = c:list "b/"
    t:eq(keys, { "b/1", "b/2" })
    c:delete "b/1"
    t:eq(c:keys(), { "a", "b/2", "c" })
    c:clear()
    t:eq(c:keys(), {})
    s:close()
  end)

  test("a folder that cannot be made is an error", function(t)
    local path = t:tmpdir() .. "/file"
    t:ok(fs.write(path, "x"))
    local value, err = store.open(path)
    t:eq(value, nil)
    t:ok(err.kind)
  end)
end
