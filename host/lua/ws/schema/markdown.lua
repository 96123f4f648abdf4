--- A declared schema as Markdown: one table a record, a line a key.
---
--- ```lua
--- local s = require "ws.schema"
--- local machine = s.record { fields = { { "count", s.integer { min = 1, required = true, doc = "How many." } } } }
--- local text = require "ws.schema.markdown" (machine)
--- assert(text:find("| `count` | integer, at least 1 | **required** | How many. |", 1, true))
--- ```
local schema = require "ws.schema"
local values = require "ws.json"

local function cell(text)
  return (text:gsub("|", "\\|"):gsub("\n", " "))
end

--- The record that a field's value, its entries or its values are.
local function record_in(t)
  if t.kind == "record" then return t end
  if t.kind == "list" or t.kind == "map" then return record_in(t.of) end
  if t.kind == "either" then
    for _, of in ipairs(t.of) do
      if of.kind == "record" then return of end
    end
  end
end

local function suffix(t)
  if t.kind == "list" then return "[]" .. suffix(t.of) end
  if t.kind == "map" then return ".<name>" .. suffix(t.of) end
  return ""
end

local function allowed(t)
  if t.kind == "record" then return "map" end
  if t.kind == "list" then return "list: " .. (record_in(t.of) and "see below" or allowed(t.of)) end
  if t.kind == "map" and record_in(t.of) then return "map: see below" end
  return schema.allowed(t)
end

local function without(t)
  if t.required then return "**required**" end
  if t.default ~= nil then return "`" .. values.encode(t.default) .. "`" end
  return t.otherwise or ""
end

local function write(lines, t, path, level)
  lines[#lines + 1] = "| key | allowed | without it | meaning |"
  lines[#lines + 1] = "| --- | --- | --- | --- |"
  local nested = {}
  for _, field in ipairs(t.fields) do
    local name, of = field[1], field[2]
    lines[#lines + 1] = ("| `%s` | %s | %s | %s |"):format(name, cell(allowed(of)), cell(without(of)), cell(of.doc
      or ""))
    local record = record_in(of)
    if record then nested[#nested + 1] = { record, path .. name .. suffix(of), of } end
  end
  for _, entry in ipairs(nested) do
    lines[#lines + 1] = ""
    lines[#lines + 1] = ("%s `%s`"):format(("#"):rep(level), entry[2])
    lines[#lines + 1] = ""
    write(lines, entry[1], entry[2] .. ".", math.min(level + 1, 4))
  end
end

--- Writes a record and the records below it.
---@param t ws.schema.Type
---@param opts? { level?: integer }  of the headings of the records below; default 3
---@return string markdown
return function(t, opts)
  local lines = {}
  write(lines, t, "", opts and opts.level or 3)
  return table.concat(lines, "\n") .. "\n"
end
