--- Addresses of objects: `gs://bucket/name` and the paths of the JSON API.
local http = require "ws.http"

local M = {}

--- The bucket and the object's name of a `gs://` address. Raises on anything else.
---@param url string
---@return string bucket
---@return string name  may be empty
function M.parse(url)
  local bucket, name = tostring(url):match("^gs://([^/]+)/?(.*)$")
  if not bucket then error(("'%s' is not an address like gs://bucket/name"):format(tostring(url)), 3) end
  return bucket, name
end

--- The path of an object in the JSON API; a slash in the name is %2F there.
---@param bucket string
---@param name string
---@return string path
function M.path(bucket, name)
  return ("b/%s/o/%s"):format(bucket, http.url_encode(name))
end

return M
