--- `wsrun doc NAME`, `wsrun doc --write` (docs/api), `wsrun doc --check`
local doc = require "ws.doc"
local errors = require "ws.error"
local nearest = require "ws.nearest"

local M = {}

--- The pages of docs/api: path → text.
local function pages()
  local result, index = {}, { "# API\n", "Made from the sources by `wsrun doc --write`.\n" }
  for _, name in ipairs(doc.modules()) do
    local module = doc.module(name)
    if module then
      result["docs/api/" .. name .. ".md"] = doc.render(module)
      index[#index + 1] = ("- [%s](%s.md) — %s"):format(name, name, (module.intro[1] or ""):gsub("%.$", ""))
    end
  end
  result["docs/api/README.md"] = table.concat(index, "\n") .. "\n"
  return result
end

local function check()
  local fs, problems = require "ws.fs", {}
  for _, name in ipairs(doc.missing()) do problems[#problems + 1] = name .. " has no documentation" end
  local wanted = pages()
  for path, text in pairs(wanted) do
    if fs.read(path) ~= text then problems[#problems + 1] = path .. " is not what the sources say" end
  end
  for _, path in ipairs(fs.glob("docs/api/*.md") or {}) do
    if not wanted[path] then problems[#problems + 1] = path .. " belongs to no module" end
  end
  table.sort(problems)
  for _, problem in ipairs(problems) do print(problem) end
  if #problems == 0 then return 0 end
  print("run: wsrun doc --write")
  return 3
end

local function write()
  local fs = require "ws.fs"
  assert(fs.mkdir("docs/api", { parents = true }))
  local wanted = pages()
  for path, text in pairs(wanted) do assert(fs.write(path, text)) end
  for _, path in ipairs(fs.glob("docs/api/*.md") or {}) do
    if not wanted[path] then assert(fs.remove(path)) end
  end
  return 0
end

local function show(name)
  local full = name:find("^ws") and name or "ws." .. name
  local module = doc.module(full)
  if module then
    print(doc.render(module))
    return 0
  end
  local owner, short = full:match("^(.*)%.([^.]+)$")
  module = owner and doc.module(owner)
  local names = {}
  for _, entry in ipairs(module and module.entries or {}) do
    if entry.name == short then
      print(doc.render_entry(entry))
      return 0
    end
    names[#names + 1] = owner .. "." .. entry.name
  end
  local meant = nearest(full, #names > 0 and names or doc.modules())
  return nil, errors.new { kind = "not_found", usage = true, message = ("no documentation for '%s'"):format(name),
    hint = meant and ("did you mean %s?"):format(meant) or "wsrun doc lists the modules" }
end

function M.main(words)
  if words[1] == "--check" then return check() end
  if words[1] == "--write" then return write() end
  if words[1] then return show(words[1]) end
  for _, name in ipairs(doc.modules()) do
    local module = doc.module(name)
    print(("%-16s %s"):format(name, module and module.intro[1] or ""))
  end
  return 0
end

return M
