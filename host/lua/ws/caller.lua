--- "file.lua:58" of the nearest caller outside the host: the place in a script that an error or a step belongs to. A
--- file of the project is named from its root.
---@return string?
return function()
  for level = 2, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and not info.source:find("host/lua/ws/", 1, true) then
      local file, top = info.source:match("^@(.+)$") or info.short_src, require "ws.project".path("")
      if file:sub(1, #top) == top then file = file:sub(#top + 1) end
      return ("%s:%d"):format(file, info.currentline)
    end
  end
end
