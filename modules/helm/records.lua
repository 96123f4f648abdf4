--- Releases as Helm keeps them in the cluster: a secret for each revision, read over REST, without a helm.
---
--- The secret's labels say revision and status; its data is base64 of gzip of JSON, with the whole chart in it, so that
--- a list asks for the labels only. Contents other than those named here are not kept: values may be secrets.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local json = require "ws.json"

local M = {}

local PREFIX = "sh.helm.release.v1."

---@class ws.helm.Revision
---@field revision integer
---@field status string  deployed, superseded, failed, uninstalled, pending-install, pending-upgrade, ...
---@field labels table<string, string>  of the secret
---@field updated? string  RFC 3339; this and what follows only where it was read as a whole
---@field description? string
---@field chart? string         its name
---@field version? string       the chart's
---@field app_version? string
---@field manifest? string      the objects that were applied, as YAML
---@field hooks? { name: string, kind: string }[]

local function reference(opts, revision)
  return { api_version = "v1", kind = "Secret", namespace = opts.namespace,
    name = revision and ("%s%s.v%d"):format(PREFIX, opts.release, revision) }
end

--- The revisions of a release, oldest first; an empty list when there is none.
---@async
---@param opts { api: ws.k8s.Client, release: string, namespace?: string }
---@return ws.helm.Revision[]? revisions  revision, status and labels
---@return ws.Error? err
function M.list(opts)
  local ref = reference(opts)
  ref.labels, ref.metadata = "owner=helm,name=" .. opts.release, true
  local found, err = opts.api:list(ref)
  if not found then return nil, err end
  local revisions = {}
  for _, item in ipairs(found.items) do
    local labels = item.metadata.labels or {}
    local revision = math.tointeger(tonumber(labels.version))
    if revision then revisions[#revisions + 1] = { revision = revision, status = labels.status, labels = labels } end
  end
  table.sort(revisions, function(a, b) return a.revision < b.revision end)
  return revisions
end

local function broken(opts, revision, why)
  return nil, errors.new { kind = "parse", op = "helm",
    message = ("the record of release %s, revision %d, cannot be read: %s"):format(opts.release, revision, why) }
end

--- A revision's secret, and what is packed in it.
local function unpack_record(opts, revision)
  local secret, err = opts.api:get(reference(opts, revision))
  if not secret then return nil, err end
  local data = crypto.base64_decode((secret.data or {}).release or "")
  local packed = data and crypto.base64_decode(data)
  if not packed then return broken(opts, revision, "no base64") end
  local text = packed
  if packed:sub(1, 2) == "\31\139" then -- records of Helm's first versions are not compressed
    text, err = archive.gunzip(packed)
    if not text then return broken(opts, revision, err.message) end
  end
  local record
  record, err = json.decode(text)
  if type(record) ~= "table" then return broken(opts, revision, err and err.message or "no map") end
  return secret, record
end

--- One revision as a whole.
---@async
---@param opts { api: ws.k8s.Client, release: string, namespace?: string }
---@param revision integer
---@return ws.helm.Revision? revision
---@return ws.Error? err  kinds `not_found`, `parse`, ...
function M.read(opts, revision)
  local secret, record = unpack_record(opts, revision)
  if not secret then return nil, record end
  local info, chart, hooks = record.info or {}, (record.chart or {}).metadata or {}, {}
  for i, hook in ipairs(type(record.hooks) == "table" and record.hooks or {}) do
    hooks[i] = { name = hook.name, kind = hook.kind }
  end
  return { revision = record.version or revision, status = info.status, labels = secret.metadata.labels or {},
    updated = info.last_deployed, description = info.description, chart = chart.name, version = chart.version,
    app_version = chart.appVersion, manifest = record.manifest, hooks = hooks }
end

--- The last revision, or nil when there is none.
---@async
---@param opts { api: ws.k8s.Client, release: string, namespace?: string }
---@return ws.helm.Revision? revision
---@return ws.Error? err
function M.last(opts)
  local list, err = M.list(opts)
  if not list or #list == 0 then return nil, err end
  return M.read(opts, list[#list].revision)
end

--- Records a pending revision as failed, as its helm would have done when it had been asked to stop. The next upgrade
--- can begin then, and nobody takes the release for what the revision before it made.
---@async
---@param opts { api: ws.k8s.Client, release: string, namespace?: string }
---@param revision integer
---@return true? ok
---@return ws.Error? err
function M.give_up(opts, revision)
  local secret, record = unpack_record(opts, revision)
  if not secret then return nil, record end
  record.info = record.info or json.object()
  record.info.status, record.info.description = "failed", "its helm ended before it was done"
  local packed = archive.gzip(json.encode(record))
  local ok, err = opts.api:patch(reference(opts, revision), {
    metadata = { labels = { status = "failed" }, resourceVersion = secret.metadata.resourceVersion },
    data = { release = crypto.base64_encode(crypto.base64_encode(packed)) },
  })
  if not ok then return nil, err end
  return true
end

return M
