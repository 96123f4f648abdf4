--- Which process on which machine: for what outlives a process and wants to know whether it is still there.
---
--- A process is named by its number and the moment it began, within one boot and one space of process numbers: numbers
--- are used again, and containers have their own.
local native = require "ws.engine".native

local M = {}

--- The text of a file that the kernel makes up as it is read, such as those of /proc; nil when there is none.
---@param path string
---@return string?
function M.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- When a process began, in the kernel's ticks since boot; nil when there is none, or only a zombie (proc(5), stat).
---@param pid integer
---@return integer?
function M.started(pid)
  local stat = M.read(("/proc/%d/stat"):format(pid))
  local after = stat and stat:match("^.*%) (.*)$") -- the name in parentheses may hold anything
  if not after or after:find("^Z") then return nil end
  local i = 0
  for field in after:gmatch("%S+") do
    i = i + 1
    if i == 20 then return math.tointeger(tonumber(field)) end
  end
end

--- The space that process numbers count in (boot and namespace), and the machine's name.
---@return { boot: string, pids: string, host: string }
function M.place()
  return {
    boot = (M.read("/proc/sys/kernel/random/boot_id") or ""):match("%S*"),
    pids = require "ws.fs".readlink("/proc/self/ns/pid") or "",
    host = (M.read("/proc/sys/kernel/hostname") or "unknown"):match("%S*"),
  }
end

--- This process, as data that another one can look up.
---@return { boot: string, pids: string, host: string, pid: integer, ticks?: integer, user: string }
function M.process()
  local place = M.place()
  place.pid = native.pid()
  place.ticks = M.started(place.pid)
  place.user = os.getenv("USER") or os.getenv("LOGNAME") or "unknown"
  return place
end

--- Whether a process that was written down is proven to be gone. On another machine, or when it cannot be told: no.
---@param holder table  as `process` gives it
---@return boolean
function M.is_gone(holder)
  local here = M.place()
  if holder.host ~= here.host or holder.boot == nil then return false end
  if holder.boot ~= here.boot then return true end -- the machine was started anew since
  return holder.pids == here.pids and (holder.ticks == nil or M.started(holder.pid) ~= holder.ticks)
end

--- Ends this process at once, as kill -9 does: for tests of what survives.
function M.kill_self()
  require "ws.signal.native".raise("KILL")
end

return M
