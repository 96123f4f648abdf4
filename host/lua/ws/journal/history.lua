--- What the journal knows beyond one run: which one changed something last.
local json = require "ws.json"

local M = {}

--- The run that last changed something in a step of a platform, such as one of its layers.
---@async
---@param journal ws.Journal
---@param platform string
---@param step string  the last part of its path
---@return { run: string, title: string, time: number, step: string, changes: string[] }? change
---@return ws.Error? err
function M.last_change(journal, platform, step)
  local rows, err = journal.db:read([[SELECT s.run, r.title, s.ended, s.path, s.changes FROM steps s
    JOIN runs r ON r.id = s.run WHERE (s.path = ? OR substr(s.path, -length(?)) = ?) AND s.changes IS NOT NULL
    AND s.ended IS NOT NULL AND substr(r.title, 1, length(?)) = ? ORDER BY s.ended DESC LIMIT 1]], step, "/" .. step,
    "/" .. step, platform .. "  ", platform .. "  ")
  if not rows then return nil, err end
  local row = rows[1]
  return row and { run = row.run, title = row.title, time = row.ended, step = row.path,
    changes = json.decode(row.changes) }
end

--- The run that last wrote a key of a platform's manifest.
---@async
---@param journal ws.Journal
---@param platform string
---@param key string
---@return { run: string, title: string, time: number, value: any }? change
---@return ws.Error? err
function M.last_written(journal, platform, key)
  local rows, err = journal.db:read([[SELECT e.run, r.title, e.time, e.fields FROM events e
    JOIN runs r ON r.id = e.run WHERE e.type = 'manifest' AND json_extract(e.fields, '$.platform') = ?
    AND json_extract(e.fields, '$.key') = ? ORDER BY e.time DESC LIMIT 1]], platform, key)
  if not rows then return nil, err end
  local row = rows[1]
  return row and { run = row.run, title = row.title, time = row.time, value = json.decode(row.fields).value }
end

return M
