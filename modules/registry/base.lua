--- The image that another one is built on: its manifest and config are read, its layers stay where they are until
--- somebody reads them.
local cache = require "ws.registry.cache"
local errors = require "ws.error"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"
local source = require "ws.registry.source"

local M = {}

---@class ws.registry.Base
---@field name string        for people
---@field manifest table
---@field descriptor ws.registry.Descriptor
---@field config table
---@field docker boolean     its manifest is Docker's schema 2
---@field ref? ws.registry.Reference  when it is in a registry
---@field read fun(self, descriptor: ws.registry.Descriptor): string|table|nil, ws.Error?
---@field origin fun(self, descriptor: ws.registry.Descriptor): ws.registry.Reference|string|nil

--- A source over one image of a registry. Blobs are fetched into the cache.
local function remote(ref, descriptor)
  local blobs = require "ws.registry.blobs"
  local from = reference.with(ref, { digest = descriptor.digest })
  return {
    root = descriptor,
    read = function(_, wanted)
      if wanted.digest == descriptor.digest then return descriptor.bytes end
      local file, err = cache.blob(wanted, function(path) return blobs.get(from, wanted, { file = path }) end)
      if not file then return nil, err end
      return { file = file }
    end,
    origin = function() return from end,
  }
end

--- Opens a base.
---@async
---@param base string|ws.registry.Source  reference or source
---@param platform string
---@param fixed boolean  whether the platform was asked for: then a base for another one is refused
---@return ws.registry.Base? base
---@return ws.Error? err
function M.open(base, platform, fixed)
  local name, ref, err = "the base"
  if type(base) == "string" then
    name = base
    ref, err = reference.exact(base)
    if not ref then return nil, err end
    local found, descriptor = require "ws.registry".manifest(ref, { platform = platform })
    if not found then return nil, descriptor end
    base = remote(ref, descriptor)
  end
  local found, descriptor = source.image(base, platform, name)
  if not found then return nil, descriptor end
  local config
  config, err = source.config(base, found, name)
  if not config then return nil, err end
  local wanted = manifest.platform(platform)
  if fixed and (config.os ~= wanted.os or config.architecture ~= wanted.architecture) then
    return nil, errors.new { kind = "invalid", op = "registry.image",
      message = ("%s is an image for %s/%s, not for %s"):format(name, config.os, config.architecture, platform) }
  end
  return { name = name, manifest = found, descriptor = descriptor, config = config, ref = ref,
    docker = descriptor.mediaType == manifest.DOCKER_MANIFEST,
    read = function(_, wanted_blob) return base:read(wanted_blob) end,
    origin = function(_, wanted_blob) return base.origin and base:origin(wanted_blob) end }
end

return M
