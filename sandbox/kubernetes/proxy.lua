--- Requests to services through the API server (`services/NAME:PORT/proxy/PATH`). Nothing runs in the cluster, so the
--- answer is the simulation's own: 200 and JSON that says which pod and image would have answered, from a pod that is
--- ready; and what the API server itself says when there is no such service, port or ready pod.
local errors = require "sandbox.kubernetes.errors"
local pod = require "sandbox.kubernetes.simulate.pod"
local respond = require "sandbox.kubernetes.respond"
local selectors = require "sandbox.kubernetes.selectors"
local values = require "sandbox.kubernetes.values"

local M = {}

--- "https:web:http" → name, port.
local function split(text)
  local parts = {}
  for part in (text .. ":"):gmatch("(.-):") do parts[#parts + 1] = part end
  if #parts == 3 then return parts[2], parts[3] end
  return parts[1], parts[2] or ""
end

local function has_port(service, wanted)
  local ports = values.get(service, "spec", "ports") or {}
  if wanted == "" then return #ports == 1 end
  for _, port in ipairs(ports) do
    if port.name == wanted or tostring(port.port) == wanted then return true end
  end
  return false
end

local function unavailable(message, ...)
  errors.raise("ServiceUnavailable", message:format(...))
end

--- Answers a request to a service.
---@param api kubernetes.Api
---@param req table
---@param ctx kubernetes.Context
---@param rest? string  the path that the service is asked for
---@return table res
function M.service(api, req, ctx, rest)
  local name, port = split(ctx.name)
  local service = api.store:get("/services", ctx.namespace, name)
  if not service then errors.not_found(ctx.resource, name) end
  if not has_port(service, port) then unavailable("no service port %q found for service %q", port, name) end
  for _, p in ipairs(api.store:list("/pods", ctx.namespace)) do
    local selector = values.get(service, "spec", "selector")
    if selector and selectors.matches(selector, p.metadata.labels) and pod.is_ready(p)
      and not p.metadata.deletionTimestamp then
      return respond.json(200, { simulated = true, method = req.method, path = "/" .. (rest or ""), service = name,
        pod = p.metadata.name, image = p.spec.containers[1].image,
        version = (p.metadata.labels or {})["app.kubernetes.io/version"] })
    end
  end
  unavailable("no endpoints available for service %q", name)
end

return M
