local fs = require "ws.fs"
local sqlite = require "ws.sqlite"
local task = require "ws.task"

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/sqlite/README.md"
  end)

  local function open(t)
    local path = t:tmpdir() .. "/test.db"
    local db = t:ok(sqlite.open(path))
    t:defer(function() db:close() end)
    t:ok(db:write({ "CREATE TABLE x (a, b)" }))
    return db, path
  end

  test("values come back as they were", function(t)
    local db = open(t)
    local values = { 1, -9223372036854775807, 0.5, "text", "", "\0\1\255", ("x"):rep(100000), "é" }
    for i, value in ipairs(values) do t:ok(db:write({ "INSERT INTO x VALUES (?, ?)", i, value })) end
    t:ok(db:write({ "INSERT INTO x VALUES (?, ?)", 99, nil, n = 3 }, { "INSERT INTO x VALUES (100, ?)", true }))
    local rows = t:ok(db:read("SELECT a, b FROM x ORDER BY a"))
    for i, value in ipairs(values) do t:eq(rows[i].b, value) end
    t:eq(math.type(rows[1].b), "integer")
    t:eq(rows[9], { a = 99 })
    t:eq(rows[10], { a = 100, b = 1 })
    t:eq(db:read("SELECT a FROM x WHERE a > ?", 1000), {})
  end)

  test("many writers at once share transactions, and each is there when its write returns", function(t)
    local db = open(t)
    local functions = {}
    for i = 1, 200 do
      functions[i] = function()
        t:ok(db:write({ "INSERT INTO x VALUES (?, ?)", i, "w" }))
        t:eq(#t:ok(db:read("SELECT 1 FROM x WHERE a = ?", i)), 1)
      end
    end
    t:ok(task.all(functions))
    t:eq(db:read("SELECT count(*) AS n FROM x")[1].n, 200)
  end)

  test("what was posted is written before the database closes", function(t)
    local db, path = open(t)
    for i = 1, 50 do db:post({ "INSERT INTO x VALUES (?, 'p')", i }) end
    db:close()
    db:close()
    t:raises("the database is closed", db.read, db, "SELECT 1")
    local again <close> = t:ok(sqlite.open(path, { read_only = true }))
    t:eq(again:read("SELECT count(*) AS n FROM x")[1].n, 50)
    t:err("denied", again:write({ "DELETE FROM x" }))
  end)

  test("a write that fails ends the writing, and takes nothing of its transaction along", function(t)
    local db = open(t)
    t:err("invalid", db:read("SELECT nonsense"))
    t:eq(db:failure(), nil)
    local err = t:err("invalid", db:write({ "INSERT INTO x VALUES (1, 1)" }, { "INSERT INTO nowhere VALUES (1)" }))
    t:has(err.message, "no such table: nowhere")
    t:err("no such table: nowhere", db:write({ "INSERT INTO x VALUES (2, 2)" }))
    t:eq(db:failure().kind, "invalid")
    t:eq(#t:ok(db:read("SELECT * FROM x")), 0)
  end)

  test("two databases on one file take turns", function(t)
    local db, path = open(t)
    local other <close> = t:ok(sqlite.open(path))
    local functions = {}
    for i = 1, 40 do
      functions[i] = function() t:ok((i % 2 == 0 and db or other):write({ "INSERT INTO x VALUES (?, 1)", i })) end
    end
    t:ok(task.all(functions))
    t:eq(other:read("SELECT count(*) AS n FROM x")[1].n, 40)
  end)

  test("many processes that make one database at once all get it", function(t)
    local path, functions = t:tmpdir() .. "/new.db", {}
    local script = ([[local db <close> = assert(require "ws.sqlite".open(%q))
      assert(db:write({ "CREATE TABLE IF NOT EXISTS x (a)" }, { "INSERT INTO x VALUES (1)" }))]]):format(path)
    for i = 1, 12 do
      functions[i] = function() assert(require "ws.process".check { os.getenv "WSRUN", "-e", script }) end
    end
    t:ok(task.all(functions))
    local db <close> = t:ok(sqlite.open(path))
    t:eq(db:read("SELECT count(*) AS n FROM x")[1].n, 12)
  end)

  test("what cannot be opened says why", function(t)
    local dir = t:tmpdir()
    t:err("not_found", sqlite.open(dir .. "/none/x.db"))
    t:err("not_found", sqlite.open(dir .. "/x.db", { read_only = true }))
    t:ok(fs.write(dir .. "/text.db", ("this is no database, it is a text. "):rep(40)))
    t:has(t:err("parse", sqlite.open(dir .. "/text.db")).hint, "move it away")
    t:raises("a path expected", sqlite.open, "")
    t:raises("unknown option", sqlite.open, "x", { mode = "r" })
  end)

  test("misuse raises", function(t)
    local db = open(t)
    t:raises("a statement { sql, parameters", db.write, db)
    t:raises("table expected", db.write, db, "SELECT 1")
    t:raises("not table", db.write, db, { "INSERT INTO x VALUES (?, 1)", {} })
    t:raises("string expected", db.write, db, { {} })
    t:ok(db:write({ "INSERT INTO x VALUES (1, 1)" }))
  end)
end
