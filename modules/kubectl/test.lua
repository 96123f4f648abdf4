local fs = require "ws.fs"
local kubectl = require "ws.kubectl"

--- Puts a program called kubectl, which is a shell script, first on PATH.
local function fake_kubectl(t, script)
  local dir = t:tmpdir()
  assert(fs.write(dir .. "/kubectl", "#!/bin/sh\n" .. script, { mode = 493 }))
  local environment = require "ws.environment"
  local path = environment.get("PATH")
  environment.set { PATH = dir .. ":/usr/bin:/bin" }
  t:defer(function() environment.set { PATH = path } end)
  return dir
end

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/kubectl/README.md"
  end)

  test("arguments and input are as kubectl wants them", function(t)
    local dir = fake_kubectl(t, 'printf "%s\\n" "$@" >"$0.args"; cat >"$0.in"; echo "secret/s serverside-applied"\n')
    local changes = t:ok(kubectl.apply {
      objects = { { kind = "Secret", data = { p = require "ws.secret".new("open-sesame") } } }, namespace = "n",
      kubeconfig = "/k", force = true,
    })
    t:eq(changes, { { name = "secret/s", action = "serverside-applied" } })
    t:eq(fs.read(dir .. "/kubectl.args"), "apply\n--filename\n-\n--server-side\n--force-conflicts\n--kubeconfig\n/k\n"
      .. "--namespace\nn\n")
    t:has(fs.read(dir .. "/kubectl.in"), '"open-sesame"')
    t:ok(kubectl.wait { kind = "pod", name = "p", condition = "delete", timeout = 2.5 })
    t:eq(fs.read(dir .. "/kubectl.args"), "wait\npod/p\n--for=delete\n--timeout=3s\n")
  end)

  test("kinds of errors", function(t)
    local dir = fake_kubectl(t, 'cat "$0.says" >&2; exit 1\n')
    local cases = {
      ['Error from server (NotFound): pods "x" not found'] = "not_found",
      ['Error from server (Forbidden): pods is forbidden'] = "denied",
      ['error: timed out waiting for the condition on pods/x'] = "timeout",
      ['Unable to connect to the server: dial tcp 127.0.0.1:1: connect: connection refused'] = "connection",
      ['The Service "x" is invalid: spec.ports: Required value'] = "invalid",
      ['error: something else'] = "failed",
    }
    for text, kind in pairs(cases) do
      t:ok(fs.write(dir .. "/kubectl.says", text .. "\n"))
      local err = t:err(kind, kubectl.get { kind = "pods" })
      t:eq(err.message, (text:gsub("^error: ", "")))
    end
  end)

  test("a missing kubectl and misuse", function(t)
    local environment = require "ws.environment"
    local path = environment.get("PATH")
    environment.set { PATH = "/nowhere" }
    t:defer(function() environment.set { PATH = path } end)
    local err = t:err("missing_tool", kubectl.version())
    t:ok(err.hint)
    t:raises("one of file, text and objects", kubectl.apply, {})
    t:raises("one of file, text and objects", kubectl.apply, { file = "a", text = "b" })
    t:raises("unknown option 'names'", kubectl.get, { kind = "pods", names = {} })
    t:raises("needs kind", kubectl.get, {})
  end)
end
