--- An HTTP/1.1 server inside the program: for the sandbox, the web page, and as a counterpart in tests.
---
--- Each request is handled in a task of its own, so a handler may wait. A handler that fails answers 500 and the server
--- goes on. Bodies are streamed both ways with bounded memory; files go out by sendfile.
local log = require "ws.log"
local native = require "ws.server.native"
local task = require "ws.task"
local url = require "ws.http.url"

local M = {}

---@class ws.server.Request
---@field method string
---@field path string  as the client sent it, percent-escapes kept, without the query
---@field query table<string, string>  decoded; of a repeated name the last value, of a name without value ""
---@field query_list { [1]: string, [2]: string }[]  decoded pairs in order
---@field headers table<string, string>  names in lower case; repeated ones joined by ", "
---@field remote string  the client's IP address, or "unix"
---@field tls boolean
local Request = {}
Request.__index = Request

---@class ws.server.Response
---@field status? integer  default 200
---@field headers? table<string, string|number|string[]>
---@field body? string
---@field file? string  path of a file to send, instead of a body
---@field offset? integer  first byte of the file
---@field length? integer  bytes of the file
---@field stream? fun(write: fun(chunk: string): boolean?, ws.Error?)  writes the body piece by piece

--- The whole body. A body larger than the server's `max_body` is refused; a handler that raises this error answers 413.
---@async
---@return string? body
---@return ws.Error? err  kinds `too_large`, `connection`
function Request:body()
  if self.whole_body then return self.whole_body end
  local body, err = native.body(self.native, self.server.max_body)
  self.whole_body = body
  return body, err
end

--- The next piece of the body, or nil at its end. The client is slowed down when pieces are not taken.
---@async
---@return string? chunk
---@return ws.Error? err  kind `connection`: the client left in the middle
function Request:read()
  return native.read(self.native)
end

--- Whether the client has closed the connection; noticed within half a second.
---@return boolean
function Request:gone()
  return native.gone(self.native)
end

local function new_request(server, handle, method, target, headers, remote)
  target = target:gsub("^[hH][tT][tT][pP][sS]?://[^/?]*", "") -- as clients write to a proxy (RFC 9112 section 3.2.2)
  local path, query = target:match("^([^?]*)%??(.*)$")
  local values, list = url.parse_query(query)
  return setmetatable({ native = handle, server = server, method = method, path = path, query = values,
    query_list = list, headers = headers, remote = remote, tls = server.tls }, Request)
end

local response_fields = { status = "number", headers = "table", body = "string", file = "string", offset = "number",
  length = "number", stream = "function" }

local function check_response(res)
  if type(res) ~= "table" then error("a handler returns a table, got " .. type(res), 0) end
  for key, value in pairs(res) do
    local expected = response_fields[key]
    if not expected then error(("unknown field '%s' in a response"):format(tostring(key)), 0) end
    if type(value) ~= expected then
      error(("field '%s' of a response: %s expected, got %s"):format(key, expected, type(value)), 0)
    end
  end
  local status = res.status or 200
  if math.type(status) ~= "integer" or status < 200 or status > 599 then
    error("a response's status must be between 200 and 599, got " .. tostring(status), 0)
  end
  return status
end

--- The headers as a list name, value, …; Content-Length is taken out: it follows from the body, except where that is
--- written or left out (HEAD).
local function flatten(headers)
  local list, length = {}, nil
  for name, value in pairs(headers or {}) do
    if type(name) ~= "string" then error("a header's name must be a string", 0) end
    if name:lower() == "content-length" then
      length = math.tointeger(tonumber(value)) or error("Content-Length must be an integer", 0)
    else
      for _, one in ipairs(type(value) == "table" and value or { value }) do
        if type(one) ~= "string" and type(one) ~= "number" then
          error(("header %s: string or number expected, got %s"):format(name, type(one)), 0)
        end
        list[#list + 1] = name
        list[#list + 1] = tostring(one)
      end
    end
  end
  return list, length
end

local function write_stream(handle, id, streams, produce)
  streams[id] = true
  local _ <close> = setmetatable({}, { __close = function(_, err)
    streams[id] = nil
    if err ~= nil then native.abort(handle) end
  end })
  produce(function(chunk) return native.write(handle, chunk) end)
  return native.finish(handle)
end

local function respond(req, res)
  local status = check_response(res)
  local headers, length = flatten(res.headers)
  local handle = req.native
  if res.stream and req.method ~= "HEAD" then
    local ok, err = native.stream(handle, status, headers, length)
    if not ok then return nil, err end
    req.answered = true
    return write_stream(handle, req.id, req.server.streams, res.stream)
  elseif res.file then
    return native.respond_file(handle, status, headers, res.file, res.offset, res.length)
  end
  return native.respond(handle, status, headers, res.body or "", req.method == "HEAD" and length or nil)
end

local function log_failure(req, err)
  local trace = type(err) == "table" and err.traceback or ""
  log.error(("%s %s: %s%s"):format(req.method, req.path, tostring(err), trace))
end

local function with_traceback(err)
  if type(err) == "table" then return err end
  return setmetatable({ message = tostring(err), traceback = "\n" .. debug.traceback(nil, 2) },
    { __tostring = function(e) return e.message end })
end

--- One request, from its handler to the last byte of its response.
local function serve(server, req)
  local ok, err = xpcall(function()
    local res = server.handler(req)
    local done, send_error = respond(req, res)
    if not done and send_error.kind ~= "connection" then error(send_error, 0) end
  end, with_traceback)
  if ok then return end
  local kind = err.kind
  if kind == "cancelled" or (kind == "connection" and native.gone(req.native)) then
    native.abort(req.native)
    return
  end
  if req.answered then native.abort(req.native) end
  if kind == "too_large" then
    respond(req, { status = 413, body = tostring(err) .. "\n", headers = { ["Content-Type"] = "text/plain" } })
    return
  end
  server.on_error(req, err)
  if not req.answered then
    respond(req, { status = 500, body = "internal error\n", headers = { ["Content-Type"] = "text/plain" } })
  end
end

---@class ws.server.Server
---@field port integer
---@field url string  such as "https://127.0.0.1:8443"
local Server = {}
Server.__index = Server

local function accept_all(self)
  local _ <close> = setmetatable({}, { __close = function() self:close() end })
  while true do
    local handle, method, target, headers, remote, id = native.accept(self.native)
    if not handle then return end
    if not method then -- the number of a request whose client has left
      if self.streams[handle] then self.tasks[handle]:cancel() end
    else
      local req = new_request(self, handle, method, target, headers, remote)
      req.id = id
      self.tasks[id] = task.spawn(function()
        local _ <close> = setmetatable({}, { __close = function() self.tasks[id] = nil end })
        serve(self, req)
      end)
    end
  end
end

---@class ws.server.Options
---@field handler fun(req: ws.server.Request): ws.server.Response
---@field host? string  an IP address, default 127.0.0.1
---@field port? integer  default: any free one
---@field unix? string  path of a socket to listen on instead
---@field tls? { cert: string, key: string|ws.Secret }  PEM text
---@field max_body? integer  bytes that `req:body()` accepts, default 64 MiB
---@field idle_timeout? number  seconds that a connection may be silent, default 120
---@field on_error? fun(req: ws.server.Request, err: any)  default: logged as an error

--- Starts to listen. The handler gets each request in a task of its own and returns the response. When it raises, the
--- client gets 500 and `on_error` is called. A task that still writes a response is cancelled when its client leaves;
--- one that has not begun to answer is not.
---
--- ```lua
--- local s = assert(server.listen { handler = function(req)
---   return { status = 200, headers = { ["Content-Type"] = "text/plain" }, body = "you asked for " .. req.path }
--- end })
--- assert(s.port > 0)
--- s:close()
--- ```
---@param opts ws.server.Options
---@return ws.server.Server? server
---@return ws.Error? err  kinds `exists` (port in use), `denied`, `invalid`, `failed` (certificate)
function M.listen(opts)
  if type(opts) ~= "table" or type(opts.handler) ~= "function" then
    error("server.listen: options with a handler expected", 2)
  end
  local native_opts, own = {}, { handler = true, tls = true, max_body = true, on_error = true }
  for key, value in pairs(opts) do
    if not own[key] then native_opts[key] = value end
  end
  if opts.tls then
    native_opts.cert, native_opts.key = opts.tls.cert, opts.tls.key
    if not native_opts.cert or not native_opts.key then error("server.listen: tls needs cert and key", 2) end
  end
  local handle, port = native.listen(native_opts)
  if not handle then return nil, port end
  local host = opts.host or "127.0.0.1"
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  local self = setmetatable({
    native = handle, port = port, handler = opts.handler, tls = opts.tls ~= nil,
    url = ("%s://%s:%d"):format(opts.tls and "https" or "http", host, port),
    max_body = opts.max_body or 64 << 20, on_error = opts.on_error or log_failure, tasks = {}, streams = {},
  }, Server)
  self.accepting = task.spawn(accept_all, self)
  return self
end

--- Stops listening, gives requests in flight `grace` seconds to end by themselves, then ends all connections and
--- cancels the handlers that are left. Closing twice is harmless. A handler that closes its own server ends with it.
---@async
---@param opts? { grace?: number }  default 0
function Server:close(opts)
  if self.closed then return end
  self.closed = true
  native.quiesce(self.native)
  task.shield(function()
    local tasks = {}
    for _, t in pairs(self.tasks) do tasks[#tasks + 1] = t end
    if opts and opts.grace then
      task.timeout(opts.grace, function() for _, t in ipairs(tasks) do t:join() end end)
    end
    native.close(self.native)
    for _, t in ipairs(tasks) do t:cancel() end
    for _, t in ipairs(tasks) do pcall(t.join, t, 5) end -- joining oneself raises
  end)
end

return M
