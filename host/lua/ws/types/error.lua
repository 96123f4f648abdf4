---@meta ws.error
--- The error object: what a function returns beside nil when the world failed it.
---
--- `tostring(err)` is one line, "op: message". `assert(f())` raises the object itself.

---@class ws.Error
---@field kind string        one word of `kinds()`
---@field message string     what happened, to what
---@field op? string         what was attempted, e.g. "fs.read"
---@field status? integer    HTTP status or exit code
---@field retryable boolean  trying again may help
---@field hint? string       what to do
---@field where? string      file:line of a layer, manifest or script
---@field detail? string     more of the remote's or child's own words
---@field cause? any         what led to it

local M = {}

--- Makes an error object of the fields. Raises on an unknown kind or a missing message.
---
--- ```lua
--- local err = error.new { kind = "not_found", message = "no such platform", op = "manifest" }
--- assert(tostring(err) == "manifest: no such platform")
--- ```
---@param fields table  `kind` and `message` are needed; `retryable` follows the kind unless it is given
---@return ws.Error
function M.new(fields) end

--- Whether a value is an error object.
---@param value any
---@return boolean
function M.is(value) end

--- The closed list of kinds.
---@return string[]
function M.kinds() end

return M
