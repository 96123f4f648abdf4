--- What a new sandbox contains: what an existing Google Cloud project would have before the first platform is created.
---
--- It follows the project's manifests: their Google Cloud projects with all APIs enabled, the buckets for states and
--- charts, the sample application's chart and image in the versions that they name. Each thing is made once: what
--- somebody deletes later stays deleted.
local fs = require "ws.fs"
local log = require "ws.log"
local packages = require "sandbox.packages"
local request = require "sandbox.request"
local tokens = require "sandbox.tokens"
local yaml = require "ws.yaml"

local M = {}

M.DEFAULT_PROJECT = "livingpackets-sandbox"

local APIS = { -- besides those that the sandbox's services name
  "cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com", "storage.googleapis.com",
  "storage-api.googleapis.com", "logging.googleapis.com", "iamcredentials.googleapis.com",
  "cloudbilling.googleapis.com", "containerregistry.googleapis.com", "cloudbuild.googleapis.com",
  "run.googleapis.com", "eventarc.googleapis.com", "oslogin.googleapis.com",
}

--- Calls `fn` unless this was seeded before. What fails is tried again at the next start.
local function once(cloud, key, fn)
  local done = cloud.store:collection "seed"
  if done:get(key) then return end
  fn()
  done:put(key, { done = true })
end

local function seed_project(cloud, id)
  once(cloud, "project " .. id, function()
    if not cloud:project(id) then
      request.call(cloud, { method = "POST", url = "/resourcemanager/v1/projects", body = { projectId = id } })
    end
    local enabled = cloud.store:collection "serviceusage"
    for _, api in ipairs(APIS) do enabled:put(id .. "/" .. api, { enabled = true }) end
    for _, service in pairs(cloud.services) do
      if service.api then enabled:put(id .. "/" .. service.api, { enabled = true }) end
    end
    request.call(cloud, { method = "POST", url = ("/iam/v1/projects/%s/serviceAccounts"):format(id),
      body = { accountId = tokens.DEFAULT_ACCOUNT, serviceAccount = { displayName = "The sandbox's own account" } } })
  end)
end

local function seed_bucket(cloud, project, name)
  once(cloud, "bucket " .. name, function()
    if cloud.objects.buckets:get(name) then return end
    request.call(cloud, { method = "POST", url = "/storage/v1/b?project=" .. project, body = { name = name,
      location = "EUROPE-WEST1", versioning = { enabled = false },
      iamConfiguration = { uniformBucketLevelAccess = { enabled = true } } } })
  end)
end

local function seed_chart(cloud, bucket, chart, version)
  local dir = ("%s/charts/%s"):format(cloud.project_root, chart)
  if not fs.exists(dir .. "/Chart.yaml") then return end
  once(cloud, ("chart %s %s %s"):format(bucket, chart, version), function()
    local package = assert(packages.chart(dir, version))
    local name = ("%s%%2F%s%%2F%s-%s.tgz"):format(chart, version, chart, version)
    request.call(cloud, { method = "POST", body = package.bytes, headers = { ["content-type"] = "application/gzip" },
      url = ("/upload/storage/v1/b/%s/o?uploadType=media&name=%s"):format(bucket, name) })
  end)
end

--- The entry point of the images: the sandbox runs none, but what unpacks one finds it.
local PROGRAM = "#!/bin/sh\n# The sandbox's stand-in for the application.\nexec cat /app/VERSION\n"

local function seed_image(cloud, name, version)
  once(cloud, ("image %s:%s"):format(name, version), function()
    local image = packages.image({ { name = "app/VERSION", data = version .. "\n" },
      { name = "app/app", data = PROGRAM, mode = 493 } }, -- 0755
      { Entrypoint = { "/app/app" }, WorkingDir = "/app", Labels = { ["org.opencontainers.image.version"] = version } })
    for _, bytes in ipairs { image.layer, image.config } do
      local digest = "sha256:" .. require "ws.crypto".sha256(bytes)
      request.call(cloud, { method = "POST", url = ("/v2/%s/blobs/uploads/?digest=%s"):format(name, digest),
        body = bytes })
    end
    request.call(cloud, { method = "PUT", url = ("/v2/%s/manifests/%s"):format(name, version), body = image.manifest,
      headers = { ["content-type"] = "application/vnd.oci.image.manifest.v1+json" } })
  end)
end

local function read_manifests(root)
  local manifests = {}
  for _, path in ipairs(root and fs.glob(root .. "/manifests/*.yaml") or {}) do
    local text = fs.read(path)
    local manifest = text and yaml.decode(text, { filename = path })
    -- A manifest with mistakes is for the workflows to complain about.
    if type(manifest) == "table" and type(manifest["gcp-project"]) == "string" then
      manifests[#manifests + 1] = manifest
    end
  end
  return manifests
end

local function seed_manifest(cloud, manifest)
  local project = manifest["gcp-project"]
  seed_project(cloud, project)
  for _, key in ipairs { "remote-bucket", "charts-bucket" } do
    if type(manifest[key]) == "string" then seed_bucket(cloud, project, manifest[key]) end
  end
  for _, app in ipairs(type(manifest.applications) == "table" and manifest.applications or {}) do
    local version = type(app) == "table" and app.version
    if type(version) == "string" and type(manifest["charts-bucket"]) == "string" then
      seed_chart(cloud, manifest["charts-bucket"], app.chart or "app-chart", version)
      local registry = manifest["images-registry"]
      for _, name in ipairs { project, "eu.gcr.io/" .. project, type(registry) == "string" and registry or nil } do
        seed_image(cloud, name .. "/app", version)
      end
    end
  end
end

--- Fills a sandbox. What cannot be made is logged, and the rest is made: a sandbox with a gap is better than none.
---@async
---@param cloud sandbox.Cloud
function M.apply(cloud)
  local settings = cloud.store:collection "settings"
  if not settings:get "default-project" then settings:put("default-project", { id = M.DEFAULT_PROJECT }) end
  seed_project(cloud, M.DEFAULT_PROJECT)
  for _, manifest in ipairs(read_manifests(cloud.project_root)) do
    local ok, err = pcall(seed_manifest, cloud, manifest)
    if not ok then
      if type(err) == "table" and err.kind == "cancelled" then error(err, 0) end
      log.warn(("%s is not seeded completely: %s"):format(tostring(manifest.name), tostring(err)))
    end
  end
end

return M
