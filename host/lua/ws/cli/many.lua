--- One workflow for several platforms in one process: `wsrun run create_platform 'dev-*' -l type=dev --changed main`.
---
--- Each platform is a run of its own in the journal, with its own folder, lock and end: one that fails stops no other,
--- and each is resumed by itself. All share the places of --jobs. A line on the screen begins with its platform's name.
local display = require "ws.display"
local errors = require "ws.error"
local flags = require "ws.flags"
local project = require "ws.project"

local M = {}

local JOBS = 4 -- steps at once, over all platforms, unless --jobs says otherwise

local function usage(message, hint)
  return nil, errors.new { kind = "invalid", usage = true, message = message, hint = hint }
end

--- The first argument of a workflow that is a manifest: its place among the arguments, or nil.
local function manifest_argument(workflow)
  for i, arg in ipairs(workflow.args) do
    if arg.type == "manifest" then return i end
  end
end

local function lua_pattern(pattern)
  return "^" .. pattern:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

--- "type=dev" and "region!=europe-west1" as a function of a manifest.
local function parse_selector(text)
  local key, op, wanted = text:match("^([%w._-]+)(!?=)(.*)$")
  if not key then
    return usage(("-l takes KEY=VALUE or KEY!=VALUE, not '%s'"):format(text), "for example -l type=dev")
  end
  return function(manifest)
    local value = manifest
    for part in key:gmatch("[^.]+") do value = type(value) == "table" and value[part] or nil end
    return (tostring(value) == wanted) == (op == "=")
  end
end

--- Paths that differ from a git revision, those that git does not track yet included.
local function changed_paths(rev)
  local process, git = require "ws.process", require "ws.git"
  local root = git.root(project.root())
  if not root then return usage("--changed: this project lies in no git repository") end
  local paths = {}
  for _, args in ipairs { { "diff", "--name-only", "-z", rev, "--" }, { "ls-files", "-z", "--others",
    "--exclude-standard", "--full-name" } } do
    local result, err = process.check { "git", "-C", root, table.unpack(args) }
    if not result then return usage(("--changed %s: %s"):format(rev, err.message)) end
    for path in result.stdout:gmatch("[^%z]+") do paths[#paths + 1] = root .. "/" .. path end
  end
  return paths
end

--- What every platform is made of: a change there concerns all.
local COMMON = { "layers/", "charts/", "workflows/", "wsrun.yaml" }

--- Files that a manifest names: objects of applications, static files, checks.
local function own_files(manifest)
  local files = { manifest.path }
  for _, app in ipairs(manifest.applications or {}) do
    for _, path in ipairs(app.paths or {}) do files[#files + 1] = project.path(path) end
    if type(app.verify) == "string" then files[#files + 1] = project.path(app.verify) end
  end
  for _, file in ipairs(manifest["static-files"] or {}) do files[#files + 1] = project.path(file.source) end
  return files
end

local function concerns(manifest, paths)
  for _, path in ipairs(paths) do
    for _, common in ipairs(COMMON) do
      local prefix = project.path(common)
      if path:sub(1, #prefix) == prefix then return true end
    end
    for _, file in ipairs(own_files(manifest)) do
      if path == file or path:sub(1, #file + 1) == file .. "/" then return true end
    end
  end
  return false
end

--- The platforms that the words and options select, or nil when they name a single one.
---@async
---@param workflow ws.Workflow
---@param words string[]
---@param globals table
---@return { name: string, words: string[] }[]? chosen  nil without an error: it is a run of one platform
---@return ws.Error? err  kind `invalid`: a wrong selector, or nothing was selected
function M.select(workflow, words, globals)
  local selectors, since = globals.selector or {}, globals.changed
  local place = manifest_argument(workflow)
  local wide = #selectors > 0 or since ~= nil
  if not place then
    if wide then return usage("-l and --changed are for workflows that take a platform") end
    return nil
  end
  local values, positional = flags.parse(workflow.options, words)
  if not values then return nil end -- said when the arguments are read
  local required = 0
  for _, arg in ipairs(workflow.args) do
    if not arg.optional and arg.default == nil then required = required + 1 end
  end
  local pattern = positional[place]
  if wide and #positional < required then pattern = nil end
  if not wide and not (pattern and pattern:find("[*?,]") and not pattern:find("/", 1, true)) then return nil end
  local wanted = {}
  for i, text in ipairs(selectors) do
    local fn, err = parse_selector(text)
    if not fn then return nil, err end
    wanted[i] = fn
  end
  local paths, err
  if since then
    paths, err = changed_paths(since)
    if not paths then return nil, err end
  end
  local patterns = {}
  for part in (pattern or "*"):gmatch("[^,]+") do patterns[#patterns + 1] = lua_pattern(part) end
  local chosen = {}
  for _, name in ipairs(require "ws.cli.list".manifests()) do
    local match = false
    for _, one in ipairs(patterns) do match = match or name:find(one) ~= nil end
    local manifest, problem
    if match and (#wanted > 0 or paths) then
      manifest, problem = require "lib.manifest".load(name, { root = project.root() })
      if not manifest then return nil, problem end
      for _, fn in ipairs(wanted) do match = match and fn(manifest) end
      if paths then match = match and concerns(manifest, paths) end
    end
    if match then
      local own, replaced = {}, pattern == nil
      if replaced then own[1] = name end
      for _, word in ipairs(words) do
        if word == pattern and not replaced then word, replaced = name, true end
        own[#own + 1] = word
      end
      chosen[#chosen + 1] = { name = name, words = own }
    end
  end
  if #chosen == 0 and not since then
    return usage(("no platform is selected by %s"):format(pattern and "'" .. pattern .. "'" or "-l"),
      "there are: " .. table.concat(require "ws.cli.list".manifests(), ", "))
  end
  return chosen
end

--- A file for each platform: reports/junit.xml of dev-seb is reports/junit-dev-seb.xml.
local function own_file(path, name)
  if not path then return nil end
  local stem, ending = path:match("^(.*)(%.[^./]*)$")
  return ("%s-%s%s"):format(stem or path, name, ending or "")
end

local function table_of(results)
  local width, lines = 8, {}
  for _, r in ipairs(results) do width = math.max(width, #r.name) end
  for _, r in ipairs(results) do
    local changes = r.run and require "ws.card".changes(r.run) or ""
    lines[#lines + 1] = ("  %s%s  %-8s  %-16s %8s  %s"):format(r.name, (" "):rep(width - #r.name),
      r.code == 0 and "done" or r.code == 75 and "waits" or "failed", r.code == 0 and changes or "",
      r.run and display.duration(r.run:tally().seconds) or "", r.run and "run " .. r.run.id or r.message or "")
  end
  return table.concat(lines, "\n")
end

--- Runs the workflow for each chosen platform, side by side.
---@async
---@param chosen { name: string, words: string[] }[]
---@param globals table
---@param run_one fun(words: string[], globals: table, place: { prefix: string, limit: table,
---  on_run: fun(run: ws.Run) }): integer?, ws.Error?  one run, as cli/run.lua makes it
---@return integer code  0 when all are done; 1 when one failed; of an interruption its own
function M.run(chosen, globals, run_one)
  local task = require "ws.task"
  if #chosen == 0 then
    display.write("no platform is concerned\n")
    return 0
  end
  local limit, width = task.limit(globals.jobs or JOBS), 0
  for _, one in ipairs(chosen) do width = math.max(width, #one.name) end
  local results, functions = {}, {}
  for i, one in ipairs(chosen) do
    results[i] = { name = one.name }
    functions[i] = function()
      local own = setmetatable({ junit = own_file(globals.junit, one.name) }, { __index = globals })
      local code, err = run_one(one.words, own, { prefix = one.name .. (" "):rep(width - #one.name) .. " | ",
        limit = limit, on_run = function(run) results[i].run = run end })
      if not code then
        code, results[i].message = require "ws.cli".exit_code(err), err.message
        display.write(("%s: %s\n"):format(one.name, err.message))
      end
      results[i].code = code
    end
  end
  local ok, err = task.all(functions)
  if not ok then error(err, 0) end
  local failed, code = 0, 0
  for _, r in ipairs(results) do
    if r.code ~= 0 then failed = failed + 1 end
    if r.code >= 128 then code = r.code elseif r.code ~= 0 and code == 0 then code = 1 end
  end
  if not globals.json and not globals.quiet then
    display.write(("%s\n%d of %d platforms done\n"):format(table_of(results), #results - failed, #results))
  end
  return code
end

return M
