--- `wsrun report [RUN] [--output FILE] [--open yes|no]`: a run as one page of HTML.
local errors = require "ws.error"
local flags = require "ws.flags"
local fs = require "ws.fs"

local M = {}

M.options = {
  { "output", short = "o", type = "string", value = "FILE", doc = "where to; - is stdout; default: the run's folder" },
  { "open", type = "string", choices = { "auto", "yes", "no" }, default = "auto",
    doc = "show it in the browser; auto: at a terminal of a desktop" },
}

local function find_run(journal, id)
  if id then return journal:find(id) end
  local runs, err = journal:runs(1)
  if not runs then return nil, err end
  if not runs[1] then return nil, errors.new { kind = "not_found", message = "this project has no runs yet" } end
  return runs[1]
end

--- The page of a run.
---@async
---@param id? string  its name or the beginning of it; default: the newest
---@return string? html
---@return table|ws.Error run  of the journal; or the error
function M.page(id)
  local journal, err = require "ws.journal".open { read_only = true }
  if not journal then
    if err.kind ~= "not_found" then return nil, err end
    return nil, errors.new { kind = "not_found", usage = true, message = "this project has no runs yet" }
  end
  local _ <close> = journal
  local run, data
  run, err = find_run(journal, id)
  if not run then return nil, err end
  data, err = require "ws.report.data".gather(journal, run)
  if not data then return nil, err end
  return require "ws.report.page".html(data), run
end

--- Shows a file in the desktop's browser. Returns whether something was started, or the error.
local function show(path, wanted)
  local desktop = os.getenv("DISPLAY") or os.getenv("WAYLAND_DISPLAY")
  if wanted == "no" then return true end
  if wanted == "auto" and (not desktop or os.getenv("CI") or not require "ws.engine".native.is_tty(1)) then
    return true
  end
  local child, err = require "ws.process".start({ "xdg-open", path }, { detached = true, stdout = "discard",
    stderr = "discard" })
  if child or wanted == "auto" then return true end
  err.hint = "open the file yourself: " .. path
  return nil, err
end

function M.main(words, globals)
  local opts, rest = flags.parse(M.options, words)
  if not opts then return nil, rest end
  if #rest > 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun report takes one run" }
  end
  local html, run = M.page(rest[1])
  if not html then return nil, run end
  if opts.output == "-" then
    io.stdout:write(html)
    return 0
  end
  local path = fs.absolute(opts.output or run.dir .. "/report.html")
  local ok, err = fs.write(path, html, { mode = 384 })
  if not ok then return nil, err end
  if globals.json then
    print(require "ws.json".encode { schema_version = 1, run = run.id, file = path })
  else
    print(path)
  end
  ok, err = show(path, opts.open)
  if not ok then return nil, err end
  return 0
end

return M
