--- Requests to a registry: credentials, tries, and errors in its own words.
local errors = require "ws.error"
local http = require "ws.http"
local json = require "ws.json"
local reference = require "ws.registry.reference"
local retry = require "ws.gcp.retry"
local tokens = require "ws.registry.tokens"
local url = require "ws.http.url"

local M = {}

local TIMEOUT = 60 -- seconds for one try of a request without a blob
local STALL = 600  -- seconds without a byte while a blob moves: the registry may be hashing gigabytes

local kinds = { [400] = "invalid", [401] = "unauthenticated", [403] = "denied", [404] = "not_found",
  [405] = "unsupported", [408] = "timeout", [409] = "conflict", [412] = "precondition", [413] = "too_large",
  [416] = "invalid", [429] = "exhausted", [501] = "unsupported", [503] = "unavailable", [504] = "timeout" }

--- Kinds and hints of the codes that registries use (OCI distribution specification, and Google's own).
local codes = {
  DENIED = { "denied" },
  UNAUTHORIZED = { "unauthenticated" },
  NAME_UNKNOWN = { "not_found", "check the name; a repository of Artifact Registry is made before a push" },
  MANIFEST_UNKNOWN = { "not_found" },
  BLOB_UNKNOWN = { "not_found" },
  TOOMANYREQUESTS = { "exhausted", "the registry's quota of requests is used up: wait, or ask for more" },
  UNSUPPORTED = { "unsupported" },
  GOOGLE_MANIFEST_DANGLING_TAG = { "conflict", "delete its tags first" },
  TAG_INVALID = { "invalid" },
}

local function first_problem(answer)
  local body = json.decode(answer.body or "")
  local list = type(body) == "table" and body.errors
  local first = type(list) == "table" and list[1]
  if type(first) == "table" then return tostring(first.code or ""), tostring(first.message or "") end
  return "", (answer.body or ""):match("^%s*([^\r\n]*)"):sub(1, 200)
end

local function denied_hint(place, ref)
  return ("%s; the repository is %s"):format(tokens.hint(place.registry, place.found[place.prefix .. ref.repository]
    or nil), reference.with(ref))
end

--- The error of an answer with a status that was not expected.
---@param place ws.registry.Place
---@param ref ws.registry.Reference
---@param answer ws.http.Response
---@param what string  the request, for people
---@return ws.Error
local function error_of(place, ref, answer, what)
  local code, message = first_problem(answer)
  local known = codes[code] or {}
  local kind = known[1] or kinds[answer.status] or (answer.status >= 500 and "unavailable" or "failed")
  local hint = known[2]
  if kind == "denied" or kind == "unauthenticated" then hint = denied_hint(place, ref) end
  local text = ("%s: %d %s"):format(what, answer.status, code)
  if message ~= "" and message ~= code then text = text .. (code ~= "" and ": " or "") .. message end
  return errors.new { kind = kind, op = "registry", status = answer.status, code = code ~= "" and code or nil,
    message = text:gsub("%s+$", ""), hint = hint, retryable = retry.is_retryable_status(answer.status) }
end

local default_ports = { http = 80, https = 443 }

--- Scheme, host and port of a URL, in one way of writing.
local function origin_of(text)
  local parsed = url.parse(text)
  return parsed and ("%s://%s:%d"):format(parsed.scheme, parsed.host, parsed.port or default_ports[parsed.scheme] or 0)
end

local function place_of(ref)
  local base, prefix = reference.endpoint(ref.registry)
  local place = tokens.place(ref.registry, base)
  place.prefix = prefix
  return place, base, prefix
end

--- The URL of something in a reference's repository.
---@param ref ws.registry.Reference
---@param path string  after the repository's name and a slash
---@return string
function M.url(ref, path)
  local base, prefix = reference.endpoint(ref.registry)
  return ("%s/v2/%s%s/%s"):format(base, prefix, ref.repository, path)
end

--- The name that a repository has at its endpoint, for `from=` of a mount.
---@param ref ws.registry.Reference
---@return string
function M.name(ref)
  local _, prefix = reference.endpoint(ref.registry)
  return prefix .. ref.repository
end

---@class ws.registry.Request
---@field method? string   default GET
---@field path? string     after the repository's name; or
---@field url? string      as the registry gave it, perhaps relative to `path`'s
---@field headers? table
---@field body? any        as for http.request
---@field sink? any
---@field blob? boolean    a blob moves: no bound on the whole, only on silence
---@field actions? string  what the token shall allow: "pull" (default) or "pull,push"
---@field from? string     a second repository that the token shall allow to read
---@field statuses? table<integer, boolean>  that are answers, default 200
---@field attempts? integer
---@field max_body? integer

--- One try, with a token that is renewed once when it is refused.
local function send(place, ref, opts, target)
  local name = place.prefix .. ref.repository
  local scopes = { ("repository:%s:%s"):format(name, opts.actions or "pull") }
  if opts.from then scopes[2] = ("repository:%s:pull"):format(opts.from) end
  local own, renewed = origin_of(target) == origin_of(place.base), false
  for attempt = 1, 4 do
    local headers, used = {}, nil
    for key, value in pairs(opts.headers or {}) do headers[key] = value end
    if own then
      local problem
      used, problem = tokens.header(place, name, scopes)
      if problem then return nil, problem end
      headers.authorization = used
    end
    local answer, err = http.request { method = opts.method, url = target, headers = headers, body = opts.body,
      sink = opts.sink, max_body = opts.max_body, timeout = not opts.blob and TIMEOUT or nil,
      stall_timeout = opts.blob and STALL or nil }
    if not answer then return nil, err end
    if answer.status ~= 401 or not own then return answer end
    local again, again_renewed = tokens.refuse(place, name, scopes, answer.headers["www-authenticate"], used, renewed)
    renewed = renewed or again_renewed or false
    -- What a function gave of a body is gone: the caller has to begin anew, with the new token.
    if not again or attempt == 4 or type(opts.body) == "function" then return answer, again end
  end
end

--- Sends a request to a reference's registry; tried again after lost connections, 408, 429 and 5xx.
---@async
---@param ref ws.registry.Reference
---@param opts ws.registry.Request
---@return ws.http.Response? answer
---@return ws.Error? err  with the registry's code and message
function M.request(ref, opts)
  local place = place_of(ref)
  local target = M.url(ref, opts.path or "")
  if opts.url then target = url.resolve(target, opts.url) end
  local statuses = opts.statuses or { [200] = true }
  local what = ("%s %s"):format(opts.method or "GET", (target:gsub("[?#].*$", "")))
  return retry.run(function()
    local answer, again = send(place, ref, opts, target)
    if not answer then return retry.failed(again) end
    if statuses[answer.status] then return true, answer end
    local failure = error_of(place, ref, answer, what)
    if answer.status == 401 then
      failure.retryable = again == true -- by the caller, who has the body
      return true, nil, failure
    end
    return retry.failed(failure, retry.retry_after(answer.headers["retry-after"]))
  end, { attempts = opts.attempts })
end

--- Iterates over the pages of a list (RFC 8288 Link, rel="next"), at most 1000 of them.
---@async
---@param ref ws.registry.Reference
---@param opts ws.registry.Request
---@param each fun(answer: ws.http.Response): true?, ws.Error?
---@return true? ok
---@return ws.Error? err  kind `protocol` for a list without end or one that leads elsewhere
function M.pages(ref, opts, each)
  local current, seen = {}, {}
  for key, value in pairs(opts) do current[key] = value end
  local here = M.url(ref, current.path)
  for _ = 1, 1000 do
    local answer, err = M.request(ref, current)
    if not answer then return nil, err end
    local ok, problem = each(answer)
    if not ok then return nil, problem end
    local following
    for target, parameters in (answer.headers.link or ""):gmatch("<([^>]*)>([^<]*)") do
      if parameters:find('rel="?next"?') then following = url.resolve(here, target) end
    end
    if not following or answer.status ~= 200 then return true end
    if seen[following] or origin_of(following) ~= origin_of(here) then break end
    seen[following], here, current.url = true, following, following
  end
  return nil, errors.new { kind = "protocol", op = "registry",
    message = ("%s: the list's pages have no end, or lead to another server"):format(M.url(ref, opts.path)) }
end

return M
