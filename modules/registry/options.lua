--- The options of registry.image: checked, and brought into one form.
local manifest = require "ws.registry.manifest"
local LAST = (1 << 33) - 1 -- seconds; what a tar header can say

local M = {}

local known = { base = true, files = "table", entrypoint = "table", cmd = "table", env = "table", user = "string",
  workdir = "string", labels = "table", annotations = "table", exposed_ports = "table", platform = "string",
  created = "number" }

local file_keys = { path = "string", file = "string", data = "string", link = "string", mode = "number" }

local function file_problem(item, i)
  if type(item) ~= "table" or type(item.path) ~= "string" then
    return ("files[%d] must be a table with a path"):format(i)
  end
  for key, value in pairs(item) do
    if not file_keys[key] then return ("files[%d] has an unknown key '%s'"):format(i, tostring(key)) end
    if type(value) ~= file_keys[key] or (key == "mode" and math.type(value) ~= "integer") then
      return ("%s of files[%d] must be %s, not a %s"):format(key, i, key == "mode" and "an integer" or "a string",
        type(value))
    end
  end
  local contents = (item.file and 1 or 0) + (item.data and 1 or 0) + (item.link and 1 or 0)
  local folder = item.path:sub(-1) == "/"
  if contents > 1 or (contents == 0 and not folder) or (folder and (item.data or item.link)) then
    return ("files[%d] needs one of file, data and link; a folder, whose path ends with a slash, none"):format(i)
  end
end

local function base_problem(base)
  if base == nil or type(base) == "string" then return nil end
  if type(base) ~= "table" or not base.root or not base.read then
    return "base must be a reference or a source with root and read"
  end
end

local function words_problem(words, key)
  for i, word in ipairs(words or {}) do
    if type(word) ~= "string" or word:find("%z") then return ("%s[%d] must be a string"):format(key, i) end
  end
end

local function map_problem(map, key)
  for name, value in pairs(map or {}) do
    if type(name) ~= "string" or name == "" or type(value) ~= "string" then
      return key .. " must be a table of strings by name"
    end
  end
end

--- `NAME=value` entries: a list in the caller's order, names sorted.
local function env_list(env)
  local list, names = {}, {}
  for i, entry in ipairs(env or {}) do
    if type(entry) ~= "string" or not entry:find("^[^=%z]+=[^%z]*$") then
      return nil, ("env[%d] must be a text such as NAME=value"):format(i)
    end
    list[i] = entry
  end
  for name, value in pairs(env or {}) do
    if math.type(name) ~= "integer" then
      if type(name) ~= "string" or not name:find("^[^=%z]+$") or type(value) ~= "string" or value:find("%z") then
        return nil, "env must be a list of NAME=value, or a table of strings by name"
      end
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do list[#list + 1] = name .. "=" .. env[name] end
  return list
end

--- `8080/tcp` from 8080, "8080" or "8080/tcp".
local function port_list(ports)
  local list = {}
  for i, port in ipairs(ports or {}) do
    local number, protocol = tostring(port):match("^(%d+)/?(%l*)$")
    if protocol == "" then protocol = "tcp" end
    number = math.tointeger(tonumber(number))
    if not number or number < 1 or number > 65535 or not ({ tcp = true, udp = true, sctp = true })[protocol] then
      return nil, ("exposed_ports[%d] must be a port such as 8080 or \"53/udp\""):format(i)
    end
    list[i] = ("%d/%s"):format(number, protocol)
  end
  return list
end

--- What is wrong with the options, or nil.
local function problem_of(opts)
  if type(opts) ~= "table" then return "a table expected, got " .. type(opts) end
  for key, value in pairs(opts) do
    local wanted = known[key]
    if not wanted then return ("unknown option '%s'"):format(tostring(key)) end
    if wanted ~= true and type(value) ~= wanted then
      return ("%s must be a %s, not a %s"):format(key, wanted, type(value))
    end
  end
  for i, item in ipairs(opts.files or {}) do
    local problem = file_problem(item, i)
    if problem then return problem end
  end
  local created = opts.created or 0
  if math.type(created) ~= "integer" or created < 0 or created > LAST then
    return "created must be seconds since 1970, as an integer"
  end
  if opts.workdir and opts.workdir:sub(1, 1) ~= "/" then
    return ("workdir must be absolute, not '%s'"):format(opts.workdir)
  end
  if opts.platform and not pcall(manifest.platform, opts.platform) then
    return ("'%s' is no platform such as linux/amd64"):format(opts.platform)
  end
  return base_problem(opts.base) or words_problem(opts.entrypoint, "entrypoint") or words_problem(opts.cmd, "cmd")
    or map_problem(opts.labels, "labels") or map_problem(opts.annotations, "annotations")
end

--- The options with their defaults: `env` and `exposed_ports` as lists of texts.
---@param opts any
---@return table? options
---@return string? problem  the caller's mistake
function M.read(opts)
  local problem = problem_of(opts)
  if problem then return nil, problem end
  local env, ports
  env, problem = env_list(opts.env)
  if not env then return nil, problem end
  ports, problem = port_list(opts.exposed_ports)
  if not ports then return nil, problem end
  local o = { files = {}, labels = {}, annotations = {}, platform = "linux/amd64", created = 0 }
  for key, value in pairs(opts) do o[key] = value end
  o.env, o.exposed_ports = env, ports
  return o
end

return M
