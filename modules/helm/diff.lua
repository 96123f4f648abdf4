--- helm.diff: objects before and after, by kind, namespace and name.
local json = require "ws.json"
local yaml = require "ws.yaml"

local M = {}

--- A manifest's objects: key → object, and the keys in order.
local function objects(text, namespace)
  local docs, err = yaml.decode_all(text)
  if not docs then return nil, err end
  local by_key, keys = {}, {}
  for _, object in ipairs(docs) do
    if type(object) == "table" and object.kind and object.metadata then
      local meta = object.metadata
      local key = table.concat({ object.kind, meta.namespace or namespace or "", meta.name or "" }, "/")
      if not by_key[key] then keys[#keys + 1] = key end
      by_key[key] = object
    end
  end
  return by_key, keys
end

--- A text that is the same for objects with the same content, whatever the order of their keys.
local function canonical(value)
  if type(value) ~= "table" then return json.encode(value) end
  local parts = {}
  if json.kind(value) == "array" then
    for i, v in ipairs(value) do parts[i] = canonical(v) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for k, v in json.pairs(value) do parts[#parts + 1] = json.encode(tostring(k)) .. ":" .. canonical(v) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. "}"
end

local function change(action, object, before, after)
  local shown = object.kind ~= "Secret"
  return {
    action = action, kind = object.kind, name = object.metadata.name, namespace = object.metadata.namespace,
    before = shown and before or nil, after = shown and after or nil,
  }
end

--- See helm.diff.
function M.run(helm, run, opts)
  local rendered, err = helm.template {
    chart = opts.chart, release = opts.release, values = opts.values, namespace = opts.namespace, env = opts.env,
    kubeconfig = opts.kubeconfig, log = opts.log,
  }
  if not rendered then return nil, err end
  local deployed
  deployed, err = run({ "get", "manifest", opts.release }, opts)
  if not deployed then
    if err.kind ~= "not_found" then return nil, err end
    deployed = ""
  end
  local before, before_keys = objects(deployed, opts.namespace)
  if not before then return nil, before_keys end
  local after, after_keys = objects(rendered, opts.namespace)
  if not after then return nil, after_keys end
  local changes = {}
  for _, key in ipairs(after_keys) do
    local old, new = before[key], after[key]
    if not old then
      changes[#changes + 1] = change("add", new, nil, new)
    elseif canonical(old) ~= canonical(new) then
      changes[#changes + 1] = change("change", new, old, new)
    end
  end
  for _, key in ipairs(before_keys) do
    if not after[key] then changes[#changes + 1] = change("remove", before[key], before[key], nil) end
  end
  return changes
end

return M
