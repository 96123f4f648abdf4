--- Documentation from the sources: every public name has one documented definition, the LuaCATS comment above it.
---
--- Read from host/lua/ws/*.lua and modules/*/NAME.lua, and for natives without Lua half from modules/*/types.lua. From
--- the same blocks come docs/api, `wsrun doc NAME` and the check that no name lacks one.
local engine = require "ws.engine"

local M = {}

--- The host's own modules that scripts may use.
local host_modules = { "ws", "ws.task", "ws.error", "ws.secret", "ws.lock", "ws.fence", "ws.schema",
  "ws.settings", "ws.environment", "ws.project", "ws.nearest", "ws.caller", "ws.test", "ws.run" }

---@class ws.DocEntry
---@field name string       "get", "Queue:push"
---@field signature string  "get(url, opts)"
---@field text string[]     the lines of the comment without tags
---@field params table[]    { name, type, text }
---@field returns table[]   { type, text }
---@field async boolean     it may wait

local function module_files(name)
  if name == "ws" then return { "host/lua/ws/init.lua" } end
  local short = name:match("^ws%.(.+)$")
  return { "host/lua/ws/" .. short .. ".lua", "modules/" .. short .. "/" .. short .. ".lua",
    "host/lua/ws/types/" .. short .. ".lua", "modules/" .. short .. "/types.lua" }
end

--- Splits a tag line "name type text" where the type may hold spaces inside brackets and quotes.
local function take_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c:find("[%(%[{<]") then depth = depth + 1 end
    if c:find("[%)%]}>]") then depth = depth - 1 end
    if c == " " and depth == 0 and not text:sub(1, i):find(":%s*$") and not text:sub(i):find("^%s*[|:]")
      and not text:sub(1, i):find("[|,]%s*$") then
      break
    end
    i = i + 1
  end
  return text:sub(1, i - 1), text:sub(i):match("^%s*(.-)%s*$")
end

--- Lines of a block with continuations (lines that are indented after a tag's line) joined to their tag.
local function joined(lines)
  local result = {}
  for _, line in ipairs(lines) do
    local last = result[#result]
    if last and last:find("^@") and line:find("^%s") then
      result[#result] = last .. " " .. line:match("^%s*(.-)%s*$")
    else
      result[#result + 1] = line
    end
  end
  return result
end

local function read_block(lines)
  local entry = { text = {}, params = {}, returns = {}, fields = {} }
  for _, line in ipairs(joined(lines)) do
    local tag, rest = line:match("^@(%w+)%s*(.*)$")
    if tag == "param" then
      local name, more = rest:match("^(%S+)%s+(.*)$")
      local kind, text = take_type(more or "")
      entry.params[#entry.params + 1] = { name = name, type = kind, text = text }
    elseif tag == "return" then
      local kind, text = take_type(rest)
      local name, more = text:match("^([%a_][%w_]*%.?%.?%.?)%s*(.*)$")
      if text:find("^%.%.%.") then name, more = "...", text:match("^%.%.%.%s*(.*)$") end
      entry.returns[#entry.returns + 1] = { type = kind, name = name, text = more or text }
    elseif tag == "field" then
      local name, more = rest:match("^(%S+)%s+(.*)$")
      local kind, text = take_type(more or "")
      entry.fields[#entry.fields + 1] = { name = name, type = kind, text = text }
    elseif tag == "meta" then
      entry.meta = rest
    elseif tag == "class" then
      entry.class = rest
    elseif tag == "type" then
      entry.type = rest
    elseif tag == "async" then
      entry.async = true
    elseif tag == "private" or tag == "package" then
      entry.private = true
    elseif not tag then
      entry.text[#entry.text + 1] = line
    end
  end
  while entry.text[#entry.text] == "" do entry.text[#entry.text] = nil end
  return entry
end

--- What a line of code defines: owner, separator, name, parameters; nil when it defines no public name.
local function definition(line, entry)
  local owner, separator, name, params = line:match("^function ([%w_]+)([%.:])([%w_]+)(%b())")
  if owner then return owner, separator, name, params end
  owner, name, params = line:match("^([%w_]+)%.([%w_]+) = function(%b())")
  if owner then return owner, ".", name, params end
  owner, name = line:match("^([%w_]+)%.([%w_]+) = ")
  params = entry and (entry.type or ""):match("^fun(%b())")
  if owner and params then return owner, ".", name, params end
  params = line:match("^return function(%b())")
  if params then return "M", ".", "call", params end
end

--- Reads the documented definitions of one source text. `aliases` are names that another file of the folder defines:
--- `M.parse_url = url.parse`.
---@param source string
---@return { intro: string[], entries: ws.DocEntry[], classes: table[], undocumented: string[], aliases: table[] }
function M.parse(source)
  local result = { intro = {}, entries = {}, classes = {}, undocumented = {}, aliases = {} }
  local block, at_top = {}, true
  local function finish_block()
    if #block == 0 then return nil end
    local entry = read_block(block)
    block = {}
    return entry
  end
  for line in (source .. "\n"):gmatch("(.-)\n") do
    local comment = line:match("^%-%-%-%s?(.*)$")
    if comment then
      block[#block + 1] = comment
    else
      local had_block = #block > 0
      local entry = finish_block()
      local owner, separator, name, params = definition(line, entry)
      local alias, file, original = line:match("^M%.([%w_]+) = ([%w_]+)%.([%w_]+)$")
      if alias then result.aliases[#result.aliases + 1] = { name = alias, file = file, original = original } end
      if owner then
        local shown = (owner == "M" or owner:find("^%l")) and name or owner .. separator .. name
        if entry and not entry.private then
          entry.name, entry.signature = shown, shown .. params
          result.entries[#result.entries + 1] = entry
        elseif not entry and not name:find("^_") and owner:find("^%u") then
          result.undocumented[#result.undocumented + 1] = shown
        end
      elseif entry and entry.meta then
        result.meta = entry.meta
      elseif entry and entry.class then
        result.classes[#result.classes + 1] = entry
      elseif entry and at_top then
        result.intro = entry.text
      end
      if (had_block and not (entry and entry.meta)) or line:find("%S") then at_top = false end
    end
  end
  return result
end

--- Names of all documented modules, sorted.
---@return string[]
function M.modules()
  local names = { table.unpack(host_modules) }
  for opener in pairs(engine.openers) do names[#names + 1] = opener:match("^(ws%.[%w]+)%.native$") end
  for _, path in ipairs(engine.native.sources "modules/") do
    local folder, file = path:match("^modules/([^/]+)/([^/]+)%.lua$")
    if folder and folder == file then names[#names + 1] = "ws." .. folder end
  end
  local seen, all = { ["ws.engine"] = true, ["ws.signal"] = true }, {}
  for _, name in ipairs(names) do
    if not seen[name] then
      seen[name] = true
      all[#all + 1] = name
    end
  end
  table.sort(all)
  return all
end

--- The entry of a name that is defined in another file of the same folder, under its name here.
local function aliased(folder, alias)
  local text = engine.program_file(("%s/%s.lua"):format(folder, alias.file))
  for _, entry in ipairs(text and M.parse(text).entries or {}) do
    if entry.name == alias.original then
      entry.signature = alias.name .. entry.signature:sub(#entry.name + 1)
      entry.name = alias.name
      return entry
    end
  end
end

--- Leaves of a native half's stub what the module hands on under the same name.
local function only_exported(doc, name)
  local value, entries = require(name), {}
  for _, entry in ipairs(doc.entries) do
    if type(value) == "table" and value[entry.name] ~= nil then entries[#entries + 1] = entry end
  end
  doc.entries, doc.intro = entries, {}
end

--- The documentation of a module, or nil when there is no such module.
---@param name string  such as "ws.gcs"
---@return table? doc
function M.module(name)
  local merged
  for _, path in ipairs(module_files(name)) do
    local text = engine.program_file(path)
    if text then
      local doc = M.parse(text)
      if doc.meta and doc.meta ~= name then only_exported(doc, name) end
      merged = merged or { name = name, intro = {}, entries = {}, classes = {}, undocumented = {}, path = path }
      if #merged.intro == 0 then merged.intro = doc.intro end
      local known = {}
      for _, entry in ipairs(merged.entries) do known[entry.name] = true end
      for _, entry in ipairs(doc.entries) do
        if not known[entry.name] then merged.entries[#merged.entries + 1] = entry end
      end
      table.move(doc.classes, 1, #doc.classes, #merged.classes + 1, merged.classes)
      table.move(doc.undocumented, 1, #doc.undocumented, #merged.undocumented + 1, merged.undocumented)
      for _, alias in ipairs(doc.aliases) do
        merged.entries[#merged.entries + 1] = aliased(path:match("^(.*)/"), alias)
      end
    end
  end
  return merged
end

local function describe(list, title, lines)
  if #list == 0 then return end
  lines[#lines + 1] = ""
  lines[#lines + 1] = title
  for _, item in ipairs(list) do
    lines[#lines + 1] = ("- %s%s%s"):format(item.name and "`" .. item.name .. "` " or "", "`" .. item.type .. "`",
      item.text ~= "" and " — " .. item.text or "")
  end
end

--- One definition as Markdown.
---@param entry ws.DocEntry
---@return string
function M.render_entry(entry)
  local lines = { ("### `%s`"):format(entry.signature) }
  if entry.async then lines[#lines + 1] = "\n*May wait.*" end
  lines[#lines + 1] = ""
  table.move(entry.text, 1, #entry.text, #lines + 1, lines)
  describe(entry.params, "Parameters", lines)
  describe(entry.returns, "Returns", lines)
  return table.concat(lines, "\n") .. "\n"
end

--- A module's page.
---@param doc table  as `module` gives it
---@return string markdown
function M.render(doc)
  local parts = { ("# %s\n"):format(doc.name) }
  if #doc.intro > 0 then parts[#parts + 1] = table.concat(doc.intro, "\n") .. "\n" end
  parts[#parts + 1] = ("```lua\nlocal %s = require \"%s\"\n```\n"):format(doc.name:match("[^.]+$"), doc.name)
  for _, class in ipairs(doc.classes) do
    if #class.fields > 0 then
      local lines = { ("## %s\n"):format(class.class) }
      table.move(class.text, 1, #class.text, #lines + 1, lines)
      describe(class.fields, "Fields", lines)
      parts[#parts + 1] = table.concat(lines, "\n") .. "\n"
    end
  end
  if #doc.entries > 0 then parts[#parts + 1] = "## Functions\n" end
  for _, entry in ipairs(doc.entries) do parts[#parts + 1] = M.render_entry(entry) end
  return table.concat(parts, "\n")
end

--- Public names without documentation: functions of a module's table that no block describes.
---@return string[] names
function M.missing()
  local missing = {}
  for _, name in ipairs(M.modules()) do
    local doc = M.module(name)
    if not doc then
      missing[#missing + 1] = name .. " (no types.lua)"
    else
      for _, undocumented in ipairs(doc.undocumented) do missing[#missing + 1] = name .. "." .. undocumented end
      local known = {}
      for _, entry in ipairs(doc.entries) do known[entry.name] = true end
      local value = require(name)
      if type(value) == "table" then
        for key, field in pairs(value) do
          if type(field) == "function" and type(key) == "string" and not key:find("^_") and not known[key] then
            missing[#missing + 1] = name .. "." .. key
          end
        end
      end
    end
  end
  table.sort(missing)
  local unique = {}
  for i, name in ipairs(missing) do
    if name ~= missing[i - 1] then unique[#unique + 1] = name end
  end
  return unique
end

return M
