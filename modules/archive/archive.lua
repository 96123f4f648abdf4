--- tar and gzip: charts and image layers, the same bytes from the same input, and nothing that leads outside.
local native = require "ws.archive.native"

local M = {}

local MAX_BYTES = 1 << 30 -- content of one archive

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
  for key in pairs(opts) do
    if not ({ entries = true, file = true, gzip = true, mtime = true })[key] then
      error(("archive.tar_create: unknown option '%s'"):format(tostring(key)), 2)
    end
  end
  local entries = { table.unpack(opts.entries) }
  table.sort(entries, function(a, b) return (a.name or "") < (b.name or "") end)
  return native.create(entries, { file = opts.file, gzip = opts.gzip, mtime = opts.mtime })
end

---@class ws.archive.Entry
---@field name string      path in the archive
---@field data? string     its content, or
---@field file? string     the file that has it
---@field mode? integer    permission bits, default 0644 (0755 for an executable file)

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

--- Lists the entries of a tar archive.
---@async
---@param source { data?: string, file?: string }
---@return { name: string, size: integer, mode: integer, type: "file"|"directory"|"link" }[]? entries
---@return ws.Error? err  kind `parse`, ...
function M.list(source)
  return native.list(source)
end

--- Compresses bytes; the same bytes always give the same result.
---@async
---@param bytes string
---@return string
function M.gzip(bytes)
  return native.gzip(bytes)
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
