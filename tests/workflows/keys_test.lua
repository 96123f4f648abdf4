-- Every key that a manifest may have is read by a workflow: nobody writes one in vain.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

--- The text of all workflows but the schema, comments left out, and of the layer that gets its thresholds as a map.
local function readers()
  local fs = require "ws.fs"
  local parts = {}
  for _, pattern in ipairs { "workflows/*.lua", "workflows/lib/*.lua", "layers/monitoring/alerts.tf" } do
    for _, path in ipairs(assert(fs.glob(pattern))) do
      if not path:find("manifest_schema.lua", 1, true) then
        parts[#parts + 1] = (read(path):gsub("%-%-[^\n]*", ""))
      end
    end
  end
  return table.concat(parts, "\n")
end

return function(test)
  test("every key of the schema is read by a workflow", function(t)
    local text, unread, found = readers(), {}, 0
    for key in read("workflows/lib/manifest_schema.lua"):gmatch('{ "([%w_-]+)", ?[%a]') do
      found = found + 1
      local plain = key:gsub("%p", "%%%0")
      local is_read = text:find('"' .. plain .. '"') or text:find("%." .. plain .. "%f[^%w_]")
        or text:find("\n +" .. plain .. " += {") -- a row of the layer's thresholds
      if not is_read then
        unread[#unread + 1] = key
      end
    end
    t:ok(found > 60, ("only %d keys were found in the schema"):format(found))
    t:eq(unread, {})
  end)
end
