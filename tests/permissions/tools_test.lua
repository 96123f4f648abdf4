-- What real workflows do works under a policy that names it, and not without.
local cage = require "cage"
local fs = require "ws.fs"
local process = require "ws.process"

return function(test)
  test("git commits in a repository that may be changed", function(t)
    if not process.which "git" then t:skip "git is not installed" end
    local w = cage.world(t)
    for _, argv in ipairs { { "git", "init", "-q", "-b", "main", "repo" },
      { "git", "-C", "repo", "config", "user.name", "test" },
      { "git", "-C", "repo", "config", "user.email", "test@example.com" } } do
      t:ok(process.check(argv, { cwd = w.project, env = { HOME = w.project } }))
    end
    local script = [[
      assert(fs.write("repo/file", "text\n"))
      assert(process.check({ "git", "-C", "repo", "add", "file" }))
      assert(process.check({ "git", "-C", "repo", "commit", "-qm", "a change" }))
      assert(require "ws.git".head("repo").commit)]]
    local env = { HOME = w.project .. "/repo" }
    local r = cage.run(w, { "--allow-run=git", "--allow-read=repo", "--allow-write=repo" }, script, { env = env })
    t:eq({ r.code, r.stderr }, { 0, "" })
    r = t:ok(process.check({ "git", "-C", w.project .. "/repo", "log", "--format=%s" }))
    t:eq(r.stdout, "a change\n")
    r = cage.run(w, { "--allow-run=git", "--allow-read=repo", "--allow-write=out" }, script, { env = env })
    t:has(r.stderr, "repo/file may not be changed")
  end)

  test("terraform applies a layer", function(t)
    if not process.which "terraform" then t:skip "terraform is not installed" end
    local w = cage.world(t)
    assert(fs.mkdir(w.project .. "/layers/example"))
    assert(fs.write(w.project .. "/layers/example/main.tf", [[
      resource "terraform_data" "one" { input = "hello" }
      output "said" { value = terraform_data.one.output }
    ]]))
    local script = [[
      local env = { TF_DATA_DIR = P .. "/.wsrun/platforms/p/example", CHECKPOINT_DISABLE = "1", HOME = P .. "/out" }
      for _, words in ipairs { { "init", "-input=false" },
        { "apply", "-auto-approve", "-input=false", "-state=" .. P .. "/out/state" } } do
        local argv = table.move(words, 1, #words, 3, { "terraform", "-chdir=layers/example" })
        local r, err = process.check(argv, { env = env })
        if not r then print(err) return end
        print(r.stdout:match("Apply complete"))
      end]]
    local r = cage.run(w, { "--allow-run=terraform", "--allow-read=layers,out", "--allow-write=layers,out" }, script)
    t:has(r.stdout, "Apply complete", r.stderr)
    r = cage.run(w, { "--allow-run=terraform", "--allow-read=out", "--allow-write=out" }, script)
    t:ok(not r.stdout:find("Apply complete"), r.stdout)
    r = cage.run(w, { "--allow-read=layers,out" }, "print(require 'ws.terraform'.find())")
    t:has(r.stdout, "may not be started")
  end, { timeout = 120 })

  test("helm makes a chart into manifests", function(t)
    local helm = process.which "helm"
    if not helm then t:skip "helm is not installed" end
    local w = cage.world(t)
    assert(fs.mkdir(w.project .. "/charts/c/templates"))
    assert(fs.write(w.project .. "/charts/c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"))
    assert(fs.write(w.project .. "/charts/c/templates/x.yaml",
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: here}\n"))
    local script = "print(require 'ws.helm'.template { chart = 'charts/c', release = 'r', namespace = 'n' })"
    local r = cage.run(w, { "--allow-run=helm", "--allow-read=charts" }, script)
    t:ok(r.stdout:find("name: here", 1, true), r.stdout .. r.stderr)
    r = cage.run(w, { "--allow-run=helm" }, script)
    t:ok(not r.stdout:find("name: here"), r.stdout)
  end)
end
