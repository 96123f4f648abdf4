--- The policy of a run: what the user has listed, what the program itself needs, and what was used of it.
local engine = require "ws.engine"
local environment = require "ws.environment"
local errors = require "ws.error"
local fs = require "ws.fs"
local lists = require "ws.permissions".lists
local project = require "ws.project"

local M = {}

--- Folders of the state folder that modules and their tools keep things in.
local SHARED = { "plugins", "helm", "platforms", "charts" }

--- Variables that say who and where, or how to show things; none holds a secret.
local VARIABLES = { "PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*",
  "TERM", "COLUMNS", "LINES", "COLORTERM", "NO_COLOR", "CLICOLOR_FORCE", "CI", "XDG_*", "WSRUN_*", "SSL_CERT_FILE",
  "SSL_CERT_DIR", "CURL_CA_BUNDLE", "NO_PROXY", "no_proxy", "CHECKPOINT_DISABLE",
  "TF_IN_AUTOMATION", "TF_LOG", "TF_DATA_DIR" }

--- Devices, and what the kernel says about this machine.
local READABLE = { "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/proc/sys/kernel/random/boot_id" }

local function is_path_list(list)
  return list == "read" or list == "write"
end

--- An entry as the host takes it: relative paths count from the project's root.
local function entry(list, text, word)
  local path
  if is_path_list(list) and text ~= "*" then
    path = project.path((text:gsub("^~", environment.get("HOME") or "~", 1)))
  elseif list == "run" and text:find("/", 1, true) then
    path = project.path(text)
  end
  return { text = text, path = path, word = word }
end

--- What the command line and wsrun.yaml say: allowed and denied entries by list, and whether a list counts.
local function asked(globals)
  local settings = require "ws.settings"
  local values, problem = settings.load()
  if not values then return nil, problem end
  local section = values.permissions
  local policy = { enforced = false, denies = false }
  for _, list in ipairs(lists) do
    local rules = {}
    local function add(texts, word)
      for _, text in ipairs(texts or {}) do rules[#rules + 1] = entry(list, text, word) end
    end
    if section then
      add(section[list], "allow")
      add((section.deny or {})[list], "deny")
      policy.enforced = true
    end
    add(globals["allow-" .. list], "allow")
    add(globals["deny-" .. list], "deny")
    policy.enforced = policy.enforced or globals["allow-" .. list] ~= nil
    policy.denies = policy.denies or globals["deny-" .. list] ~= nil
    policy[list] = rules
  end
  return policy
end

--- Adds what the program itself needs; docs/security.md has the same list for people.
local function add_own(policy, script, folder, temp, sandbox)
  local function own(list, path, lua)
    policy[list][#policy[list] + 1] = { text = path, path = is_path_list(list) and path or nil, word = "own",
      lua = lua or nil }
  end
  local state = project.state_dir()
  own("read", fs.absolute(script))
  own("read", fs.dirname(fs.absolute(script)), true)
  own("read", project.path("workflows"), true)
  if engine.source_tree then own("read", fs.absolute(engine.source_tree)) end
  for _, path in ipairs(READABLE) do own("read", path) end
  for _, name in ipairs { "SSL_CERT_FILE", "CURL_CA_BUNDLE" } do
    local path = environment.get(name)
    if path and path ~= "" then own("read", fs.absolute(path)) end
  end
  own("write", "/dev/null")
  own("read", state .. "/journal.db")
  own("write", state .. "/journal.db") -- as a database: its file is guarded
  local both = { folder, temp }
  for _, name in ipairs(SHARED) do both[#both + 1] = state .. "/" .. name end
  if sandbox then both[#both + 1] = state .. "/sandbox" end
  for _, path in ipairs(both) do
    own("read", path)
    own("write", path)
  end
  if sandbox then
    for _, host in ipairs { "127.0.0.0/8", "::1", "localhost", "unix" } do own("net", host) end
  end
  for _, name in ipairs(VARIABLES) do own("env", name) end
end

--- Under a policy the debug library only looks: it says where a function is, and gives nobody the function.
local function reduce_debug()
  local getinfo, keep = debug.getinfo, { traceback = true, getinfo = true }
  for name in pairs(debug) do
    if not keep[name] then rawset(debug, name, nil) end
  end
  rawset(debug, "getinfo", function(...)
    local args = table.pack(...)
    local at = type(args[1]) == "thread" and 2 or 1
    if at == 1 and math.type(args[1]) == "integer" then args[1] = args[1] + 1 end -- this function is a level as well
    local info = getinfo(table.unpack(args, 1, args.n))
    if info then info.func, info.activelines = nil, nil end
    return info
  end)
end

--- See `ws.permissions`.
function M.begin(globals, script, make_id)
  local policy, problem = asked(globals)
  if not policy then return nil, problem end
  local strict = policy.enforced or policy.denies
  if not strict and not globals.audit then return false end
  local state = project.state_dir()
  local id, err = make_id()
  if not id then return nil, err end
  local folder = state .. "/runs/" .. id
  local made
  made, err = fs.mkdir(folder, { mode = 448 }) -- 0700
  if not made then return nil, err end
  for _, name in ipairs(strict and SHARED or {}) do -- what does not exist cannot be allowed to children
    made, err = fs.mkdir(state .. "/" .. name)
    if not made then return nil, err end
  end
  local temp
  temp, err = fs.temp_dir()
  if not temp then return nil, err end
  add_own(policy, script, folder, temp, globals.sandbox)
  local spec = { root = project.root(), temp = temp, log = folder .. "/permissions.ndjson",
    path = environment.get("PATH") }
  for _, list in ipairs(lists) do
    spec[list] = policy[list]
    spec[list].enforced = policy.enforced
    for _, rule in ipairs(policy[list]) do
      if rule.text == "*" and rule.word == "allow" then spec[list].enforced = false end
    end
  end
  spec.guard = { state .. "/journal.db", state .. "/journal.db-wal", state .. "/journal.db-shm" }
  if policy.enforced then spec.guard[#spec.guard + 1] = project.path("wsrun.yaml") end
  local ok, message = pcall(engine.native.permit, spec)
  if not ok then
    if errors.is(message) then return nil, message end
    return nil, errors.new { kind = "invalid", exit = 65, message = (tostring(message):gsub("^[^:]+:%d+: ", "")),
      hint = "wsrun help permissions says what each list takes" }
  end
  if strict then reduce_debug() end
  return true, id
end

-- What was used, as a section to paste.

--- A path as it is written in wsrun.yaml.
local function shown(path)
  local root = project.root()
  if path == root then return "." end
  if path:sub(1, #root + 1) == root .. "/" then return path:sub(#root + 2) end
  return path
end

--- Many files of one folder become the folder; what lies below an entry goes.
local function fold(paths)
  local count, folders = {}, {}
  for _, path in ipairs(paths) do
    local dir = fs.dirname(path)
    count[dir] = (count[dir] or 0) + 1
  end
  for _, path in ipairs(paths) do
    local dir = fs.dirname(path)
    folders[count[dir] > 3 and dir ~= "/" and dir or path] = true
  end
  local kept = {}
  for path in pairs(folders) do
    local above, inside = fs.dirname(path), false
    while above ~= "/" and above ~= "." do
      inside = inside or folders[above]
      above = fs.dirname(above)
    end
    if not inside then kept[#kept + 1] = shown(path) end
  end
  table.sort(kept)
  return kept
end

local function quoted(text)
  if text:find("^[%w_./~][%w_./~:@-]*$") and not text:find(":$") then return text end
  return "'" .. text:gsub("'", "''") .. "'"
end

--- The permissions that this run has used, as the section of a wsrun.yaml; what was refused stands in comments.
---@return string
function M.used()
  local decisions, more = engine.native.decisions()
  local used, refused = {}, {}
  for _, list in ipairs(lists) do used[list] = {} end
  for _, d in ipairs(decisions) do
    if not d.allowed then
      refused[#refused + 1] = ("  # refused: %s %s"):format(d.list, (d.value:gsub("%c", "?")))
    elseif not d.own then
      table.insert(used[d.list], d.value)
    end
  end
  local lines = { "permissions:" }
  for _, list in ipairs(lists) do
    local values = used[list]
    if is_path_list(list) then values = fold(values) else table.sort(values) end
    lines[#lines + 1] = #values == 0 and ("  %s: []"):format(list) or ("  %s:"):format(list)
    for _, value in ipairs(values) do lines[#lines + 1] = "    - " .. quoted(value) end
  end
  if #used.run > 0 then
    lines[#lines + 1] = "  # What the programs of `run` read, write and connect to themselves is not seen from here."
  end
  if more then lines[#lines + 1] = "  # There was more than is kept: this list is not complete." end
  return table.concat(table.move(refused, 1, #refused, #lines + 1, lines), "\n") .. "\n"
end

return M
