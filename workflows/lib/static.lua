-- The static files of a platform's bucket, which the load balancer serves under /static/.
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local crypto = require "ws.crypto"
local project = require "ws.project"
local task = require "ws.task"
local ws = require "ws"

local M = {}

local JOBS = 8 -- uploads and lists at once

local content_types = {
  avif = "image/avif", css = "text/css; charset=utf-8", csv = "text/csv; charset=utf-8", gif = "image/gif",
  html = "text/html; charset=utf-8", ico = "image/x-icon", jpeg = "image/jpeg", jpg = "image/jpeg",
  js = "text/javascript; charset=utf-8", json = "application/json", map = "application/json",
  md = "text/markdown; charset=utf-8", mjs = "text/javascript; charset=utf-8", mp4 = "video/mp4", otf = "font/otf",
  pdf = "application/pdf", png = "image/png", svg = "image/svg+xml", ttf = "font/ttf",
  txt = "text/plain; charset=utf-8", wasm = "application/wasm", webm = "video/webm",
  webmanifest = "application/manifest+json", webp = "image/webp", woff = "font/woff", woff2 = "font/woff2",
  xml = "application/xml",
}

-- A name that changes with the content is kept for ever; a page is asked for anew each time, so that what it names is
-- found. Anything else gets what Cloud Storage gives it: an hour.
local FOR_EVER, ANEW = "public, max-age=31536000, immutable", "no-cache"

--- The content type by a file name's ending.
---@param name string
---@return string
function M.content_type(name)
  return content_types[(name:match("%.(%w+)$") or ""):lower()] or "application/octet-stream"
end

--- Whether a name carries a hash of the content: app.3f2a1c.js, app-3f2a1c9b.css, chunk-QX3ZK2PA.js. Dates and words
--- are none: a hash has digits and letters.
---@param name string
---@return boolean
function M.is_hashed(name)
  local hash = name:match("[^/]*$"):match("^.+[.-](%w+)%.%w+$") or ""
  if not (hash:find("%d") and hash:find("%a")) then return false end
  return (#hash >= 6 and hash:find("^[%da-f]+$") ~= nil) or (#hash == 8 and hash:find("^[A-Z2-7]+$") ~= nil)
end

--- When a file is uploaded: what others name first, pages last, so that nobody gets a new page whose parts are missing.
local function rank(target)
  return M.is_hashed(target) and 1 or target:find("%.html?$") and 3 or 2
end

local function cache_control(target)
  return ({ FOR_EVER, nil, ANEW })[rank(target)]
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
      content_type = entry["content-type"] or M.content_type(target),
      cache_control = entry["cache-control"] or cache_control(target) }
  end
  if info.type ~= "directory" then
    add(path)
    return files
  end
  for file, found in fs.walk(path) do
    if found.type == "file" then add(file, file:sub(#path + 2)) end
  end
  table.sort(files, function(x, y)
    local x_rank, y_rank = rank(x.target), rank(y.target)
    if x_rank ~= y_rank then return x_rank < y_rank end
    return x.target < y.target
  end)
  return files
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

--- Everything that the manifest's entries mean, and the folders that are to be tidied up. Raises when a file is
--- missing.
---@async
---@param p Platform
---@return { path: string, target: string }[] files
---@return table<string, true> wanted  their targets
---@return table[] tidy
function M.collect(p)
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

---@class StaticPlan
---@field bucket string
---@field files table[]    that the bucket lacks, or has with other bytes or headers
---@field stale table[]    objects that no file has any more
---@field total integer    files of the manifest

--- The objects of the bucket that the entries may be about, by name: one list for each entry.
local function list_objects(p, bucket)
  local prefixes, functions = {}, {}
  for _, entry in ipairs(p.manifest["static-files"] or {}) do
    local is_folder = fs.stat(project.path(entry.source)).type == "directory"
    local folder = (entry.target or ""):gsub("/+$", "")
    prefixes[is_folder and (folder == "" and "" or folder .. "/") or target_of(entry)] = true
  end
  if prefixes[""] then prefixes = { [""] = true } end
  local objects = {}
  for prefix in pairs(prefixes) do
    functions[#functions + 1] = function()
      for _, object in ipairs(assert(gcs.list(("gs://%s/%s"):format(bucket, prefix)))) do
        objects[object.name] = object
      end
    end
  end
  local ok, err = task.all(functions, { jobs = JOBS })
  if not ok then error(err, 0) end
  return objects
end

local function differs(file, object)
  file.generation = object and object.generation or 0
  return not object or object.content_type ~= file.content_type or object.cache_control ~= file.cache_control
    or object.crc32c ~= assert(crypto.crc32c_file(file.path))
end

--- What is to be uploaded and removed, by a look at the bucket: nothing is changed yet. Raises when a file is missing
--- or the bucket cannot be read.
---@async
---@param p Platform
---@return StaticPlan
function M.compare(p)
  local files, wanted, tidy = M.collect(p)
  if #files == 0 and #tidy == 0 then return { files = {}, stale = {}, total = 0 } end
  local bucket = p:read_outputs("kubernetes").static_bucket
  if not bucket then
    ws.fail(("the layer kubernetes of %s has no static bucket yet"):format(p.name), { kind = "not_found",
      hint = ("wsrun workflows/create_platform.lua %s makes it"):format(p.name) })
  end
  local objects = list_objects(p, bucket)
  local plan = { bucket = bucket, files = {}, stale = {}, total = #files }
  for _, file in ipairs(files) do
    if differs(file, objects[file.target]) then plan.files[#plan.files + 1] = file end
  end
  local names = {}
  for name in pairs(objects) do names[#names + 1] = name end
  table.sort(names)
  for _, entry in ipairs(tidy) do
    for _, name in ipairs(M.stale(names, entry, wanted)) do
      wanted[name] = true -- once, when two entries share a folder
      plan.stale[#plan.stale + 1] = objects[name]
    end
  end
  return plan
end

local function upload(p, plan, which)
  local functions, done = {}, 0
  for _, file in ipairs(plan.files) do
    if rank(file.target) == which then
      functions[#functions + 1] = function()
        assert(gcs.put(("gs://%s/%s"):format(plan.bucket, file.target), { file = file.path }, {
          content_type = file.content_type, cache_control = file.cache_control, if_generation = file.generation }))
        done = done + 1
        p.w:progress(file.target, done, #plan.files)
      end
    end
  end
  local ok, err = task.all(functions, { jobs = JOBS })
  if not ok then error(err, 0) end
  return #functions
end

--- Uploads the files whose names carry their hash: they add to what is there, so they may come before the application
--- that names them.
---@async
---@param p Platform
---@param plan StaticPlan
function M.upload_hashed(p, plan)
  local count = upload(p, plan, 1)
  if count > 0 then return p.w:changed(("%d uploaded to gs://%s"):format(count, plan.bucket)) end
  local rest = #plan.files + #plan.stale
  p.w:summary(rest == 0 and "no change" or ("%d to come after the deployment"):format(rest))
end

--- Uploads the other files, pages last, and removes what is gone.
---@async
---@param p Platform
---@param plan StaticPlan
function M.upload_rest(p, plan)
  local count = upload(p, plan, 2) + upload(p, plan, 3)
  for _, object in ipairs(plan.stale) do
    local ok, err = gcs.delete(("gs://%s/%s"):format(plan.bucket, object.name), { if_generation = object.generation })
    if not ok and err.kind ~= "not_found" then error(err, 0) end
  end
  if count + #plan.stale == 0 then return p.w:summary("no change") end
  p.w:changed(("%d uploaded to gs://%s%s"):format(count, plan.bucket,
    #plan.stale > 0 and (", %d removed"):format(#plan.stale) or ""))
end

--- Brings the files that the manifest names into the platform's bucket, and with "delete" removes what is gone.
---@async
---@param p Platform
function M.upload(p)
  local plan = M.compare(p)
  local hashed = upload(p, plan, 1)
  if hashed > 0 then p.w:changed(("%d with hashed names uploaded"):format(hashed)) end
  if hashed == 0 or #plan.files > hashed or #plan.stale > 0 then M.upload_rest(p, plan) end
end

return M
