--- The sandbox's own certificate authority, and the certificates of its listeners.
local crypto = require "ws.crypto"
local fs = require "ws.fs"

local M = {}

local PRIVATE = 384 -- 0600
local DAYS = 3650

local function load(dir, name)
  local cert, key = fs.read(("%s/%s.crt"):format(dir, name)), fs.read(("%s/%s.key"):format(dir, name))
  if cert and key then return { cert = cert, key = key } end
end

local function store(dir, name, pair)
  assert(fs.write(("%s/%s.key"):format(dir, name), pair.key, { mode = PRIVATE, durable = false }))
  assert(fs.write(("%s/%s.crt"):format(dir, name), pair.cert, { durable = false }))
  return load(dir, name)
end

--- The authority of a state folder, made at the first call.
---@param dir string
---@return { cert: string, key: string }  PEM
function M.authority(dir)
  return load(dir, "ca")
    or store(dir, "ca", assert(crypto.x509.create { subject = "wsrun sandbox", days = DAYS, ca = true }))
end

--- A server's certificate for loopback, kept in the state folder.
---@param ca { cert: string, key: string }
---@param dir string
---@param name string
---@return string cert  PEM
---@return string key
function M.server(ca, dir, name)
  local pair = load(dir, name) or store(dir, name, assert(crypto.x509.create {
    subject = "localhost", names = { "localhost" }, ips = { "127.0.0.1" }, days = DAYS, issuer = ca,
  }))
  return pair.cert, pair.key
end

return M
