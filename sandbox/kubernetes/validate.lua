--- What the API refuses although its types are right: names, required fields, immutable fields. One 422 lists all
--- problems.
local errors = require "sandbox.kubernetes.errors"
local selectors = require "sandbox.kubernetes.selectors"
local values = require "sandbox.kubernetes.values"
local pod = require "sandbox.kubernetes.validate_pod"

local M = {}

local function adder(problems)
  return function(reason, field, message, ...)
    problems[#problems + 1] = { reason = reason, field = field, message = select("#", ...) > 0 and message:format(...)
      or message }
  end
end

local DNS_LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
  .. "start and "
  .. "end with an alphanumeric character"
local DNS_SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
  .. "'.', and "
  .. "must start and end with an alphanumeric character"
local DNS_SERVICE = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
  .. "alphabetic "
  .. "character, and end with an alphanumeric character"

local function is_label(name)
  return #name <= 63 and name:find "^[a-z0-9][a-z0-9-]*$" ~= nil and not name:find "-$"
end

local function is_subdomain(name)
  if #name > 253 or name:find "%.%." or name:find "^%." or name:find "%.$" then return false end
  for part in name:gmatch "[^.]+" do
    if not part:find "^[a-z0-9][a-z0-9-]*$" or part:find "-$" then return false end
  end
  return name ~= ""
end

local LABEL_NAMES = { ["/namespaces"] = true, ["apps/statefulsets"] = true }

local function check_name(object, resource, add)
  local name = object.metadata.name
  if not name or name == "" then
    add("FieldValueRequired", "metadata.name", "Required value: name or generateName is required")
  elseif resource.group == "rbac.authorization.k8s.io" then
    if name:find "[/%%]" or name == "." or name == ".." then
      add("FieldValueInvalid", "metadata.name", "Invalid value: %q: may not contain '/' or '%%'", name)
    end
  elseif resource.id == "/services" then
    if not (is_label(name) and name:find "^[a-z]") then
      add("FieldValueInvalid", "metadata.name", "Invalid value: %q: %s", name, DNS_SERVICE)
    end
  elseif LABEL_NAMES[resource.id] then
    if not is_label(name) then add("FieldValueInvalid", "metadata.name", "Invalid value: %q: %s", name, DNS_LABEL) end
  elseif not is_subdomain(name) then
    add("FieldValueInvalid", "metadata.name", "Invalid value: %q: %s", name, DNS_SUBDOMAIN)
  end
end

local function is_qualified(key)
  local prefix, name = key:match "^([^/]+)/([^/]+)$"
  if not prefix then name = key end
  return #name <= 63 and name:find "^[%w][%w_.-]*$" ~= nil and not name:find "[_.-]$"
    and (not prefix or is_subdomain(prefix))
end

local function check_labels(labels, field, add)
  for _, k in ipairs(values.keys(labels or {})) do
    local v = labels[k]
    if not is_qualified(k) then
      add("FieldValueInvalid", field, "Invalid value: %q: name part must consist of alphanumeric characters, '-', "
        .. "'_' or '.', "
        .. "and must start and end with an alphanumeric character", k)
    end
    if #v > 63 or (v ~= "" and (not v:find "^%w[%w_.-]*$" or v:find "[_.-]$")) then
      add("FieldValueInvalid", field, "Invalid value: %q: a valid label must be an empty string or consist of "
        .. "alphanumeric "
        .. "characters, '-', '_' or '.', and must start and end with an alphanumeric character", v)
    end
  end
end

local function check_metadata(object, add)
  check_labels(object.metadata.labels, "metadata.labels", add)
  for _, k in ipairs(values.keys(object.metadata.annotations or {})) do
    if not is_qualified(k:lower()) then
      add("FieldValueInvalid", "metadata.annotations",
        "Invalid value: %q: name part must consist of alphanumeric characters, "
        .. "'-', '_' or '.', and must start and end with an alphanumeric character", k)
    end
  end
  for i, owner in ipairs(object.metadata.ownerReferences or {}) do
    for _, k in ipairs { "apiVersion", "kind", "name", "uid" } do
      if not owner[k] or owner[k] == "" then
        add("FieldValueRequired", ("metadata.ownerReferences[%d].%s"):format(i - 1, k), "Required value")
      end
    end
  end
end

local function same(add, old, new, field, ...)
  if old and not values.equal(values.get(old, ...), values.get(new, ...)) then
    add("FieldValueInvalid", field, "Invalid value: %s: field is immutable", values.canonical(values.get(new, ...)))
  end
end

local function check_template(spec, add, restart)
  local template = spec.template
  if type(template) ~= "table" then
    add("FieldValueRequired", "spec.template", "Required value")
    return
  end
  check_labels(values.get(template, "metadata", "labels"), "spec.template.metadata.labels", add)
  pod.check_spec(template.spec or {}, "spec.template.spec", add, spec.volumeClaimTemplates)
  local policy = values.get(template, "spec", "restartPolicy")
  if policy == "Always" and not restart.Always then
    add("FieldValueRequired", "spec.template.spec.restartPolicy", "Required value: valid values: " .. restart.text)
  elseif not restart[policy] then
    add("FieldValueNotSupported", "spec.template.spec.restartPolicy", "Unsupported value: %q: supported values: %s",
      policy,
      restart.text)
  end
end

local ALWAYS = { Always = true, text = '"Always"' }
local JOB_RESTART = { OnFailure = true, Never = true, text = '"OnFailure", "Never"' }

local function check_workload(object, old, add)
  local spec = object.spec or {}
  if values.is_empty(spec.selector) then
    add("FieldValueRequired", "spec.selector", "Required value")
  elseif type(spec.template) == "table" and
    not selectors.of_object(spec.selector)(values.get(spec.template, "metadata", "labels")) then
    add("FieldValueInvalid", "spec.template.metadata.labels",
      "Invalid value: %s: `selector` does not match template `labels`",
      values.canonical(values.get(spec.template, "metadata", "labels") or values.object()))
  end
  if spec.replicas and spec.replicas < 0 then
    add("FieldValueInvalid", "spec.replicas", "Invalid value: %d: must be greater than or equal to 0", spec.replicas)
  end
  check_template(spec, add, ALWAYS)
  same(add, old, object, "spec.selector", "spec", "selector")
end

local KIND = {}
KIND["apps/deployments"] = check_workload
KIND["apps/replicasets"] = check_workload
KIND["apps/daemonsets"] = check_workload

KIND["apps/statefulsets"] = function(object, old, add)
  check_workload(object, old, add)
  if not old then return end
  local function fixed(o)
    local out = {}
    for k, v in pairs(o.spec) do out[k] = v end
    for _, k in ipairs { "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
      "persistentVolumeClaimRetentionPolicy", "minReadySeconds", "selector" } do out[k] = nil end
    return out
  end
  if not values.equal(fixed(old), fixed(object)) then
    add("FieldValueForbidden", "spec", "Forbidden: updates to statefulset spec for fields other than 'replicas', "
      .. "'ordinals', "
      .. "'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
      .. "'minReadySeconds' are forbidden")
  end
end

KIND["batch/jobs"] = function(object, old, add)
  check_template(object.spec or {}, add, JOB_RESTART)
  if not values.get(old or {}, "spec", "suspend") then same(add, old, object, "spec.template", "spec", "template") end
  same(add, old, object, "spec.selector", "spec", "selector")
  same(add, old, object, "spec.completionMode", "spec", "completionMode")
end

KIND["batch/cronjobs"] = function(object, _, add)
  local schedule = values.get(object, "spec", "schedule") or ""
  local fields = select(2, schedule:gsub("%S+", ""))
  if schedule == "" then
    add("FieldValueRequired", "spec.schedule", "Required value")
  elseif fields ~= 5 and not schedule:find "^@%a+" then
    add("FieldValueInvalid", "spec.schedule", "Invalid value: %q: expected exactly 5 fields, found %d: [%s]", schedule,
      fields, schedule)
  end
  pod.check_spec(values.get(object, "spec", "jobTemplate", "spec", "template", "spec") or {},
    "spec.jobTemplate.spec.template.spec", add)
end

KIND["/pods"] = function(object, old, add)
  pod.check_spec(object.spec, "spec", add)
  if old then pod.check_update(old, object, add) end
end

KIND["/services"] = function(object, old, add)
  local spec = object.spec or {}
  local types = { ClusterIP = true, NodePort = true, LoadBalancer = true, ExternalName = true }
  if not types[spec.type] then
    add("FieldValueNotSupported", "spec.type", 'Unsupported value: %q: supported values: "ClusterIP", "ExternalName", '
      .. '"LoadBalancer", "NodePort"', spec.type)
  end
  if spec.type == "ExternalName" then
    if not spec.externalName then add("FieldValueRequired", "spec.externalName", "Required value") end
  elseif values.is_empty(spec.ports) and spec.clusterIP ~= "None" then
    add("FieldValueRequired", "spec.ports", "Required value")
  end
  local seen = {}
  for i, port in ipairs(spec.ports or {}) do
    local field = ("spec.ports[%d]"):format(i - 1)
    if not port.port or port.port < 1 or port.port > 65535 then
      add("FieldValueInvalid", field .. ".port", "Invalid value: %s: must be between 1 and 65535, inclusive",
        tostring(port.port or 0))
    end
    if #spec.ports > 1 and not port.name then add("FieldValueRequired", field .. ".name", "Required value") end
    local key = port.name or (tostring(port.port) .. tostring(port.protocol))
    if seen[key] then add("FieldValueDuplicate", field, "Duplicate value: %q", key) end
    seen[key] = true
  end
  if old and values.get(old, "spec", "clusterIP") and spec.type ~= "ExternalName" and old.spec.type ~= "ExternalName"
    and old.spec.clusterIP ~= spec.clusterIP then
    add("FieldValueInvalid", "spec.clusterIPs[0]", "Invalid value: [%q]: may not change once set", spec.clusterIP)
  end
end

local function check_data(object, old, add)
  for _, field in ipairs { "data", "binaryData" } do
    for _, k in ipairs(values.keys(object[field] or {})) do
      if not k:find "^[%w._-]+$" or #k > 253 or k == "." or k == ".." then
        add("FieldValueInvalid", ("%s[%s]"):format(field, k), "Invalid value: %q: a valid config key must consist of "
          .. "alphanumeric characters, '-', '_' or '.'", k)
      end
    end
  end
  if old and old.immutable then
    for _, field in ipairs { "data", "binaryData", "immutable" } do
      if not values.equal(old[field], object[field]) then
        add("FieldValueForbidden", field, "Forbidden: field is immutable when `immutable` is set")
      end
    end
  end
end
KIND["/configmaps"] = check_data
KIND["/secrets"] = function(object, old, add)
  check_data(object, old, add)
  same(add, old, object, "type", "type")
  local required = { ["kubernetes.io/tls"] = { "tls.crt", "tls.key" },
    ["kubernetes.io/dockerconfigjson"] = { ".dockerconfigjson" },
    ["kubernetes.io/ssh-auth"] = { "ssh-privatekey" } }
  for _, k in ipairs(required[object.type] or {}) do
    if not values.get(object, "data", k) then add("FieldValueRequired", ("data[%s]"):format(k), "Required value") end
  end
end

KIND["/persistentvolumeclaims"] = function(object, old, add)
  local spec = object.spec or {}
  if values.is_empty(spec.accessModes) then
    add("FieldValueRequired", "spec.accessModes", "Required value: at least 1 access mode is required")
  end
  if not values.get(spec, "resources", "requests", "storage") then
    add("FieldValueRequired", "spec.resources[storage]", "Required value")
  end
  if old then
    local function fixed(o)
      local out = {}
      for k, v in pairs(o.spec) do out[k] = v end
      out.resources, out.volumeName, out.volumeAttributesClassName = nil, nil, nil
      return out
    end
    if not values.equal(fixed(old), fixed(object)) then
      add("FieldValueForbidden", "spec", "Forbidden: spec is immutable after creation except resources.requests and "
        .. "volumeAttributesClassName for bound claims")
    end
  end
end

KIND["networking.k8s.io/ingresses"] = function(object, _, add)
  local spec = object.spec or {}
  if values.is_empty(spec.rules) and not spec.defaultBackend then
    add("FieldValueInvalid", "spec", "Invalid value: []: either `defaultBackend` or `rules` must be specified")
  end
  for i, rule in ipairs(spec.rules or {}) do
    for j, path in ipairs(values.get(rule, "http", "paths") or {}) do
      local field = ("spec.rules[%d].http.paths[%d]"):format(i - 1, j - 1)
      if not path.pathType then add("FieldValueRequired", field .. ".pathType",
        "Required value: pathType must be specified") end
      if not path.backend then add("FieldValueRequired", field .. ".backend", "Required value") end
    end
  end
end

local function check_binding(object, old, add)
  local ref = object.roleRef or {}
  if ref.kind ~= "Role" and ref.kind ~= "ClusterRole" then
    add("FieldValueNotSupported", "roleRef.kind", 'Unsupported value: %q: supported values: "Role", "ClusterRole"',
      ref.kind or "")
  end
  if not ref.name or ref.name == "" then add("FieldValueRequired", "roleRef.name", "Required value") end
  if old and not values.equal(old.roleRef, object.roleRef) then
    add("FieldValueInvalid", "roleRef", "Invalid value: %s: cannot change roleRef", values.canonical(object.roleRef))
  end
  for i, s in ipairs(object.subjects or {}) do
    if not s.name or s.name == "" then add("FieldValueRequired", ("subjects[%d].name"):format(i - 1),
      "Required value") end
    if s.kind == "ServiceAccount" and not s.namespace then
      add("FieldValueRequired", ("subjects[%d].namespace"):format(i - 1), "Required value")
    end
  end
end
KIND["rbac.authorization.k8s.io/rolebindings"] = check_binding
KIND["rbac.authorization.k8s.io/clusterrolebindings"] = check_binding

KIND["autoscaling/horizontalpodautoscalers"] = function(object, _, add)
  local spec = object.spec or {}
  if not spec.maxReplicas or spec.maxReplicas < 1 then
    add("FieldValueInvalid", "spec.maxReplicas", "Invalid value: %s: must be greater than 0",
      tostring(spec.maxReplicas or 0))
  elseif spec.maxReplicas < (spec.minReplicas or 1) then
    add("FieldValueInvalid", "spec.maxReplicas", "Invalid value: %d: must be greater than or equal to `minReplicas`",
      spec.maxReplicas)
  end
  if not values.get(spec, "scaleTargetRef", "name") then add("FieldValueRequired", "spec.scaleTargetRef.name",
    "Required value") end
end

KIND["apiextensions.k8s.io/customresourcedefinitions"] = function(object, old, add)
  local spec = object.spec or {}
  local names = spec.names or {}
  local wanted = tostring(names.plural) .. "." .. tostring(spec.group)
  if object.metadata.name ~= wanted then
    add("FieldValueInvalid", "metadata.name", 'Invalid value: %q: must be spec.names.plural+"."+spec.group',
      object.metadata.name)
  end
  if spec.scope ~= "Namespaced" and spec.scope ~= "Cluster" then
    add("FieldValueNotSupported", "spec.scope", 'Unsupported value: %q: supported values: "Cluster", "Namespaced"',
      spec.scope or "")
  end
  local stored = 0
  for i, v in ipairs(spec.versions or {}) do
    stored = stored + (v.storage and 1 or 0)
    if not values.get(v, "schema", "openAPIV3Schema") then
      add("FieldValueRequired", ("spec.versions[%d].schema.openAPIV3Schema"):format(i - 1),
        "Required value: schemas are required")
    end
  end
  if stored ~= 1 then
    add("FieldValueInvalid", "spec.versions", "Invalid value: must have exactly one version marked as storage version")
  end
  same(add, old, object, "spec.names.kind", "spec", "names", "kind")
  same(add, old, object, "spec.scope", "spec", "scope")
end

--- Raises 422 with every problem of an object.
---@param object table  with its defaults
---@param old? table  what it replaces
---@param resource kubernetes.Resource
---@param more? { reason: string, field: string, message: string }[]  problems found elsewhere
function M.object(object, old, resource, more)
  local problems = more or {}
  local add = adder(problems)
  if not old then check_name(object, resource, add) end
  check_metadata(object, add)
  if KIND[resource.id] then KIND[resource.id](object, old, add) end
  if #problems > 0 then errors.invalid(resource, object.metadata.name or "", problems) end
end

return M
