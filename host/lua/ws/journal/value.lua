--- Lua values as text that brings them back: what a step returned, what its inputs were.
---
--- JSON, in which what JSON cannot say stands as { "$" = kind, v = … }: nil, bytes that are no UTF-8, NaN and
--- infinities, tables with other keys than a list's or a map's. What holds a secret is never written; what holds a
--- function, a handle, a metatable or itself cannot be.
local crypto = require "ws.crypto"
local json = require "ws.json"
local secret = require "ws.secret"
local utf8_len = utf8.len

local M = {}

M.LARGEST = 64 << 20 -- bytes of a packed value

local SECRET, OPAQUE = {}, {}

local function mark(kind, value)
  return { ["$"] = kind, v = value }
end

--- Whether a table's metatable only says that it is a decoded list or map.
local function is_plain(t)
  local meta = getmetatable(t)
  return meta == nil or (type(meta) == "table" and meta.__index == nil and meta.__gc == nil and meta.__close == nil
    and meta.__call == nil)
end

local pack

local function pack_table(t, inside)
  if inside[t] or not is_plain(t) then error(OPAQUE, 0) end
  inside[t] = true
  local kind, out = json.kind(t), {}
  if kind == "array" then
    for i = 1, #t do out[i] = pack(t[i], inside) end
    out = json.array(out)
  elseif kind == "object" and t["$"] == nil then
    for key, value in json.pairs(t) do out[key] = pack(value, inside) end
  else
    local pairs_list = json.array {}
    for key, value in pairs(t) do
      pairs_list[#pairs_list + 1] = json.array { pack(key, inside), pack(value, inside) }
    end
    out = mark("table", pairs_list)
  end
  inside[t] = nil
  return out
end

function pack(value, inside)
  local kind = type(value)
  if value == json.null or kind == "boolean" then return value end
  if kind == "nil" then return mark("nil") end
  if kind == "string" then return utf8_len(value) and value or mark("bytes", crypto.base64_encode(value)) end
  if kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return mark("float", tostring(value)) end
    return value
  end
  if secret.is(value) then error(SECRET, 0) end
  if kind == "table" then return pack_table(value, inside) end
  error(OPAQUE, 0)
end

local floats = { ["inf"] = math.huge, ["-inf"] = -math.huge, ["nan"] = 0 / 0, ["-nan"] = 0 / 0 }

local function unpack(value)
  if type(value) ~= "table" then return value end
  local kind = value["$"]
  if kind == "nil" then return nil end
  if kind == "bytes" then return (crypto.base64_decode(value.v)) end
  if kind == "float" then return floats[value.v] end
  if kind == "table" then
    local t = {}
    for _, pair in ipairs(value.v) do t[unpack(pair[1])] = unpack(pair[2]) end
    return t
  end
  for key, member in pairs(value) do value[key] = unpack(member) end
  return value
end

--- Packs several values.
---@param values table  as table.pack gives them
---@return string? text
---@return "secret"|"opaque"|nil why  when there is no text: it holds a secret, or something that is no plain data
function M.pack(values)
  local list = json.array {}
  local ok, err = pcall(function()
    for i = 1, values.n do list[i] = pack(values[i], {}) end
  end)
  if not ok then
    if err == SECRET then return nil, "secret" end
    if err == OPAQUE then return nil, "opaque" end
    error(err, 0)
  end
  local text = json.encode(list)
  if #text > M.LARGEST then return nil, "opaque" end
  if secret.redact(text) ~= text then return nil, "secret" end -- a secret's text, in whatever it was put
  return text
end

--- Brings packed values back, as table.pack gives them.
---@param text string
---@return table
function M.unpack(text)
  local list = assert(json.decode(text))
  local values = { n = #list }
  for i = 1, #list do values[i] = unpack(list[i]) end
  return values
end

--- A short text that is the same for the same value, and for no other; nil when the value is no plain data.
---@param value any
---@return string?
function M.fingerprint(value)
  local text = M.pack { value, n = 1 }
  if text and #text > 100 then text = "sha256:" .. crypto.sha256(text) end
  return text
end

return M
