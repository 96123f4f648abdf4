---@meta ws.server.native

--- The daemon and its requests, for modules/server/server.lua.
local native = {}

--- Starts to listen.
---@param opts { host?: string, port?: integer, unix?: string, cert?: string, key?: string|ws.Secret,
---  idle_timeout?: number }
---@return userdata? server
---@return integer|ws.Error port  0 for a unix socket
function native.listen(opts) end

--- Waits for the next request. Returns the id alone of a streamed request whose client left, and nil when the server
--- has closed.
---@async
---@param server userdata
---@return userdata|integer|nil request
---@return string? method
---@return string? target  path and query as they were sent
---@return table<string, string>? headers
---@return string? remote
---@return integer? id
function native.accept(server) end

--- Takes no new connections.
---@param server userdata
function native.quiesce(server) end

--- Ends every connection and the server.
---@async
---@param server userdata
---@return true
function native.close(server) end

--- The next piece of the body, or nil at its end.
---@async
---@param request userdata
---@return string? chunk
---@return ws.Error? err  kind `connection`
function native.read(request) end

--- The rest of the body.
---@async
---@param request userdata
---@param max integer  bytes
---@return string? body
---@return ws.Error? err  kinds `too_large`, `connection`
function native.body(request, max) end

--- Answers, and waits until the client has the answer.
---@async
---@param request userdata
---@param status integer
---@param headers string[]  name, value, …
---@param body string
---@param length? integer  Content-Length of an answer to HEAD
---@return true? ok
---@return ws.Error? err  kinds `connection`, `invalid`
function native.respond(request, status, headers, body, length) end

--- Answers with a file, and waits until the client has it.
---@async
---@param request userdata
---@param status integer
---@param headers string[]
---@param path string
---@param offset? integer
---@param length? integer
---@return true? ok
---@return ws.Error? err  kinds `connection`, `invalid`, `not_found`, `denied`
function native.respond_file(request, status, headers, path, offset, length) end

--- Begins an answer that is written in pieces.
---@param request userdata
---@param status integer
---@param headers string[]
---@param length? integer  bytes that will be written, when that is known
---@return true? ok
---@return ws.Error? err  kinds `connection`, `invalid`
function native.stream(request, status, headers, length) end

--- Writes a piece; waits while too much waits for the client.
---@async
---@param request userdata
---@param data string
---@return true? ok
---@return ws.Error? err  kind `connection`
function native.write(request, data) end

--- Ends a written answer, and waits until the client has it.
---@async
---@param request userdata
---@return true? ok
---@return ws.Error? err  kind `connection`
function native.finish(request) end

--- Ends the connection, whatever state the answer is in.
---@param request userdata
function native.abort(request) end

--- Whether the client has left.
---@param request userdata
---@return boolean
function native.gone(request) end

return native
