--- Terraform providers in Lua: a server of the Terraform plugin protocol, version 6.
---
--- A provider is one function, `handler(method, request, connection)`. It gets each call of Terraform in a task of
--- its own,
--- so it may wait; it returns the response as a table (or as encoded bytes, for a reply that never changes), or nil and
--- an error. The fields of requests and responses are those of tfplugin6.proto, listed in messages.lua.
---
--- ```lua
--- local server = assert(provider.serve {
---   socket = dir .. "/provider",
---   handler = function(method, request, connection) return {} end,
--- })
--- print(server:reattach "registry.terraform.io/hashicorp/google")  -- for TF_REATTACH_PROVIDERS
--- server:close()
--- ```
local native = require "ws.provider.native"
local error_object = require "ws.error"
local task = require "ws.task"

local M = {}

--- Stands for a value that is known only after apply.
M.unknown = native.unknown

--- Stands for a null element of a list or map. A null attribute of an object is nil.
M.null = native.null

local OK, INVALID_ARGUMENT, UNKNOWN, INTERNAL, UNIMPLEMENTED = 0, 3, 2, 13, 12
local SERVING = "\8\1" -- grpc.health.v1.HealthCheckResponse

---@class ws.provider.Server
---@field socket string
---@field native userdata
---@field handler function
---@field running table<userdata, ws.Task>
---@field connections table<integer, table>
local Server = {}
Server.__index = Server

--- What a finished call is answered with, and what happens after the answer.
local function answer(self, path, message, connection)
  local service, name = path:match("^/([%w_.]+)/(%w+)$")
  if service == "grpc.health.v1.Health" and name == "Check" then return OK, SERVING end
  if service == "plugin.GRPCController" and name == "Shutdown" then
    return OK, "", self.on_shutdown
  end
  local method = service == "tfplugin6.Provider" and require "ws.provider.messages"[name]
  if not method then return UNIMPLEMENTED, "unknown method " .. path end
  local request, err = native.decode(method.request, message)
  if not request then return INVALID_ARGUMENT, tostring(err) end
  local response
  response, err = self.handler(name, request, connection)
  if not response then return UNKNOWN, tostring(err) end
  return OK, type(response) == "string" and response or native.encode(method.response, response)
end

local function describe(err)
  if type(err) == "table" and err.kind == "cancelled" then return err end
  return { text = tostring(err), traceback = debug.traceback(nil, 2) }
end

local function run(self, connection, call, path, message)
  local ok, status, data, after = xpcall(answer, describe, self, path, message, connection)
  if ok then
    native.reply(call, status, data)
    if after then after() end
  elseif status.kind ~= "cancelled" then
    io.stderr:write(("wsrun: provider: %s: %s\n%s\n"):format(path, status.text, status.traceback))
    native.reply(call, INTERNAL, status.text)
  end
end

local events = {}

function events.request(self, id, call, path, message)
  local connection = self.connections[id]
  if not connection then
    connection = { id = id }
    self.connections[id] = connection
  end
  local t = task.spawn(function()
    run(self, connection, call, path, message)
    self.running[call] = nil
    if self.drained and not next(self.running) then self.drained:push(true) end
  end)
  -- What was begun in the cloud is brought to an end even if nobody waits for it any more.
  self.running[call] = { task = t, finish = path:find("/ApplyResourceChange", 1, true) ~= nil }
end

function events.cancelled(self, _, call)
  local entry = self.running[call]
  if entry and not entry.finish then
    self.running[call] = nil
    entry.task:cancel()
    entry.task:join()
    if self.drained and not next(self.running) then self.drained:push(true) end
  end
end

function events.disconnected(self, id)
  self.connections[id] = nil
  if self.on_disconnect then self.on_disconnect(next(self.connections) == nil) end
end

---@class ws.provider.Options
---@field socket string  path of the unix socket; at most 107 bytes; mode 0600
---@field handler fun(method: string, request: table, connection: table): table|string|nil, ws.Error?
---  `connection` belongs to one connection and is the place for what ConfigureProvider was given
---@field identity? userdata  of `provider.identity`: only TLS is spoken
---@field on_shutdown? function  called when the client asks the plugin to end
---@field on_disconnect? fun(last: boolean)  called when a connection has ended

--- Starts a server.
---@param opts ws.provider.Options
---@return ws.provider.Server? server
---@return ws.Error? err  kinds `invalid` (path too long), `missing_tool` (libnghttp2), `exists`, `io`
function M.serve(opts)
  if type(opts.socket) ~= "string" or type(opts.handler) ~= "function" then
    error("provider.serve: a socket and a handler are needed", 2)
  end
  local self = setmetatable({
    socket = opts.socket, handler = opts.handler, on_shutdown = opts.on_shutdown, on_disconnect = opts.on_disconnect,
    running = {}, connections = {},
  }, Server)
  local err
  self.native, err = native.listen(opts.socket, function(name, ...) events[name](self, ...) end, opts.identity)
  if not self.native then return nil, err end
  return self
end

--- Ends the server: no new connection is taken, calls that run may finish, what is left is cancelled. Removes the
--- socket.
---@async
---@param opts? { grace?: number }  seconds that calls have to finish; default 5
function Server:close(opts)
  if not self.native then return end
  local server = self.native
  self.native = nil
  if next(self.running) then
    self.drained = task.queue()
    self.drained:pop(opts and opts.grace or 5)
  end
  local left = self.running
  self.running = {}
  for _, entry in pairs(left) do
    entry.task:cancel()
    entry.task:join()
  end
  native.close(server)
end

--- The value of TF_REATTACH_PROVIDERS that makes Terraform use this server. Terraform checks that the process lives.
---@param address string  "registry.terraform.io/hashicorp/google"
---@return string json
function Server:reattach(address)
  return require "ws.json".encode {
    [address] = {
      Protocol = "grpc", ProtocolVersion = 6, Test = true, Pid = M.pid(),
      Addr = { Network = "unix", String = self.socket },
    },
  }
end

--- Process id of this program.
---@return integer
function M.pid()
  return native.pid()
end

--- Makes the key and certificate of a plugin's TLS; only the holder of `client_certificate` may connect.
---@param client_certificate string  PEM
---@return userdata? identity  for one `serve`
---@return string|ws.Error certificate  DER
function M.identity(client_certificate)
  return native.identity(client_certificate)
end

--- Writes a value in Terraform's MessagePack form. Raises, with the path, when it does not fit.
---@param value_type table  { kind = "object", attributes = { name = type } }; other kinds: string number bool, and list
---  set map with `elem`
---@param value any
---@return string bytes
function M.pack(value_type, value)
  return native.pack(value_type, value)
end

--- Reads a value from Terraform's MessagePack form.
---@param value_type table
---@param bytes string
---@return any value  nil is null
---@return ws.Error? err  kind `protocol`
function M.unpack(value_type, bytes)
  return native.unpack(value_type, bytes)
end

--- Writes a message of the protocol; for replies that are encoded once.
---@param method string  "GetProviderSchema"
---@param response table
---@return string bytes
function M.encode(method, response)
  return native.encode(require "ws.provider.messages"[method].response, response)
end

--- The error for what Terraform asks and this provider does not do.
---@param what string
---@return nil, ws.Error
function M.unsupported(what)
  return nil, error_object.new { kind = "unsupported", message = what }
end

return M
