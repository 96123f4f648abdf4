---@meta ws.secret
--- Values that must not be seen.
---
--- A secret prints as `***` and cannot be concatenated. Only sinks open it: stdin and environment of a child, a file of
--- mode 0600, an HTTP header or body. What leaves the process has the bytes of every secret replaced by `***`; secrets
--- and lines of secrets shorter than six characters are left alone, since masking them would garble ordinary words.

---@class ws.Secret

local M = {}

--- Makes a secret of a string; a secret is returned as it is. Raises for anything else.
---@param value string|ws.Secret
---@return ws.Secret
function M.new(value) end

--- Whether a value is a secret.
---@param value any
---@return boolean
function M.is(value) end

--- The text with the bytes of every known secret replaced by `***`.
---@param text string
---@return string
function M.redact(text) end

--- Strings and secrets one after the other, as one secret. Raises for anything else.
---
--- ```lua
--- local header = secret.join("Bearer ", token)
--- ```
---@param ... string|ws.Secret
---@return ws.Secret
function M.join(...) end

--- Writes the secret's bytes on stdout: the sink of credential plugins, whose answer is the credential.
---@param value ws.Secret
---@return boolean written
function M.write_stdout(value) end

return M
