--- What the tests of the provider share: a folder with a configuration, a provider for it, and terraform in it.
local fs = require "ws.fs"
local process = require "ws.process"

local M = {}

local HEAD = [[
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

]]

M.PROVIDER = [[
provider "google" {
  project = "demo"
  region  = "europe-west1"
}

]]

--- The variables that keep terraform to itself.
local function environment(dir)
  return {
    TF_CLI_CONFIG_FILE = "/dev/null", TF_DATA_DIR = dir .. "/.terraform", CHECKPOINT_DISABLE = "1",
      TF_IN_AUTOMATION = "1",
    TF_LOG = false, TF_WORKSPACE = false, TF_REATTACH_PROVIDERS = false, GOOGLE_PROJECT = false, GOOGLE_REGION = false,
    GOOGLE_COMPUTE_CUSTOM_ENDPOINT = false, WSRUN_SANDBOX = false,
  }
end

--- A folder in which terraform runs.
---@param t ws.TestContext
---@param opts { server?: sandbox.provider.Server, env?: table, head?: string }
---@return table w  write(text), run(...) → code, output; ok(...) → output; start(...) → child
function M.folder(t, opts)
  if not process.which "terraform" then t:skip "terraform is not installed" end
  local dir = t:tmpdir()
  local w = { dir = dir, env = environment(dir) }
  if opts.server then w.env.TF_REATTACH_PROVIDERS = opts.server:reattach() end
  for k, v in pairs(opts.env or {}) do w.env[k] = v end
  function w.write(body)
    assert(fs.write(dir .. "/main.tf", HEAD .. (opts.head or M.PROVIDER) .. body))
  end
  local function options(more)
    local all = { cwd = dir, env = w.env }
    for k, v in pairs(more or {}) do all[k] = v end
    return all
  end
  function w.run(...)
    local r = assert(process.run({ "terraform", ... }, options { timeout = 600, stderr = "stdout" }))
    return r.code, r.stdout
  end
  function w.ok(...)
    local code, out = w.run(...)
    if code ~= 0 then error(("terraform %s: exit %s\n%s"):format((...), code, out), 2) end
    return out
  end
  function w.start(...)
    return assert(process.start({ "terraform", ... }, options { stderr = "stdout" }))
  end
  return w
end

--- A folder with a provider over a cloud in memory.
---@param t ws.TestContext
---@param text string  the configuration below the provider block
---@param opts? { delay?: number, head?: string }  delay: seconds that an operation of the cloud takes
---@return table w  see `folder`; also `cloud` and `server`
function M.in_memory(t, text, opts)
  local cloud = M.cloud.new(opts)
  local dir = t:tmpdir()
  local server = assert(require "sandbox.provider".serve {
    socket = dir .. "/s", endpoint = "http://127.0.0.1:1", transport = cloud.transport,
  })
  t:defer(function() server:close() end)
  local w = M.folder(t, { server = server, head = opts and opts.head })
  w.cloud, w.server = cloud, server
  w.write(text)
  w.ok("init", "-no-color")
  return w
end

return M
