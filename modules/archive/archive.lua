--- tar and gzip: charts and image layers, the same bytes from the same input, and nothing that leads outside.
local native = require "ws.archive.native"

local M = {}

local MAX_BYTES = 1 << 30 -- content of one archive

-- Half the time of level 6 for 3 % more bytes. It is part of what makes a digest: a change of it changes every image's.
local LEVEL = 4

---@class ws.archive.Entry
---@field name string      path in the archive; a folder's ends with a slash
---@field data? string     a file's content, or
---@field file? string     the file that has it, or
---@field link? string     the target of a symbolic link
---@field offset? integer  where the content begins in `file`, default 0
---@field length? integer  its bytes, default: to the end
---@field mode? integer    permission bits, default 0644 (0755 for an executable file or a folder)

---@class ws.archive.PackOptions
---@field entries? ws.archive.Entry[]
---@field from? { data?: string, file?: string, offset?: integer, length?: integer }
---@field file? string     where to write
---@field gzip? boolean    default false
---@field mtime? integer   seconds since 1970 of every entry, default 0

---@class ws.archive.Packed
---@field size integer      bytes written
---@field sha256 string     of them
---@field raw_size integer  bytes before compression
---@field raw_sha256 string

local function sorted(name, opts, known)
  for key in pairs(opts) do
    if not known[key] then error(("archive.%s: unknown option '%s'"):format(name, tostring(key)), 3) end
  end
  local entries = { table.unpack(opts.entries) }
  table.sort(entries, function(a, b) return (a.name or "") < (b.name or "") end)
  return entries
end

--- Makes a tar archive, compressed by gzip unless `gzip = false`. Entries are sorted by name, owner and time are fixed,
--- so the same entries always give the same bytes. Raises on an entry without name or content.
---
--- ```lua
--- local bytes = assert(archive.tar_create { entries = { { name = "chart/Chart.yaml", data = "name: chart\n" } } })
--- ```
---@async
---@param opts { entries: ws.archive.Entry[], file?: string, gzip?: boolean, mtime?: integer }  `file`: write it there;
---  `mtime`: seconds since 1970 of every entry, default 0
---@return string|true|nil bytes  true with `file`
---@return ws.Error? err  kinds: `not_found`, `denied`, `no_space`, `io`, `too_large`
function M.tar_create(opts)
  local entries = sorted("tar_create", opts, { entries = true, file = true, gzip = true, mtime = true })
  local result, err = native.create(entries, { file = opts.file, memory = not opts.file, mtime = opts.mtime,
    level = opts.gzip ~= false and LEVEL or 0 })
  if not result then return nil, err end
  return opts.file and true or result.data
end

--- Writes a tar archive, or with `from` a part of a file as it is, and hashes it before and after compression in the
--- same pass. Nothing large is held in memory. Without `file` it is only measured.
---@async
---@param opts ws.archive.PackOptions
---@return ws.archive.Packed? packed
---@return ws.Error? err  kinds: `not_found`, `denied`, `invalid` (not a file, too short), `no_space`, `io`
function M.pack(opts)
  local known = { entries = true, from = true, file = true, gzip = true, mtime = true }
  local from = opts.from
  if (from == nil) == (opts.entries == nil) then error("archive.pack: either entries or from expected", 2) end
  local entries = from
    and { { name = "content", data = from.data, file = from.file, offset = from.offset, length = from.length } }
    or sorted("pack", opts, known)
  return native.create(entries, { file = opts.file, tar = not from, mtime = opts.mtime, hash = true,
    level = opts.gzip and LEVEL or 0 })
end

--- Extracts a tar archive (plain, gzip or zstd) into an existing folder. Only files and folders are taken; an entry
--- that would lead outside the folder, a link, or a file that exists already ends it with an error.
---@async
---@param source { data?: string, file?: string }
---@param dir string
---@param opts? { max_bytes?: integer }  bound on the content, default 1 GiB
---@return true? ok
---@return ws.Error? err  kinds: `parse`, `denied` (leads outside, a link), `exists`, `too_large`, `no_space`, `io`
function M.extract(source, dir, opts)
  return native.extract(source, dir, opts and opts.max_bytes or MAX_BYTES)
end

---@class ws.archive.Listed
---@field name string
---@field size integer
---@field mode integer
---@field type "file"|"directory"|"link"|"hardlink"|"other"
---@field target? string   of a link
---@field offset? integer  where a file's content begins; nil in a compressed archive

--- Lists the entries of a tar archive.
---@async
---@param source { data?: string, file?: string }
---@return ws.archive.Listed[]? entries
---@return ws.Error? err  kind `parse`, ...
function M.list(source)
  return native.list(source)
end

--- Compresses bytes; the same bytes always give the same result.
---@async
---@param bytes string
---@return string
function M.gzip(bytes)
  local options = { memory = true, tar = false, level = LEVEL }
  return assert(native.create({ { name = "content", data = bytes } }, options)).data
end

--- Expands gzip (or zstd).
---@async
---@param bytes string
---@param opts? { max_bytes?: integer }  default 1 GiB
---@return string? bytes
---@return ws.Error? err  kinds: `parse`, `too_large`
function M.gunzip(bytes, opts)
  return native.gunzip(bytes, opts and opts.max_bytes or MAX_BYTES)
end

return M
