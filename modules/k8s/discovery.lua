--- Where a kind lives in the API: its plural name and whether it has namespaces, from the server's own discovery.
local errors = require "ws.error"

local M = {}

--- Resources of an API version by kind; read once per client and again when a kind is missing (a new CRD).
---@class ws.k8s.Discovery
local Discovery = {}
Discovery.__index = Discovery

--- Makes the discovery of a client. `get` is a function from a path to the decoded answer.
---@param get fun(path: string): table?, ws.Error?
---@return ws.k8s.Discovery
function M.new(get)
  return setmetatable({ get = get, versions = {} }, Discovery)
end

--- The path under which an API version's resources are found.
---@param api_version string  "v1", "apps/v1"
---@return string
function M.prefix(api_version)
  return (api_version:find("/", 1, true) and "/apis/" or "/api/") .. api_version
end

local function load(self, api_version)
  local list, err = self.get(M.prefix(api_version))
  if not list then return nil, err end
  local by_kind = {}
  for _, resource in ipairs(list.resources or {}) do
    if not resource.name:find("/", 1, true) then by_kind[resource.kind] = resource end
  end
  self.versions[api_version] = by_kind
  return by_kind
end

--- The resource of a kind.
---@async
---@param api_version string
---@param kind string
---@return table? resource  `name` (plural), `namespaced`
---@return ws.Error? err    kind `not_found` when the server does not know it
function Discovery:find(api_version, kind)
  local known = self.versions[api_version]
  if known and known[kind] then return known[kind] end
  local fresh, err = load(self, api_version)
  if not fresh and err.kind ~= "not_found" then return nil, err end
  if fresh and fresh[kind] then return fresh[kind] end
  return nil, errors.new { kind = "not_found", op = "k8s",
    message = ("the cluster knows no kind %s of %s"):format(kind, api_version),
    hint = "is the operator that brings this kind (its CRD) installed?" }
end

return M
