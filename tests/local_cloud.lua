-- A sandbox inside the test's own process, served over HTTP: for tests of what talks to Cloud Storage and a registry.
local environment = require "ws.environment"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"

local M = {}

--- Starts one with a project and buckets; it ends with the test.
---@param t table  the test
---@param buckets string[]
---@return sandbox.Cloud cloud
function M.start(t, buckets)
  local cloud = t:ok(require "sandbox.cloud".new { dir = t:tmpdir(), operation_seconds = { 0, 0 } })
  require "sandbox.seed".apply(cloud)
  local server = t:ok(require "ws.server".listen { handler = function(req) return cloud:handle(req) end })
  cloud.endpoint = server.url
  environment.set { STORAGE_EMULATOR_HOST = server.url, GOOGLE_STORAGE_CUSTOM_ENDPOINT = false,
    WSRUN_REGISTRY_ENDPOINT = server.url }
  t:ok(gcp.credentials { token = "test" })
  t:defer(function()
    environment.set { STORAGE_EMULATOR_HOST = false, WSRUN_REGISTRY_ENDPOINT = false }
    gcp.credentials(nil)
    server:close()
    cloud:close()
  end)
  for _, bucket in ipairs(buckets) do t:ok(gcs.create_bucket(bucket, { project = "livingpackets-sandbox" })) end
  return cloud
end

return M
