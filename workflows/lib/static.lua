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

--- The name that a file of an entry has in the bucket.
local function target_of(entry, inside)
  if not inside then return entry.target or fs.basename(entry.source) end
  local folder = (entry.target or ""):gsub("/+$", "")
  return folder == "" and inside or folder .. "/" .. inside
end

--- The files that an entry of the manifest means: its file, or those of its folder, by their names in the bucket.
---@async
---@param entry table  of static-files
---@param path string  where its source is
---@return {path: string, target: string, content_type: string, cache_control: string?}[]? files  nil when there is
---  neither file nor folder
function M.expand(entry, path)
  local info = fs.stat(path)
  if not info then return nil end
  local files = {}
  local function add(file, inside)
    local target = target_of(entry, inside)
    files[#files + 1] = { path = file, target = target,
      content_type = entry["content-type"] or M.content_type(target), cache_control = entry["cache-control"] }
  end
  if info.type ~= "directory" then
    add(path)
    return files
  end
  for file, found in fs.walk(path) do
    if found.type == "file" then add(file, file:sub(#path + 2)) end
  end
  -- What is linked to first, pages last: nobody gets a new page whose pictures are still the old ones.
  table.sort(files, function(x, y)
    local x_page, y_page = x.target:find("%.html$") ~= nil, y.target:find("%.html$") ~= nil
    if x_page ~= y_page then return y_page end
    return x.target < y.target
  end)
  return files
end

--- Uploads one file unless the bucket has it with the same bytes and headers. Returns whether it did.
local function upload(bucket, file)
  local url = ("gs://%s/%s"):format(bucket, file.target)
  local there, err = gcs.stat(url)
  if not there and err.kind ~= "not_found" then error(err, 0) end
  if there and there.crc32c == assert(crypto.crc32c_file(file.path)) and there.content_type == file.content_type
    and there.cache_control == file.cache_control then
    return false
  end
  assert(gcs.put(url, { file = file.path }, {
    content_type = file.content_type, cache_control = file.cache_control,
    if_generation = there and there.generation or 0,
  }))
  return true
end

--- Names of the objects of an entry's folder in the bucket that no file has any more.
---@param names string[]  of the objects in the bucket
---@param entry table  of static-files
---@param wanted table<string, true>  targets of all entries
---@return string[]
function M.stale(names, entry, wanted)
  local folder = (entry.target or ""):gsub("/+$", "")
  local prefix, stale = folder == "" and "" or folder .. "/", {}
  for _, name in ipairs(names) do
    if name:sub(1, #prefix) == prefix and not wanted[name] then stale[#stale + 1] = name end
  end
  return stale
end

local function remove_stale(bucket, entry, wanted)
  local names = {}
  for i, object in ipairs(assert(gcs.list("gs://" .. bucket .. "/"))) do names[i] = object.name end
  local stale = M.stale(names, entry, wanted)
  for _, name in ipairs(stale) do
    local ok, err = gcs.delete(("gs://%s/%s"):format(bucket, name))
    if not ok and err.kind ~= "not_found" then error(err, 0) end
  end
  return #stale
end

--- Everything that the manifest's entries mean, and the folders that are to be tidied up.
local function collect(p)
  local files, wanted, tidy = {}, {}, {}
  for i, entry in ipairs(p.manifest["static-files"] or {}) do
    local path = project.path(entry.source)
    local expanded = M.expand(entry, path)
    if not expanded then
      ws.fail(("static file %s does not exist"):format(entry.source), { kind = "not_found",
        where = require "lib.manifest".where(p.manifest, { "static-files", i, "source" }) })
    end
    for _, file in ipairs(expanded) do
      files[#files + 1] = file
      wanted[file.target] = true
    end
    if entry.delete and fs.stat(path).type == "directory" then tidy[#tidy + 1] = entry end
  end
  return files, wanted, tidy
end

--- Brings the files that the manifest names into the platform's bucket, and with "delete" removes what is gone.
---@param p Platform
function M.upload(p)
  local bucket = p:read_outputs("kubernetes").static_bucket
  local files, wanted, tidy = collect(p)
  local uploaded, removed = 0, 0
  for i, file in ipairs(files) do
    p.w:progress(file.target, i, #files)
    if upload(bucket, file) then uploaded = uploaded + 1 end
  end
  for _, entry in ipairs(tidy) do removed = removed + remove_stale(bucket, entry, wanted) end
  if uploaded + removed == 0 then return p.w:summary("no change") end
  p.w:changed(("%d uploaded to gs://%s%s"):format(uploaded, bucket,
    removed > 0 and (", %d removed"):format(removed) or ""))
end

return M
