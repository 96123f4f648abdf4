--- The project's settings: `wsrun.yaml` in its root.
---
--- A setting has a section and a name: `ci.registry`. What counts, in this order: the option of the command line, the
--- variable `WSRUN_CI_REGISTRY`, wsrun.yaml, the default. The file is checked as a whole; `wsrun config` shows each
--- setting with where it comes from.
local environment = require "ws.environment"
local errors = require "ws.error"
local fs = require "ws.fs"
local project = require "ws.project"
local s = require "ws.schema"
local yaml = require "ws.yaml"

local M = {}

local FILE = "wsrun.yaml"

local bucket = { match = function(text) return #text <= 222 and text:find("^[a-z0-9][a-z0-9._-]+[a-z0-9]$") ~= nil end,
  regex = "^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", allowed = "name of a bucket, without gs://" }
local registry = {
  match = function(text)
    local host, path = text:match("^([%w.-]+:?%d*)/(.+)$")
    return host ~= nil and host:find("[.:]") ~= nil and path:find("^[a-z0-9][a-z0-9._/-]*$") ~= nil
      and not path:find("/$") and not path:find("//", 1, true)
  end,
  regex = "^[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)+$",
  allowed = "host and path of a registry such as eu.gcr.io/my-project",
}

local function texts(doc)
  return s.list { of = s.string { min = 1 }, doc = doc }
end

local permissions = {
  { "run", texts "Programs that may be started: a name on PATH or a path; with @sha256:… that file only." },
  { "net", texts "Hosts that may be reached: name, name:port, *.name, address, range (CIDR), [ipv6]:port." },
  { "read", texts "Files and folders that may be read; relative ones count from the project's root." },
  { "write", texts "Files and folders that may be changed." },
  { "env", texts "Variables that may be seen; NAME_* means all that begin so." },
}

--- What wsrun.yaml may say: sections, and in each the settings.
---@type ws.schema.Type
M.schema = s.record { fields = {
  { "ci", s.record { doc = "What ci.lua publishes, and where to.", fields = {
    { "registry", s.string { format = registry, doc = "Where images go: REGISTRY/app:VERSION." } },
    { "charts-bucket", s.string { format = bucket, doc = "The bucket that charts are published in, without gs://." } },
    { "archive-bucket", s.string { format = bucket, otherwise = "charts-bucket",
      doc = "The bucket that artifacts.json, test results, SBOM and provenance are kept in." } },
    { "builder", s.enum { one_of = { "auto", "docker", "buildah", "podman", "none" }, default = "auto",
      doc = "What builds images; auto takes the first of docker, buildah and podman that works, else none." } },
  } } },
  { "permissions", s.record { doc = "What scripts may do; without it, what the user may. See docs/security.md.",
    fields = { permissions[1], permissions[2], permissions[3], permissions[4], permissions[5],
      { "deny", s.record { fields = permissions, doc = "What they may not, whatever is allowed." } } } } },
} }

--- The type of a setting. Raises for one that does not exist: scripts name them literally.
local function type_of(section, name)
  for _, of in ipairs(M.schema.fields) do
    if of[1] == section then
      for _, field in ipairs(of[2].fields) do
        if field[1] == name then return field[2] end
      end
    end
  end
  error(("there is no setting %s.%s"):format(section, name), 3)
end

local function variable_of(section, name)
  return ("WSRUN_%s_%s"):format(section, name):upper():gsub("-", "_")
end

local loaded = {} -- root → { values, marks }

--- Reads and checks a project's wsrun.yaml.
---@async
---@param root? string  default: the project's root
---@return table? values  by section; empty without the file
---@return ws.yaml.Marks|ws.Error|nil marks  or the error: kinds `parse`, `invalid` (every problem with file, line and
---  column), and those of reading a file
function M.load(root)
  root = root or project.root()
  if loaded[root] then return loaded[root].values, loaded[root].marks end
  local text, err = fs.read(fs.join(root, FILE))
  if not text then
    if err.kind ~= "not_found" then return nil, err end
    loaded[root] = { values = {} }
    return loaded[root].values
  end
  local values, marks = yaml.load_marked(text, { filename = FILE })
  if values == nil then return nil, marks end
  if values == yaml.null then values = yaml.object() end
  local checked, problem = s.validate(M.schema, values, marks)
  if not checked then
    problem.exit = 65
    return nil, problem
  end
  loaded[root] = { values = checked, marks = marks }
  return checked, marks
end

--- A text from a variable or the command line as a value of the type, checked.
local function convert(t, text, what)
  local value = text
  if t.kind == "integer" then value = math.tointeger(tonumber(text)) or text end
  if t.kind == "boolean" then value = ({ ["true"] = true, ["1"] = true, ["false"] = false, ["0"] = false })[text] end
  if value == nil then value = text end
  local checked, problems = s.check(t, value)
  if #problems == 0 then return checked, what end
  return nil, errors.new { kind = "invalid", usage = true, message = ("%s: %s"):format(what, problems[1].message) }
end

--- The value of a setting, and where it comes from. Raises for a setting that does not exist.
---
--- ```lua
--- local settings = require "ws.settings"
--- local builder, origin = assert(settings.get("ci", "builder"))
--- ```
---@async
---@param section string
---@param name string
---@param given? any  what the command line said: it is checked, and wins
---@return any? value
---@return string|ws.Error origin  "--registry", "WSRUN_CI_REGISTRY", "wsrun.yaml:3:3" or "default"; or the error: kinds
---  `not_found` (nothing says it), `invalid`, `parse`
function M.get(section, name, given)
  local t = type_of(section, name)
  if given ~= nil then return convert(t, given, "--" .. name) end
  local variable = variable_of(section, name)
  local text = environment.get(variable)
  if text and text ~= "" then return convert(t, text, variable) end
  local values, marks = M.load()
  if not values then return nil, marks end
  local value = (values[section] or {})[name]
  if value ~= nil and marks:get { section, name } then return value, marks:where { section, name } end
  if t.default ~= nil then return t.default, "default" end
  return nil, errors.new { kind = "not_found", usage = true, message = ("nothing says %s.%s"):format(section, name),
    hint = ("say %s.%s in %s (%s), the option --%s or the variable %s"):format(section, name, FILE, s.allowed(t), name,
      variable) }
end

--- Every setting with its value and where it comes from, for people.
---@async
---@return { name: string, value: any, origin: string }[]? rows
---@return ws.Error? err  as for `get`
function M.all()
  local rows = {}
  for _, section in ipairs(M.schema.fields) do
    for _, field in ipairs(section[1] ~= "permissions" and section[2].fields or {}) do -- those are no single values
      local value, origin = M.get(section[1], field[1])
      if value == nil then
        if origin.kind ~= "not_found" then return nil, origin end
        origin = field[2].otherwise and "as " .. field[2].otherwise or "default"
      end
      rows[#rows + 1] = { name = section[1] .. "." .. field[1], value = value, origin = origin }
    end
  end
  return rows
end

return M
