-- Publishes versions of the sample application as ci.lua does: image, chart, artifacts.json. For tests; where to, the
-- environment says (STORAGE_EMULATOR_HOST, WSRUN_REGISTRY_ENDPOINT).
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local json = require "ws.json"
local packages = require "sandbox.packages"
local registry = require "ws.registry"

local M = {}

M.BUCKET = "charts-wescale-sandbox"
M.REGISTRY = "eu.gcr.io/livingpackets-sandbox"

--- Points this process at servers for the length of a test.
---@param t table
---@param variables table<string, string>
function M.point(t, variables)
  environment.set(variables)
  assert(gcp.credentials { token = "any-token" })
  t:defer(function()
    for name in pairs(variables) do environment.set { [name] = false } end
    gcp.credentials(nil)
  end)
end

--- Points this process at a scratch project's sandbox.
---@param t table
---@param s Scratch
function M.point_at_sandbox(t, s)
  local status = s:sandbox(t)
  M.point(t, { STORAGE_EMULATOR_HOST = status.endpoint, WSRUN_REGISTRY_ENDPOINT = "http://" .. status.registry })
end

local function push_image(repository, version, behaviour)
  local image = packages.image({ { name = "app/VERSION", data = version .. "\n" } },
    { Entrypoint = { "/app/app" }, Labels = { ["org.opencontainers.image.version"] = version,
      ["dev.wsrun.sandbox.behaviour"] = behaviour } })
  for _, bytes in ipairs { image.layer, image.config } do assert(registry.put_blob(repository, bytes)) end
  local descriptor = assert(registry.put_manifest(("%s:%s"):format(repository, version), image.manifest,
    "application/vnd.oci.image.manifest.v1+json"))
  return descriptor.digest, descriptor.size
end

--- Publishes a version.
---@param version string
---@param opts? { dir?: string, image?: string, behaviour?: string, registry?: string, artifacts?: boolean,
---  chart?: fun(bytes: string): string, change?: fun(artifacts: table) }  image: name in the registry, default app;
---  behaviour: of its containers in the sandbox; artifacts: false leaves artifacts.json out; chart: what is uploaded
---  instead of the package; change: of artifacts.json
---@return table artifacts
function M.version(version, opts)
  opts = opts or {}
  local repository = ("%s/%s"):format(opts.registry or M.REGISTRY, opts.image or "app")
  local digest, size = push_image(repository, version, opts.behaviour)
  local package = assert(packages.chart(opts.dir or "charts/app-chart", version))
  local url = ("gs://%s/app-chart/%s/app-chart-%s.tgz"):format(M.BUCKET, version, version)
  assert(gcs.put(url, opts.chart and opts.chart(package.bytes) or package.bytes))
  local artifacts = { schema_version = 1, app = "app", version = version, commit = ("0"):rep(40),
    image = { repository = repository, tag = version, digest = digest, size = size, platform = "linux/amd64" },
    chart = { name = "app-chart", version = version, url = url, size = #package.bytes,
      digest = "sha256:" .. crypto.sha256(package.bytes) } }
  if opts.change then opts.change(artifacts) end
  if opts.artifacts ~= false then
    assert(gcs.put(("gs://%s/app/%s/artifacts.json"):format(M.BUCKET, version), json.encode(artifacts)))
  end
  return artifacts
end

return M
