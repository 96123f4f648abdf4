---@meta ws.json

--- JSON (RFC 8259), with values that survive a round trip: null, empty lists and empty maps are distinct, integers keep
--- 64 bits, maps keep the order of their keys. ws.yaml shares these values.
local json = {}

--- The null of JSON and YAML. It is true in conditions: compare with `== json.null`.
---@type userdata
json.null = nil

--- Reads a text.
---
--- Lists become tables marked as lists, maps become tables that `pairs` walks in the text's order. An integer that
--- fits 64 bits is an integer, any other number a float. A key that occurs twice is an error.
---@param text string
---@param opts? { filename?: string }  named in the error
---@return any? value
---@return ws.Error? err  kind `parse`; its message begins with `line:column:`
function json.decode(text, opts) end

--- Writes a value.
---
--- A table marked by `array` or `object` is what it says; a plain non-empty sequence is a list; any other plain table
--- is a map with sorted keys. Raises for what JSON cannot say: functions, NaN, tables with holes, strings that are not
--- UTF-8, more than 512 levels.
---@param value any
---@param opts? { indent?: integer, secrets?: boolean, invalid_utf8?: "refuse"|"replace" }  `indent`: spaces a level,
---  default all on one line. `secrets`: the value may hold secrets, and the result is a secret.
---  `invalid_utf8 = "replace"` writes U+FFFD for what is not UTF-8.
---@return string text  or a secret
function json.encode(value, opts) end

--- Marks a table as a list, so that it is written as `[]` even when it is empty.
---@param t? table  default: a new one
---@return table t  the same table
function json.array(t) end

--- Marks a table as a map that remembers the order in which keys are added. Keys it has already come first, sorted.
---@param t? table  default: a new one
---@return table t  the same table
function json.object(t) end

--- Walks a table in a fixed order: a map's own, or sorted keys for a plain table. `pairs` does the same for maps.
---@param t table
---@return fun(): any, any
function json.pairs(t) end

--- What a value would be written as, when it is null or a table.
---@param value any
---@return "null"|"array"|"object"|nil kind  nil also for a table that is neither
function json.kind(value) end

return json
