---@meta ws.sqlite
--- SQLite databases (<https://sqlite.org>), in WAL mode: what `write` returned for is durable.
---
--- Each database has a thread of its own; nothing waits on the loop. Writes that wait at the same time share one
--- transaction and one sync. After a write that failed every later one fails with the same error.
local sqlite = {}

--- Opens a database; it is created when it is not there.
---@async
---@param path string
---@param opts? { read_only?: boolean }
---@return ws.sqlite.Database? db
---@return ws.Error? err  kinds: `not_found` (the folder, or the file with `read_only`), `denied`, `parse` (it is no
---  database), `locked`, `io`, `no_space`, `missing_tool` (libsqlite3 is not installed)
function sqlite.open(path, opts) end

---@class ws.sqlite.Database
local Database = {}

--- Carries out statements in one transaction and waits until it is durable. Raises on values that are no strings,
--- numbers, booleans or nil.
---@async
---@param ... table  { sql, parameters… }; with `n` when parameters at the end are nil
---@return true? ok
---@return ws.Error? err  kinds: `io`, `no_space`, `locked`, `invalid` (SQL), ...
function Database:write(...) end

--- As `write`, without waiting: it becomes durable with the next write, or soon.
---@param ... table  { sql, parameters… }
function Database:post(...) end

--- Carries out a query.
---@async
---@param sql string
---@param ... any  parameters
---@return table[]? rows  each by the names of its columns; NULL is nil
---@return ws.Error? err
function Database:read(sql, ...) end

--- What ended the writing, if anything did.
---@return ws.Error?
function Database:failure() end

--- Finishes what was posted and closes the file. Safe to call twice.
function Database:close() end

return sqlite
