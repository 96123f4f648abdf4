--- The resources that the API serves: the built-in ones below and those of custom resource definitions.
---
--- A resource is identified in the store by `id` = "group/plural"; its versions share the stored objects.

local M = {}

---@class kubernetes.Resource
---@field id string  "apps/deployments"; the core group is ""
---@field group string
---@field versions string[]  preferred first; the first one is stored
---@field plural string
---@field singular string
---@field kind string
---@field namespaced boolean
---@field short string[]
---@field categories string[]
---@field verbs string[]
---@field subresources table<string, boolean>
---@field virtual? boolean  answered, never stored (reviews)
---@field crd? table  the definition of a custom resource
---@field nodes? table<string, kubernetes.Node>  by version; custom resources only

-- plural, kind, scope (n: in a namespace, c: of the cluster), short names, categories, subresources; "-" for none.
local BUILT_IN = [[
v1
  configmaps               ConfigMap              n cm   -   -
  endpoints                Endpoints              n ep   -   -
  events                   Event                  n ev   -   -
  limitranges              LimitRange             n limits - -
  namespaces               Namespace              c ns   -   status,finalize
  nodes                    Node                   c no   -   status
  persistentvolumeclaims   PersistentVolumeClaim  n pvc  -   status
  persistentvolumes        PersistentVolume       c pv   -   status
  pods Pod n po all status,log,exec,attach,portforward,eviction,binding,ephemeralcontainers,resize
  podtemplates             PodTemplate            n -    -   -
  replicationcontrollers   ReplicationController  n rc   all status,scale
  resourcequotas           ResourceQuota          n quota -  status
  secrets                  Secret                 n -    -   -
  serviceaccounts          ServiceAccount         n sa   -   token
  services                 Service                n svc  all status,proxy
apps/v1
  controllerrevisions      ControllerRevision     n -    -   -
  daemonsets               DaemonSet              n ds   all status
  deployments              Deployment             n deploy all status,scale
  replicasets              ReplicaSet             n rs   all status,scale
  statefulsets             StatefulSet            n sts  all status,scale
batch/v1
  cronjobs                 CronJob                n cj   all status
  jobs                     Job                    n -    all status
autoscaling/v2,v1
  horizontalpodautoscalers HorizontalPodAutoscaler n hpa all status
networking.k8s.io/v1
  ingressclasses           IngressClass           c -    -   -
  ingresses                Ingress                n ing  -   status
  ipaddresses              IPAddress              c ip   -   -
  networkpolicies          NetworkPolicy          n netpol - -
  servicecidrs             ServiceCIDR            c -    -   status
policy/v1
  poddisruptionbudgets     PodDisruptionBudget    n pdb  -   status
rbac.authorization.k8s.io/v1
  clusterrolebindings      ClusterRoleBinding     c -    -   -
  clusterroles             ClusterRole            c -    -   -
  rolebindings             RoleBinding            n -    -   -
  roles                    Role                   n -    -   -
storage.k8s.io/v1
  csidrivers               CSIDriver              c -    -   -
  csinodes                 CSINode                c -    -   -
  csistoragecapacities     CSIStorageCapacity     n -    -   -
  storageclasses           StorageClass           c sc   -   -
  volumeattachments        VolumeAttachment       c -    -   status
  volumeattributesclasses  VolumeAttributesClass  c vac  -   -
coordination.k8s.io/v1
  leases                   Lease                  n -    -   -
discovery.k8s.io/v1
  endpointslices           EndpointSlice          n -    -   -
events.k8s.io/v1
  events                   Event                  n ev   -   -
scheduling.k8s.io/v1
  priorityclasses          PriorityClass          c pc   -   -
admissionregistration.k8s.io/v1
  mutatingwebhookconfigurations   MutatingWebhookConfiguration   c - - -
  validatingadmissionpolicies     ValidatingAdmissionPolicy      c - - status
  validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding c - - -
  validatingwebhookconfigurations ValidatingWebhookConfiguration c - - -
node.k8s.io/v1
  runtimeclasses           RuntimeClass           c -    -   -
certificates.k8s.io/v1
  certificatesigningrequests CertificateSigningRequest c csr - status,approval
flowcontrol.apiserver.k8s.io/v1
  flowschemas              FlowSchema             c -    -   status
  prioritylevelconfigurations PriorityLevelConfiguration c - - status
apiextensions.k8s.io/v1
  customresourcedefinitions CustomResourceDefinition c crd,crds api-extensions status
apiregistration.k8s.io/v1
  apiservices              APIService             c -    api-extensions status
authentication.k8s.io/v1
  selfsubjectreviews       SelfSubjectReview      c - - - create
  tokenreviews             TokenReview            c - - - create
authorization.k8s.io/v1
  localsubjectaccessreviews LocalSubjectAccessReview n - - - create
  selfsubjectaccessreviews SelfSubjectAccessReview c - - - create
  selfsubjectrulesreviews  SelfSubjectRulesReview c - - - create
  subjectaccessreviews     SubjectAccessReview    c - - - create
]]

local ALL_VERBS = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch" }

local function list_of(text)
  local out = {}
  if text == "-" then return out end
  for word in text:gmatch "[^,]+" do out[#out + 1] = word end
  return out
end

local function set_of(list)
  local out = {}
  for _, v in ipairs(list) do out[v] = true end
  return out
end

---@class kubernetes.Resources
---@field list kubernetes.Resource[]  in the order of discovery
---@field generation integer  rises whenever a resource comes, goes or changes
local Resources = {}
Resources.__index = Resources

--- The registry with the built-in resources.
---@return kubernetes.Resources
function M.new()
  local self = setmetatable({ list = {}, by_path = {}, by_kind = {}, by_id = {}, generation = 1 }, Resources)
  local group, versions
  for line in BUILT_IN:gmatch "[^\n]+" do
    local plural, kind, scope, short, categories, subresources, verbs =
      line:match "^  (%S+)%s+(%S+)%s+(%S+)%s+(%S+)%s+(%S+)%s+(%S+)%s*(%S*)$"
    if plural then
      self:add {
        group = group, versions = versions, plural = plural, kind = kind, singular = kind:lower(),
        namespaced = scope == "n", short = list_of(short), categories = list_of(categories),
        subresources = set_of(list_of(subresources)),
        verbs = verbs ~= "" and list_of(verbs) or ALL_VERBS,
        virtual = verbs == "create" or nil,
      }
    else
      local head, rest = line:match "^([^/]*)/(.+)$"
      group, versions = head or "", list_of(rest or line)
    end
  end
  -- Both event groups show the same objects.
  self.by_path["events.k8s.io/v1/events"].id = "/events"
  return self
end

--- Adds a resource, or replaces the one with the same group and plural.
---@param resource kubernetes.Resource
function Resources:add(resource)
  resource.id = resource.id or resource.group .. "/" .. resource.plural
  self:remove(resource.id)
  resource.verbs = resource.verbs or ALL_VERBS
  table.insert(self.list, resource)
  self.by_id[resource.id] = resource
  for _, version in ipairs(resource.versions) do
    self.by_path[resource.group .. "/" .. version .. "/" .. resource.plural] = resource
    self.by_kind[resource.group .. "/" .. version .. "/" .. resource.kind] = resource
  end
  self.generation = self.generation + 1
end

--- Removes a resource, if it is there.
---@param id string
function Resources:remove(id)
  local old = self.by_id[id]
  if not old then return end
  self.by_id[id] = nil
  for i, r in ipairs(self.list) do
    if r == old then table.remove(self.list, i) break end
  end
  for _, map in ipairs { self.by_path, self.by_kind } do
    for k, r in pairs(map) do
      if r == old then map[k] = nil end
    end
  end
  self.generation = self.generation + 1
end

--- The resource at a path, or nil.
---@param group string
---@param version string
---@param plural string
---@return kubernetes.Resource?
function Resources:at(group, version, plural)
  return self.by_path[group .. "/" .. version .. "/" .. plural]
end

--- The resource of a kind, or nil.
---@param api_version string  "apps/v1"
---@param kind string
---@return kubernetes.Resource?
function Resources:of_kind(api_version, kind)
  local group, version = M.split(api_version)
  return self.by_kind[group .. "/" .. version .. "/" .. kind]
end

--- The group versions that are served, in order: { group=, versions={...} }, the core group first.
---@return { group: string, versions: string[] }[]
function Resources:groups()
  local out, index = {}, {}
  for _, r in ipairs(self.list) do
    local g = index[r.group]
    if not g then
      g = { group = r.group, versions = {} }
      index[r.group] = g
      out[#out + 1] = g
    end
    for _, version in ipairs(r.versions) do
      if not g.versions[version] then
        g.versions[version] = true
        table.insert(g.versions, version)
      end
    end
  end
  for _, g in ipairs(out) do M.sort_versions(g.versions) end
  return out
end

--- The resources of a group version, by plural.
---@param group string
---@param version string
---@return kubernetes.Resource[]
function Resources:in_version(group, version)
  local out = {}
  for _, r in ipairs(self.list) do
    if r.group == group and self.by_path[group .. "/" .. version .. "/" .. r.plural] == r then out[#out + 1] = r end
  end
  table.sort(out, function(a, b) return a.plural < b.plural end)
  return out
end

local function rank(version)
  local major, stage, minor = version:match "^v(%d+)(%a*)(%d*)$"
  if not major then return 0, 0, 0 end
  local stages = { [""] = 3, beta = 2, alpha = 1 }
  return stages[stage] or 0, tonumber(major), tonumber(minor) or 0
end

--- Sorts versions as discovery does: stable before beta before alpha, higher numbers first.
---@param versions string[]
function M.sort_versions(versions)
  table.sort(versions, function(a, b)
    local stage_a, major_a, minor_a = rank(a)
    local stage_b, major_b, minor_b = rank(b)
    if stage_a ~= stage_b then return stage_a > stage_b end
    if major_a ~= major_b then return major_a > major_b end
    if minor_a ~= minor_b then return minor_a > minor_b end
    return a < b
  end)
end

--- "apps/v1" → "apps", "v1"; "v1" → "", "v1".
---@param api_version string
---@return string group
---@return string version
function M.split(api_version)
  local group, version = api_version:match "^([^/]*)/(.*)$"
  if not group then return "", api_version end
  return group, version
end

--- The inverse of `split`.
---@param group string
---@param version string
---@return string
function M.join(group, version)
  return group == "" and version or group .. "/" .. version
end

return M
