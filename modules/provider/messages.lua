--- The messages of the Terraform plugin protocol, version 6 (tfplugin6.proto), as far as Terraform sends or reads them.
---
--- A message is a list of fields { number, name, type }; see codec.c. Fields that are not listed are skipped.
local bytes, string, int, bool = "bytes", "string", "int", "bool"

local DynamicValue = { { 1, "msgpack", bytes }, { 2, "json", bytes } }

local Step = {
  { 1, "attribute_name", string, explicit = true },
  { 2, "element_key_string", string, explicit = true },
  { 3, "element_key_int", int, explicit = true },
}
local AttributePath = { { 1, "steps", Step, repeated = true } }

local Diagnostic = {
  { 1, "severity", int }, -- 1 error, 2 warning
  { 2, "summary", string },
  { 3, "detail", string },
  { 4, "attribute", AttributePath },
}

local RawState = { { 1, "json", bytes }, { 2, "flatmap", string, map = true } }

local Capabilities = { { 1, "deferral_allowed", bool }, { 2, "write_only_attributes_allowed", bool } }

local Attribute = {
  { 1, "name", string },
  { 2, "type", bytes }, -- JSON
  { 3, "description", string },
  { 4, "required", bool },
  { 5, "optional", bool },
  { 6, "computed", bool },
  { 7, "sensitive", bool },
  { 9, "deprecated", bool },
  { 11, "write_only", bool },
}
local Block = {}
local NestedBlock = {
  { 1, "type_name", string },
  { 2, "block", Block },
  { 3, "nesting", int },
  { 4, "min_items", int },
  { 5, "max_items", int },
}
table.move({
  { 1, "version", int },
  { 2, "attributes", Attribute, repeated = true },
  { 3, "block_types", NestedBlock, repeated = true },
  { 4, "description", string },
  { 6, "deprecated", bool },
}, 1, 5, 1, Block)
local Schema = { { 1, "version", int }, { 2, "block", Block } }

local diagnostics = function(number) return { number, "diagnostics", Diagnostic, repeated = true } end

local ImportedResource = { { 1, "type_name", string }, { 2, "state", DynamicValue }, { 3, "private", bytes } }

local empty = {}

---@class ws.provider.Method
---@field request table
---@field response table

---@type table<string, ws.provider.Method>
local methods = {
  GetProviderSchema = {
    request = empty,
    response = {
      { 1, "provider", Schema },
      { 2, "resource_schemas", Schema, map = true },
      { 3, "data_source_schemas", Schema, map = true },
      diagnostics(4),
      { 5, "provider_meta", Schema },
      { 6, "server_capabilities", {
        { 1, "plan_destroy", bool },
        { 2, "get_provider_schema_optional", bool },
        { 3, "move_resource_state", bool },
      } },
    },
  },
  ValidateProviderConfig = {
    request = { { 1, "config", DynamicValue } },
    response = { diagnostics(2) },
  },
  ConfigureProvider = {
    request = { { 1, "terraform_version", string }, { 2, "config", DynamicValue }, { 3, "capabilities",
      Capabilities } },
    response = { diagnostics(1) },
  },
  ValidateResourceConfig = {
    request = { { 1, "type_name", string }, { 2, "config", DynamicValue }, { 3, "capabilities", Capabilities } },
    response = { diagnostics(1) },
  },
  ValidateDataResourceConfig = {
    request = { { 1, "type_name", string }, { 2, "config", DynamicValue } },
    response = { diagnostics(1) },
  },
  UpgradeResourceState = {
    request = { { 1, "type_name", string }, { 2, "version", int }, { 3, "raw_state", RawState } },
    response = { { 1, "upgraded_state", DynamicValue }, diagnostics(2) },
  },
  ReadResource = {
    request = {
      { 1, "type_name", string },
      { 2, "current_state", DynamicValue },
      { 3, "private", bytes },
      { 5, "capabilities", Capabilities },
    },
    response = { { 1, "new_state", DynamicValue }, diagnostics(2), { 3, "private", bytes } },
  },
  PlanResourceChange = {
    request = {
      { 1, "type_name", string },
      { 2, "prior_state", DynamicValue },
      { 3, "proposed_new_state", DynamicValue },
      { 4, "config", DynamicValue },
      { 5, "prior_private", bytes },
      { 7, "capabilities", Capabilities },
    },
    response = {
      { 1, "planned_state", DynamicValue },
      { 2, "requires_replace", AttributePath, repeated = true },
      { 3, "planned_private", bytes },
      diagnostics(4),
      { 5, "legacy_type_system", bool },
    },
  },
  ApplyResourceChange = {
    request = {
      { 1, "type_name", string },
      { 2, "prior_state", DynamicValue },
      { 3, "planned_state", DynamicValue },
      { 4, "config", DynamicValue },
      { 5, "planned_private", bytes },
    },
    response = {
      { 1, "new_state", DynamicValue },
      { 2, "private", bytes },
      diagnostics(3),
      { 4, "legacy_type_system", bool },
    },
  },
  ImportResourceState = {
    request = { { 1, "type_name", string }, { 2, "id", string } },
    response = { { 1, "imported_resources", ImportedResource, repeated = true }, diagnostics(2) },
  },
  MoveResourceState = {
    request = {
      { 1, "source_provider_address", string },
      { 2, "source_type_name", string },
      { 3, "source_schema_version", int },
      { 4, "source_state", RawState },
      { 5, "target_type_name", string },
    },
    response = { { 1, "target_state", DynamicValue }, diagnostics(2) },
  },
  ReadDataSource = {
    request = { { 1, "type_name", string }, { 2, "config", DynamicValue }, { 4, "capabilities", Capabilities } },
    response = { { 1, "state", DynamicValue }, diagnostics(2) },
  },
  GetMetadata = {
    request = empty,
    response = {
      { 1, "server_capabilities", {
        { 1, "plan_destroy", bool },
        { 2, "get_provider_schema_optional", bool },
        { 3, "move_resource_state", bool },
      } },
      diagnostics(2),
      { 3, "data_sources", { { 1, "type_name", string } }, repeated = true },
      { 4, "resources", { { 1, "type_name", string } }, repeated = true },
    },
  },
  GetFunctions = { request = empty, response = { diagnostics(2) } },
  GetResourceIdentitySchemas = { request = empty, response = { diagnostics(2) } },
  StopProvider = {
    request = empty,
    response = { { 1, "error", string } },
  },
}

return methods
