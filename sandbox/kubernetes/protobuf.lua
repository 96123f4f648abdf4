--- Reads request bodies in protobuf: the types' field numbers come from the schema, nothing else is needed.
---
--- A body is the magic `k8s\0` and an Unknown message { typeMeta = 1 { apiVersion = 1, kind = 2 }, raw = 2 }. Answers
--- are
--- always JSON, which every client that sends protobuf accepts.
local crypto = require "ws.crypto"
local errors = require "sandbox.kubernetes.errors"
local json = require "ws.json"
local schema = require "sandbox.kubernetes.schema"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local MAGIC = "k8s\0"

--- Whether a body is protobuf of the API.
---@param body string
---@return boolean
function M.is(body)
  return body:sub(1, 4) == MAGIC
end

local function truncated()
  errors.bad_request("proto: unexpected end of the message")
end

local function varint(s, at)
  local value, shift = 0, 0
  while true do
    local b = s:byte(at)
    if not b or shift > 63 then truncated() end
    value = value | (b & 0x7f) << shift
    at = at + 1
    if b < 0x80 then return value, at end
    shift = shift + 7
  end
end

--- The next field from `at`: number, value (integer or bytes), position after it.
local function field(s, at)
  local tag
  tag, at = varint(s, at)
  local wire, value = tag & 7, nil
  if wire == 0 then
    value, at = varint(s, at)
  elseif wire == 2 then
    local length
    length, at = varint(s, at)
    if length < 0 or at + length - 1 > #s then truncated() end
    value, at = s:sub(at, at + length - 1), at + length
  elseif wire == 1 or wire == 5 then
    local size = wire == 1 and 8 or 4
    if at + size - 1 > #s then truncated() end
    value, at = s:sub(at, at + size - 1), at + size
  else
    errors.bad_request("proto: wiretype %d is not supported", wire)
  end
  return tag >> 3, value, at
end

--- Calls `each(number, value)` for the fields of a message.
local function fields(s, each)
  local at = 1
  while at <= #s do
    local number, value
    number, value, at = field(s, at)
    each(number, value)
  end
end

local decode_message

local function numbered(s)
  local out = {}
  fields(s, function(number, value) out[number] = value end)
  return out
end

local function raw_json(s)
  local text = numbered(s)[1]
  return text and json.decode(text) or nil
end

local DECODE = {}

function DECODE.string(v) return v end
function DECODE.int(v) return v end
function DECODE.bool(v) return v ~= 0 end
function DECODE.number(v) return type(v) == "string" and string.unpack("<d", v) or v end
function DECODE.bytes(v) return crypto.base64_encode(v) end
function DECODE.raw(v) return raw_json(v) end
function DECODE.quantity(v) return numbered(v)[1] or "0" end
function DECODE.time(v)
  local seconds = numbered(v)[1]
  return seconds and time.rfc3339(seconds) or nil
end
DECODE.microtime = DECODE.time
function DECODE.intstr(v)
  local f = numbered(v)
  if f[1] == 1 then return f[3] or "" end
  return f[2] or 0
end

local function decode_value(v, node)
  local scalar = DECODE[node.type]
  if not scalar then return decode_message(v, node) end
  local expects_bytes = node.type ~= "int" and node.type ~= "bool" and node.type ~= "number"
  if expects_bytes ~= (type(v) == "string") and node.type ~= "number" then
    errors.bad_request("proto: wrong wire type for a field of type %s", node.type)
  end
  return scalar(v)
end

local function decode_field(out, name, node, value)
  if node.type == "list" then
    out[name] = out[name] or values.array()
    if node.elem.type == "int" and type(value) == "string" then -- packed
      local at = 1
      while at <= #value do
        local v
        v, at = varint(value, at)
        table.insert(out[name], v)
      end
    else
      table.insert(out[name], decode_value(value, node.elem))
    end
  elseif node.type == "map" then
    local entry = numbered(value)
    out[name] = out[name] or values.object()
    local v = entry[2]
    if v == nil then v = (node.elem.type == "string" or node.elem.type == "bytes") and "" or nil end
    if v ~= nil then out[name][entry[1] or ""] = decode_value(v, node.elem) end
  else
    out[name] = decode_value(value, node)
  end
end

--- Go writes plain fields also when they are empty, which in JSON means that they are absent.
local function is_zero(v, node)
  if node.zero then return v == 0 or v == false end
  return v == "" and (node.type == "string" or node.type == "bytes")
end

function decode_message(s, node)
  if type(s) ~= "string" then errors.bad_request("proto: a message expected") end
  local out = values.object()
  fields(s, function(number, value)
    local known = node.numbers and node.numbers[number]
    if not known then return end
    if known.name then
      decode_field(out, known.name, known.node, value)
      if is_zero(out[known.name], known.node) then out[known.name] = nil end
    else
      for k, v in pairs(decode_message(value, known.node)) do out[k] = v end
    end
  end)
  return out
end

-- Types that are no resources of their own.
local OTHER = { DeleteOptions = "meta.DeleteOptions", TokenRequest = "authentication/v1.TokenRequest",
  Eviction = "policy/v1.Eviction", Scale = "autoscaling/v1.Scale" }

--- The object in a protobuf body. Raises 400 when it is not one, 415 when its kind is unknown.
---@param body string
---@return table object
function M.decode(body)
  local unknown = numbered(body:sub(#MAGIC + 1))
  local type_meta = numbered(unknown[1] or "")
  local api_version, kind = type_meta[1] or "", type_meta[2] or ""
  local group, version = require("sandbox.kubernetes.resources").split(api_version)
  local node
  if OTHER[kind] then
    node = schema.type(OTHER[kind])
  else
    local ok, found = pcall(schema.kind, group, version, kind)
    node = ok and found
  end
  if not node then
    errors.raise("UnsupportedMediaType", ("protobuf bodies of kind %s in version %q are not understood"):format(kind,
      api_version))
  end
  local object = decode_message(unknown[2] or "", node)
  object.apiVersion, object.kind = api_version, kind
  return object
end

return M
