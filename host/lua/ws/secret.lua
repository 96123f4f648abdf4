--- Values that must not be seen.
---
--- A secret prints as `***` and cannot be concatenated. Only sinks open it: stdin and environment of a child, a file of
--- mode 0600, an HTTP header or body. In what leaves the process (the screen, logs, reports, what children print) every
--- secret is replaced by `***`, also as base64, hexadecimal, in URLs, JSON, XML and shell quotes, line by line and
--- across the borders of single writes. Secrets shorter than six characters, and lines of secrets shorter than eight,
--- are left alone: masking them would garble ordinary words.
local native = require "ws.secret.native"

local M = {}

---@class ws.Secret

---@class ws.secret.Stream
---@field feed fun(self, text: string): string  what of the text so far may leave, masked
---@field finish fun(self): string  the rest

--- Names of members whose text is a secret in a JSON document that is one: keys, tokens, passwords; not addresses.
local function is_private(name, value)
  name = name:lower()
  if value:find("^https?://") or name:find("_?type$") then return false end
  for _, word in ipairs { "key", "token", "secret", "password", "passwd", "auth", "credential" } do
    if name:find(word, 1, true) then return true end
  end
  return false
end

local function add_leaves(value, name)
  if type(value) == "string" then
    if name and is_private(name, value) then native.new(value) end
  elseif type(value) == "table" then
    for key, member in pairs(value) do add_leaves(member, type(key) == "string" and key or name) end
  end
end

--- Makes a secret of a string; a secret is returned as it is. Of a JSON document the private members (keys, tokens,
--- passwords) are masked as well where they appear alone. Raises for anything else.
---@param value string|ws.Secret
---@return ws.Secret
function M.new(value)
  local secret = native.new(value)
  if type(value) == "string" and value:find("^%s*[{%[]") then
    local document = require "ws.json".decode(value)
    if document then add_leaves(document) end
  end
  return secret
end

--- Whether a value is a secret.
---@param value any
---@return boolean
function M.is(value)
  return native.is(value)
end

--- The text with every known secret replaced by `***`.
---@param text string
---@return string
function M.redact(text)
  return native.redact(text)
end

--- A masked stream, for texts that come in pieces: it keeps back what may be the beginning of a secret.
---
--- ```lua
--- local stream = secret.stream()
--- file:write(stream:feed(piece))
--- file:write(stream:finish())
--- ```
---@return ws.secret.Stream
function M.stream()
  return native.stream()
end

--- Strings and secrets one after the other, as one secret. Raises for anything else.
---
--- ```lua
--- local header = secret.join("Bearer ", token)
--- ```
---@param ... string|ws.Secret
---@return ws.Secret
function M.join(...)
  return native.join(...)
end

--- Writes the secret's bytes on stdout: the sink of credential plugins, whose answer is the credential.
---@param value ws.Secret
---@return boolean written
function M.write_stdout(value)
  return native.write_stdout(value)
end

return M
