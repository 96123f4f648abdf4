-- A map that is written in the order in which it was said.
local json = require "ws.json"

--- Makes a map of keys and values by turns: ordered("a", 1, "b", nil, "c", 3). What is nil is left out.
---@param ... any
---@return table
return function(...)
  local made, list = json.object(), table.pack(...)
  for i = 1, list.n, 2 do made[list[i]] = list[i + 1] end
  return made
end
