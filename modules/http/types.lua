---@meta ws.http.native

--- One request at a time over libcurl, for modules/http/http.lua.
local native = {}

--- Starts a request.
---@param opts table  see `parse` in modules/http/http.c
---@param writes boolean  the request may change something; raises when this run may not
---@return userdata? request
---@return ws.Error? err
function native.start(opts, writes) end

--- Waits for the next thing that happens: "data" and a piece of the response's body, "body" when the next piece of the
--- request's body is wanted, "done" with status, header lines and body, or nil and the error.
---@async
---@param request userdata
---@return "data"|"body"|"done"|nil event
---@return string|integer|ws.Error|nil value
---@return string? head
---@return string? body
function native.step(request) end

--- Gives the next piece of the body; nil ends it.
---@param request userdata
---@param chunk? string|ws.Secret
function native.feed(request, chunk) end

--- Gives the request up unless it has ended.
---@param request userdata
function native.close(request) end

--- Loads what requests need, in a thread, while the caller does something else: for commands that will make one.
function native.preload() end

return native
