--- Blobs on this machine, named by their digests, below the project's `.wsrun/cache/blobs`: a layer that has not
--- changed is not compressed again, a base's layer not fetched again.
---
--- Nothing in it is trusted: what is taken out is hashed first. It is bounded: what was used longest ago goes first,
--- but nothing that was used within the last hour.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local project = require "ws.project"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

M.LIMIT = 2 << 30 -- bytes
M.KEEP = 3600     -- seconds that what was used stays, whatever the limit

--- The cache's folder, made when it is missing.
---@return string? dir
---@return ws.Error? err
function M.folder()
  local dir = project.state_dir() .. "/cache/blobs"
  local ok, err = fs.mkdir(dir)
  if not ok then return nil, err end
  return dir
end

--- A new name in the cache, removed when it goes out of scope unless it was renamed.
local function fresh(dir)
  local path = ("%s/.new-%s"):format(dir, crypto.random_hex(8))
  return path, setmetatable({}, { __close = function()
    task.shield(fs.remove, path, { missing_ok = true })
  end })
end

--- Removes what was used longest ago until the rest fits.
---@async
---@return integer removed  files
function M.prune()
  local dir = M.folder()
  local names = dir and fs.list(dir) or {}
  local files, total, removed = {}, 0, 0
  for _, name in ipairs(names) do
    local stat = fs.stat(fs.join(dir, name)) -- another run may have removed it
    if stat then
      files[#files + 1] = { path = fs.join(dir, name), used = stat.mtime, size = math.max(stat.size, 4096) }
      total = total + files[#files].size
    end
  end
  table.sort(files, function(a, b) return a.used < b.used end)
  for _, file in ipairs(files) do
    if total <= M.LIMIT or file.used > time.now() - M.KEEP then break end
    fs.remove(file.path, { missing_ok = true })
    total, removed = total - file.size, removed + 1
  end
  return removed
end

--- The file that holds a blob, or nil. A damaged one is removed.
local function find(dir, digest, size)
  local path = fs.join(dir, digest:match("%w+$"))
  local stat = fs.stat(path, { follow = false })
  if not stat or stat.type ~= "file" then return nil end
  if stat.size == size and "sha256:" .. tostring(crypto.sha256_file(path)) == digest and fs.touch(path) then
    return path
  end
  fs.remove(path, { missing_ok = true })
end

--- The file of a blob that the cache has.
---@async
---@param descriptor ws.registry.Descriptor
---@return string? path
function M.find(descriptor)
  local dir = M.folder()
  return dir and find(dir, descriptor.digest, descriptor.size)
end

--- The file of a blob, which `fetch(path)` writes when the cache does not have it.
---@async
---@param descriptor ws.registry.Descriptor
---@param fetch fun(path: string): boolean?, ws.Error?  has to check what it writes
---@return string? path
---@return ws.Error? err
function M.blob(descriptor, fetch)
  local dir, err = M.folder()
  if not dir then return nil, err end
  local found = find(dir, descriptor.digest, descriptor.size)
  if found then return found end
  local path, close = fresh(dir)
  local _ <close> = close
  local ok
  ok, err = fetch(path)
  if not ok then return nil, err end
  local final = fs.join(dir, descriptor.digest:match("%w+$"))
  ok, err = fs.rename(path, final)
  if not ok then return nil, err end
  M.prune()
  return final
end

---@class ws.registry.Layer
---@field digest string   of the compressed layer
---@field size integer    of it, bytes
---@field diff_id string  digest before compression
---@field file string     where it is; it may go: ask again

--- Compresses a layer, or finds what was compressed before.
---@async
---@param opts ws.archive.PackOptions  `entries` or `from`
---@return ws.registry.Layer? layer
---@return ws.Error? err
function M.layer(opts)
  local dir, err = M.folder()
  if not dir then return nil, err end
  local plain
  plain, err = archive.pack { entries = opts.entries, from = opts.from, mtime = opts.mtime }
  if not plain then return nil, err end
  local note = ("%s/%s.json"):format(dir, plain.raw_sha256)
  local known = json.decode(fs.read(note, { max = 4096 }) or "")
  if type(known) == "table" and type(known.digest) == "string" then
    local found = find(dir, known.digest, known.size)
    if found then
      fs.touch(note)
      return { digest = known.digest, size = known.size, diff_id = "sha256:" .. plain.raw_sha256, file = found }
    end
  end
  local path, close = fresh(dir)
  local _ <close> = close
  local packed
  packed, err = archive.pack { entries = opts.entries, from = opts.from, mtime = opts.mtime, gzip = true, file = path }
  if not packed then return nil, err end
  local layer = { digest = "sha256:" .. packed.sha256, size = packed.size, diff_id = "sha256:" .. packed.raw_sha256,
    file = fs.join(dir, packed.sha256) }
  local ok
  ok, err = fs.rename(path, layer.file)
  if not ok then return nil, err end
  ok, err = fs.write(("%s/%s.json"):format(dir, packed.raw_sha256),
    json.encode { digest = layer.digest, size = layer.size }, { durable = false })
  if not ok then return nil, err end
  M.prune()
  return layer
end

return M
