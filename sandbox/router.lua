--- From method and path to handler.
---
--- Patterns look like `/compute/v1/projects/{project}/global/networks/{name}`. The path is split at its slashes first
--- and decoded then, so an encoded slash belongs to a name. `{name}:verb` at the end matches Google's custom methods;
--- `{rest*}` at the end takes all that remains. A literal segment wins over a parameter.
local M = {}

---@class sandbox.Router
local Router = {}
Router.__index = Router

local function new_node() return { literal = {}, verbs = {} } end

--- Makes an empty router.
---@return sandbox.Router
function M.new()
  return setmetatable({ root = new_node() }, Router)
end

--- Undoes percent-encoding. A `+` stays a plus: paths are not forms.
---@param text string
---@return string
function M.decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The raw segments of a path, without the first slash; a slash at the end gives an empty last one.
---@param path string
---@return string[]
function M.split(path)
  local segments = {}
  for segment in (path:gsub("^/", "") .. "/"):gmatch("([^/]*)/") do segments[#segments + 1] = segment end
  return segments
end

local function child(node, segment, names, last)
  local name, verb = segment:match("^{([%w_]+)}:([%w]+)$")
  if name then
    names[#names + 1] = name
    node.verbs[verb] = node.verbs[verb] or new_node()
    return node.verbs[verb]
  end
  name = segment:match("^{([%w_]+)%*}$")
  if name then
    if not last then error("{" .. name .. "*} must be the last part of a pattern", 3) end
    names[#names + 1] = name
    node.rest = node.rest or new_node()
    return node.rest
  end
  name = segment:match("^{([%w_]+)}$")
  if name then
    names[#names + 1] = name
    node.parameter = node.parameter or new_node()
    return node.parameter
  end
  node.literal[segment] = node.literal[segment] or new_node()
  return node.literal[segment]
end

--- Adds a route. Raises when there is one for the same method and pattern already.
---@param method string  "GET", or several: "PUT|POST"
---@param pattern string
---@param handler function
---@param tag? any  given back by `match`
function Router:on(method, pattern, handler, tag)
  local node, names, segments = self.root, {}, M.split(pattern)
  for i, segment in ipairs(segments) do node = child(node, segment, names, i == #segments) end
  node.routes = node.routes or {}
  for one in method:gmatch("%u+") do
    if node.routes[one] then error(("route %s %s exists already"):format(one, pattern), 2) end
    node.routes[one] = { handler = handler, names = names, tag = tag, pattern = pattern }
  end
end

--- The node for segments[i...], with the values of its parameters. Only nodes that have the method count, so that a
--- more general route with it is found.
local function walk(node, segments, i, method, values)
  if i > #segments then
    return node.routes and node.routes[method]
  end
  local count = #values
  local function try(next_node, value)
    if value then values[#values + 1] = value end
    local route = walk(next_node, segments, i + 1, method, values)
    if not route then
      for k = #values, count + 1, -1 do values[k] = nil end
    end
    return route
  end
  local segment = M.decode(segments[i])
  local route = node.literal[segment] and try(node.literal[segment])
  if route then return route end
  if i == #segments then
    local name, verb = segment:match("^(.+):(%w+)$")
    route = name and node.verbs[verb] and try(node.verbs[verb], name)
    if route then return route end
  end
  route = segment ~= "" and node.parameter and try(node.parameter, segment)
  if route then return route end
  if node.rest and node.rest.routes and node.rest.routes[method] and not (segment == "" and i == #segments) then
    local rest = {}
    for k = i, #segments do rest[#rest + 1] = M.decode(segments[k]) end
    values[#values + 1] = table.concat(rest, "/")
    return node.rest.routes[method]
  end
end

--- Finds the route of a request.
---@param method string
---@param path string  undecoded, without query
---@return function? handler
---@return table<string, string>? params  decoded
---@return any tag
function Router:match(method, path)
  local segments, values = M.split(path), {}
  local route = walk(self.root, segments, 1, method, values)
  if not route and segments[#segments] == "" then
    segments[#segments], values = nil, {}
    route = walk(self.root, segments, 1, method, values)
  end
  if not route then return nil end
  local params = {}
  for i, name in ipairs(route.names) do params[name] = values[i] end
  return route.handler, params, route.tag
end

return M
