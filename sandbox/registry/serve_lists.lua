--- What there is: repositories, tags, and the manifests that refer to another.
local answers = require "sandbox.registry.answers"
local check = require "sandbox.registry.check"
local http = require "ws.http"
local json = require "ws.json"
local names = require "sandbox.registry.names"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

--- A page of names as `?n=` and `?last=` ask for, with the Link to the next.
local function page_of(c, list, path)
  local n, after, page = values.given(c.query.n), values.given(c.query.last), json.array {}
  local limit = n == nil and math.huge or math.tointeger(tonumber(n))
  if not limit or limit < 0 then answers.fail(400, "UNSUPPORTED", ("n is a number of entries, not %s"):format(n)) end
  for _, name in ipairs(list) do
    if not after or name > after then
      if #page >= limit then
        if limit == 0 then break end
        return page, { Link = ('<%s?n=%d&last=%s>; rel="next"'):format(path, limit, http.url_encode(page[#page])) }
      end
      page[#page + 1] = name
    end
  end
  return page, {}
end

return function(registry)
  local store, blobs = registry.manifests, registry.blobs
  local M = {}

  --- GET /v2/_catalog
  function M.catalog(c)
    local seen, list = {}, {}
    for _, one in ipairs(store:list "") do
      if not seen[one.name] then seen[one.name], list[#list + 1] = true, one.name end
    end
    table.sort(list)
    local page, headers = page_of(c, list, "/v2/_catalog")
    return reply.json({ repositories = page }, 200, headers)
  end

  --- GET /v2/NAME/tags/list
  function M.tags(c, name)
    if #store:list(name .. "@") == 0 and #(blobs.members:list(name .. "@")) == 0 then
      answers.fail(404, "NAME_UNKNOWN", "repository name not known to registry: " .. name, { detail = { name = name } })
    end
    local page, headers = page_of(c, store:tags_of(name), ("/v2/%s/tags/list"):format(name))
    return reply.json({ name = name, tags = page }, 200, headers)
  end

  --- GET /v2/NAME/referrers/DIGEST; never 404, so that clients do not fall back to tags.
  function M.referrers(c, name, digest)
    names.check_digest(digest)
    local wanted, list = values.given(c.query.artifactType), json.array {}
    for _, one in ipairs(store:list(name .. "@")) do
      local record = one.record
      if record.subject == digest and (not wanted or record.artifact_type == wanted) then
        list[#list + 1] = { mediaType = record.media_type, digest = one.digest, size = record.size,
          artifactType = record.artifact_type, annotations = record.annotations }
      end
    end
    return reply.json({ schemaVersion = 2, mediaType = check.OCI_INDEX, manifests = list }, 200,
      { ["Content-Type"] = check.OCI_INDEX, ["OCI-Filters-Applied"] = wanted and "artifactType" or nil })
  end

  return M
end
