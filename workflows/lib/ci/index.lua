-- index.yaml of the chart bucket: a Helm repository that many publish to at once.
--
-- It is read, changed and written back only if nobody wrote meanwhile (its generation); else it is read again. What
-- others have published is never lost. A version that is listed keeps its line.
local errors = require "ws.error"
local gcs = require "ws.gcs"
local json = require "ws.json"
local ordered = require "lib.ci.ordered"
local semver = require "ws.semver"
local task = require "ws.task"
local time = require "ws.time"
local yaml = require "ws.yaml"

local M = {}

local TIMEOUT = 300  -- seconds for being the one who writes; Cloud Storage takes about one write a second of an object
local MAX_DELAY = 4  -- seconds between two attempts, at most

--- Whether version text `a` stands before `b` in an index: the newest first; what is no version last.
local function before(a, b)
  local x, y = semver.parse(a), semver.parse(b)
  if not x or not y then
    if x or y then return x ~= nil end
    return a > b
  end
  return y < x
end

--- The line of a chart version in an index.
---@param metadata table  the chart's Chart.yaml
---@param package { digest: string, url: string, created: string }  digest: hex SHA-256 of the package
---@return table entry
function M.entry(metadata, package)
  local entry, keys = yaml.object(), {}
  for key in json.pairs(metadata) do keys[#keys + 1] = key end
  table.move({ "created", "digest", "urls" }, 1, 3, #keys + 1, keys)
  table.sort(keys)
  for _, key in ipairs(keys) do
    entry[key] = metadata[key]
    if key == "created" or key == "digest" then entry[key] = package[key] end
    if key == "urls" then entry[key] = yaml.array { package.url } end
  end
  return entry
end

--- Puts a line into the text of an index. Pure.
---@param text string?  nil: there is no index yet
---@param entry table  from `entry`
---@param opts { filename: string, generated: string }
---@return string? text  the same when the line is there
---@return ws.Error? err  kinds: `parse`, `invalid` (this is no index), `exists` (the version with another digest)
function M.add(text, entry, opts)
  local index = ordered("apiVersion", "v1", "entries", yaml.object())
  if text then
    local err
    index, err = yaml.decode(text, { filename = opts.filename })
    if index == nil then return nil, err end
  end
  if yaml.kind(index) ~= "object" or (index.entries ~= nil and index.entries ~= yaml.null
    and yaml.kind(index.entries) ~= "object") then
    return nil, errors.new { kind = "invalid", message = opts.filename .. " is not the index of a Helm repository",
      hint = "move it away; the next ci.lua makes a new one, and `helm repo index` lists what was published before" }
  end
  if index.entries == nil or index.entries == yaml.null then index.entries = yaml.object() end
  local list = index.entries[entry.name]
  if list == nil or list == yaml.null then list = yaml.array() end
  local at = #list + 1
  for i, other in ipairs(list) do
    if other.version == entry.version then
      if other.digest == entry.digest then return text end
      return nil, errors.new { kind = "exists", message = ("%s has %s %s with another digest, %s"):format(opts.filename,
        entry.name, entry.version, other.digest), hint = "a published version never changes: publish a higher one" }
    end
    if at > #list and before(entry.version, tostring(other.version)) then at = i end
  end
  table.insert(list, at, entry)
  index.entries[entry.name] = yaml.array(list)
  index.generated = opts.generated
  return yaml.encode(index)
end

local function may_retry(err)
  return err.kind == "precondition" or err.kind == "conflict" or err.kind == "exhausted" or err.retryable
end

--- Lists a chart version in a bucket's index.yaml.
---@async
---@param bucket string
---@param entry table  from `entry`
---@param opts? { timeout?: number, on_wait?: fun(text: string) }
---@return { changed: boolean, attempts: integer }? result
---@return ws.Error? err  kinds of `add`, those of Cloud Storage, and `conflict`: others wrote all the time
function M.publish(bucket, entry, opts)
  opts = opts or {}
  local url = ("gs://%s/index.yaml"):format(bucket)
  local deadline = time.monotonic() + (opts.timeout or TIMEOUT)
  local attempts, delay = 0, 0.05
  while true do
    attempts = attempts + 1
    local text, info = gcs.get(url)
    if not text and info.kind ~= "not_found" then return nil, info end
    local changed, err = M.add(text or nil, entry, { filename = url, generated = time.rfc3339() })
    if not changed then return nil, err end
    if changed == text then return { changed = false, attempts = attempts } end
    local ok, problem = gcs.put(url, changed, { if_generation = text and info.generation or 0,
      content_type = "application/yaml", cache_control = "no-cache, max-age=0" })
    if ok then return { changed = true, attempts = attempts } end
    if not may_retry(problem) then return nil, problem end
    if time.monotonic() >= deadline then
      return nil, errors.new { kind = "conflict", message = ("%s was written by others %d times in a row"):format(url,
        attempts), cause = problem, hint = "run this again: everything else is published" }
    end
    if opts.on_wait then opts.on_wait(("index.yaml was written by somebody else, attempt %d"):format(attempts + 1)) end
    task.sleep(delay * math.random())
    delay = math.min(delay * 2, MAX_DELAY)
  end
end

return M
