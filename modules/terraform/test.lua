local fs = require "ws.fs"
local process = require "ws.process"
local secret = require "ws.secret"
local task = require "ws.task"
local terraform = require "ws.terraform"
local events = require "ws.terraform.events"
local state = require "ws.terraform.state"

local files = [[
terraform {
  backend "local" {}
}

variable "colour" {
  type      = string
  sensitive = true
}

variable "wait" {
  type    = number
  default = 0
}

resource "terraform_data" "main" {
  input = sha256(var.colour)

  provisioner "local-exec" {
    command = "sleep ${var.wait}"
  }
}

output "name" {
  value = terraform.workspace
}

output "hidden" {
  value     = var.colour
  sensitive = true
}
]]

--- A layer in a scratch folder; Terraform's built-in provider needs no download.
local function new_layer(t, dir, vars, platform)
  platform = platform or "p1"
  local base = dir .. "/layers/example"
  if not fs.exists(base) then
    assert(fs.mkdir(base, { parents = true }))
    assert(fs.write(base .. "/main.tf", files))
  end
  assert(fs.mkdir(dir .. "/run", { parents = true }))
  t.events = {}
  return terraform.layer(base, {
    platform = platform, workspace = platform, backend = { workspace_dir = dir .. "/states" },
    vars = vars, state_dir = dir .. "/platforms/" .. platform, run_dir = dir .. "/run",
    env = { TF_CLI_CONFIG_FILE = "/dev/null" },
    on_event = function(event) t.events[#t.events + 1] = event.text end,
  })
end

return function(test)
  test("apply, apply again, change, destroy", function(t)
    local dir = t:tmpdir()
    local layer = new_layer(t, dir, { colour = secret.new "blue-secret" })
    t:err("not_found", layer:state_list())
    local result = t:ok(layer:apply())
    t:eq({ result.add, result.change, result.remove, result.unchanged }, { 1, 0, 0, false })
    t:eq(result.outputs.name, "p1")
    t:ok(secret.is(result.outputs.hidden))
    t:eq(layer:state_list(), { "terraform_data.main" })
    t:eq(t:ok(layer:apply()).unchanged, true)
    local changed = t:ok(new_layer(t, dir, { colour = "red" }):apply())
    t:eq({ changed.add, changed.change, changed.unchanged }, { 0, 1, false })
    t:eq(t:ok(new_layer(t, dir, { colour = "red" }):destroy()).remove, 1)
  end, { timeout = 120 })

  test("no variable and no plan is left, and no secret in a log", function(t)
    local dir = t:tmpdir()
    t:ok(new_layer(t, dir, { colour = secret.new "blue-secret" }):apply())
    for _, name in ipairs(assert(fs.list(dir .. "/run"))) do
      t:ok(name:find("%.log$"), name)
      t:eq(assert(fs.read(dir .. "/run/" .. name)):find("blue-secret", 1, true), nil)
      t:eq(assert(fs.stat(dir .. "/run/" .. name)).mode, 384)
    end
  end, { timeout = 120 })

  test("a plan that is kept is what is applied, and refused when the state has moved on", function(t)
    local dir = t:tmpdir()
    local layer = new_layer(t, dir, { colour = "blue" })
    local planned = t:ok(layer:plan { out = dir .. "/kept" })
    t:eq({ planned.add, planned.unchanged }, { 1, false })
    t:eq(("%o"):format(fs.stat(dir .. "/kept").mode), "600")
    local shown = t:ok(layer:show(dir .. "/kept"))
    t:eq(shown.resource_changes[1].address, "terraform_data.main")
    t:eq(t:ok(layer:apply { plan = dir .. "/kept" }).add, 1)
    t:eq(t:ok(layer:show()).values.root_module.resources[1].address, "terraform_data.main")
    local err = t:err("failed", layer:apply { plan = dir .. "/kept" })
    t:has(err.message, "stale")
    t:eq(t:ok(layer:plan()).unchanged, true)
    t:eq(t:ok(layer:plan { destroy = true }).remove, 1)
    t:raises("unknown option 'file'", layer.plan, layer, { file = "x" })
  end, { timeout = 120 })

  test("two platforms of one layer at once", function(t)
    local dir = t:tmpdir()
    local a = new_layer(t, dir, { colour = "a" }, "p1")
    local b = new_layer(t, dir, { colour = "b" }, "p2")
    local results = assert(task.all {
      function() return assert(a:apply()) end,
      function() return assert(b:apply()) end,
    })
    t:eq({ results[1].outputs.name, results[2].outputs.name }, { "p1", "p2" })
  end, { timeout = 120 })

  test("a failure says which file, line and resource", function(t)
    local dir = t:tmpdir()
    local layer = new_layer(t, dir, { colour = "a" })
    assert(fs.write(dir .. "/layers/example/wrong.tf", 'output "x" {\n  value = terraform_data.none.id\n}\n'))
    local err = t:err("failed", layer:apply())
    t:has(err.where, "layers/example/wrong.tf:2")
    t:eq({ err.places[1].file, err.places[1].line }, { "layers/example/wrong.tf", 2 })
    t:has(err.places[1].text, err.message)
    t:has(err.message, "Reference to undeclared resource")
    t:ok(err.detail)
    err = t:err("failed", new_layer(t, t:tmpdir(), {}):apply())
    t:has(err.message, "No value for required variable")
  end, { timeout = 120 })

  test("a broken layer fails at init with terraform's words", function(t)
    local dir = t:tmpdir()
    local layer = new_layer(t, dir, { colour = "a" })
    assert(fs.write(dir .. "/layers/example/main.tf", "terraform {"))
    local err = t:err("failed", layer:apply())
    t:has(err.where, "layers/example")
    t:ok(#err.message > 10, err.message)
    assert(fs.remove(dir .. "/layers/example/main.tf"))
    t:err("not_found", new_layer(t, dir, {}, "p9"):apply())
  end)

  test("init is done once and again when a file changes", function(t)
    local dir = t:tmpdir()
    local function inits()
      local n = 0
      for _, name in ipairs(assert(fs.list(dir .. "/run"))) do
        if name:find("init") then n = n + 1 end
      end
      return n
    end
    t:ok(new_layer(t, dir, { colour = "a" }):init())
    t:ok(new_layer(t, dir, { colour = "a" }):init())
    t:eq(inits(), 1)
    assert(fs.write(dir .. "/layers/example/more.tf", "# more\n"))
    t:ok(new_layer(t, dir, { colour = "a" }):init())
    t:eq(inits(), 2)
  end)

  test("a cancelled apply ends terraform by SIGINT and leaves no lock", function(t)
    local dir = t:tmpdir()
    local layer = new_layer(t, dir, { colour = "a", wait = 30 })
    local applying = task.spawn(function() return layer:apply() end)
    while not table.concat(t.events, " "):find("creating terraform_data.main", 1, true) do task.sleep(0.05) end
    applying:cancel()
    t:err("cancelled", applying:join())
    t:eq(#process.live(), 0)
    t:ok(new_layer(t, dir, { colour = "a" }):apply())
  end, { timeout = 120 })

  test("a run that was killed: its terraform goes on, and the next run waits for it", function(t)
    local dir = t:tmpdir()
    new_layer(t, dir, { colour = "a", wait = 3 })
    local script = dir .. "/killed.lua"
    assert(fs.write(script, ([[
      local layer = require("ws.terraform").layer(%q, { platform = "p1", workspace = "p1",
        backend = { workspace_dir = %q }, vars = { colour = "a", wait = 3 }, state_dir = %q, run_dir = %q,
        env = { TF_CLI_CONFIG_FILE = "/dev/null" },
        on_event = function(e) io.stdout:write(e.text, "\n") io.stdout:flush() end })
      layer:apply()
    ]]):format(dir .. "/layers/example", dir .. "/states", dir .. "/platforms/p1", dir .. "/run")))
    local wsrun = require "ws.engine".native.executable()
    local killed
    local child = assert(process.start({ wsrun, script }, { stdout = "pipe" }))
    for line in child:lines() do
      if line:find("creating") and not killed then
        killed = true
        child:kill("KILL")
      end
    end
    child:wait()
    t:ok(killed)
    local layer = new_layer(t, dir, { colour = "a", wait = 3 })
    local result = t:ok(layer:apply())
    t:has(table.concat(t.events, " "), "waiting for terraform of an earlier run")
    t:eq(result.unchanged, true)
  end, { timeout = 120 })

  test("terraform that is missing or too old is named with what to do", function(t)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/terraform", '#!/bin/sh\necho \'{"terraform_version":"1.3.9"}\'\n', { mode = 493 }))
    local script = dir .. "/find.lua"
    assert(fs.write(script, 'local ok, err = require("ws.terraform").find() print(err.kind, err.message, err.hint)'))
    local wsrun = require "ws.engine".native.executable()
    local r = assert(process.run({ wsrun, script }, { env = { PATH = dir }, cwd = dir }))
    t:has(r.stdout, "missing_tool")
    t:has(r.stdout, "1.3.9 is too old")
    assert(fs.remove(dir .. "/terraform"))
    r = assert(process.run({ wsrun, script }, { env = { PATH = dir }, cwd = dir }))
    t:has(r.stdout, "neither terraform nor tofu is on PATH")
    t:has(r.stdout, "1.5 or newer")
  end)

  test("misuse raises", function(t)
    t:raises("unknown option 'workspce'", terraform.layer, "x", { workspce = "p" })
    t:raises("must be a table, not a string", terraform.layer, "x", { backend = "p" })
    t:raises("needs platform", terraform.layer, "x", {})
  end)

  test("the event stream in odd pieces", function(t)
    local seen = {}
    local reader = events.new(function(e) seen[#seen + 1] = e end, 2)
    local stream = '{"type":"apply_start","hook":{"resource":{"addr":"a.b"},"action":"create"}}\nnot json\n'
      .. '{"type":"apply_complete","hook":{"resource":{"addr":"a.b"},"action":"create","elapsed_seconds":3}}\n'
      .. '{"type":"change_summary","changes":{"add":1,"change":0,"remove":0}}\n'
    for i = 1, #stream do reader:feed(stream:sub(i, i)) end
    t:eq(reader.resources["a.b"], { action = "create", seconds = 3 })
    t:eq(reader.changes.add, 1)
    t:eq(reader.other, { "not json" })
    t:eq({ seen[1].text, seen[2].done, seen[2].total }, { "creating a.b", 1, 2 })
    t:has(events.new():failure("layers/x", 7).message, "code 7")
  end)

  test("a lock is given back only when a command of ours took it and is dead", function(t)
    local orphan, time = require "ws.terraform.orphan", require "ws.time"
    local dir = t:tmpdir()
    local host = assert(fs.read("/proc/sys/kernel/hostname")):match("%S+")
    local function lock(who, age)
      local taken = time.rfc3339(time.now() - age, 3):gsub("T", " "):gsub("Z", " +0000 UTC")
      return { id = "1", who = who, created = taken }
    end
    local ours = "root@" .. host
    t:eq(orphan.is_dead(lock(ours, 0), dir), false, "no command of ours began")
    t:ok(orphan.begin(dir))
    t:eq(orphan.is_dead(lock(ours, 0), dir), false, "the command of ours is this one")
    t:ok(orphan.begin(dir))
    orphan.finish(dir)
    t:eq(orphan.is_dead(lock(ours, 0), dir), true)
    t:eq(orphan.is_dead(lock(ours, 60), dir), false, "taken before ours began")
    t:eq(orphan.is_dead(lock("root@elsewhere", 0), dir), false, "another machine's")
    t:eq(orphan.is_dead({ id = "1", who = ours }, dir), false, "nobody knows when")
    t:ok(fs.symlink("/bin/sleep", dir .. "/terraform"))
    local alive <close> = t:ok(process.start({ dir .. "/terraform", "60" }, { env = { TF_DATA_DIR = dir } }))
    for _ = 1, 200 do -- the kernel shows a program's environment a moment after its start
      if orphan.find(dir) then break end
      task.sleep(0.01)
    end
    t:eq(orphan.is_dead(lock(ours, 0), dir), false, "it works")
    alive:stop()
    t:eq(orphan.is_dead(lock(ours, 0), dir), true)
    orphan.settle(dir)
    t:eq(orphan.is_dead(lock(ours, 0), dir), false, "the state was free since")
  end)

  test("a held state lock names its holder", function(t)
    local reader = events.new()
    reader:feed('{"type":"diagnostic","diagnostic":{"severity":"error","summary":"Error acquiring the state lock",'
      .. '"detail":"x\\n\\nLock Info:\\n  ID:        1699\\n  Path:      gs://b/x\\n  Who:       seb@elsewhere\\n'
      .. '  Created:   2026-11-22 10:00:00 UTC\\n"}}\n')
    local err = reader:failure("layers/x", 1)
    t:eq(err.kind, "locked")
    t:eq(err.lock.who, "seb@elsewhere")
    t:has(err.hint, "force-unlock 1699")
    t:eq(require "ws.terraform.orphan".is_dead(err.lock, t:tmpdir()), false)
  end)

  test("states: outputs and addresses", function(t)
    local s = { outputs = { a = { value = 1 }, b = { value = "hidden-value", sensitive = true } }, resources = {
      { mode = "data", type = "x", name = "d", instances = { {} } },
      { mode = "managed", type = "x", name = "m", instances = { { index_key = 0 }, { index_key = "k" } } },
      { mode = "managed", type = "x", name = "n", module = "module.z", instances = { {} } },
    } }
    t:eq(state.outputs(s).a, 1)
    t:ok(secret.is(state.outputs(s).b))
    t:eq(state.addresses(s), { "module.z.x.n", 'x.m["k"]', "x.m[0]" })
  end)
end
