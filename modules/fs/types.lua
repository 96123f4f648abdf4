---@meta ws.fs.native

---@class ws.fs.Entry
---@field name string
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field depth? integer  in fs.walk: 1 directly in the directory

---@class ws.fs.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field size integer  bytes
---@field mode integer  permission bits
---@field mtime number  seconds since 1970
---@field uid integer
---@field gid integer
---@field inode integer
---@field device integer
---@field links integer

---@class ws.fs.Event
---@field type "rename"|"change"|"overflow"  `rename`: a name came or went; `overflow`: changes were lost, look anew
---@field name? string  of the entry in the watched directory

---@class ws.fs.Watcher
local Watcher = {} -- luacheck: ignore 241

--- Waits for the next change. One task at a time may wait.
---@async
---@param timeout? number  seconds; default: as long as it takes
---@return ws.fs.Event? event  nil without an error when the watcher was closed
---@return ws.Error? err  kind `timeout`
function Watcher:next(timeout) end

--- Ends the watching. May be called twice; also called by `<close>`.
function Watcher:close() end

---@class ws.fs.Lock
local Lock = {} -- luacheck: ignore 241

--- Gives the lock back. May be called twice; also called by `<close>`.
function Lock:release() end

local fs = {}

--- Reads a file.
---@async
---@param path string
---@param opts? { offset?: integer, length?: integer, max?: integer }  bytes; `max` (default 256 MiB) bounds the result
---@return string? data
---@return ws.Error? err  kinds: `not_found`, `denied`, `invalid` (a directory), `too_large`, `io`
function fs.read(path, opts) end

--- Writes a file: all of it or nothing. The old file stays whole when anything fails; its mode is kept. Links are
--- written through. A secret may be given; then the mode is 0600 unless `mode` says otherwise.
---@async
---@param path string
---@param content string|ws.Secret
---@param opts? { mode?: integer, how?: "replace"|"create"|"append", durable?: boolean }  `create` refuses an existing
---  file (kind `exists`); `durable = false` does not wait for the disk
---@return true? ok
---@return ws.Error? err  kinds: `not_found` (the folder), `denied`, `exists`, `no_space`, `invalid`, `io`
function fs.write(path, content, opts) end

--- Copies one file; see fs.copy.
---@async
---@param from string
---@param to string
---@param opts? { mode?: integer, durable?: boolean }
---@return true? ok
---@return ws.Error? err
function fs.copy(from, to, opts) end

--- Lists the names in a directory, in byte order, without `.` and `..`.
---@async
---@param path string
---@param opts? { types?: boolean }  true: a list of { name, type }
---@return string[]|ws.fs.Entry[]|nil list
---@return ws.Error? err  kinds: `not_found`, `denied`, `io`
function fs.list(path, opts) end

--- Removes a file, a link (not what it points to), an empty directory, or with `recursive` a whole tree.
---@async
---@param path string
---@param opts? { recursive?: boolean, missing_ok?: boolean }  `missing_ok`: nothing there is success
---@return true? ok
---@return ws.Error? err  kinds: `not_found`, `denied`, `exists` (not empty), `io`
function fs.remove(path, opts) end

--- Makes a private folder (0700) with a new name; it is removed when the run ends, unless it was removed before.
---@param opts? { dir?: string, prefix?: string }  default: $TMPDIR or /tmp, `wsrun-`
---@return string? path
---@return ws.Error? err
function fs.temp_dir(opts) end

--- Makes an empty private file (0600) with a new name; removed as with temp_dir.
---@param opts? { dir?: string, prefix?: string, suffix?: string }
---@return string? path
---@return ws.Error? err
function fs.temp_file(opts) end

--- The temporary paths that were made and not yet removed.
---@return string[] paths
function fs.temp_left() end

--- Says what a path is.
---@param path string
---@param opts? { follow?: boolean }  false: the link itself
---@return ws.fs.Stat? stat
---@return ws.Error? err  kinds: `not_found`, `denied`, `io`
function fs.stat(path, opts) end

--- Whether a path exists (for a link: what it points to).
---@param path string
---@return boolean? exists
---@return ws.Error? err  when that cannot be told
function fs.exists(path) end

--- Makes a directory, and those above it. An existing directory is success unless `exclusive`.
---@param path string
---@param opts? { mode?: integer, parents?: boolean, exclusive?: boolean }
---@return true? ok
---@return ws.Error? err  kinds: `exists` (also: something else has this name), `denied`, `not_found`, `no_space`
function fs.mkdir(path, opts) end

--- Renames within a file system; an existing target file is replaced.
---@param from string
---@param to string
---@return true? ok
---@return ws.Error? err
function fs.rename(from, to) end

--- Changes the permission bits.
---@param path string
---@param mode integer
---@return true? ok
---@return ws.Error? err
function fs.chmod(path, mode) end

--- Sets the times of an existing file or folder to now.
---@param path string
---@return true? ok
---@return ws.Error? err
function fs.touch(path) end

--- Makes a symbolic link at `path` that points to `target`.
---@param target string
---@param path string
---@return true? ok
---@return ws.Error? err
function fs.symlink(target, path) end

--- What a symbolic link points to.
---@param path string
---@return string? target
---@return ws.Error? err  kind `invalid` when it is no link
function fs.readlink(path) end

--- The absolute path with every link resolved.
---@param path string
---@return string? path
---@return ws.Error? err
function fs.realpath(path) end

--- The directory in which wsrun was started; it never changes.
---@return string? path
---@return ws.Error? err
function fs.cwd() end

--- Takes a lock that other processes (and other tasks) see, on a file that is made when it is missing. The system gives
--- it back when this process ends in any way.
---
--- ```lua
--- local lock <close> = assert(fs.lock(".wsrun/plugins.lock", { wait = 60 }))
--- ```
---@async
---@param path string
---@param opts? { wait?: number, shared?: boolean }  seconds to wait, default 0; shared with other shared holders
---@return ws.fs.Lock? lock
---@return ws.Error? err  kind `locked`
function fs.lock(path, opts) end

--- Watches a directory (not those below it) or a file.
---
--- ```lua
--- local watcher <close> = assert(fs.watch("manifests"))
--- local event = watcher:next(60)
--- ```
---@param path string
---@return ws.fs.Watcher? watcher
---@return ws.Error? err
function fs.watch(path) end

return fs
