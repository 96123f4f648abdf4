--- A layer's state, read from its bucket without starting terraform.
--- The format is version 4: https://developer.hashicorp.com/terraform/internals/json-format does not cover it, the
--- outputs and resources used here have been stable since Terraform 0.12.
local errors = require "ws.error"
local gcs = require "ws.gcs"
local json = require "ws.json"
local secret = require "ws.secret"

local M = {}

--- Reads the state of a workspace.
---@async
---@param backend { bucket: string, prefix: string }
---@param workspace string
---@return table? state
---@return ws.Error? err  kind `not_found` when it was never applied
function M.read(backend, workspace)
  local url = ("gs://%s/%s/%s.tfstate"):format(backend.bucket, backend.prefix, workspace)
  local text, err = gcs.get(url, { api = "backend_storage" })
  if not text then return nil, err end
  local state, problem = json.decode(text)
  if not state then return nil, problem end
  if state.version ~= 4 then
    return nil, errors.new { kind = "unsupported", op = "terraform.state",
      message = ("%s has version %s; 4 is understood"):format(url, tostring(state.version)) }
  end
  return state
end

--- The outputs' values; sensitive strings are secrets.
---@param state table
---@return table<string, any>
function M.outputs(state)
  local values = {}
  for name, output in pairs(state.outputs or {}) do
    local value = output.value
    if output.sensitive and type(value) == "string" then value = secret.new(value) end
    if value ~= json.null then values[name] = value end
  end
  return values
end

--- Addresses of the managed resources, sorted.
---@param state table
---@return string[]
function M.addresses(state)
  local list = {}
  for _, resource in ipairs(state.resources or {}) do
    if resource.mode == "managed" then
      local base = (resource.module and resource.module .. "." or "") .. resource.type .. "." .. resource.name
      for _, instance in ipairs(resource.instances or {}) do
        local key = instance.index_key
        list[#list + 1] = key == nil and base
          or base .. (type(key) == "number" and ("[%d]"):format(key) or ("[%q]"):format(key))
      end
    end
  end
  table.sort(list)
  return list
end

return M
