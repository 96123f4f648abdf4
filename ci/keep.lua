-- Keeps files of a job in a bucket, for a CI that keeps none when the job failed:
--   wsrun ci/keep.lua gs://BUCKET/PREFIX FOLDER...
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local task = require "ws.task"

local target, folders = ..., { select(2, ...) }
if not target or not target:find("^gs://[^/]+/.") or #folders == 0 then
  error("usage: wsrun ci/keep.lua gs://BUCKET/PREFIX FOLDER...", 0)
end
local uploads, slots = {}, task.limit(8)
for _, folder in ipairs(folders) do
  if fs.exists(folder) then
    for file, found in fs.walk(folder) do
      if found.type == "file" then
        uploads[#uploads + 1] = function()
          slots:acquire()
          assert(gcs.put(target:gsub("/+$", "") .. "/" .. file:gsub("^%./", ""), { file = file }))
          slots:release()
        end
      end
    end
  end
end
assert(task.all(uploads))
print(("%d files kept in %s"):format(#uploads, target))
