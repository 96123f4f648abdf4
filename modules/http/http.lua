--- HTTP client: HTTP/1.1 and HTTP/2 with kept connections, streaming both ways, verified TLS.
---
--- A response of any status is a result; only a request that got no response is an error. Redirects are followed for
--- GET and HEAD, and credentials stay with the origin that they were meant for.
local errors = require "ws.error"
local native = require "ws.http.native"
local secret = require "ws.secret"
local url = require "ws.http.url"

local M = {}

M.url_encode = url.encode
M.url_decode = url.decode
M.query = url.query
M.parse_query = url.parse_query
M.parse_url = url.parse

local MAX_REDIRECTS = 10

---@class ws.http.Options
---@field url string  http:// or https://
---@field method? string  default GET
---@field headers? table<string, string|number|ws.Secret|(string|ws.Secret)[]>
---@field body? string|ws.Secret|{ file: string, offset?: integer, length?: integer, sha256?: string }|fun(): string?
---  a function gives one piece after the other and nil at the end. A file that has not the SHA-256 (hexadecimal) is
---  never sent to its end: the request fails with kind `invalid`
---@field sink? { file: string, append?: boolean, max?: integer }|fun(chunk: string)
---  where the body of a 2xx response goes instead of memory, at most `max` bytes; bodies of other responses are kept in
---  memory. A request that fails may leave a part of it in the file.
---@field timeout? number  seconds for everything; default: none
---@field connect_timeout? number  seconds, default 10
---@field stall_timeout? number  seconds without a byte, default 120; 0: none
---@field max_body? integer  bytes of a response kept in memory, default 64 MiB
---@field follow? boolean  follow redirects; default true for GET and HEAD, else false
---@field ca? string  trusted certificates, PEM text or path; default SSL_CERT_FILE, else the system's
---@field cert? string  this client's certificate, PEM text or path
---@field key? string|ws.Secret  its key, PEM text or path
---@field unix? string  path of a socket to connect to
---@field reads? boolean  a POST that changes nothing (a query, a token): allowed where this run may not write

---@class ws.http.Response
---@field status integer
---@field headers table<string, string>  names in lower case; repeated ones joined by ", "
---@field body string  "" with a sink
---@field url string  the last one, after redirects

local option_types = { url = "string", method = "string", headers = "table", timeout = "number",
  connect_timeout = "number", stall_timeout = "number", max_body = "number", follow = "boolean", ca = "string",
  cert = "string", unix = "string", reads = "boolean" }
local other_options = { body = true, sink = true, key = true }

local function check_options(opts)
  if type(opts) ~= "table" then error("http.request: options expected, got " .. type(opts), 3) end
  for key, value in pairs(opts) do
    local expected = option_types[key]
    if not expected and not other_options[key] then
      error(("http.request: unknown option '%s'"):format(tostring(key)), 3)
    end
    if expected and type(value) ~= expected then
      error(("http.request: option '%s': %s expected, got %s"):format(key, expected, type(value)), 3)
    end
  end
  if not opts.url then error("http.request: option 'url' expected", 3) end
end

local function is_text(value)
  return type(value) == "string" or type(value) == "number" or secret.is(value)
end

--- The headers as a list name, value, …; `own` are those the request needs unless the caller says otherwise.
local function flatten(headers, own)
  local list, given = {}, {}
  for name, value in pairs(headers or {}) do
    if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
      error(("http.request: '%s' is not a header's name"):format(tostring(name)), 4)
    end
    given[name:lower()] = value
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      if not is_text(one) then
        error(("http.request: header %s: string, number or secret expected, got %s"):format(name, type(one)), 4)
      end
      list[#list + 1] = name
      list[#list + 1] = type(one) == "number" and tostring(one) or one
    end
  end
  for name, value in pairs(own) do
    if given[name] == nil then
      list[#list + 1] = name
      list[#list + 1] = value
    end
  end
  return list, given
end

local function set_body(to, opts, given)
  local body = opts.body
  if body == nil then
    local method = to.method
    if method == "POST" or method == "PUT" or method == "PATCH" then to.source, to.body = "memory", "" end
  elseif type(body) == "string" or secret.is(body) then
    to.source, to.body = "memory", body
  elseif type(body) == "function" then
    to.source = "owner"
    to.body_length = math.tointeger(tonumber(given["content-length"]))
  elseif type(body) == "table" and type(body.file) == "string" then
    to.source, to.body_file, to.body_offset, to.body_length = "file", body.file, body.offset, body.length
    to.body_sha256 = body.sha256
  else
    error("http.request: option 'body': string, secret, { file = path } or function expected", 4)
  end
end

local function set_sink(to, sink)
  if type(sink) == "function" then
    to.sink = "owner"
  elseif type(sink) == "table" and type(sink.file) == "string" then
    to.sink, to.sink_file, to.append, to.sink_max = "file", sink.file, sink.append, sink.max
  elseif sink ~= nil then
    error("http.request: option 'sink': function or { file = path } expected", 4)
  end
end

local function is_loopback(host)
  return host == "localhost" or host == "::1" or host:find("^127%.") ~= nil or host:find("%.localhost$") ~= nil
end

local safe_methods = { GET = true, HEAD = true, OPTIONS = true }

--- What is safe to say about a request in messages: its query may hold a signature.
local function describe(method, target)
  return ("%s %s"):format(method, (target:gsub("[?#].*$", ""):gsub("//[^/@]*@", "//")))
end

local function native_options(opts, target, parsed)
  local method = opts.method or "GET"
  if not method:find("^%u+$") then error("http.request: a method is written in capitals: " .. method, 4) end
  local to = { method = method, url = target, what = describe(method, target), timeout = opts.timeout,
    connect_timeout = opts.connect_timeout, stall_timeout = opts.stall_timeout, max_body = opts.max_body,
    ca = opts.ca or os.getenv("SSL_CERT_FILE") or os.getenv("CURL_CA_BUNDLE"), cert = opts.cert, key = opts.key,
    unix = opts.unix, no_proxy = is_loopback(parsed.host) or nil }
  local given
  to.headers, given = flatten(opts.headers, { ["user-agent"] = "wsrun" })
  set_body(to, opts, given)
  set_sink(to, opts.sink)
  if to.source and not given["content-type"] then -- libcurl would claim that it is a form
    to.headers[#to.headers + 1] = "content-type"
    to.headers[#to.headers + 1] = "application/octet-stream"
  end
  return to
end

--- Header lines of a response as a table. A line that begins with a space continues the one before (RFC 9112 5.2).
local function parse_head(head)
  local headers = {}
  for line in head:gsub("\r?\n[ \t]+", " "):gmatch("[^\r\n]+") do
    local name, value = line:match("^([^:%s]+):[ \t]*(.-)[ \t]*$")
    if name then
      name = name:lower()
      headers[name] = headers[name] and (headers[name] .. ", " .. value) or value
    end
  end
  return headers
end

--- One request and its response, without redirects.
local function exchange(opts, target, parsed)
  local options = native_options(opts, target, parsed)
  local handle, start_error = native.start(options, not (safe_methods[options.method] or opts.reads))
  if not handle then return nil, start_error end
  local _ <close> = handle
  while true do
    local event, a, head, body = native.step(handle)
    if event == "done" then
      return { status = a, headers = parse_head(head), body = body, url = target }
    elseif event == "data" then
      opts.sink(a)
    elseif event == "body" then
      native.feed(handle, (opts.body()))
    else
      return nil, a
    end
  end
end

local redirects = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

local default_ports = { http = 80, https = 443 }

local function same_origin(a, b)
  return a.scheme == b.scheme and a.host == b.host
    and (a.port or default_ports[a.scheme]) == (b.port or default_ports[b.scheme])
end

--- The options for another origin: without anything that proves who we are.
local function without_credentials(opts)
  local copy, headers = {}, {}
  for key, value in pairs(opts) do copy[key] = value end
  for name, value in pairs(opts.headers or {}) do
    local lower = name:lower()
    local private = lower == "authorization" or lower == "cookie" or lower == "proxy-authorization"
    for _, one in ipairs(type(value) == "table" and value or { value }) do private = private or secret.is(one) end
    if not private and lower ~= "host" then headers[name] = value end
  end
  copy.headers, copy.cert, copy.key, copy.unix = headers, nil, nil, nil
  return copy
end

--- The options after a redirect: 303, and 301 or 302 of a POST, become a GET without body (RFC 9110 section 15.4).
local function after_redirect(opts, status)
  local method = opts.method or "GET"
  if status == 307 or status == 308 or method == "GET" or method == "HEAD" then return opts end
  if status ~= 303 and method ~= "POST" then return opts end
  local copy = {}
  for key, value in pairs(opts) do copy[key] = value end
  copy.method, copy.body = "GET", nil
  return copy
end

local function parse_target(target)
  local parsed, err = url.parse(target)
  if parsed and not default_ports[parsed.scheme] then
    return nil, errors.new { kind = "invalid", op = "http.request",
      message = ("%s:// cannot be requested: http:// or https:// expected"):format(parsed.scheme) }
  end
  return parsed, err
end

--- Sends a request and waits for the response.
---
--- ```lua
--- local res = assert(http.request { url = base .. "/hello", headers = { accept = "text/plain" } })
--- assert(res.status == 200 and res.body == "hello" and res.headers["content-type"] == "text/plain")
--- ```
---@async
---@param opts ws.http.Options
---@return ws.http.Response? response  of any status
---@return ws.Error? err  kinds `connection` (no route, refused, reset, unknown host), `timeout`, `tls`, `protocol`,
---  `too_large`, `invalid` (URL), `exhausted` (open files), `no_space`, `denied` and others of the sink's file
function M.request(opts)
  check_options(opts)
  local target = opts.url
  local parsed, err = parse_target(target)
  local follow = opts.follow
  if follow == nil then follow = opts.method == nil or opts.method == "GET" or opts.method == "HEAD" end
  local left = MAX_REDIRECTS
  while true do
    if not parsed then return nil, err end
    local res, problem = exchange(opts, target, parsed)
    if not res then return nil, problem end
    local location = res.headers.location
    if not follow or not redirects[res.status] or not location then return res end
    if left == 0 then
      return nil, errors.new { kind = "protocol", op = "http.request",
        message = ("%s: more than %d redirects"):format(describe(opts.method or "GET", opts.url), MAX_REDIRECTS) }
    end
    left = left - 1
    target = url.resolve(target, location)
    local before = parsed
    parsed, err = parse_target(target)
    opts = after_redirect(opts, res.status)
    if type(opts.body) == "function" then return res end -- what the producer gave is gone
    if parsed and not same_origin(before, parsed) then opts = without_credentials(opts) end
  end
end

local function with_method(method)
  return function(target, opts)
    local copy = { method = method, url = target }
    for key, value in pairs(opts or {}) do
      if copy[key] then error(("http: option '%s' is given by the function"):format(key), 2) end
      copy[key] = value
    end
    return M.request(copy)
  end
end

--- `http.request` with method GET.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.get = with_method "GET"

--- `http.request` with method HEAD.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.head = with_method "HEAD"

--- `http.request` with method POST.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.post = with_method "POST"

--- `http.request` with method PUT.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.put = with_method "PUT"

--- `http.request` with method PATCH.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.patch = with_method "PATCH"

--- `http.request` with method DELETE.
---@async
---@type fun(url: string, opts?: ws.http.Options): ws.http.Response?, ws.Error?
M.delete = with_method "DELETE"

return M
