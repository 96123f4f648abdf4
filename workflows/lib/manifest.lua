-- Manifests: finding, reading, checking and changing them.
--
-- A loaded manifest is the table of the YAML with defaults applied; `m.path` is its file. What else is known about it
-- (its text, where its keys are) is kept beside it, so that the table has the keys of the YAML only.
local errors = require "ws.error"
local fs = require "ws.fs"
local nearest = require "ws.nearest"
local schema = require "ws.schema"
local yaml = require "ws.yaml"

local M = {}

--- What a manifest may say.
---@type ws.schema.Type
M.schema = require "lib.manifest_schema"

--- The schema as JSON Schema: manifests/schema.json is this text.
---@return string json
function M.json_schema()
  local value = require "ws.schema.json"(M.schema, { title = "Manifest of a platform" })
  return require "ws.json".encode(value, { indent = 2 }) .. "\n"
end

local BEGIN, END = "<!-- keys: written by tools/manifest.lua -->\n", "<!-- end of keys -->"

--- docs/manifest.md with its tables of keys as the schema has them now.
---@param page string  the page as it is
---@return string page
function M.documentation(page)
  local _, from = page:find(BEGIN, 1, true)
  local to = page:find(END, 1, true)
  if not from or not to then error("docs/manifest.md has lost the marks between which its tables stand", 2) end
  return page:sub(1, from) .. "\n" .. require "ws.schema.markdown"(M.schema) .. "\n" .. page:sub(to)
end

-- manifest → { path, shown, marks }
local known = setmetatable({}, { __mode = "k" })

local function fail(kind, message, ...)
  return nil, errors.new { kind = kind, message = message:format(...) }
end

--- The names of the manifests of a project, sorted.
---@async
---@param root string  the project's folder
---@return string[]
function M.names(root)
  local names = {}
  for _, entry in ipairs(fs.list(fs.join(root, "manifests")) or {}) do
    local name = entry:match("^(.+)%.ya?ml$")
    if name then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

local function unknown_platform(name, root)
  local names = M.names(root)
  if #names == 0 then return fail("not_found", "no manifest %q: %s/manifests has none", name, root) end
  local near = nearest(name, names)
  local err = errors.new { kind = "not_found",
    message = ("no manifest is called %q; there are %s"):format(name, table.concat(names, ", ")) }
  if near then err.hint = ("did you mean %s?"):format(near) end
  return nil, err
end

--- The file of a manifest that is given by name or path.
local function find(name, root)
  if not name:find("/", 1, true) and not name:find("%.ya?ml$") then
    for _, ending in ipairs { ".yaml", ".yml" } do
      local path = fs.join(root, "manifests", name .. ending)
      if fs.exists(path) then return path, name end
    end
    return unknown_platform(name, root)
  end
  if name:sub(1, 1) ~= "/" and not fs.exists(name) then
    local inside = fs.join(root, name)
    if fs.exists(inside) then return inside end
  end
  if fs.exists(name) then return fs.absolute(name) end
  return fail("not_found", "%s: there is no such file", name)
end

--- A path as messages show it: relative to the project when it is inside.
local function shown(path, root)
  local prefix = fs.absolute(root) .. "/"
  path = fs.absolute(path)
  return path:sub(1, #prefix) == prefix and path:sub(#prefix + 1) or path
end

--- Reads a manifest's text and checks it.
---
---@param text string
---@param filename string  for messages
---@return table? manifest
---@return ws.yaml.Marks|ws.Error marks  or the error: kind `parse`, or `invalid` with a line for each problem
function M.parse(text, filename)
  local value, marks = yaml.load_marked(text, { filename = filename })
  if value == nil then return nil, marks end
  if yaml.kind(value) ~= "object" then
    return fail("invalid", "%s:1:1: a manifest is a map with name, region, infrastructure, ...", filename)
  end
  local checked, err = schema.validate(M.schema, value, marks)
  if not checked then return nil, err end
  return checked, marks
end

--- Reads and checks a manifest.
---@async
---@param name string  name in manifests/, or a path
---@param opts? { root?: string }  the project's folder; default: the project's root
---@return table? manifest  with the keys of the YAML, and `path`
---@return ws.Error? err  kinds `not_found` (with the names that there are), `parse`, `invalid` (with every problem,
---  each with file, line and column), and those of reading a file
function M.load(name, opts)
  if type(name) ~= "string" or name == "" then error("manifest.load: a name or path expected", 2) end
  local root = opts and opts.root or require "ws.project".root()
  local path, called = find(name, root)
  if not path then return nil, called end
  local text, read_err = fs.read(path)
  if not text then return nil, read_err end
  local file = shown(path, root)
  local m, marks = M.parse(text, file)
  if not m then return nil, marks end
  if called and m.name ~= called then
    return fail("invalid", "%s: name: found %q, and the file is called %s", marks:where { "name" }, m.name, called)
  end
  path = fs.absolute(path)
  known[m] = { path = path, shown = file, marks = marks }
  getmetatable(m).__index = { path = path }
  return m
end

local function record_of(m)
  return known[m] or error("this is not a manifest that manifest.load gave", 3)
end

--- Where a key of a manifest stands: "manifests/dev-seb.yaml:14:7"; of a key that it has not, the nearest part above.
---@param m table
---@param path (string|integer)[]
---@return string
function M.where(m, path)
  return record_of(m).marks:where(path)
end

--- The parts of a key as people write it: infrastructure.gke.max, applications[1].version, applications.web.version.
local function parts_of(key)
  local parts, at = {}, 1
  while at <= #key do
    local from, to, index = key:find("^%.?%[(%d+)%]", at)
    if from then
      parts[#parts + 1] = math.tointeger(tonumber(index))
    else
      local name
      from, to, name = key:find('^%.?%["(.-)"%]', at)
      if not from then from, to, name = key:find(#parts > 0 and "^%.([^.%[%]]+)" or "^([^.%[%]]+)", at) end
      if not from then return nil end
      parts[#parts + 1] = name
    end
    at = to + 1
  end
  return #parts > 0 and parts or nil
end

--- The type of one part of a value of a type, and the names that could stand there.
local function type_of_part(t, value, part)
  if not t then return nil, {} end
  if t.kind == "record" then
    local found, names = nil, {}
    for i, field in ipairs(t.fields) do
      names[i] = field[1]
      if field[1] == part then found = field[2] end
    end
    return found, names
  elseif t.kind == "either" then
    for _, of in ipairs(t.of) do
      local found, names = type_of_part(of, value, part)
      if found or #names > 0 then return found, names end
    end
    return nil, {}
  end
  local names = {}
  for name, entry in pairs(type(value) == "table" and value or {}) do
    names[#names + 1] = t.kind == "list" and type(entry) == "table" and entry.name or name
  end
  return t.of, names
end

--- Goes one part further; a name of a list's entry becomes its index. Returns the part, its value and type, or the
--- names that could stand there.
local function descend(value, t, part)
  if type(value) == "table" and yaml.kind(value) == "array" and type(part) == "string" then
    for i, entry in ipairs(value) do
      if type(entry) == "table" and entry.name == part then part = i end
    end
  end
  local inner, names = type_of_part(t, value, part)
  local found
  if type(value) == "table" then found = value[part] end
  local known_part = found ~= nil or t and (t.kind == "record" or t.kind == "either") and inner ~= nil
  if not known_part then return nil, names end
  return part, found, inner
end

---@class manifest.Explanation
---@field path (string|integer)[]
---@field key string           as people write it
---@field value any            what holds; nil when only a layer gives a default
---@field from "manifest"|"default"|"absent"
---@field where string         of the key; when the manifest has it not, of the nearest part above
---@field line? integer        of the value, when the manifest has it
---@field allowed? string      what the schema allows
---@field doc? string
---@field otherwise? string    what happens without the key
---@field is_secret? boolean

--- Where the value of a key comes from.
---@param m table     a loaded manifest
---@param key string  such as infrastructure.gke.max, applications[1].version or applications.web.version
---@return manifest.Explanation? explanation
---@return ws.Error? err  kind `not_found`, with the nearest key
function M.explain(m, key)
  local parts = parts_of(key)
  if not parts then return fail("invalid", "%q is no key such as infrastructure.gke.max", key) end
  local value, t, path = m, M.schema, {}
  for i, wanted in ipairs(parts) do
    local part, found, inner = descend(value, t, wanted)
    if part == nil then
      local names, above = {}, table.move(path, 1, #path, 1, {})
      for n, name in ipairs(found) do names[n] = tostring(name) end
      local near = nearest(tostring(wanted), names)
      local err = errors.new { kind = "not_found", message = ("%s has no key %s"):format(
        #path > 0 and schema.path_text(path) or record_of(m).shown, tostring(wanted)) }
      above[#above + 1] = near
      table.sort(names)
      table.move(parts, i + 1, #parts, #above + 1, above)
      err.hint = near and ("did you mean %s?"):format(schema.path_text(above))
        or #names > 0 and "there are " .. table.concat(names, ", ") or nil
      return nil, err
    end
    path[i], value, t = part, found, inner
  end
  local marks = record_of(m).marks
  local line = marks:get(path)
  return { path = path, key = schema.path_text(path), value = value, line = line, where = marks:where(path),
    from = line and "manifest" or value ~= nil and "default" or "absent", allowed = t and schema.allowed(t),
    doc = t and t.doc, otherwise = t and t.otherwise, is_secret = t and t.secret }
end

--- Changes the text of the manifest's file, as it is now, and checks it before it is written.
local function change(m, op, path, edit)
  local record = record_of(m)
  local text, err = fs.read(record.path)
  if not text then return nil, err end
  local changed, edit_err = edit(text, { filename = record.shown })
  if not changed then return nil, edit_err end
  local checked, marks = M.parse(changed, record.shown)
  if not checked then return nil, marks end
  if changed ~= text then
    local ok, write_err = fs.write(record.path, changed)
    if not ok then
      write_err.op = op
      return nil, write_err
    end
  end
  record.marks = marks
  local into, from = m, checked
  for i = 1, #path - 1 do
    if into[path[i]] == nil then
      into[path[i]] = from[path[i]]
      return true
    end
    into, from = into[path[i]], from[path[i]]
    if into == nil or from == nil then return true end
  end
  into[path[#path]] = from[path[#path]]
  return true
end

--- Sets a value of a manifest, in the table and in its file, where nothing but that value changes.
---
--- The file is read anew, so what others wrote meanwhile stays. It is replaced as a whole or not at all.
---@async
---@param m table
---@param path (string|integer)[]
---@param value any
---@return true? ok
---@return ws.Error? err  kinds `invalid` (the schema refuses the value), `unsupported` (the text cannot be changed
---  there), `no_space` and others of writing a file; the file is as it was then
function M.set(m, path, value)
  return change(m, "manifest.set", path, function(text, opts) return yaml.edit(text, path, value, opts) end)
end

--- Removes a key of a manifest, in the table and in its file. A key that is not there is no error.
---@async
---@param m table
---@param path (string|integer)[]
---@return true? ok
---@return ws.Error? err  as for `set`
function M.unset(m, path)
  return change(m, "manifest.unset", path, function(text, opts)
    local changed, err = yaml.remove(text, path, opts)
    if not changed and err.kind == "not_found" then return text end
    return changed, err
  end)
end

return M
