--- References: REGISTRY/REPOSITORY[:TAG][@DIGEST], and where a registry answers.
local errors = require "ws.error"

local M = {}

local DIGEST = "^sha256:" .. ("[0-9a-f]"):rep(64) .. "$"

---@class ws.registry.Reference
---@field registry string    host, with its port if one is written
---@field repository string
---@field tag? string
---@field digest? string     `sha256:…`; wins over a tag
local Reference = {}
Reference.__index = Reference

function Reference:__tostring()
  return ("%s/%s%s%s"):format(self.registry, self.repository, self.tag and ":" .. self.tag or "",
    self.digest and "@" .. self.digest or "")
end

local function refuse(text, why, hint)
  return nil, errors.new { kind = "invalid", op = "registry",
    message = ("'%s' is not an image's reference: %s"):format(text, why),
    hint = hint or "write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:..., such as eu.gcr.io/my-project/app:1.4.2" }
end

--- Whether a text is a digest that can be verified here.
---@param text any
---@return boolean
function M.is_digest(text)
  return type(text) == "string" and text:find(DIGEST) ~= nil
end

--- Whether a text can be a tag.
---@param text any
---@return boolean
function M.is_tag(text)
  return type(text) == "string" and #text <= 128 and text:find("^[%w_][%w_.-]*$") ~= nil
end

local function is_host(text)
  if text == "localhost" then return true end
  local name = text:match("^%[[%x:.]+%]$") or text:match("^%[[%x:.]+%]:%d+$") or text:match("^[%w.-]+:%d+$")
  return name ~= nil or (text:find(".", 1, true) ~= nil and text:find("^%w[%w.-]*$") ~= nil)
end

local function is_component(text)
  return text:find("^[a-z0-9][a-z0-9._-]*$") ~= nil and not text:find("[._-]$") and not text:find("%.[._-]")
    and not text:find("[_-]%.") and not text:find("___")
end

--- Why a text cannot be a repository, or nil.
local function repository_problem(text)
  if text == "" then return "the repository is missing" end
  if #text > 255 then return "the repository's name is longer than 255 characters" end
  if text:find("%u") then return "a repository's name is in lower case" end
  for part in (text .. "/"):gmatch("([^/]*)/") do
    if not is_component(part) then return ("'%s' cannot be a part of a repository's name"):format(part) end
  end
end

--- Takes a reference apart. Raises for what is no string.
---@param text string
---@return ws.registry.Reference? reference
---@return ws.Error? err  kind `invalid`
function M.parse(text)
  if type(text) ~= "string" then error("registry: a reference expected, got " .. type(text), 2) end
  local name, digest = text:match("^([^@]*)@(.*)$")
  name = name or text
  if digest and not digest:find(DIGEST) then
    return refuse(text, ("'%s' is not sha256: and 64 hexadecimal digits"):format(digest))
  end
  local host, rest = name:match("^([^/]+)/(.*)$")
  if not host or not is_host(host) then
    return refuse(text, "it begins with the registry's host", name ~= "" and is_component(name:match("^[^/:]*"))
      and ("an image of Docker Hub is docker.io/%s%s"):format(host and "" or "library/", text) or nil)
  end
  local repository, tag = rest:match("^([^:]*):(.*)$")
  repository = repository or rest
  local problem = repository_problem(repository)
  if problem then return refuse(text, problem) end
  if tag and not M.is_tag(tag) then return refuse(text, ("'%s' cannot be a tag"):format(tag)) end
  return setmetatable({ registry = host:lower(), repository = repository, tag = tag, digest = digest }, Reference)
end

--- A parsed reference from what a caller gave: a text or one that is parsed already.
---@param value string|ws.registry.Reference
---@return ws.registry.Reference? reference
---@return ws.Error? err  kind `invalid`
function M.of(value)
  if getmetatable(value) == Reference then return value end
  return M.parse(value)
end

--- As `of`, for what needs one image: a reference without tag and digest is refused.
---@param value string|ws.registry.Reference
---@return ws.registry.Reference? reference
---@return ws.Error? err  kind `invalid`
function M.exact(value)
  local ref, err = M.of(value)
  if not ref then return nil, err end
  if ref.tag or ref.digest then return ref end
  return refuse(tostring(ref), "it has neither tag nor digest", ("if that is meant, write %s:latest"):format(ref))
end

--- The same repository with another tag or digest, or with none.
---@param ref ws.registry.Reference
---@param which? { tag?: string, digest?: string }
---@return ws.registry.Reference
function M.with(ref, which)
  return setmetatable({ registry = ref.registry, repository = ref.repository, tag = which and which.tag,
    digest = which and which.digest }, Reference)
end

--- What stands after `manifests/` in a URL.
---@param ref ws.registry.Reference
---@return string
function M.which(ref)
  return ref.digest or ref.tag
end

--- Whether a host is this machine: reached without TLS.
---@param registry string  host, perhaps with a port
---@return boolean
function M.is_loopback(registry)
  local host = registry:match("^%[(.*)%]") or registry:gsub(":%d+$", "")
  return host == "localhost" or host == "::1" or host:find("^127%.") ~= nil or host:find("%.localhost$") ~= nil
end

--- Where a registry answers: the base of its URLs, and what precedes a repository's name there.
---
--- WSRUN_REGISTRY_ENDPOINT (a sandbox sets it) stands for every registry that is not on this machine; there the
--- host is the first part of the repository's name.
---@param registry string
---@return string base    without a slash at its end
---@return string prefix  "" or `HOST/`
function M.endpoint(registry)
  if M.is_loopback(registry) then return "http://" .. registry, "" end
  local other = os.getenv("WSRUN_REGISTRY_ENDPOINT")
  if other and other ~= "" then return (other:gsub("/+$", "")), registry .. "/" end
  return "https://" .. (registry == "docker.io" and "registry-1.docker.io" or registry), ""
end

return M
