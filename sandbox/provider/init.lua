--- The sandbox's Terraform provider: resources of Google Cloud with the published provider's schema, kept by the
--- sandbox's REST services.
---
--- ```lua
--- local server = assert(require "sandbox.provider".serve { socket = dir .. "/provider", endpoint =
--- "http://127.0.0.1:8080" })
--- print(server:reattach())
--- ```
local error_object = require "ws.error"
local provider = require "ws.provider"
local config = require "sandbox.provider.config"
local data_source = require "sandbox.provider.data_source"
local diagnostics = require "sandbox.provider.diagnostics"
local resource = require "sandbox.provider.resource"
local schema = require "sandbox.provider.schema"
local validate = require "sandbox.provider.validate"

local M = {}

--- The address under which Terraform knows the provider.
M.ADDRESS = "registry.terraform.io/hashicorp/google"

--- private bytes with which an import asks the following read for everything.
local IMPORTED = "import"

local function decode(block, value)
  if not value then return nil end
  local v, err = provider.unpack(block.type, value.msgpack or "")
  if err then error(err, 0) end
  return v
end

local function encode(block, v)
  return { msgpack = provider.pack(block.type, v) }
end

--- Runs fn; an error object that it raises becomes a diagnostic.
local function guarded(verb, type_name, id, fn)
  local ok, a, b = xpcall(fn, function(err)
    if error_object.is(err) then return err end
    return error_object.new { kind = "internal", message = tostring(err), hint = debug.traceback(nil, 2) }
  end)
  if not ok then
    if a.kind == "cancelled" then error(a, 0) end
    return nil, diagnostics.failure(verb, type_name, id, a)
  end
  if b then return a, diagnostics.failure(verb, type_name, id, b) end
  return a
end

local handlers = {}

function handlers.GetProviderSchema() return schema.reply() end

function handlers.GetMetadata()
  local resources, data = {}, {}
  for i, name in ipairs(schema.resource_names()) do resources[i] = { type_name = name } end
  for i, name in ipairs(schema.data_source_names()) do data[i] = { type_name = name } end
  return { resources = resources, data_sources = data, server_capabilities = { get_provider_schema_optional = true } }
end

function handlers.GetFunctions() return {} end

function handlers.GetResourceIdentitySchemas() return {} end

function handlers.ValidateProviderConfig(request)
  return { diagnostics = config.validate(decode(schema.provider(), request.config) or {}) }
end

function handlers.ConfigureProvider(request, connection, options)
  local configured, problem = config.configure(decode(schema.provider(), request.config) or {}, {
    endpoint = options.endpoint, project = options.project, transport = options.transport,
    terraform_version = request.terraform_version,
  })
  connection.provider = configured
  return { diagnostics = { problem } }
end

function handlers.ValidateResourceConfig(request)
  local block = schema.resource(request.type_name)
  return { diagnostics = validate.resource(request.type_name, resource.get(request.type_name),
    decode(block, request.config) or {}) }
end

function handlers.ValidateDataResourceConfig(request)
  return { diagnostics = validate.data_source(request.type_name, data_source.get(request.type_name)) }
end

--- The state is kept as it is: Terraform itself drops what the schema does not know and adds what it misses.
function handlers.UpgradeResourceState(request)
  return { upgraded_state = { json = (request.raw_state or {}).json or "null" } }
end

local function not_served(type_name)
  return { diagnostics.error(validate.not_served(type_name)) }
end

function handlers.ReadResource(request, connection)
  local spec, block = resource.get(request.type_name), schema.resource(request.type_name)
  if not spec then return { diagnostics = not_served(request.type_name) } end
  local prior = decode(block, request.current_state)
  local importing = request.private == IMPORTED
  local state, problem = guarded("reading", request.type_name, prior.id, function()
    local context = resource.context(connection, prior)
    if importing and spec.prepare_import then prior = spec.prepare_import(context, prior) or prior end
    return resource.read(spec, context, prior, importing)
  end)
  if problem then return { new_state = request.current_state, private = request.private, diagnostics = { problem } } end
  return { new_state = encode(block, state or nil), private = "" }
end

function handlers.PlanResourceChange(request, connection)
  local spec, block = resource.get(request.type_name), schema.resource(request.type_name)
  if not spec then return { diagnostics = not_served(request.type_name) } end
  local proposed = decode(block, request.proposed_new_state)
  if proposed == nil then return { planned_state = request.proposed_new_state, legacy_type_system = true } end
  local replace
  local planned, problem = guarded("planning", request.type_name, nil, function()
    local prior = decode(block, request.prior_state)
    local made
    made, replace = resource.plan(spec, resource.context(connection, proposed), prior, proposed,
      decode(block, request.config) or {})
    return made
  end)
  if problem then return { diagnostics = { problem } } end
  return { planned_state = encode(block, planned), requires_replace = replace, legacy_type_system = true }
end

local function apply(spec, connection, prior, planned)
  local verb = not prior and "create" or not planned and "delete" or "update"
  local context = resource.context(connection, planned or prior, verb)
  if verb == "create" then return resource.create(spec, context, planned) end
  if verb == "update" then return resource.update(spec, context, prior, planned) end
  local ok, err = resource.delete(spec, context, prior)
  return not ok and prior or nil, err
end

function handlers.ApplyResourceChange(request, connection)
  local spec, block = resource.get(request.type_name), schema.resource(request.type_name)
  if not spec then return { diagnostics = not_served(request.type_name) } end
  local prior, planned = decode(block, request.prior_state), decode(block, request.planned_state)
  local verb = not prior and "creating" or not planned and "deleting" or "updating"
  local state, problem = guarded(verb, request.type_name, prior and prior.id or (planned or {}).name, function()
    return apply(spec, connection, prior, planned)
  end)
  if problem and prior and not state then state = prior end
  return { new_state = encode(block, state), diagnostics = { problem }, legacy_type_system = true }
end

function handlers.ImportResourceState(request, connection)
  local type_name = request.type_name
  local spec, block = resource.get(type_name), schema.resource(type_name)
  if not spec then return { diagnostics = not_served(type_name) } end
  local id = request.id or ""
  local state = resource.parse_import(spec, id)
  if not state then
    return { diagnostics = { diagnostics.error(("Cannot import %s: the id %q is not understood"):format(type_name, id),
      ("Expected forms: %s"):format(spec.id or spec.import_form or "see the resource's documentation")) } }
  end
  for name in pairs(spec.located) do
    local attribute = block.attributes[name]
    if attribute and not state[name] then state[name] = resource.context(connection, state).params[name] end
  end
  state.id = state.id or id
  local found, problem = guarded("importing", type_name, id, function()
    local context = resource.context(connection, state)
    if spec.prepare_import then state = spec.prepare_import(context, state) or state end
    return resource.read(spec, context, state, true)
  end)
  if not found and not problem then
    problem = diagnostics.error(("Cannot import non-existent remote object: %s %q"):format(type_name, id))
  end
  if problem then return { diagnostics = { problem } } end
  return { imported_resources = { { type_name = type_name, state = encode(block, found), private = IMPORTED } } }
end

function handlers.MoveResourceState(request)
  return { diagnostics = { diagnostics.error(("%s cannot become %s"):format(request.source_type_name or "?",
    request.target_type_name or "?"), "Remove it from the state and import it again.") } }
end

function handlers.ReadDataSource(request, connection)
  local spec, block = data_source.get(request.type_name), schema.data_source(request.type_name)
  if not spec then return { diagnostics = not_served(request.type_name) } end
  local state, problem = guarded("reading", request.type_name, nil, function()
    return data_source.read(spec, block, connection, decode(block, request.config) or {})
  end)
  return { state = encode(block, state), diagnostics = { problem } }
end

--- What runs is brought to its end; only repeated attempts stop.
function handlers.StopProvider(_, connection)
  connection.stopping = true
  return {}
end

local function http_transport(request)
  request.timeout = 120
  return require "ws.http".request(request)
end

--- The handler of all calls, for `ws.provider.serve` and `ws.provider.plugin`.
---@param options? { endpoint?: string, project?: string, transport?: function }
---@return fun(method: string, request: table, connection: table): table|string|nil, ws.Error?
function M.handler(options)
  options = options or {}
  options = { endpoint = options.endpoint, project = options.project, transport = options.transport or http_transport }
  return function(method, request, connection)
    local handler = handlers[method]
    if not handler then return provider.unsupported(method .. " is not served") end
    return handler(request, connection, options)
  end
end

---@class sandbox.provider.Server
---@field server ws.provider.Server
---@field socket string
local Server = {}
Server.__index = Server

--- Starts serving the provider.
---@param options { socket: string, endpoint: string, project?: string, transport?: function }  `project`: used when the
---  configuration and the environment name none; `endpoint`: the sandbox's address,
---  "http://127.0.0.1:8080"; `transport`: replaces HTTP in tests
---@return sandbox.provider.Server? server
---@return ws.Error? err
function M.serve(options)
  local server, err = provider.serve { socket = options.socket, handler = M.handler(options) }
  if not server then return nil, err end
  return setmetatable({ server = server, socket = server.socket }, Server)
end

--- The value of TF_REATTACH_PROVIDERS with which Terraform uses this provider.
---@return string json
function Server:reattach()
  return self.server:reattach(M.ADDRESS)
end

--- Ends serving; what runs has some seconds to finish.
---@async
function Server:close()
  self.server:close()
end

return M
