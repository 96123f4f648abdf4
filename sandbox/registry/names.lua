--- The grammar of repository names, tags and digests: OCI distribution specification, "Pulling manifests"; OCI image
--- specification, "Digests".
local answers = require "sandbox.registry.answers"

local M = {}

local DIGITS = { sha256 = 64, sha512 = 128 }

local function is_component(part)
  if not (part:find("^[a-z0-9]") and part:find("[a-z0-9]$")) then return false end
  for separator in part:gmatch("[^a-z0-9]+") do
    if separator ~= "." and separator ~= "_" and separator ~= "__" and not separator:find("^%-+$") then return false end
  end
  return true
end

--- Whether a repository may be called that.
---@param name string
---@return boolean
function M.is_name(name)
  if #name > 255 then return false end
  for part in (name .. "/"):gmatch("([^/]*)/") do
    if not is_component(part) then return false end
  end
  return true
end

--- Fails the request for a name that no repository can have.
---@param name string
---@return string name
function M.check_name(name)
  if not M.is_name(name) then answers.fail(400, "NAME_INVALID", "invalid repository name: " .. name) end
  return name
end

--- Whether a text is a tag.
---@param text string
---@return boolean
function M.is_tag(text)
  return #text <= 128 and text:find("^[%w_][%w._-]*$") ~= nil
end

--- The algorithm of a digest that is whole and of a kind that the registry computes; nil for any other text.
---@param digest any
---@return string? algorithm
function M.algorithm(digest)
  if type(digest) ~= "string" then return nil end
  local algorithm, digits = digest:match("^(%w+):([0-9a-f]+)$")
  return algorithm and DIGITS[algorithm] == #digits and algorithm or nil
end

--- Fails the request for what is no digest.
---@param digest any
---@return string digest
function M.check_digest(digest)
  if not M.algorithm(digest) then
    answers.fail(400, "DIGEST_INVALID", digest == nil and "digest missing"
      or ("invalid digest %s; sha256 and sha512 are supported"):format(tostring(digest)))
  end
  return digest
end

--- Whether the registry computes digests of an algorithm.
---@param algorithm string
---@return boolean
function M.is_algorithm(algorithm) return DIGITS[algorithm] ~= nil end

return M
