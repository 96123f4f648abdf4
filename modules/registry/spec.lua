--- The options of registry.image in a YAML file, for `wsrun image build -f`.
local errors = require "ws.error"
local fs = require "ws.fs"
local s = require "ws.schema"
local yaml = require "ws.yaml"

local M = {}

local MODE = { match = "^0?[0-7]?[0-7][0-7][0-7]$", regex = "^0?[0-7]?[0-7][0-7][0-7]$", allowed = "mode such as 755" }
local ABSOLUTE = { match = "^/", regex = "^/", allowed = "absolute path" }
local PLATFORM = { match = "^[%w._-]+/[%w._-]+/?[%w._-]*$", regex = "^[\\w.-]+/[\\w.-]+(/[\\w.-]+)?$",
  allowed = "platform such as linux/amd64" }
local PORT = { match = "^%d+/?%l*$", regex = "^\\d+(/(tcp|udp))?$", allowed = "port such as 8080 or 53/udp" }

-- `version: 1.10` is the text 1.10: nobody thinks of quotes there.
local text = s.version { format = { match = "", regex = "", allowed = "text" } }
local texts = s.map { of = text }

--- What the file may say.
M.schema = s.record { fields = {
  { "base", s.string { doc = "The image to build on." } },
  { "files", s.list { doc = "The files of the image.", of = s.record { fields = {
    { "path", s.string { required = true, format = ABSOLUTE, doc = "In the image." } },
    { "file", s.string { doc = "A file or folder on disk, from the folder of this file." } },
    { "data", s.string { doc = "The content itself." } },
    { "link", s.string { doc = "The target of a symbolic link." } },
    { "mode", s.version { format = MODE, doc = "Permission bits, in octal." } },
  } } } },
  { "entrypoint", s.list { of = text, doc = "What starts." } },
  { "cmd", s.list { of = text, doc = "Its arguments." } },
  { "env", texts },
  { "user", s.version { doc = "User or number." } },
  { "workdir", s.string { format = ABSOLUTE, doc = "Where it starts." } },
  { "exposed_ports", s.list { of = s.version { format = PORT }, doc = "Ports it listens on." } },
  { "labels", texts },
  { "annotations", texts },
  { "platform", s.string { format = PLATFORM, doc = "Default linux/amd64." } },
  { "created", s.integer { min = 0, max = (1 << 33) - 1, doc = "Seconds since 1970." } },
} }

--- Reads such a file into options for registry.image.
---@async
---@param path string
---@return table? options
---@return ws.Error? err  kinds `not_found`, `parse`, `invalid` (every problem with its line and column)
function M.load(path)
  local content, err = fs.read(path, { max = 4 << 20 })
  if not content then return nil, err end
  local value, marks = yaml.load_marked(content, { filename = path })
  if value == nil then return nil, marks end
  if yaml.kind(value) ~= "object" then
    return nil, errors.new { kind = "invalid", op = "image build",
      message = path .. ":1:1: a map with files, entrypoint, ... is expected" }
  end
  local checked
  checked, err = s.validate(M.schema, value, marks)
  if not checked then return nil, err end
  local options = {}
  for key, one in pairs(checked) do options[key] = one end
  options.files = {}
  for i, item in ipairs(checked.files or {}) do
    local contents = (item.file and 1 or 0) + (item.data and 1 or 0) + (item.link and 1 or 0)
    local folder = item.path:sub(-1) == "/"
    if contents > 1 or (contents == 0 and not folder) or (folder and (item.data or item.link)) then
      return nil, errors.new { kind = "invalid", op = "image build",
        message = ("%s: %s needs one of file, data and link; a folder, whose path ends with a slash, none"):format(
          marks:where { "files", i }, item.path) }
    end
    local file = item.file
    if file and file:sub(1, 1) ~= "/" then file = fs.join(fs.dirname(path), file) end
    options.files[i] = { path = item.path, file = file, data = item.data, link = item.link,
      mode = item.mode and tonumber(item.mode, 8) }
  end
  return options
end

return M
