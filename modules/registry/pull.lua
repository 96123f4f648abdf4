--- Pull: an image into an OCI layout or a docker archive, each byte verified.
local blobs = require "ws.registry.blobs"
local manifest = require "ws.registry.manifest"
local parallel = require "ws.registry.parallel"
local reference = require "ws.registry.reference"
local remote = require "ws.registry.remote"

local M = {}

local JOBS = 4

---@class ws.registry.Target
---@field has fun(self, descriptor: ws.registry.Descriptor): boolean?     the blob is there already
---@field path fun(self, descriptor: ws.registry.Descriptor): string      where a blob's file shall be written
---@field put fun(self, descriptor: ws.registry.Descriptor, bytes: string): true?, ws.Error?
---@field finish fun(self, root: ws.registry.Descriptor, ref: ws.registry.Reference): true?, ws.Error?

--- Every manifest below the root, children before their parents, and each blob once.
local function collect(ref, found, descriptor)
  local manifests, list, seen = {}, {}, {}
  local function visit(one, whole)
    if seen[whole.digest] then return true end
    seen[whole.digest] = true
    if manifest.is_index(whole.mediaType) then
      for _, child in ipairs(one.manifests) do
        if not seen[child.digest] then
          local below, below_descriptor = remote.get(reference.with(ref, { digest = child.digest }))
          if not below then return nil, below_descriptor end
          local ok, err = visit(below, below_descriptor)
          if not ok then return nil, err end
        end
      end
    else
      for _, blob in ipairs(manifest.blobs(one)) do
        if not seen[blob.digest] then list[#list + 1], seen[blob.digest] = blob, true end
      end
    end
    manifests[#manifests + 1] = whole
    return true
  end
  local ok, err = visit(found, descriptor)
  if not ok then return nil, err end
  return manifests, manifest.largest_first(list)
end

--- Pulls an image into a target; see registry.pull.
---@async
---@param ref ws.registry.Reference
---@param target ws.registry.Target
---@param opts { platform?: string, jobs?: integer, on_progress?: fun(done: integer, total: integer) }
---@return { digest: string, size: integer, bytes: integer, skipped: integer }? result
---@return ws.Error? err
function M.pull(ref, target, opts)
  local found, root = remote.get(ref, { platform = opts.platform })
  if not found then return nil, root end
  local manifests, list = collect(ref, found, root)
  if not manifests then return nil, list end
  local result, total, done = { digest = root.digest, size = root.size, bytes = 0, skipped = 0 }, 0, 0
  for _, blob in ipairs(list) do total = total + blob.size end
  local ok, err = parallel(list, opts.jobs or JOBS, function(blob)
    if target:has(blob) then
      result.skipped = result.skipped + 1
    else
      local got, problem = blobs.get(ref, blob, { file = target:path(blob) })
      if not got then return nil, problem end
      result.bytes = result.bytes + blob.size
    end
    done = done + blob.size
    if opts.on_progress then opts.on_progress(done, total) end
    return true
  end)
  if not ok then return nil, err end
  for _, whole in ipairs(manifests) do
    ok, err = target:put(whole, whole.bytes)
    if not ok then return nil, err end
  end
  ok, err = target:finish(root, ref)
  if not ok then return nil, err end
  return result
end

return M
