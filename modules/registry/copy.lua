--- An image of a registry as a source for a push: from one registry to another, through memory piece by piece.
local client = require "ws.registry.client"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"
local remote = require "ws.registry.remote"
local task = require "ws.task"

local M = {}

local SILENCE = 900 -- seconds without a piece; the requests' own bounds are smaller

---@class ws.registry.RemoteSource: ws.registry.Source
local RemoteSource = {}
RemoteSource.__index = RemoteSource

--- Gets a blob in a task of its own, which hands over one piece at a time: `wanted` lets it go on.
local function fetch(ref, descriptor, pieces, wanted)
  local hash, size = crypto.hash "sha256", 0
  local held -- the last piece, until the digest is known: a wrong blob is never complete at the other end
  local function sink(piece)
    size = size + #piece
    hash:update(piece)
    if held then
      pieces:push(held)
      wanted:pop()
    end
    held = piece
  end
  local where = client.url(ref, "blobs/" .. descriptor.digest)
  local answer, err = client.request(ref, { path = "blobs/" .. descriptor.digest, blob = true, attempts = 1,
    sink = sink })
  if answer and (size ~= descriptor.size or "sha256:" .. hash:digest() ~= descriptor.digest) then
    answer, err = nil, errors.new { kind = "protocol", op = "registry.copy",
      message = ("%s: what came is not what its digest promises"):format(where) }
  end
  if not answer then return pieces:push { err = err } end
  if held then
    pieces:push(held)
    wanted:pop()
  end
  pieces:push { done = true }
end

--- A body for http.request, and what ends the transfer that feeds it.
local function stream(ref, descriptor)
  local pieces, wanted = task.queue(), task.queue()
  local worker = task.spawn(fetch, ref, descriptor, pieces, wanted)
  local first = true
  local function body()
    if not first then wanted:push(true) end
    first = false
    local piece, err = pieces:pop(SILENCE)
    if not piece then error(err, 0) end
    if type(piece) == "string" then return piece end
    if piece.err then error(piece.err, 0) end
  end
  return body, setmetatable({}, { __close = function()
    worker:cancel()
    task.shield(worker.join, worker)
  end })
end

--- Reads a manifest as bytes, a blob as a stream.
---@async
---@param descriptor ws.registry.Descriptor
---@return string|table|nil content
---@return ws.Error? err
function RemoteSource:read(descriptor)
  if descriptor.digest == self.root.digest then return self.root.bytes end
  if not manifest.is_manifest(descriptor.mediaType) then
    return { stream = function() return stream(self.ref, descriptor) end }
  end
  local found, whole = remote.get(reference.with(self.ref, { digest = descriptor.digest }))
  if not found then return nil, whole end
  return whole.bytes
end

--- Where the blobs can be mounted from.
---@return ws.registry.Reference
function RemoteSource:origin()
  return self.ref
end

--- Opens an image of a registry as a source.
---@async
---@param ref ws.registry.Reference
---@param opts { platform?: string }
---@return ws.registry.Source? source
---@return ws.Error? err
function M.open(ref, opts)
  local found, root = remote.get(ref, { platform = opts.platform })
  if not found then return nil, root end
  return setmetatable({ ref = ref, root = root }, RemoteSource)
end

return M
