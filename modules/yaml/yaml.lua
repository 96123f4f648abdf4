--- YAML: reading, writing, and changing one value of a text while every other byte stays.
---
--- Values are those of ws.json: null, lists and maps that keep their order. Scalars without quotes are typed by the
--- core schema of YAML 1.2: `yes`, `no`, `on`, `off` and dates are strings, `0644` is 644.
local native = require "ws.yaml.native"

local M = {
  decode = native.decode,
  decode_all = native.decode_all,
  encode = native.encode,
  null = native.null,
  array = native.array,
  object = native.object,
  pairs = native.pairs,
  kind = native.kind,
}

--- Writes several documents, each begun by `---` but the first.
---@param values any[]
---@return string text
function M.encode_all(values)
  local texts = {}
  for i, value in ipairs(values) do texts[i] = native.encode(value) end
  return table.concat(texts, "---\n")
end

---@class ws.yaml.Marks
---@field filename? string
---@field text string  that was read
local Marks = {}
Marks.__index = Marks

--- Where a value and its key are in the text.
---@param path (string|integer)[]  keys and indices from the top; {} is the whole value
---@return integer? line  of the value; nil when the text has no such value
---@return integer? column
---@return integer? key_line  nil for entries of lists and for the whole value
---@return integer? key_column
function Marks:get(path)
  local node, key = self.root, nil
  for _, part in ipairs(path) do
    if not node or not node.values or not node.values[part] then return nil end
    key = node.keys and node.keys[part]
    node = node.values[part]
  end
  if not node then return nil end
  return node.line, node.column, key and key.line, key and key.column
end

--- The characters of a scalar without quotes, as they stand in the text: "1.30" for what was read as 1.3.
---@param path (string|integer)[]
---@return string? text  nil for everything else
function Marks:source(path)
  local node = self.root
  for _, part in ipairs(path) do
    node = node and node.values and node.values[part]
  end
  if node and node.style == "plain" then return self.text:sub(node.start, node.stop - 1) end
end

--- The place of a value's key as "file:line:column", or of the value when it has no key. For a path that the text does
--- not have, the place of the nearest part above that it has.
---@param path (string|integer)[]
---@return string
function Marks:where(path)
  for length = #path, 0, -1 do
    local line, column, key_line, key_column = self:get(table.move(path, 1, length, 1, {}))
    if line then
      return ("%s:%d:%d"):format(self.filename or "(text)", key_line or line, key_column or column)
    end
  end
  return ("%s:1:1"):format(self.filename or "(text)")
end

--- Reads a text with one document, and where its parts are.
---@param text string
---@param opts? { filename?: string }  named in errors and by `marks:where`
---@return any? value
---@return ws.yaml.Marks|ws.Error marks  or the error of kind `parse`
function M.load_marked(text, opts)
  local value, err = native.decode(text, opts)
  if value == nil then return nil, err end
  return value, setmetatable({ root = native.marks(text), text = text, filename = opts and opts.filename }, Marks)
end

--- Sets one value of a text. Only the bytes of that value change: comments, blank lines, the quotes and order of the
--- neighbours and line ends stay. A key that is missing gets a line of its own, indented as its neighbours, maps above
--- it that are missing as well. The result is read again and proved to differ in this value only.
---
--- ```lua
--- local yaml = require "ws.yaml"
--- assert(yaml.edit("a: 1   # one\n", { "a" }, 2) == "a: 2   # one\n")
--- assert(yaml.edit("a: 1\n", { "b", "c" }, "x") == "a: 1\nb:\n  c: x\n")
--- ```
---@param text string  one document
---@param path (string|integer)[]  keys and indices; the index after a list's last appends
---@param value any
---@param opts? { filename?: string }
---@return string? text
---@return ws.Error? err  kinds `parse`, `not_found` (a list has no such index), `unsupported` (it cannot be done
---  without changing something else; the message says why)
function M.edit(text, path, value, opts)
  if value == nil then error("edit: no value; use remove, or yaml.null", 2) end
  return require "ws.yaml.edit".set(text, path, value, opts)
end

--- Removes one key of a map, or one entry of a list, with its lines. A map or list that becomes empty is written as
--- `{}` or `[]`. Comments on lines of their own stay.
---@param text string  one document
---@param path (string|integer)[]
---@param opts? { filename?: string }
---@return string? text
---@return ws.Error? err  kinds `parse`, `not_found`, `unsupported`
function M.remove(text, path, opts)
  return require "ws.yaml.edit".remove(text, path, opts)
end

return M
