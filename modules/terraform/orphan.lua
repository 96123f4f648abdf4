--- Left-overs of a run that was killed: a terraform that still works, a lock whose holder is gone.
---
--- Children of ours carry TF_DATA_DIR in their environment, so they can be found by it, whoever started them. Their
--- output goes to a file, so a killed run does not take them along: they end their work and save the state.
local machine = require "ws.machine"
local native = require "ws.engine".native

local M = {}

local read = machine.read

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

--- While a command of ours works in a data folder it has the file "working"; one that is found there when the next
--- command begins belongs to a command that never ended, and becomes "left".
local function mark(data_dir, name)
  return data_dir .. "/" .. name
end

--- Notes that a command of ours begins in a data folder; see is_dead.
---@async
---@param data_dir string
---@return true? ok
---@return ws.Error? err
function M.begin(data_dir)
  local fs, time = require "ws.fs", require "ws.time"
  if fs.exists(mark(data_dir, "working")) then
    local ok, err = fs.rename(mark(data_dir, "working"), mark(data_dir, "left"))
    if not ok then return nil, err end
  end
  return fs.write(mark(data_dir, "working"), ("%.3f\n"):format(time.now()), { mode = 384, durable = false }) -- 0600
end

--- Notes that the command has ended by itself, so that it left no lock.
---@async
---@param data_dir string
function M.finish(data_dir)
  require "ws.fs".remove(mark(data_dir, "working"), { missing_ok = true })
end

--- Notes that the state was free: what an earlier command left is settled.
---@async
---@param data_dir string
function M.settle(data_dir)
  require "ws.fs".remove(mark(data_dir, "left"), { missing_ok = true })
end

--- When a lock was taken: "2026-11-22 19:17:26.93 +0000 UTC" as seconds, or nil.
local function taken_at(lock)
  local date, clock = (lock.created or ""):match("^(%d+%-%d+%-%d+) (%d+:%d+:%d+%.?%d*) %+0000 UTC")
  return date and require "ws.time".parse_rfc3339(date .. "T" .. clock .. "Z")
end

--- Whether the holder of a state lock is proven to be a dead child of ours: a command of ours began in this data folder
--- and never ended, the lock was taken on this machine after that, and no terraform works in the folder now. That it
--- was this machine alone proves nothing: hosts share names.
---@async
---@param lock { who: string, created: string }
---@param data_dir string
---@return boolean
function M.is_dead(lock, data_dir)
  local host = (read("/proc/sys/kernel/hostname") or ""):match("%S+")
  if not host or (lock.who or ""):match("@(%S+)$") ~= host then return false end
  local started = (read(mark(data_dir, "left")) or ""):match("^[%d.]+")
  local taken = taken_at(lock)
  if not started or not taken or taken < tonumber(started) - 1 then return false end
  return M.find(data_dir) == nil
end

return M
