---@meta ws.provider.native

--- The C half of ws.provider; `provider.lua` is what scripts use.
local native = {}

---@type lightuserdata
native.unknown = nil

---@type lightuserdata
native.null = nil

--- Process id of this program.
---@return integer
function native.pid() end

--- Makes a key and a self-signed certificate for `localhost`; only the holder of the client's certificate is let in.
---@param client_pem string
---@return userdata? identity  for one `listen`
---@return string|ws.Error certificate  DER
function native.identity(client_pem) end

--- Listens on a unix socket. `event` is called in a new task with "request", connection, call, path, message; or
--- "cancelled", connection, call; or "disconnected", connection.
---@param path string
---@param event function
---@param identity? userdata
---@return userdata? server
---@return ws.Error? err
function native.listen(path, event, identity) end

--- Answers a call, once.
---@param call userdata
---@param status integer  gRPC status; 0 is OK
---@param data string  the message, or the error's text
---@return boolean delivered  false when nobody waits any more
function native.reply(call, status, data) end

--- Closes a server.
---@async
---@param server userdata
---@return boolean
function native.close(server) end

--- Writes a protobuf message. Raises when the value does not fit.
---@param descriptor table  see messages.lua
---@param value table
---@return string bytes
function native.encode(descriptor, value) end

--- Reads a protobuf message.
---@param descriptor table
---@param bytes string
---@return table? value
---@return ws.Error? err  kind `protocol`
function native.decode(descriptor, bytes) end

--- Writes a value as Terraform's MessagePack. Raises, with the path, when it does not fit the type.
---@param type table
---@param value any
---@return string bytes
function native.pack(type, value) end

--- Reads a value from Terraform's MessagePack.
---@param type table
---@param bytes string
---@return any value
---@return ws.Error? err  kind `protocol`
function native.unpack(type, bytes) end

return native
