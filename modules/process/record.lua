--- Records of children that may outlive us: which process works on what, for the run that comes after a killed one.
local fs = require "ws.fs"
local json = require "ws.json"
local machine = require "ws.machine"
local time = require "ws.time"

local M = {}

--- Writes that a child works on something.
---@async
---@param path string
---@param child ws.process.Child
---@param what string  for people: "helm upgrade"
---@return true? ok
---@return ws.Error? err
function M.write(path, child, what)
  local record = machine.place()
  record.what, record.pid, record.ticks, record.started = what, child.pid, machine.started(child.pid), time.now()
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
  local here = machine.place()
  record.runs = record.boot == here.boot and record.pids == here.pids and record.ticks ~= nil
    and machine.started(record.pid) == record.ticks
  return record
end

return M
