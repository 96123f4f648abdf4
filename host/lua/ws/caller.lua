--- "file.lua:58" of the nearest caller outside the host: the place in a script that an error or a step belongs to.
---@return string?
return function()
  for level = 2, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and not info.source:find("host/lua/ws/", 1, true) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
end
