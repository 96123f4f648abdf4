-- The static files of a platform's bucket, which the load balancer serves under /static/.
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local crypto = require "ws.crypto"
local project = require "ws.project"
local ws = require "ws"

local M = {}

local content_types = {
  css = "text/css", gif = "image/gif", html = "text/html; charset=utf-8", ico = "image/x-icon", jpg = "image/jpeg",
  js = "text/javascript", json = "application/json", png = "image/png", svg = "image/svg+xml",
  txt = "text/plain; charset=utf-8", webp = "image/webp", woff2 = "font/woff2", xml = "application/xml",
}

--- The content type by a file name's ending.
---@param name string
---@return string
function M.content_type(name)
  return content_types[name:match("%.(%w+)$") or ""] or "application/octet-stream"
end

--- Uploads one file unless the bucket has it with the same bytes and headers. Returns whether it did.
local function upload(url, path, file)
  local headers = {
    content_type = file["content-type"] or M.content_type(file.target),
    cache_control = file["cache-control"],
  }
  local there, err = gcs.stat(url)
  if not there and err.kind ~= "not_found" then error(err, 0) end
  if there and there.crc32c == assert(crypto.crc32c_file(path)) and there.content_type == headers.content_type
    and there.cache_control == headers.cache_control then
    return false
  end
  assert(gcs.put(url, { file = path }, {
    content_type = headers.content_type, cache_control = headers.cache_control,
    if_generation = there and there.generation or 0,
  }))
  return true
end

--- Brings the files that the manifest names into the platform's bucket.
---@param p Platform
function M.upload(p)
  local files = p.manifest["static-files"] or {}
  local bucket = p:read_outputs("kubernetes").static_bucket
  local uploaded = 0
  for i, file in ipairs(files) do
    local path = project.path(file.source)
    if not fs.exists(path) then
      ws.fail(("static file %s does not exist"):format(file.source), { kind = "not_found",
        where = require "lib.manifest".where(p.manifest, { "static-files", i, "source" }) })
    end
    p.w:progress(file.target, i, #files)
    if upload(("gs://%s/%s"):format(bucket, file.target), path, file) then uploaded = uploaded + 1 end
  end
  if uploaded > 0 then
    p.w:changed(("%d uploaded to gs://%s"):format(uploaded, bucket))
  else
    p.w:summary("no change")
  end
end

return M
