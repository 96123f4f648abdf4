-- The jobs of ci/ as each CI system would run them: their commands, in order, and the environment of each.
local expressions = require "expressions"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local yaml = require "ws.yaml"

local M = {}

M.JAVA = { JAVA_OPTS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC" } -- it runs for a second

---@class Job
---@field commands { script: string, env: table<string, string>, shell: string[] }[]
---@field env table<string, string>  what the CI system itself sets

local BASH = { "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c" }
local SH = { "sh", "-xe", "-c" }

local function read(path)
  return assert(yaml.decode(assert(fs.read(path)), { filename = path }))
end

local function add(into, values, context)
  for name, value in pairs(values or {}) do
    into[name] = context and expressions.fill(value, context) or tostring(value)
  end
  return into
end

local function copy(env) return add({}, env) end

--- A job of GitHub Actions; composite actions of this repository are followed.
---@param path string
---@param event string
---@param inputs table<string, string>
---@return Job
function M.github(path, event, inputs)
  local workflow = read(path)
  for name, input in pairs((workflow.on.workflow_dispatch or {}).inputs or {}) do
    if event == "workflow_dispatch" and not inputs[name] then
      assert(not input.required, name .. " is required")
    end
  end
  local context = { inputs = inputs, vars = { GCP_WORKLOAD_IDENTITY_PROVIDER = "p", GCP_SERVICE_ACCOUNT = "a" },
    runner = { arch = "X64" },
    github = { event_name = event, ref = "refs/tags/v1.4.2", ref_name = "v1.4.2", actor = "someone", actor_id = "7" } }
  local commands = {}
  local _, job = next(workflow.jobs)
  local function follow(steps, env, inside)
    for _, step in ipairs(steps) do
      if step["if"] == nil or expressions.value(step["if"], inside) then
        if step.run then
          commands[#commands + 1] = { script = step.run, shell = BASH,
            env = add(copy(env), step.env, inside) }
        elseif step.uses:find("^%./") then
          local action = read(step.uses:sub(3) .. "/action.yml")
          local with = {}
          for name, input in pairs(action.inputs) do with[name] = input.default end
          for name, value in pairs(step.with or {}) do
            assert(action.inputs[name], "no input " .. name)
            with[name] = expressions.fill(value, inside)
          end
          follow(action.runs.steps, env, setmetatable({ inputs = with }, { __index = inside }))
        end
      end
    end
  end
  follow(job.steps, add(add({}, workflow.env, context), job.env, context), context)
  return { commands = commands, env = { CI = "true", GITHUB_ACTIONS = "true" } }
end

local function flatten(list, into)
  for _, item in ipairs(list or {}) do
    if type(item) == "table" then flatten(item, into) else into[#into + 1] = item end
  end
  return into
end

--- A job of GitLab CI. Variables that are made of others are filled in, as GitLab does.
---@param path string
---@param name string
---@param variables table<string, string>
---@return Job
function M.gitlab(path, name, variables)
  local file = read(path)
  local job, at = {}, name
  local own = {}
  while at do
    local part = assert(file[at], at)
    for key, value in pairs(part) do
      if key == "variables" then
        for k, v in pairs(value) do own[k] = own[k] or v end
      elseif job[key] == nil then
        job[key] = value
      end
    end
    at = part.extends
  end
  local env = { CI_COMMIT_REF_NAME = "main", CI_COMMIT_TAG = "", GITLAB_USER_NAME = "someone",
    GITLAB_USER_EMAIL = "someone@example.invalid" }
  for key, variable in pairs(file.variables) do env[key] = type(variable) == "table" and variable.value or variable end
  add(env, variables)
  for key, value in pairs(own) do -- what a pipeline is started with wins
    if not variables[key] then env[key] = value:gsub("%$([%w_]+)", function(k) return env[k] end) end
  end
  if job.id_tokens then env.GCP_ID_TOKEN = "gitlab-id-token" end
  local lines = flatten(job.script, flatten(job.before_script, {}))
  return { commands = { { script = table.concat(lines, "\n"), shell = BASH, env = env } },
    env = { CI = "true", GITLAB_CI = "true" } }
end

--- A job of Jenkins, read by its own Groovy.
---@param groovy string
---@param path string
---@param parameters table<string, string>
---@return Job
function M.jenkins(groovy, path, parameters)
  local argv = { groovy, "tests/pipelines/jenkinsfile.groovy", path }
  for name, value in pairs(parameters) do argv[#argv + 1] = name .. "=" .. value end
  local r = assert(process.run(argv, { timeout = 60, env = M.JAVA }))
  if r.code ~= 0 then error(r.stderr, 0) end
  local file = assert(json.decode(r.stdout))
  local env = add(add({ GIT_BRANCH = "origin/main" }, file.parameters), parameters)
  for name, value in pairs(file.environment) do env[name] = type(value) == "table" and "/a/file" or value end
  local commands = {}
  for i, command in ipairs(file.commands) do
    commands[i] = { script = command.command, shell = SH, env = copy(env) }
    for _, name in ipairs(command.bound) do commands[i].env[name] = "/an/askpass" end
  end
  return { commands = commands, env = { JENKINS_URL = "http://127.0.0.1/", BUILD_ID = "7" } }
end

--- A build of Cloud Build, whose substitutions are mapped to variables.
---@param path string
---@param substitutions table<string, string>
---@return Job
function M.cloud_build(path, substitutions)
  local build = read(path)
  assert(build.options.automapSubstitutions == true)
  local known = { BUILD_ID = "b-1", PROJECT_ID = "p", BRANCH_NAME = "main" }
  add(known, build.substitutions)
  for name, value in pairs(substitutions) do
    assert(known[name] or name == "TAG_NAME", "no substitution " .. name)
    known[name] = value
  end
  local commands = {}
  for i, step in ipairs(build.steps) do
    local env = copy(known)
    for _, line in ipairs(step.env or {}) do
      local name, value = line:match("^([^=]+)=(.*)$")
      env[name] = value
    end
    for _, name in ipairs(step.secretEnv or {}) do env[name] = "a-secret" end
    assert(step.script:find("^#!/usr/bin/env bash\n"))
    commands[i] = { script = step.script, shell = { "bash", "-c" }, env = env }
  end
  return { commands = commands, env = { BUILDER_OUTPUT = "/builder/outputs" } }
end

return M
