--- The types of the built-in kinds: what a field is called, what it holds, how its lists merge.
---
--- One table serves the strict check of requests, the merge keys of strategic patches, the ownership of server-side
--- apply, the protobuf decoder and the published OpenAPI. Field names, numbers and list types are those of the
--- Kubernetes API, version 1.34. Each file of this folder holds one group version in this notation:
---
---     Type [atomic]: NUMBER NAME TYPE [FLAG...]; ...
---
--- NUMBER is the protobuf field; NAME `+` means that the fields of TYPE are in line. TYPE is `string int bool number
--- bytes time microtime quantity intstr raw`, the name of a type (`core/v1.Pod` in another group), `[]TYPE` or
--- `{}TYPE`. Flags: `map=KEYS` a list with keys, `set`, `atomic`, `merge[=KEY]` and `retain` for strategic patches,
--- `zero` a number or boolean whose zero means that it is absent (protobuf writes it anyway), `!` required.
---
--- A node has `type` (`object list map` or a scalar's name), `fields` (by name) and `numbers` of an object, `elem` of a
--- list or map, `keys` (list of key names) and `set` of a list, `atomic`, `merge`, `retain`, `required`, and
--- `preserve` when
--- unknown members are kept (custom resources).
local M = {}

---@class kubernetes.Node
---@field type string
---@field fields? table<string, kubernetes.Node>
---@field numbers? table<integer, { name: string?, node: kubernetes.Node }>
---@field order? string[]
---@field elem? kubernetes.Node
---@field keys? string[]
---@field set? boolean
---@field atomic? boolean
---@field merge? string|true
---@field retain? boolean
---@field zero? boolean
---@field required? boolean
---@field preserve? boolean
---@field name? string  the type's name, for OpenAPI

local SCALARS = {}
for name in ("string int bool number bytes time microtime quantity intstr raw any"):gmatch "%a+" do
  SCALARS[name] = { type = name }
end
M.scalars = SCALARS

local groups = {}

--- The type by its full name, as `core/v1.Pod`; its fields appear when its group is parsed.
local function named(group, name)
  groups[group] = groups[group] or {}
  local types = groups[group]
  types[name] = types[name] or { type = "object", name = group .. "." .. name }
  return types[name]
end

local parse_group

local function node_of(group, text)
  local list = text:match "^%[%](.+)"
  if list then return { type = "list", elem = node_of(group, list) } end
  local map = text:match "^{}(.+)"
  if map then return { type = "map", elem = node_of(group, map) } end
  if SCALARS[text] then return SCALARS[text] end
  local other, name = text:match "^([%w/]+)%.(%w+)$"
  if not other then return named(group, text) end
  parse_group(other)
  return named(other, name)
end

local function with_flags(node, flags)
  if flags == "" then return node end
  local own = {}
  for k, v in pairs(node) do own[k] = v end
  if node.type == "object" then own.of = node end
  for flag in flags:gmatch "%S+" do
    local name, value = flag:match "^(%w+)=(.*)$"
    if flag == "!" then
      own.required = true
    elseif name == "map" then
      own.keys = {}
      for key in value:gmatch "[^,]+" do table.insert(own.keys, key) end
    else
      own[name or flag] = value or true
    end
  end
  return own
end

local function parse_type(group, head, body)
  local name, atomic = head:match "^(%w+)%s*(%a*)$"
  local node = named(group, name)
  node.atomic = atomic == "atomic" or nil
  node.fields, node.numbers, node.order = {}, {}, {}
  for item in body:gmatch "[^;]+" do
    local number, field, type_text, flags = item:match "^%s*(%d+) (%S+) (%S+)%s*(.-)%s*$"
    if number then
      table.insert(node.numbers, { number = math.tointeger(number), field = field, type = type_text, flags = flags })
    end
  end
end

--- Second pass, when all types of the group are named: the fields themselves.
local function link_type(group, node)
  local items = node.numbers
  node.numbers = {}
  for _, item in ipairs(items) do
    local target = node_of(group, item.type)
    if item.field == "+" then
      node.numbers[item.number] = { node = target }
      node.inline = node.inline or {}
      table.insert(node.inline, target)
    else
      local field = with_flags(target, item.flags)
      node.fields[item.field] = field
      node.numbers[item.number] = { name = item.field, node = field }
      table.insert(node.order, item.field)
    end
  end
end

local function fold_inline(node, done)
  if done[node] or not node.inline then return end
  done[node] = true
  for _, part in ipairs(node.inline) do
    fold_inline(part, done)
    for _, field in ipairs(part.order) do
      if not node.fields[field] then
        node.fields[field] = part.fields[field]
        table.insert(node.order, field)
      end
    end
  end
end

-- Kinds that also stand inside others, and then may say what they are.
local EMBEDDED_KINDS = { ["core/v1.PersistentVolumeClaim"] = true }

function parse_group(group)
  if groups[group] and groups[group][1] then return groups[group] end
  groups[group] = groups[group] or {}
  local types = groups[group]
  types[1] = true -- parsed, or being parsed: groups refer to each other
  local text = require("sandbox.kubernetes.schema." .. (group:gsub("/", "_")))
  local found = {}
  for block in (text:gsub("\n  ", " ") .. "\n"):gmatch "([^\n]+)\n" do
    local head, body = block:match "^([^:]+):(.*)$"
    if head then
      parse_type(group, head, body)
      found[#found + 1] = types[head:match "^%w+"]
    end
  end
  for _, node in ipairs(found) do link_type(group, node) end
  local done = {}
  for _, node in ipairs(found) do
    fold_inline(node, done)
    if EMBEDDED_KINDS[node.name] then node.fields.apiVersion, node.fields.kind = SCALARS.string, SCALARS.string end
  end
  -- A field with flags is a copy of its type's node, made before that type was linked.
  for _, node in ipairs(found) do
    for _, field in pairs(node.fields) do
      if field.of then
        field.fields, field.numbers, field.order = field.of.fields, field.of.numbers, field.of.order
        field.atomic = field.atomic or field.of.atomic
      end
    end
  end
  return types
end

--- The folder's name for an API group version: `""`, `v1` is `core/v1`; `rbac.authorization.k8s.io` is `rbac`.
---@param group string
---@param version string
---@return string
function M.group_name(group, version)
  if group == "" then return "core/" .. version end
  return group:match "^[^.]+" .. "/" .. version
end

local kinds = {}

--- The node of a built-in kind, with apiVersion and kind.
---@param group string  API group, "" for the core
---@param version string
---@param kind string
---@return kubernetes.Node? node  nil when there is no such type
function M.kind(group, version, kind)
  local id = group .. "/" .. version .. "/" .. kind
  if kinds[id] then return kinds[id] end
  local types = parse_group(M.group_name(group, version))
  local base = types[kind]
  if not base then return nil end
  local node = { type = "object", name = base.name, fields = {}, numbers = base.numbers,
    order = { "apiVersion", "kind" } }
  for name, field in pairs(base.fields) do node.fields[name] = field end
  for _, name in ipairs(base.order) do table.insert(node.order, name) end
  node.fields.apiVersion, node.fields.kind = SCALARS.string, SCALARS.string
  kinds[id] = node
  return node
end

--- The node of object metadata.
---@return kubernetes.Node
function M.metadata()
  return parse_group("meta").ObjectMeta
end

--- A type by its full name, as `meta.DeleteOptions` or `core/v1.Container`.
---@param full_name string
---@return kubernetes.Node?
function M.type(full_name)
  local group, name = full_name:match "^(.+)%.(%w+)$"
  return parse_group(group)[name]
end

return M
