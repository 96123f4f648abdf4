--- Messages for people who look into what happened: to stderr, or where a run puts them.
---
--- Every known secret in a message is masked. Below the level nothing is formatted.
local secret = require "ws.secret"

local M = {}

local LEVELS = { debug = 1, info = 2, warn = 3, error = 4, off = 5 }
local level = LEVELS[os.getenv("WSRUN_LOG") or ""] or LEVELS.info

---@class ws.log.Record
---@field level "debug"|"info"|"warn"|"error"
---@field message string  with secrets masked
---@field fields? table<string, string>  values as text, secrets masked

local function to_stderr(record)
  local parts = { "wsrun: ", record.level == "info" and "" or record.level .. ": ", record.message }
  local keys = {}
  for key in pairs(record.fields or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  for _, key in ipairs(keys) do parts[#parts + 1] = (" %s=%s"):format(key, record.fields[key]) end
  parts[#parts + 1] = "\n"
  io.stderr:write(require "ws.ci".harmless(table.concat(parts)))
end

local sink = to_stderr

local function write(name, message, fields)
  if LEVELS[name] < level then return end
  local texts
  if fields ~= nil then
    if type(fields) ~= "table" then error("log: fields: table expected, got " .. type(fields), 3) end
    texts = {}
    for key, value in pairs(fields) do texts[tostring(key)] = secret.redact(tostring(value)) end
  end
  sink { level = name, message = secret.redact(tostring(message)), fields = texts }
end

--- For whoever looks for a fault; not shown unless WSRUN_LOG=debug or set_level says so.
---@param message any  shown with tostring
---@param fields? table<string, any>  further values, shown as key=value
function M.debug(message, fields)
  write("debug", message, fields)
end

--- What a user wants to know.
---@param message any
---@param fields? table<string, any>
function M.info(message, fields)
  write("info", message, fields)
end

--- What may be wrong; the run goes on.
---@param message any
---@param fields? table<string, any>
function M.warn(message, fields)
  write("warn", message, fields)
end

--- What went wrong.
---@param message any
---@param fields? table<string, any>
function M.error(message, fields)
  write("error", message, fields)
end

--- Chooses what is shown: this level and those above it. Default: WSRUN_LOG, else "info".
---@param name "debug"|"info"|"warn"|"error"|"off"
---@return string before
function M.set_level(name)
  if not LEVELS[name] then error("log: no level has the name " .. tostring(name), 2) end
  local before = level
  level = LEVELS[name]
  for known, number in pairs(LEVELS) do
    if number == before then return known end
  end
end

--- Sends the records elsewhere; nil: to stderr again. The function must not wait.
---
--- ```lua
--- local seen = {}
--- local before = log.set_sink(function(record) seen[#seen + 1] = record.message end)
--- log.warn("disk nearly full")
--- log.set_sink(before)
--- assert(seen[1] == "disk nearly full")
--- ```
---@param fn? fun(record: ws.log.Record)
---@return fun(record: ws.log.Record) before
function M.set_sink(fn)
  if fn ~= nil and type(fn) ~= "function" then error("log: function expected, got " .. type(fn), 2) end
  local before = sink
  sink = fn or to_stderr
  return before
end

return M
