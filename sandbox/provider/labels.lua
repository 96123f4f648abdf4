--- Labels and annotations as the published provider treats them.
---
--- `labels` is what the resource's configuration says; `terraform_labels` adds the provider's default_labels and the
--- mark of Terraform; `effective_labels` is what the cloud has, which is also what others have added. Only keys that
--- Terraform wrote are compared and removed.
local values = require "sandbox.provider.values"

local M = {}

local unknown = values.unknown

--- Label that the published provider gives to what it creates.
local ATTRIBUTION = "goog-terraform-provisioned"

local function merged(into, from)
  for k, v in pairs(from or {}) do
    if v ~= values.null then into[k] = v end
  end
  return into
end

local function effective(wanted, prior_wanted, prior_effective)
  local result = merged({}, prior_effective)
  for k in pairs(prior_wanted or {}) do
    if wanted[k] == nil then result[k] = nil end
  end
  return merged(result, wanted)
end

--- Fills in terraform_labels, effective_labels and effective_annotations of a plan.
---@param spec sandbox.provider.Resource
---@param planned table
---@param prior table?
---@param context table
function M.plan(spec, planned, prior, context)
  local block = spec.block
  if block.attributes.terraform_labels then
    local own = planned[spec.label_attribute or "labels"]
    if not values.is_known(own) or not context.provider.labels_known then
      planned.terraform_labels, planned.effective_labels = unknown, unknown
    else
      local wanted = {}
      if context.provider.attribution and (not prior or (prior.terraform_labels or {})[ATTRIBUTION]) then
        wanted[ATTRIBUTION] = "true"
      end
      merged(merged(wanted, context.provider.default_labels), own)
      planned.terraform_labels = wanted
      planned.effective_labels = effective(wanted, prior and prior.terraform_labels, prior and prior.effective_labels)
    end
  end
  if block.attributes.effective_annotations then
    if not values.is_known(planned.annotations) then
      planned.effective_annotations = unknown
    else
      planned.effective_annotations = effective(merged({}, planned.annotations), prior and prior.annotations,
        prior and prior.effective_annotations)
    end
  end
end

local function only(keys, from)
  local result = {}
  for k in pairs(keys or {}) do result[k] = from[k] end
  return keys and result or nil
end

--- Sets the label attributes of a state from what the cloud has.
---@param spec sandbox.provider.Resource
---@param state table
---@param prior table  what was planned, or the state before a refresh
---@param found table<string, string>?  labels of the object
---@param annotations table<string, string>?
function M.read(spec, state, prior, found, annotations)
  local block, name = spec.block, spec.label_attribute or "labels"
  if block.attributes.terraform_labels then
    local all = merged({}, found)
    state.effective_labels = all
    state[name] = only(prior[name], all)
    state.terraform_labels = only(prior.terraform_labels, all) or {}
  end
  if block.attributes.effective_annotations then
    state.effective_annotations = merged({}, annotations)
    state.annotations = only(prior.annotations, state.effective_annotations)
  end
end

return M
