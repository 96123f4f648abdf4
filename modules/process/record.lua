--- Records of children that may outlive us: which process works on what, for the run that comes after a killed one.
---
--- A process is named by its number and the moment it began, within one boot and one process namespace.
local fs = require "ws.fs"
local json = require "ws.json"
local time = require "ws.time"

local M = {}

--- When a process began, in the kernel's ticks since boot; nil when there is none, or only a zombie.
local function start_ticks(pid)
  local stat = fs.read(("/proc/%d/stat"):format(pid))
  local after = stat and stat:match("^.*%) (.*)$") -- the name in parentheses may hold anything
  if not after or after:sub(1, 1) == "Z" then return nil end
  local i = 0
  for field in after:gmatch("%S+") do
    i = i + 1
    if i == 20 then return math.tointeger(tonumber(field)) end
  end
end

local function place()
  return {
    boot = (fs.read("/proc/sys/kernel/random/boot_id") or ""):match("%S*"),
    pids = fs.readlink("/proc/self/ns/pid") or "",
  }
end

--- Writes that a child works on something.
---@async
---@param path string
---@param child ws.process.Child
---@param what string  for people: "helm upgrade"
---@return true? ok
---@return ws.Error? err
function M.write(path, child, what)
  local record = place()
  record.what, record.pid, record.ticks, record.started = what, child.pid, start_ticks(child.pid), time.now()
  return fs.write(path, json.encode(record), { mode = 384, durable = false }) -- 0600
end

--- Reads a record; `runs` says whether its process still does.
---@async
---@param path string
---@return { what: string, pid: integer, started: number, runs: boolean }? record
function M.read(path)
  local text = fs.read(path)
  local record = text and json.decode(text)
  if not record then return nil end
  local here = place()
  record.runs = record.boot == here.boot and record.pids == here.pids and record.ticks ~= nil
    and start_ticks(record.pid) == record.ticks
  return record
end

return M
