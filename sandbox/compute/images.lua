--- Images: those of a project, and the public ones of the catalogue.
local catalog = require "sandbox.compute.catalog"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"

local M = {}

--- The newest image of a family, or 404.
---@param compute sandbox.Compute
---@param project string
---@param family string
---@return table
function M.by_family(compute, project, family)
  local newest
  for _, image in ipairs((compute:of("images"):list("projects/" .. project .. "/"))) do
    if image.family == family and not (newest and newest.creationTimestamp > image.creationTimestamp) then
      newest = image
    end
  end
  return newest or catalog.image(project, family, true)
    or reply.not_found(("projects/%s/global/images/family/%s"):format(project, family))
end

--- The image of a link, or 404.
---@param compute sandbox.Compute
---@param link string
---@return table
function M.by_link(compute, link)
  local key = links.key(link) or link
  local project, name = key:match("^projects/([^/]+)/global/images/([^/]+)$")
  if not project then reply.fail(400, "invalid", ("Invalid value for field 'sourceImage': '%s'."):format(link)) end
  return compute:of("images"):get(key) or catalog.image(project, name, false) or catalog.image(project, name, true)
    or reply.not_found(key)
end

return M
