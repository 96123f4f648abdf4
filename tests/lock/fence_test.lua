-- Everything that changes something asks ws.fence first: once the run's lock is lost, none of it happens.
local errors = require "ws.error"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local git = require "ws.git"
local k8s = require "ws.k8s"
local process = require "ws.process"
local server = require "ws.server"
local task = require "ws.task"
local terraform = require "ws.terraform"

--- Calls fn in a run whose lock is lost, and returns what it returned and how often the lock was asked.
local function in_lost_run(fn, ...)
  local asked = { guard = 0, prove = 0 }
  local err = errors.new { kind = "locked", message = "the lock was lost", retryable = false }
  local lock = {
    guard = function() asked.guard = asked.guard + 1 return nil, err end,
    prove = function() asked.prove = asked.prove + 1 return nil, err end,
  }
  local value, problem = task.with("run", { locks = { lock } }, fn, ...)
  return asked, value, problem
end

return function(test)
  test("requests to Google and to a cluster: writes are refused, reads are not", function(t)
    local seen = {}
    local s = assert(server.listen { handler = function(req)
      seen[#seen + 1] = req.method
      return { body = "{}" }
    end })
    t:defer(function() s:close() end)
    local api = k8s.client { server = s.url }
    for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE" } do
      local asked, value, err = in_lost_run(gcp.request, { url = s.url .. "/x", method = method, anonymous = true })
      t:err("locked", value, err)
      t:eq(asked, { guard = 1, prove = 0 })
      asked, value, err = in_lost_run(api.request, api, { path = "/x", method = method })
      t:err("locked", value, err)
      t:eq(asked, { guard = 1, prove = 0 })
    end
    t:eq(seen, {})
    local _, value = in_lost_run(gcp.request, { url = s.url .. "/x", anonymous = true })
    t:ok(value)
    _, value = in_lost_run(api.request, api, { path = "/x" })
    t:ok(value)
    t:eq(seen, { "GET", "GET" })
  end)

  test("terraform plans, and applies nothing", function(t)
    local dir = t:tmpdir()
    assert(fs.mkdir(dir .. "/layer"))
    assert(fs.mkdir(dir .. "/run"))
    assert(fs.write(dir .. "/layer/main.tf", [[
terraform {
  backend "local" {}
}
resource "terraform_data" "x" {}
]]))
    local layer = terraform.layer(dir .. "/layer", { platform = "p", workspace = "p", backend = { workspace_dir = dir },
      state_dir = dir .. "/state", run_dir = dir .. "/run", env = { TF_CLI_CONFIG_FILE = "/dev/null" } })
    local asked, value, err = in_lost_run(layer.apply, layer)
    t:err("locked", value, err)
    t:eq(asked, { guard = 0, prove = 1 })
    t:ok(t:ok(layer:plan()).add == 1)
    t:ok(layer:apply())
    asked, value, err = in_lost_run(layer.destroy, layer)
    t:err("locked", value, err)
    t:eq(asked.prove, 1)
    t:eq(#t:ok(layer:state_list()), 1)
  end, { timeout = 180 })

  test("helm changes no release", function(t)
    local helm = require "ws.helm.command"
    for _, verb in ipairs { "upgrade", "install", "rollback", "uninstall" } do
      local asked, value, err = in_lost_run(helm.run, { verb, "r" }, {})
      t:err("locked", value, err)
      t:eq(asked, { guard = 0, prove = 1 })
    end
    local asked, value = in_lost_run(helm.run, { "version" }, {})
    t:eq(asked, { guard = 0, prove = 0 })
    t:has(value, "Version")
  end, { timeout = 60 })

  test("git pushes nothing", function(t)
    local dir = assert(fs.realpath(t:tmpdir()))
    local function run(...)
      return assert(process.check({ "git", "-C", dir, ... }, { env = { GIT_CONFIG_GLOBAL = "/dev/null",
        GIT_CONFIG_SYSTEM = "/dev/null" } })).stdout
    end
    run("init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    run("clone", "--quiet", "remote.git", "a")
    assert(fs.write(dir .. "/a/file", "1\n"))
    local options = { dir = dir .. "/a", paths = { dir .. "/a/file" }, message = "m", branch = "main",
      apply = function(root) return fs.write(root .. "/file", "2\n") end }
    local asked, value, err = in_lost_run(git.commit_push, options)
    t:err("locked", value, err)
    t:eq(asked, { guard = 0, prove = 1 })
    t:eq(run("--git-dir=remote.git", "branch", "--list"), "")
    t:ok(git.commit_push(options))
    t:has(run("--git-dir=remote.git", "branch", "--list"), "main")
  end, { timeout = 60 })
end
