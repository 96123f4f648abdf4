--- Problems of Pod specs.
local values = require "sandbox.kubernetes.values"

local M = {}

local function check_container(c, field, add, seen)
  if not c.name or c.name == "" then
    add("FieldValueRequired", field .. ".name", "Required value")
  elseif not c.name:find "^[a-z0-9][a-z0-9-]*$" or #c.name > 63 or c.name:find "-$" then
    add("FieldValueInvalid", field .. ".name",
      "Invalid value: %q: a lowercase RFC 1123 label must consist of lower case "
      .. "alphanumeric characters or '-', and must start and end with an alphanumeric character", c.name)
  elseif seen[c.name] then
    add("FieldValueDuplicate", field .. ".name", "Duplicate value: %q", c.name)
  end
  seen[c.name or ""] = true
  if not c.image or c.image == "" then
    add("FieldValueRequired", field .. ".image", "Required value")
  elseif c.image:find "^%s" or c.image:find "%s$" then
    add("FieldValueInvalid", field .. ".image", "Invalid value: %q: must not have leading or trailing whitespace",
      c.image)
  end
  local policies = { Always = true, IfNotPresent = true, Never = true }
  if c.imagePullPolicy and not policies[c.imagePullPolicy] then
    add("FieldValueNotSupported", field .. ".imagePullPolicy", 'Unsupported value: %q: supported values: "Always", '
      .. '"IfNotPresent", "Never"', c.imagePullPolicy)
  end
  for i, p in ipairs(c.ports or {}) do
    if not p.containerPort or p.containerPort < 1 or p.containerPort > 65535 then
      add("FieldValueInvalid", ("%s.ports[%d].containerPort"):format(field, i - 1),
        "Invalid value: %s: must be between 1 and 65535, inclusive", tostring(p.containerPort or 0))
    end
  end
  for i, e in ipairs(c.env or {}) do
    if not e.name or e.name == "" then add("FieldValueRequired", ("%s.env[%d].name"):format(field, i - 1),
      "Required value") end
    if e.value and e.value ~= "" and e.valueFrom then
      add("FieldValueInvalid", ("%s.env[%d].valueFrom"):format(field, i - 1),
        'Invalid value: "": may not be specified when `value` is not empty')
    end
  end
end

--- Adds the problems of a Pod spec.
---@param spec table
---@param field string  the spec's path
---@param add function  (reason, field, message, ...)
---@param claims? table[]  claim templates whose volumes the Pods get besides their own
function M.check_spec(spec, field, add, claims)
  if values.is_empty(spec.containers) then add("FieldValueRequired", field .. ".containers", "Required value") end
  local volumes, seen = {}, {}
  for _, claim in ipairs(claims or {}) do volumes[values.get(claim, "metadata", "name") or ""] = true end
  for i, v in ipairs(spec.volumes or {}) do
    if not v.name then
      add("FieldValueRequired", ("%s.volumes[%d].name"):format(field, i - 1), "Required value")
    else
      if seen["volume " .. v.name] then
        add("FieldValueDuplicate", ("%s.volumes[%d].name"):format(field, i - 1), "Duplicate value: %q", v.name)
      end
      volumes[v.name], seen["volume " .. v.name] = true, true
    end
  end
  for _, list in ipairs { "initContainers", "containers" } do
    for i, c in ipairs(spec[list] or {}) do
      local path = ("%s.%s[%d]"):format(field, list, i - 1)
      check_container(c, path, add, seen)
      for j, m in ipairs(c.volumeMounts or {}) do
        if not volumes[m.name] then
          add("FieldValueNotFound", ("%s.volumeMounts[%d].name"):format(path, j - 1), "Not found: %q", m.name or "")
        end
      end
    end
  end
end

--- What of a Pod's spec may change after its creation is taken away.
local function fixed(pod)
  local spec = values.copy(pod.spec)
  spec.activeDeadlineSeconds, spec.tolerations, spec.terminationGracePeriodSeconds, spec.nodeName = nil, nil, nil, nil
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(spec[list] or {}) do c.image, c.imagePullPolicy, c.resources = nil, nil, nil end
  end
  return spec
end

--- Adds the problems of changing a Pod.
---@param old table
---@param new table
---@param add function
function M.check_update(old, new, add)
  if not values.equal(fixed(old), fixed(new)) then
    add("FieldValueForbidden", "spec", "Forbidden: pod updates may not change fields other than "
      .. "`spec.containers[*].image`,"
      .. "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
      .. "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")
  end
end

return M
