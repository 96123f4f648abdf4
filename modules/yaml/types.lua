---@meta ws.yaml.native

local yaml = {}

--- The null of JSON and YAML. It is true in conditions: compare with `== yaml.null`.
---@type userdata
yaml.null = nil

--- Reads a text with one document; an empty text is null.
---
--- Aliases become copies. `<<` merges maps. A key that occurs twice is an error, and so are tags other than those of
--- plain values (`!!str`, `!!int`, …), more than 256 levels, and aliases that add more than 100000 values.
---@param text string
---@param opts? { filename?: string, yaml11?: boolean }  `filename`: named in the error. `yaml11`: scalars as
---  Kubernetes' tools read them: `yes`, `no`, `on`, `off`, `y`, `n` are booleans, `0644` is octal, `0b101` binary.
---@return any? value
---@return ws.Error? err  kind `parse`; its message begins with `line:column:`, or `file:line:column:`
function yaml.decode(text, opts) end

--- Reads a text with any number of documents.
---@param text string
---@param opts? { filename?: string, yaml11?: boolean }  as for `decode`
---@return any[]? values
---@return ws.Error? err  as for `decode`
function yaml.decode_all(text, opts) end

--- Writes a value in block style. Raises for what YAML cannot say: functions, tables with holes, strings that are not
--- UTF-8, more than 256 levels, keys of more than 200 bytes.
---@param value any  see `json.encode` for how tables are told apart
---@param opts? { secrets?: boolean, indent?: integer, one_line?: boolean }  `secrets`: the value may hold secrets, and
---  the result is a secret. `indent`: spaces before the lines after the first. `one_line`: in flow style, without line
---  break.
---@return string text  or a secret
function yaml.encode(value, opts) end

--- Where the parts of a text are; `load_marked` is the public form. Node: line, column, start, stop (bytes), style,
--- anchor, tag, values, and for maps keys, order, merge.
---@param text string  one that `decode` accepts
---@return table? node  nil without an error for an empty text
---@return ws.Error? err
function yaml.marks(text) end

--- Marks a table as a list, so that it is written as `[]` even when it is empty.
---@param t? table  default: a new one
---@return table t  the same table
function yaml.array(t) end

--- Marks a table as a map that remembers the order in which keys are added. Keys it has already come first, sorted.
---@param t? table  default: a new one
---@return table t  the same table
function yaml.object(t) end

--- Walks a table in a fixed order: a map's own, or sorted keys for a plain table. `pairs` does the same for maps.
---@param t table
---@return fun(): any, any
function yaml.pairs(t) end

--- What a value would be written as, when it is null or a table.
---@param value any
---@return "null"|"array"|"object"|nil kind  nil also for a table that is neither
function yaml.kind(value) end

return yaml
