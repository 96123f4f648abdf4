--- Witnesses: proof on this machine that the holder of a lease is dead, so that its end need not be waited for.
---
--- A holder keeps a file that is named after its nonce, and the kernel's lock on it. The kernel gives that back when
--- the process ends, however it ends, and not before: not when it is stopped or slow. So a file that is here and free
--- is proof. Numbers of processes are none: containers that share a machine number theirs alike, and machines that were
--- restored from one image have the same boot identifier, but not this file.
local fs = require "ws.fs"
local machine = require "ws.machine"
local project = require "ws.project"
local time = require "ws.time"

local M = {}

local FORGOTTEN = 3600 -- seconds after which a file that nobody holds is removed

---@class ws.lock.Witness
local Witness = {}
Witness.__index = Witness

local function folder()
  return project.state_dir() .. "/locks"
end

--- Removes what runs left that are dead for long.
local function sweep(dir)
  for _, name in ipairs(fs.list(dir) or {}) do
    local path = dir .. "/" .. name
    local stat = fs.stat(path)
    if stat and time.now() - stat.mtime > FORGOTTEN then
      local lock <close> = fs.lock(path)
      if lock then fs.remove(path, { missing_ok = true }) end
    end
  end
end

--- Makes the witness of a holder. Where none can be kept (a folder that cannot be written) there is no proof, and
--- others wait for the lease's end.
---@async
---@param nonce string
---@return ws.lock.Witness? witness
function M.open(nonce)
  local dir = folder()
  if not fs.mkdir(dir, { parents = true, mode = 448 }) then return nil end -- 0700
  sweep(dir)
  local path = dir .. "/" .. nonce
  local lock = fs.lock(path)
  return lock and setmetatable({ path = path, lock = lock }, Witness)
end

--- Ends the witness, when its holder has stopped believing in the lease.
---@async
---@param opts? { keep?: boolean }  keep: the lease may still be there; the file stays, as proof that nobody holds it
function Witness:close(opts)
  if not (opts and opts.keep) then fs.remove(self.path, { missing_ok = true }) end
  self.lock:release()
end

--- Whether a holder is proven dead.
---@async
---@param info table  of the lease
---@return boolean
function M.proves_dead(info)
  local nonce = info.nonce
  if type(nonce) ~= "string" or not nonce:find("^%x+$") or info.boot ~= machine.place().boot then
    return false -- the last: a folder that several machines share proves nothing
  end
  local path = folder() .. "/" .. nonce
  if not fs.exists(path) then return false end
  local lock <close> = fs.lock(path)
  return lock ~= nil
end

--- Removes the witness of a dead holder whose lease is settled.
---@async
---@param info table
function M.forget(info)
  if M.proves_dead(info) then fs.remove(folder() .. "/" .. info.nonce, { missing_ok = true }) end
end

return M
