--- Signed URLs, version 4: <https://cloud.google.com/storage/docs/authentication/canonical-requests>.
---
--- A URL that has expired is refused. The signature is checked when the sandbox has keys of the account that signed; of
--- any other account it has none and believes it.
local crypto = require "ws.crypto"
local time = require "ws.time"

local M = {}

local DATE = "^(%d%d%d%d)(%d%d)(%d%d)T(%d%d)(%d%d)(%d%d)Z$"
local LONGEST = 7 * 86400 -- seconds

local function encode(text)
  return (text:gsub("[^%w%-_%.~]", function(ch) return ("%%%02X"):format(ch:byte()) end))
end

--- The query in canonical form, without the signature.
local function canonical_query(list)
  local pairs_of = {}
  for _, pair in ipairs(list) do
    if pair[1]:lower() ~= "x-goog-signature" then
      pairs_of[#pairs_of + 1] = encode(pair[1]) .. "=" .. encode(pair[2])
    end
  end
  table.sort(pairs_of)
  return table.concat(pairs_of, "&")
end

local function canonical_headers(names, headers)
  local lines = {}
  for name in names:gmatch("[^;]+") do
    local value = (headers[name] or ""):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
    lines[#lines + 1] = ("%s:%s\n"):format(name, value)
  end
  return table.concat(lines)
end

--- What the signer of a request signed.
---@param req table  method, path, query_list, headers
---@param given { date: string, scope: string, headers: string }
---@return string
function M.string_to_sign(req, given)
  local canonical = table.concat({ req.method, req.path, canonical_query(req.query_list),
    canonical_headers(given.headers, req.headers), given.headers,
    req.headers["x-goog-content-sha256"] or "UNSIGNED-PAYLOAD" }, "\n")
  return table.concat({ "GOOG4-RSA-SHA256", given.date, given.scope, crypto.sha256(canonical) }, "\n")
end

local function is_signed_by(cloud, email, text, signature)
  local keys = cloud.store:collection("iam.keys"):list(email .. "/")
  if #keys == 0 then return true end
  local bytes = #signature % 2 == 0 and signature:find("^%x+$") and crypto.hex_decode(signature)
  for _, key in ipairs(keys) do
    if bytes and crypto.rsa_verify(key.public_key, text, bytes) then return true end
  end
  return false
end

--- Checks a request; one that is not signed passes.
---@param c sandbox.Context
---@return string? code  of the error, e.g. "ExpiredToken"
---@return string? message
---@return integer? status
function M.check(c)
  local query = {}
  for name, value in pairs(c.query) do query[name:lower()] = value end
  local signature = query["x-goog-signature"] or query["x-amz-signature"]
  if not signature then return nil end
  local stamp = query["x-goog-date"] or query["x-amz-date"]
  local seconds = tonumber(query["x-goog-expires"] or query["x-amz-expires"])
  local year, month, day, hour, minute, second = (stamp or ""):match(DATE)
  if not year or not seconds or seconds < 1 or seconds > LONGEST then
    return "InvalidArgument", "The signed URL has no valid date or expiry.", 400
  end
  local signed_at = time.parse_rfc3339(("%s-%s-%sT%s:%s:%sZ"):format(year, month, day, hour, minute, second))
  if signed_at + seconds < time.now() then return "ExpiredToken", "The provided token has expired.", 400 end
  local email, scope = (query["x-goog-credential"] or ""):match("^([^/]+)/(.+)$")
  if query["x-goog-algorithm"] ~= "GOOG4-RSA-SHA256" or not email then return nil end
  local text = M.string_to_sign(c.req, { date = stamp, scope = scope, headers = query["x-goog-signedheaders"] or "" })
  if not is_signed_by(c.cloud, email, text, signature) then
    return "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "
      .. "What was to be signed: " .. text, 403
  end
end

return M
