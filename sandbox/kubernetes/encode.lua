--- JSON of stored objects, written once an object however often it is listed, watched or saved.
---
--- Only for tables that never change again: what the store holds, and what is shown of it.
local json = require "ws.json"

local M = {}

local texts = setmetatable({}, { __mode = "k" })

--- The JSON of an object.
---@param object table  not changed from now on
---@return string
function M.object(object)
  local text = texts[object]
  if not text then
    text = json.encode(object)
    texts[object] = text
  end
  return text
end

--- The JSON of a list object: `head`'s members and the items.
---@param head table  members besides `items`, at least one
---@param items table[]
---@return string
function M.list(head, items)
  local parts = {}
  for i, item in ipairs(items) do parts[i] = M.object(item) end
  return json.encode(head):sub(1, -2) .. ',"items":[' .. table.concat(parts, ",") .. "]}"
end

return M
