--- Left-overs of a run that was killed: a terraform that still works, a lock whose holder is gone.
---
--- Children of ours carry TF_DATA_DIR in their environment, so they can be found by it, whoever started them. Their
--- output goes to a file, so a killed run does not take them along: they end their work and save the state.
local native = require "ws.engine".native

local M = {}

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("a")
  file:close()
  return text
end

--- Numbers of all processes.
local function pids()
  local fs = require "ws.fs"
  local list = {}
  for _, name in ipairs(fs.list("/proc") or {}) do
    if name:find("^%d+$") and tonumber(name) ~= native.pid() then list[#list + 1] = name end
  end
  return list
end

local function is_terraform(pid)
  local name = read("/proc/" .. pid .. "/comm")
  return name ~= nil and (name:find("^terraform\n") or name:find("^tofu\n")) ~= nil
end

--- The process number of a terraform that works in a data folder, or nil.
---@async
---@param data_dir string
---@return integer? pid
function M.find(data_dir)
  local wanted = "\0TF_DATA_DIR=" .. data_dir .. "\0"
  for _, pid in ipairs(pids()) do
    if is_terraform(pid) and ("\0" .. (read("/proc/" .. pid .. "/environ") or "")):find(wanted, 1, true) then
      return math.tointeger(tonumber(pid))
    end
  end
end

--- Whether the holder of a state lock is proven dead: it ran on this machine, and no terraform runs here now.
---@async
---@param lock { who: string }
---@return boolean
function M.is_dead(lock)
  local host = (read("/proc/sys/kernel/hostname") or ""):match("%S+")
  if not host or (lock.who or ""):match("@(%S+)$") ~= host then return false end
  for _, pid in ipairs(pids()) do
    if is_terraform(pid) then return false end
  end
  return true
end

return M
