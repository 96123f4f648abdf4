--- The bytes of objects: one file for each, never whole in memory, never changed once an object refers to it.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

local PIECE = 1 << 18

---@class sandbox.Content
local Content = {}
Content.__index = Content

--- Opens the folder of contents.
---@param dir string
---@return sandbox.Content
function M.open(dir)
  assert(fs.mkdir(dir))
  return setmetatable({ dir = dir }, Content)
end

--- The path of a content by its name.
---@param name string
---@return string
function Content:path(name)
  return self.dir .. "/" .. name
end

--- A name for a new content.
---@return string
function Content.new_name()
  return values.id() .. crypto.random_hex(4)
end

local function open(path, mode)
  local file, message = io.open(path, mode)
  if not file then reply.fail(500, "internalError", "The sandbox cannot open a file: " .. message) end
  return file
end

local function write(file, chunk)
  local ok, message = file:write(chunk)
  if not ok then reply.fail(507, "insufficientStorage", "The sandbox cannot write: " .. message) end
end

--- Opens a content for appending; `write(chunk)` and `close()`.
---@param name string
---@return { write: fun(chunk: string), close: fun() }
function Content:writer(name)
  local file = open(self:path(name), "ab")
  return {
    write = function(chunk) write(file, chunk) end,
    close = function() file:close() end,
  }
end

--- Size in bytes, 0 when nothing was written yet.
---@param name string
---@return integer
function Content:size(name)
  local stat = fs.stat(self:path(name))
  return stat and stat.size or 0
end

--- Size and checksums of a finished content.
---@async
---@param name string
---@return { size: integer, md5: string, crc32c: string }  the sums in base64, as in object resources
function Content:sums(name)
  local path = self:path(name)
  if not fs.exists(path) then self:writer(name).close() end
  local md5, crc = assert(crypto.md5_file(path, { raw = true })), assert(crypto.crc32c_file(path))
  return { size = self:size(name), md5 = crypto.base64_encode(md5), crc32c = M.encode_crc(crc) }
end

--- A CRC32C as object resources have it: base64 of the big-endian bytes.
---@param crc integer
---@return string
function M.encode_crc(crc)
  return crypto.base64_encode(string.pack(">I4", crc))
end

--- Writes the contents `names`, one after the other, as a new content; returns its name.
---@param names string[]
---@return string
function Content:join(names)
  local target = self.new_name()
  local out = open(self:path(target), "wb")
  local _ <close> = setmetatable({}, { __close = function() out:close() end })
  for _, name in ipairs(names) do
    local file = open(self:path(name), "rb")
    for piece in function() return file:read(PIECE) end do write(out, piece) end
    file:close()
  end
  return target
end

--- Removes a content.
---@param name string
function Content:remove(name)
  os.remove(self:path(name))
end

--- Removes what no object or upload refers to: left by a process that was killed.
---@param used table<string, boolean>
function Content:sweep(used)
  for _, name in ipairs(assert(fs.list(self.dir))) do
    if not used[name] then self:remove(name) end
  end
end

return M
