--- A container's image on its node.
---
--- An image of a repository that the sandbox's registry has is pulled from there: a tag or digest that is missing fails
--- as on a real node, and its configuration says what a container of it does. Any other image is taken to be there. An
--- image whose name contains `broken` is nowhere.
local crypto = require "ws.crypto"
local values = require "sandbox.kubernetes.values"

local M = {}

local LABEL = "dev.wsrun.sandbox.behaviour"

---@class kubernetes.Image
---@field id? string  as statuses name it
---@field size? integer  bytes; nil for one that is not of the registry
---@field config? table  of a container
---@field present boolean  it was on the node already
---@field reason? "ErrImagePull"|"ErrImageNeverPull"  why it is not there
---@field problem? string  the same in words

local function is_broken(image)
  return type(image) == "string" and image:find("broken", 1, true) ~= nil
end

local function repository_of(image)
  return (image:gsub("@.*$", ""):gsub(":[^/:]*$", ""))
end

--- The id of an image that nobody has looked at.
local function assumed(image)
  return ("%s@%s"):format(repository_of(image), image:match("@(.+)$") or "sha256:" .. crypto.sha256(image))
end

--- Brings a container's image to a node. Images stay there, as far as the pull policy lets them be used.
---@param sim kubernetes.Simulation
---@param node string
---@param c table  the container
---@return kubernetes.Image
function M.fetch(sim, node, c)
  if is_broken(c.image) then
    return { reason = "ErrImagePull", present = false, problem = ('rpc error: code = NotFound desc = failed to pull '
      .. 'and unpack image "%s": failed to resolve reference "%s": %s: not found'):format(c.image, c.image, c.image) }
  end
  sim.images = sim.images or {}
  local there = sim.images[node] or {}
  sim.images[node] = there
  local known = there[c.image]
  if known and c.imagePullPolicy ~= "Always" then
    return { id = known.id, size = known.size, config = known.config, present = true }
  end
  local pulled = sim.api.images and sim.api.images(c.image)
  if not pulled then return { id = assumed(c.image), present = true } end
  if c.imagePullPolicy == "Never" then
    return { reason = "ErrImageNeverPull", present = false,
      problem = ('Container image "%s" is not present with pull policy of Never'):format(c.image) }
  end
  if pulled.problem then return { reason = "ErrImagePull", problem = pulled.problem, present = false } end
  there[c.image] = pulled
  return { id = pulled.id, size = pulled.size, config = pulled.config, present = false }
end

local function is_nothing(words) return words == nil or #words == 0 or words[1] == "" end

--- Why no container can be made of an image; nil when one can.
---@param image kubernetes.Image
---@param pod table
---@param c table
---@return string?
function M.refusal(image, pod, c)
  local config = image.config
  if not config or not (is_nothing(c.command) and is_nothing(c.args) and is_nothing(config.Entrypoint)
    and is_nothing(config.Cmd)) then
    return nil
  end
  return ('failed to generate container "%s" spec: failed to generate spec: no command specified')
    :format(crypto.sha256(pod.metadata.uid .. c.name))
end

--- What a container does by its image's label, see docs/sandbox.md; nil: what any does.
---@param api table  with `images`
---@param id? string  of the image, from the container's status
---@return "crash"|"unready"|nil
function M.behaviour(api, id)
  local pulled = id and id ~= "" and api.images and api.images(id)
  local label = values.get(pulled or {}, "config", "Labels", LABEL)
  return (label == "crash" or label == "unready") and label or nil
end

M.LABEL = LABEL

return M
