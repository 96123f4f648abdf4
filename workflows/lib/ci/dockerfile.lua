-- What a Dockerfile says about the image, as far as an image can be made of it without running anything.
--
-- A Go program's Dockerfile has stages that compile and a last one that takes the program: its FROM, ENV, USER,
-- ENTRYPOINT and so on are the image. `plan` reads them; what needs a container (RUN in the last stage, files of other
-- stages) is refused with its line, and then one of docker, buildah and podman is needed.
local errors = require "ws.error"
local json = require "ws.json"

local M = {}

---@class ci.Instruction
---@field word string  upper case
---@field rest string
---@field line integer

--- The instructions of a Dockerfile; continued lines are one, comments are left out.
---@param text string
---@return ci.Instruction[]
function M.instructions(text)
  local list, current, number, heredoc = {}, nil, 0, nil
  for line in (text:gsub("\r\n", "\n") .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    local word, rest = line:match("^%s*(%a+)%s*(.-)%s*$")
    if heredoc then
      if line:match("^%s*(.-)%s*$") == heredoc then heredoc = nil end
    elseif line:find("^%s*#") or not line:find("%S") then -- luacheck: ignore 542
      -- comments and empty lines may stand between continued ones
    elseif current then
      current.rest = current.rest .. " " .. line:match("^%s*(.-)%s*$")
    elseif word then
      current = { word = word:upper(), rest = rest, line = number }
      list[#list + 1] = current
      heredoc = current.word ~= "FROM" and rest:match("<<%-?[\"']?([%w_]+)[\"']?%s*$")
    end
    if current and not line:find("^%s*#") and line:find("%S") then
      if current.rest:find("\\$") then
        current.rest = current.rest:gsub("%s*\\$", "")
      else
        current = nil
      end
    end
  end
  return list
end

---@class ci.Stage
---@field name? string
---@field from string
---@field line integer
---@field instructions ci.Instruction[]

--- The stages of a Dockerfile, and the arguments before the first.
---@param text string
---@return ci.Stage[] stages
---@return table<string, string> arguments  with their defaults
function M.stages(text)
  local stages, arguments = {}, {}
  for _, instruction in ipairs(M.instructions(text)) do
    if instruction.word == "FROM" then
      local words = {}
      for word in instruction.rest:gmatch("%S+") do
        if word:sub(1, 2) ~= "--" then words[#words + 1] = word end
      end
      local named = words[2] and words[2]:upper() == "AS"
      stages[#stages + 1] = { from = words[1] or "", name = named and words[3] or nil, line = instruction.line,
        instructions = {} }
    elseif #stages > 0 then
      table.insert(stages[#stages].instructions, instruction)
    elseif instruction.word == "ARG" then
      local name, value = instruction.rest:match("^([%w_]+)=?(.*)$")
      if name then arguments[name] = value:gsub('^"(.*)"$', "%1") end
    end
  end
  return stages, arguments
end

local function expand(text, values)
  return (text:gsub("%$%{([%w_]+)%}", function(name) return values[name] end)
    :gsub("%$([%a_][%w_]*)", function(name) return values[name] end))
end

--- The images that a Dockerfile builds on, without its own stages and `scratch`, in order and once each.
---@param text string
---@return string[] references
function M.bases(text)
  local stages, arguments = M.stages(text)
  local own, seen, list = { scratch = true }, {}, {}
  for _, stage in ipairs(stages) do
    local from = expand(stage.from, arguments)
    if not own[from] and not seen[from] then
      seen[from] = true
      list[#list + 1] = from
    end
    if stage.name then own[stage.name] = true end
  end
  return list
end

--- A reference with its host, as registries want it: Docker Hub's names are written without.
---@param reference string
---@return string
function M.full_reference(reference)
  local first = reference:match("^([^/]+)/")
  if first and (first:find("[.:]") or first == "localhost") then return reference end
  if not reference:find("[:@]") then reference = reference .. ":latest" end
  return "docker.io/" .. (first and "" or "library/") .. reference
end

--- Whether a build takes an argument: then its value belongs to the inputs.
---@param text string
---@param name string
---@return boolean
function M.takes(text, name)
  for _, instruction in ipairs(M.instructions(text)) do
    if instruction.word == "ARG" and instruction.rest:match("^[%w_]+") == name then return true end
  end
  return false
end

--- The path that a stage compiles the program to, by its `go build … -o PATH`; nil when it compiles none.
local function program_of(stage)
  local workdir, program = "/", nil
  for _, instruction in ipairs(stage.instructions) do
    if instruction.word == "WORKDIR" then
      workdir = instruction.rest:find("^/") and instruction.rest or workdir .. "/" .. instruction.rest
    elseif instruction.word == "RUN" and instruction.rest:find("%f[%w]go%s+build%f[%W]") then
      local path = instruction.rest:match("%s%-o[=%s]%s*(%S+)")
      if path then program = path:find("^/") and path or workdir:gsub("/*$", "/") .. path end
    end
  end
  return program
end

--- The words of an instruction in JSON form: `["/app", "-v"]`; nil for the shell form.
local function exec_form(rest)
  local words = rest:find("^%[") and json.decode(rest)
  if not words then return nil end
  for _, word in ipairs(words) do
    if type(word) ~= "string" then return nil end
  end
  return words
end

local function refuse(instruction, why)
  return nil, errors.new { kind = "unsupported", message = ("line %d: %s %s"):format(instruction.line, instruction.word,
    why), hint = "it needs docker, buildah or podman" }
end

--- `NAME=value NAME="two words"` as a map; nil when it is written another way.
local function pairs_of(rest)
  local values, at = {}, 1
  while at <= #rest do
    local name, after = rest:match('^%s*([%w_.-]+)=()', at)
    if not name then return rest:find("^%s*$", at) and values or nil end
    local value, stop = rest:match('^"([^"\\]*)"()', after)
    if not value then value, stop = rest:match("^([^%s\"'\\]*)()", after) end
    if not rest:find("^%s", stop) and stop <= #rest then return nil end
    values[name], at = value, stop
  end
  return values
end

---@class ci.ImagePlan
---@field base? string                    nil: from scratch
---@field program string                  where the program lies in the image
---@field copies { from: string, to: string, line: integer }[]  files of the build's folder
---@field entrypoint? string[]
---@field cmd? string[]
---@field env table<string, string>
---@field labels table<string, string>
---@field user? string
---@field workdir? string
---@field ports string[]

local take = {}

function take.ENV(plan, instruction)
  local values = pairs_of(instruction.rest)
  if not values then return refuse(instruction, "is written in a form that is not read") end
  for name, value in pairs(values) do plan.env[name] = value end
  return true
end

function take.LABEL(plan, instruction)
  local values = pairs_of(instruction.rest)
  if not values then return refuse(instruction, "is written in a form that is not read") end
  for name, value in pairs(values) do plan.labels[name] = value end
  return true
end

function take.USER(plan, instruction)
  plan.user = instruction.rest
  return true
end

function take.WORKDIR(plan, instruction)
  local dir = instruction.rest
  plan.workdir = dir:find("^/") and dir or (plan.workdir or ""):gsub("/*$", "/") .. dir
  return true
end

function take.EXPOSE(plan, instruction)
  for port in instruction.rest:gmatch("%S+") do
    plan.ports[#plan.ports + 1] = port:find("/") and port or port .. "/tcp"
  end
  return true
end

function take.ENTRYPOINT(plan, instruction)
  plan.entrypoint = exec_form(instruction.rest)
  if plan.entrypoint then return true end
  return refuse(instruction, "is no list of words, so it needs a shell in the image")
end

function take.CMD(plan, instruction)
  plan.cmd = exec_form(instruction.rest)
  if plan.cmd then return true end
  return refuse(instruction, "is no list of words, so it needs a shell in the image")
end

--- Where a file is copied to; a target that ends in a slash is a folder.
local function target_of(from, to, plan)
  if not to:find("^/") then to = (plan.workdir or ""):gsub("/*$", "/") .. to end
  return to:find("/$") and to .. from:match("[^/]*$") or to
end

function take.COPY(plan, instruction, stages)
  local stage_name, words = nil, {}
  for word in instruction.rest:gmatch("%S+") do
    if word:find("^%-%-from=") then
      stage_name = word:sub(8)
    elseif word:find("^%-%-") then
      return refuse(instruction, ("with %s is not read"):format(word))
    else
      words[#words + 1] = word
    end
  end
  if #words ~= 2 or words[1]:find("[%[*?$]") then return refuse(instruction, "takes one file and its target, here") end
  local from, to = words[1], target_of(words[1], words[2], plan)
  if not stage_name then
    plan.copies[#plan.copies + 1] = { from = from, to = to, line = instruction.line }
    return true
  end
  for i, stage in ipairs(stages) do
    if stage.name == stage_name or tostring(i - 1) == stage_name then
      if program_of(stage) ~= from then
        return refuse(instruction, ("takes %s, which is not the program that go build writes"):format(from))
      end
      plan.program = to
      return true
    end
  end
  return refuse(instruction, ("takes from %s, which is no stage"):format(stage_name))
end

--- How the image of a Dockerfile is made from the compiled program and files, without a daemon.
---@param text string
---@return ci.ImagePlan? plan
---@return ws.Error? err  kind `unsupported`; its message begins with the line
function M.plan(text)
  local stages, arguments = M.stages(text)
  local last = stages[#stages]
  if not last then
    return nil, errors.new { kind = "invalid", message = "line 1: there is no FROM: this is no Dockerfile" }
  end
  local from = expand(last.from, arguments)
  for i = 1, #stages - 1 do
    if stages[i].name == from then
      return refuse({ line = last.line, word = "FROM" }, ("builds on the stage %s"):format(from))
    end
  end
  local plan = { base = from ~= "scratch" and from or nil, copies = {}, env = {}, labels = {}, ports = {} }
  for _, instruction in ipairs(last.instructions) do
    if not take[instruction.word] then return refuse(instruction, "in the last stage runs something in the image") end
    if instruction.rest:find("$", 1, true) then return refuse(instruction, "in the last stage uses a variable") end
    local ok, err = take[instruction.word](plan, instruction, stages)
    if not ok then return nil, err end
  end
  if not plan.program then
    return nil, errors.new { kind = "unsupported", message = ("line %d: the last stage takes no program: there is no "
      .. "COPY --from of what go build -o writes"):format(last.line), hint = "it needs docker, buildah or podman" }
  end
  return plan
end

return M
