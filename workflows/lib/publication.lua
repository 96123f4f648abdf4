-- What ci.lua published of a version: the chart, checked against artifacts.json, and the image by its digest.
--
-- gs://ARCHIVE/APP/VERSION/artifacts.json names every digest. A version that was published without it, by hand or by
-- the scripts before ci.lua, is deployed as well, and it is said that nothing vouches for it; where it is there, what
-- differs from it is never deployed.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local json = require "ws.json"
local project = require "ws.project"
local registry = require "ws.registry"
local secret = require "ws.secret"
local settings = require "ws.settings"
local task = require "ws.task"
local ws = require "ws"
local yaml = require "ws.yaml"

local M = {}

local DEFAULT_CHART = "app-chart"
local SCHEMA = 1         -- of artifacts.json
local MOST = 64 << 20    -- bytes of a chart's content

---@class Publication
---@field version string
---@field chart string        file of the chart's package
---@field digest string       of it, "sha256:..."
---@field url string          gs://...
---@field verified boolean    artifacts.json vouches for it
---@field image table         repository, tag, digest (nil when nothing names it)
---@field commit? string

--- The name of an application's chart.
---@param app table  of the manifest
---@return string
function M.chart_name(app)
  return app.chart or DEFAULT_CHART
end

--- The name that ci.lua knows an application's program by.
---@param app table
---@return string
function M.program(app)
  return (M.chart_name(app):gsub("%-chart$", ""))
end

--- The repository of an application's image.
---@param m table  manifest
---@param app table
---@return string
function M.repository(m, app)
  return ("%s/%s"):format(m["images-registry"] or "eu.gcr.io/" .. m["gcp-project"], M.program(app))
end

--- Where the chart of a version is published.
---@param m table  manifest
---@param app table
---@param version string
---@return string url
function M.chart_url(m, app, version)
  local chart = M.chart_name(app)
  return ("gs://%s/%s/%s/%s-%s.tgz"):format(m["charts-bucket"], chart, version, chart, version)
end

--- The bucket of artifacts.json: the manifest's, else the one that ci.lua is set to, else that of the charts.
local function archive_bucket(m)
  if m["archive-bucket"] then return m["archive-bucket"] end
  local bucket, err = settings.get("ci", "archive-bucket")
  if not bucket and err.kind ~= "not_found" then error(err, 0) end
  return bucket or m["charts-bucket"]
end

local function artifacts_url(m, app, version)
  return ("gs://%s/%s/%s/artifacts.json"):format(archive_bucket(m), M.program(app), version)
end

local function refuse(message, hint)
  ws.fail(message, { kind = "invalid", hint = hint })
end

--- Whether the manifest names an image of its own: what was published of one has no part in it.
---@param app table
---@return boolean
function M.names_image(app)
  local own = (app.values or {}).image or {}
  return own.repository ~= nil or own.tag ~= nil or own.digest ~= nil
end

local function is_digest(text)
  return type(text) == "string" and text:find("^sha256:" .. ("%x"):rep(64) .. "$") ~= nil
end

--- What artifacts.json says, checked; nil when there is none.
local function read_artifacts(m, app, version)
  local url = artifacts_url(m, app, version)
  local text, err = gcs.get(url)
  if not text then
    if err.kind == "not_found" then return nil end
    error(err, 0)
  end
  local said, problem = json.decode(text, { filename = url })
  if type(said) ~= "table" then
    refuse(("%s cannot be read: %s"):format(url, problem and problem.message or "it is no map"))
  end
  if said.schema_version ~= SCHEMA then
    refuse(("%s has schema version %s; %d is understood"):format(url, tostring(said.schema_version), SCHEMA),
      "deploy with the wsrun that published it, or a later one")
  end
  local chart, image = said.chart, said.image
  if said.version ~= version or type(chart) ~= "table" or chart.name ~= M.chart_name(app)
    or chart.version ~= version then
    refuse(("%s is of %s %s, chart %s %s: it does not belong to %s %s"):format(url, tostring(said.app),
      tostring(said.version), type(chart) == "table" and tostring(chart.name) or "none",
      type(chart) == "table" and tostring(chart.version) or "", M.chart_name(app), version),
      "somebody wrote it by hand or copied it: publish a new version with wsrun workflows/ci.lua")
  end
  if not is_digest(chart.digest) or (image ~= nil and (type(image) ~= "table" or not is_digest(image.digest)
    or type(image.repository) ~= "string")) then
    refuse(("%s names no digest of the %s"):format(url, is_digest(chart.digest) and "image" or "chart"))
  end
  return said
end

--- The chart's own file, to see that the package is a chart and the one that was asked for.
local function check_package(file, url, app, version)
  local dir <close> = setmetatable({ path = assert(fs.temp_dir { prefix = "wsrun-chart-" }) }, { __close = function(d)
    task.shield(fs.remove, d.path, { recursive = true, missing_ok = true })
  end })
  local ok, err = archive.extract({ file = file }, dir.path, { max_bytes = MOST })
  local name, problem = M.chart_name(app), err and err.message
  local text = ok and fs.read(("%s/%s/Chart.yaml"):format(dir.path, name))
  local chart = text and yaml.decode(text, { filename = "Chart.yaml" })
  if ok and type(chart) ~= "table" then problem = ("it has no %s/Chart.yaml"):format(name) end
  if type(chart) == "table" and (chart.name ~= name or tostring(chart.version) ~= version) then
    problem = ("it is %s %s"):format(tostring(chart.name), tostring(chart.version))
  end
  if problem then
    refuse(("%s is not the chart %s %s: %s"):format(url, name, version, problem),
      "nothing was deployed; see who wrote it, and publish a new version with wsrun workflows/ci.lua")
  end
end

local function never_published(p, app, url, version)
  ws.fail(("%s is not there: version %s of %s was never published"):format(url, version, M.chart_name(app)), {
    kind = "not_found",
    where = version == app.version and p:where(app, "version") or nil,
    hint = ("publish it with wsrun workflows/ci.lua %s, or name a version that gs://%s/%s/ has"):format(version,
      p.manifest["charts-bucket"], M.chart_name(app)) })
end

local function cached(folder, digest)
  return ("%s/%s.tgz"):format(folder, (digest:gsub(":", "-")))
end

local function digest_of(file)
  return "sha256:" .. assert(crypto.sha256_file(file))
end

--- The chart's package in this project's cache, whose names are digests: what is there was checked, and is checked
--- again, since disks err as well.
local function fetch_chart(p, app, version, wanted)
  local url = M.chart_url(p.manifest, app, version)
  local folder = project.state_dir() .. "/charts/sha256"
  assert(fs.mkdir(folder, { parents = true }))
  local file = wanted and cached(folder, wanted)
  if file and fs.exists(file) and digest_of(file) == wanted then return file, wanted, url end
  local part = ("%s/.part-%s"):format(folder, crypto.random_hex(8))
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(fs.remove, part, { missing_ok = true })
  end })
  local got, err = gcs.get(url, { file = part })
  if not got then
    if err.kind == "not_found" then never_published(p, app, url, version) end
    error(err, 0)
  end
  local digest = digest_of(part)
  if wanted and digest ~= wanted then
    refuse(("%s is not what was published: it is %s, artifacts.json says %s"):format(url, digest, wanted),
      "nothing was deployed; somebody replaced the chart, or its upload was damaged: publish a new version")
  end
  check_package(part, url, app, version)
  file = cached(folder, digest)
  assert(fs.rename(part, file))
  return file, digest, url
end

--- The image as the registry has it: { digest }, without one when this account may not ask; nil when it is not there.
--- Anything else that goes wrong is raised: an image must not be named otherwise because the registry is out of order.
local function find_image(p, app, image)
  if M.names_image(app) then return {} end
  local ref = image.repository .. (image.digest and "@" .. image.digest or ":" .. image.tag)
  local found, err = registry.resolve(ref)
  if found then return { digest = found.digest } end
  if err.kind == "not_found" then return nil end
  if err.kind ~= "denied" and err.kind ~= "unauthenticated" then error(err, 0) end
  p.w:note(("%s cannot be looked up: %s"):format(ref, secret.redact(err.message)))
  return { digest = image.digest }
end

local function refuse_image(image)
  ws.fail(("%s:%s%s is not in the registry"):format(image.repository, image.tag,
    image.digest and " (" .. image.digest .. ")" or ""), { kind = "not_found",
    hint = "nothing was deployed; it was never pushed, or deleted: publish the version with wsrun workflows/ci.lua" })
end

--- What was published of a version, fetched and checked. Raises when it is not there or not what was published.
---@async
---@param p Platform
---@param app table  of the manifest
---@param version string
---@return Publication
function M.fetch(p, app, version)
  local said = read_artifacts(p.manifest, app, version)
  local image = { repository = M.repository(p.manifest, app), tag = version }
  if said and said.image then
    image = { repository = said.image.repository, tag = said.image.tag or version, digest = said.image.digest }
  end
  local file, digest, url, where
  local ok, err = task.all {
    function() file, digest, url = fetch_chart(p, app, version, said and said.chart.digest) end,
    function() where = find_image(p, app, image) end,
  }
  if not ok then error(err, 0) end
  if where then image.digest = where.digest else refuse_image(image) end
  return { version = version, chart = file, digest = digest, url = url, verified = said ~= nil, image = image,
    commit = said and said.commit }
end

return M
