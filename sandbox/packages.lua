--- Packages that the sandbox makes itself: Helm charts from their folders, and a small container image.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local yaml = require "ws.yaml"

local M = {}

--- Packs a chart as `helm package` does; the same folder and version always give the same bytes.
---@async
---@param dir string
---@param version? string  instead of the one in Chart.yaml; also becomes the appVersion when that is the same there
---@return { name: string, version: string, metadata: table, bytes: string, digest: string }? package
---@return ws.Error? err
function M.chart(dir, version)
  local text, err = fs.read(dir .. "/Chart.yaml")
  if not text then return nil, err end
  local metadata, problem = yaml.decode(text, { filename = dir .. "/Chart.yaml" })
  if not metadata then return nil, problem end
  if version and version ~= metadata.version then
    local tied = metadata.appVersion == metadata.version
    local function set(key, value)
      text = ("\n" .. text):gsub("\n" .. key .. ":[^\n]*", function() return ("\n%s: %q"):format(key, value) end, 1)
      text, metadata[key] = text:sub(2), value
    end
    set("version", version)
    if tied then set("appVersion", version) end
  end
  local entries = {}
  for path, entry in fs.walk(dir) do
    local relative = fs.relative(path, dir)
    if entry.type == "file" and not ("/" .. relative):find("/%.") and not relative:find("%.tgz$") then
      local is_metadata = relative == "Chart.yaml"
      entries[#entries + 1] = { name = metadata.name .. "/" .. relative, mode = 420, -- 0644
        data = is_metadata and text or nil, file = not is_metadata and path or nil }
    end
  end
  local bytes, why = archive.tar_create { entries = entries }
  if not bytes then return nil, why end
  return { name = metadata.name, version = metadata.version, metadata = metadata, bytes = bytes,
    digest = crypto.sha256(bytes) }
end

--- A container image of one layer with the given files, for linux/amd64.
---@async
---@param entries ws.archive.Entry[]
---@param config table  of the container: Entrypoint, Labels, ...
---@return { layer: string, config: string, manifest: string } image  the three contents
function M.image(entries, config)
  local tar = assert(archive.tar_create { entries = entries, gzip = false })
  local layer = archive.gzip(tar)
  local image = json.encode {
    architecture = "amd64", os = "linux", config = config, created = "1970-01-01T00:00:00Z",
    rootfs = { type = "layers", diff_ids = json.array { "sha256:" .. crypto.sha256(tar) } },
    history = json.array { { created = "1970-01-01T00:00:00Z", created_by = "sandbox" } },
  }
  local function descriptor(media_type, bytes)
    return { mediaType = media_type, digest = "sha256:" .. crypto.sha256(bytes), size = #bytes }
  end
  local manifest = json.encode {
    schemaVersion = 2, mediaType = "application/vnd.oci.image.manifest.v1+json",
    config = descriptor("application/vnd.oci.image.config.v1+json", image),
    layers = json.array { descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer) },
  }
  return { layer = layer, config = image, manifest = manifest }
end

return M
