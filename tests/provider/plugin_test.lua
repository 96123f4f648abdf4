--- The provider as a plugin binary that terraform starts: handshake, AutoMTLS, end.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local server_module = require "ws.server"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local world = dofile(here .. "/world.lua")
local cloud_in_memory = dofile(here .. "/cloud.lua")

local WSRUN = fs.realpath(os.getenv "WSRUN" or "build/wsrun")
local COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"

local NETWORK = [[
resource "google_compute_network" "a" {
  name                    = "net-a"
  auto_create_subnetworks = false
}
]]

--- A cloud in memory behind a port, and a folder whose terraform starts the provider from a dev_overrides folder.
local function plugin_world(t, env)
  local cloud = cloud_in_memory.new()
  local http = assert(server_module.listen { handler = function(req)
    return cloud.transport { method = req.method, url = "http://cloud" .. req.path, body = req:body() }
  end })
  t:defer(function() http:close() end)
  local bin = t:tmpdir()
  assert(fs.write(bin .. "/terraform-provider-google", ("#!/bin/sh\nexec '%s' provider\n"):format(WSRUN),
    { mode = 448 }))
  assert(fs.write(bin .. "/cli.tfrc", ([[
provider_installation {
  dev_overrides {
    "hashicorp/google" = "%s"
  }
  direct {}
}
]]):format(bin)))
  local all = { TF_CLI_CONFIG_FILE = bin .. "/cli.tfrc", WSRUN_SANDBOX = http.url, TMPDIR = bin }
  for k, v in pairs(env or {}) do all[k] = v end
  local w = world.folder(t, { env = all })
  w.write(NETWORK)
  w.cloud, w.bin = cloud, bin
  return w
end

local function plugin(t, env, ...)
  local all = { TF_PLUGIN_MAGIC_COOKIE = COOKIE, PLUGIN_PROTOCOL_VERSIONS = "5,6", TMPDIR = t:tmpdir() }
  for k, v in pairs(env) do all[k] = v end
  return assert(process.start({ WSRUN, "provider", ... }, { env = all, stdout = "pipe" }))
end

return function(test)
  test("terraform starts it, with TLS and without, and it ends when asked", function(t)
    for _, tls in ipairs { false, "1" } do
      local w = plugin_world(t, { TF_DISABLE_PLUGIN_TLS = tls })
      t:has(w.ok("apply", "-auto-approve", "-no-color"), "1 added")
      t:ok(w.cloud.objects["projects/demo/global/networks/net-a"])
      t:eq(w.run("plan", "-detailed-exitcode"), 0)
      t:has(w.ok("destroy", "-auto-approve", "-no-color"), "1 destroyed")
      for _, name in ipairs(assert(fs.list(w.bin))) do
        t:ok(not tostring(type(name) == "table" and name.name or name):find("wsrun-plugin", 1, true),
          "a socket is left")
      end
    end
  end)

  test("project and region come from the environment when the configuration has none", function(t)
    local w = plugin_world(t, { GOOGLE_CLOUD_PROJECT = "elsewhere", GOOGLE_REGION = "europe-west3" })
    assert(fs.write(w.dir .. "/main.tf",
      'resource "google_compute_router" "a" {\n  name    = "r"\n  network = "n"\n}\n'))
    w.ok("apply", "-auto-approve", "-no-color")
    local router = t:ok(w.cloud.objects["projects/elsewhere/regions/europe-west3/routers/r"])
    t:eq(router.network, "projects/elsewhere/global/networks/n")
  end)

  test("without terraform it says what it is", function(t)
    local r = assert(process.run({ WSRUN, "provider" }, { env = { TF_PLUGIN_MAGIC_COOKIE = false }, timeout = 20 }))
    t:eq(r.code, 1)
    t:eq(r.stdout, "")
    t:has(r.stderr, "a plugin that Terraform starts")
    r = assert(process.run({ WSRUN, "provider" },
      { env = { TF_PLUGIN_MAGIC_COOKIE = COOKIE, PLUGIN_PROTOCOL_VERSIONS = "4,5" }, timeout = 20 }))
    t:eq(r.code, 1)
    t:has(r.stderr, "this provider 6")
    r = assert(process.run({ WSRUN, "provider" },
      { env = { TF_PLUGIN_MAGIC_COOKIE = COOKIE, PLUGIN_CLIENT_CERT = "nonsense" }, timeout = 20 }))
    t:eq(r.code, 1)
    t:has(r.stderr, "PLUGIN_CLIENT_CERT")
  end)

  test("the handshake is one line; Ctrl-C does not end it, TERM does", function(t)
    local child <close> = plugin(t, { PLUGIN_CLIENT_CERT = false })
    local line = child:lines()()
    local path = line:match("^1|6|unix|(/[^|]+)|grpc|$")
    t:ok(path, line)
    t:eq(fs.stat(path).type, "socket")
    child:kill("INT")
    t:err("timeout", child:wait(0.3))
    child:kill("TERM")
    t:eq(assert(child:wait(10)).code, 0)
    t:eq(fs.exists(path), false)
  end)

  test("a provider of one's own", function(t)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/words.lua", [[
return function(method, request)
  if method == "GetProviderSchema" then
    return {
      provider = { block = {} },
      resource_schemas = { own_word = { version = 0, block = { attributes = {
        { name = "text", type = '"string"', required = true },
        { name = "length", type = '"number"', computed = true },
      } } } },
    }
  end
  local provider = require "ws.provider"
  local word = { kind = "object", attributes = { text = { kind = "string" }, length = { kind = "number" } } }
  if method == "PlanResourceChange" then
    local planned = assert(provider.unpack(word, request.proposed_new_state.msgpack))
    planned.length = #planned.text
    return { planned_state = { msgpack = provider.pack(word, planned) } }
  elseif method == "ApplyResourceChange" then
    return { new_state = request.planned_state }
  elseif method == "ReadResource" then
    return { new_state = request.current_state }
  elseif method == "UpgradeResourceState" then
    return { upgraded_state = { json = request.raw_state.json } }
  end
  return {}
end
]]))
    assert(fs.write(dir .. "/terraform-provider-own", ("#!/bin/sh\nexec '%s' provider '%s/words.lua'\n"):format(WSRUN,
      dir),
      { mode = 448 }))
    assert(fs.write(dir .. "/cli.tfrc", ('provider_installation {\n  dev_overrides {\n    "local/own" = "%s"\n  }\n}\n')
      :format(dir)))
    local w = world.folder(t, { env = { TF_CLI_CONFIG_FILE = dir .. "/cli.tfrc" }, head = "" })
    assert(fs.write(w.dir .. "/main.tf", [[
terraform {
  required_providers {
    own = {
      source = "local/own"
    }
  }
}

resource "own_word" "a" {
  text = "hello"
}

output "length" {
  value = own_word.a.length
}
]]))
    w.ok("apply", "-auto-approve", "-no-color")
    t:eq(assert(json.decode(w.ok("output", "-json"))).length.value, 5)
    local r = assert(process.run({ WSRUN, "provider", dir .. "/cli.tfrc" }, { timeout = 20 }))
    t:eq(r.code, 65)
  end)
end
