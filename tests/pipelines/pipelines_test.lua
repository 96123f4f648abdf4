-- The pipelines of ci/: each is what its format allows, and its commands do what they say.
local fs = require "ws.fs"
local jobs = require "jobs"
local json = require "ws.json"
local process = require "ws.process"

local TOP = fs.cwd()
local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")

local function tool(t, name)
  local tools = require "ws.project".tools_dir()
  if tools and fs.exists(tools .. "/" .. name) then return tools .. "/" .. name end
  return process.which(name) or t:skip(name .. " is not installed")
end

local function executable(path, text)
  assert(fs.mkdir(fs.dirname(path), { parents = true }))
  assert(fs.write(path, text, { mode = 493 }))
end

-- A workflow of the project that says what it was given instead of doing it.
local ECHO = [[
local workflow = assert(loadfile(%q))()
workflow.run = function(w, args)
  local shown = {}
  for name, value in pairs(args) do shown[name] = type(value) == "table" and value.name or value end
  shown.wait_lock = w.options["wait-lock"]
  w:step("echo", function() end)
  print("RAN " .. %q .. " " .. require "ws.json".encode(shown))
end
return workflow
]]

--- A checkout as a CI makes it: HEAD is detached, wsrun is the real one, workflows only say what they were given.
local function checkout(t)
  local dir = fs.realpath(t:tmpdir())
  for _, name in ipairs { "create_platform", "destroy_platform", "ci", "cd" } do
    local path = ("workflows/%s.lua"):format(name)
    if fs.exists(path) then
      executable(dir .. "/" .. path, ECHO:format(TOP .. "/" .. path, name))
    end
  end
  assert(fs.symlink(TOP .. "/workflows/lib", dir .. "/workflows/lib"))
  assert(fs.symlink(TOP .. "/manifests", dir .. "/manifests"))
  executable(dir .. "/ci/setup.sh", "#!/bin/sh\necho SETUP\n")
  executable(dir .. "/ci/keep.lua", 'print("KEEP " .. table.concat({ ... }, " "))\n')
  executable(dir .. "/bin/apt-get", "#!/bin/sh\n")
  executable(dir .. "/build/wsrun", ([[
#!/usr/bin/env bash
if [ "$1" = --sandbox ]; then echo SANDBOX; shift; fi
exec %q "$@"
]]):format(wsrun))
  assert(fs.mkdir(dir .. "/home"))
  local function git(...)
    local r = assert(process.run({ "git", ... }, { cwd = dir, timeout = 30,
      env = { GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_NOSYSTEM = "1" } }))
    assert(r.code == 0, r.stderr)
    return r.stdout
  end
  git("init", "-q", "--initial-branch", "main")
  git("-c", "user.name=t", "-c", "user.email=t@t.invalid", "commit", "-q", "--allow-empty", "-m", "x")
  git("switch", "-q", "--detach")
  return dir, git
end

--- Runs a job and returns what it printed, by line kinds; fails the test when its exit code is another.
local function run(t, dir, job, code)
  local out, last = {}, 0
  for _, command in ipairs(job.commands) do
    local env = { HOME = dir .. "/home", PATH = dir .. "/bin:" .. os.getenv("PATH"), LC_ALL = "C.UTF-8",
      WSRUN_STATE_DIR = false, GIT_CONFIG_GLOBAL = false, GITHUB_STEP_SUMMARY = false,
      GITHUB_ACTIONS = false, GITLAB_CI = false, JENKINS_URL = false, BUILD_ID = false, BUILDER_OUTPUT = false }
    for _, from in ipairs { job.env, command.env } do
      for name, value in pairs(from) do env[name] = value end
    end
    local argv = table.move(command.shell, 1, #command.shell, 1, {})
    argv[#argv + 1] = command.script
    local r = assert(process.run(argv, { cwd = dir, env = env, timeout = 60 }))
    out[#out + 1] = r.stdout
    last = r.code
    if r.code ~= (code or 0) then t:eq(r.code, code or 0, command.script .. "\n" .. r.stdout .. r.stderr) end
    if r.code ~= 0 then break end
  end
  t:eq(last, code or 0)
  return table.concat(out)
end

local function ran(out)
  local name, args = out:match("RAN (%S+) ([^\n]+)")
  return name, args and json.decode(args)
end

--- Tests a job of each CI system: it sets up first, and calls this workflow with these arguments.
local function calls(t, make, expected)
  local dir, git = checkout(t)
  local out = run(t, dir, make())
  t:has(out, "SETUP")
  local name, args = ran(out)
  t:eq(name, expected.name)
  for key, value in pairs(expected.args) do t:eq(args[key], value, key) end
  t:eq(out:find("SANDBOX", 1, true) ~= nil, expected.sandbox == true)
  t:ok(#fs.list(dir .. "/reports") == 1, "a JUnit report")
  if expected.name == "ci" and not expected.sandbox then t:eq(args.version:gsub("^v", ""), "1.4.2") end
  if expected.branch then t:eq(git("symbolic-ref", "--short", "HEAD"), "main\n") end
  return out
end

local LOCK = 1800
local apply = { name = "create_platform", args = { platform = "dev-seb", wait_lock = LOCK }, branch = true }
local destroy = { name = "destroy_platform", branch = true,
  args = { platform = "dev-seb", confirm = "dev-seb", wait_lock = LOCK } }
local publish = { name = "ci", args = {} }
local deploy = { name = "cd", branch = true,
  args = { platform = "dev-seb", release = "test-app", version = "1.4.2", wait_lock = LOCK } }
local back = { name = "cd", args = { platform = "dev-seb", release = "test-app", wait_lock = LOCK }, branch = true }

local function github_branch(expected) -- GitHub checks the branch out itself
  return { name = expected.name, args = expected.args }
end

return function(test)
  test("GitHub Actions: the jobs call the workflows", function(t)
    local platform = { platform = "dev-seb", action = "apply" }
    calls(t, function() return jobs.github("ci/github/platform.yml", "workflow_dispatch", platform) end,
      github_branch(apply))
    platform = { platform = "dev-seb", action = "destroy", confirm = "dev-seb" }
    calls(t, function() return jobs.github("ci/github/platform.yml", "workflow_dispatch", platform) end,
      github_branch(destroy))
  end)

  test("GitHub Actions: ci and cd", function(t)
    calls(t, function() return jobs.github("ci/github/ci.yml", "push", {}) end, publish)
    calls(t, function() return jobs.github("ci/github/ci.yml", "pull_request", {}) end,
      { name = "ci", args = {}, sandbox = true })
    local inputs = { platform = "dev-seb", release = "test-app", version = "1.4.2", action = "deploy" }
    calls(t, function() return jobs.github("ci/github/cd.yml", "workflow_dispatch", inputs) end,
      github_branch(deploy))
    inputs = { platform = "dev-seb", release = "test-app", action = "rollback" }
    calls(t, function() return jobs.github("ci/github/cd.yml", "workflow_dispatch", inputs) end, github_branch(back))
  end)

  test("GitLab: the jobs call the workflows", function(t)
    local token = t:tmpdir() .. "/id-token"
    local variables = { PLATFORM = "dev-seb", GCP_ID_TOKEN_FILE = token }
    calls(t, function() return jobs.gitlab("ci/gitlab/gitlab-ci.yml", "apply", variables) end, apply)
    t:eq(fs.read(token), "gitlab-id-token")
    t:eq(assert(fs.stat(token)).mode & 511, 384)
    variables.CONFIRM = "dev-seb"
    calls(t, function() return jobs.gitlab("ci/gitlab/gitlab-ci.yml", "destroy", variables) end, destroy)
  end)

  test("GitLab: ci and cd", function(t)
    local file, token = "ci/gitlab/gitlab-ci.yml", t:tmpdir() .. "/id-token"
    calls(t, function()
      return jobs.gitlab(file, "publish", { CI_COMMIT_TAG = "v1.4.2", GCP_ID_TOKEN_FILE = token })
    end, publish)
    calls(t, function() return jobs.gitlab(file, "rehearse", {}) end, { name = "ci", args = {}, sandbox = true })
    local variables = { PLATFORM = "dev-seb", RELEASE = "test-app", VERSION = "1.4.2", GCP_ID_TOKEN_FILE = token }
    calls(t, function() return jobs.gitlab(file, "deploy", variables) end, deploy)
    variables.VERSION = nil
    calls(t, function() return jobs.gitlab(file, "rollback", variables) end, back)
  end)

  test("Jenkins: the generic platform job", function(t)
    local groovy = tool(t, "groovy")
    local file = "ci/jenkins/platform.Jenkinsfile"
    calls(t, function() return jobs.jenkins(groovy, file, { PLATFORM = "dev-seb", ACTION = "apply" }) end, apply)
    calls(t, function()
      return jobs.jenkins(groovy, file, { PLATFORM = "dev-seb", ACTION = "destroy", CONFIRM = "dev-seb" })
    end, destroy)
  end)

  test("Jenkins: ci and cd", function(t)
    local groovy = tool(t, "groovy")
    calls(t, function() return jobs.jenkins(groovy, "ci/jenkins/ci.Jenkinsfile", { VERSION = "1.4.2" }) end, publish)
    local parameters = { PLATFORM = "dev-seb", RELEASE = "test-app", VERSION = "1.4.2", ACTION = "deploy" }
    calls(t, function() return jobs.jenkins(groovy, "ci/jenkins/cd.Jenkinsfile", parameters) end, deploy)
    parameters.ACTION, parameters.VERSION = "rollback", ""
    calls(t, function() return jobs.jenkins(groovy, "ci/jenkins/cd.Jenkinsfile", parameters) end, back)
  end)

  test("Cloud Build: the jobs call the workflows and keep their files", function(t)
    local file = "ci/cloud-build/platform.yaml"
    local out = calls(t, function() return jobs.cloud_build(file, { _PLATFORM = "dev-seb" }) end, apply)
    t:has(out, "KEEP gs://charts-wescale-sandbox/builds/b-1 reports .wsrun/runs\n")
    calls(t, function()
      return jobs.cloud_build(file, { _PLATFORM = "dev-seb", _ACTION = "destroy", _CONFIRM = "dev-seb" })
    end, destroy)
    t:has(run(t, checkout(t), jobs.cloud_build(file, { _PLATFORM = "nowhere" }), 65), "KEEP")
    run(t, checkout(t), jobs.cloud_build(file, { _PLATFORM = "dev-seb", _ACTION = "drop" }), 64)
  end)

  test("Cloud Build: ci and cd", function(t)
    calls(t, function() return jobs.cloud_build("ci/cloud-build/ci.yaml", { TAG_NAME = "v1.4.2" }) end, publish)
    local file = "ci/cloud-build/cd.yaml"
    local values = { _PLATFORM = "dev-seb", _RELEASE = "test-app", _VERSION = "1.4.2" }
    calls(t, function() return jobs.cloud_build(file, values) end, deploy)
    values = { _PLATFORM = "dev-seb", _RELEASE = "test-app", _ACTION = "rollback" }
    calls(t, function() return jobs.cloud_build(file, values) end, back)
  end)

  test("what a person types is never a command", function(t)
    local dir = checkout(t)
    local evil = "dev-seb\"; touch \"$PWD/evil\"; $(touch evil) `touch evil`"
    for _, job in ipairs {
      jobs.github("ci/github/platform.yml", "workflow_dispatch", { platform = evil, action = "apply" }),
      jobs.gitlab("ci/gitlab/gitlab-ci.yml", "apply", { PLATFORM = evil, GCP_ID_TOKEN_FILE = dir .. "/id-token" }),
      jobs.cloud_build("ci/cloud-build/platform.yaml", { _PLATFORM = evil }),
    } do
      for _, command in ipairs(job.commands) do t:ok(not command.script:find("touch", 1, true), command.script) end
      local ok, err = pcall(run, t, dir, job)
      t:ok(not ok)
      t:has(tostring(err), "65")
      t:ok(not fs.exists(dir .. "/evil"))
    end
  end)

  -- Each file passes its checker, and a copy with a mistake does not: the checker does look.
  local function checked(t, argv, file, from, to)
    local function check(path)
      local words = {}
      for i, word in ipairs(argv) do words[i] = word == "FILE" and path or word end
      return assert(process.run(words, { timeout = 60, env = jobs.JAVA }))
    end
    local r = check(file)
    t:eq(r.code, 0, r.stdout .. r.stderr)
    local text = assert(fs.read(file))
    local at, last = text:find(from, 1, true)
    t:ok(at, from)
    local copy = t:tmpdir() .. "/" .. fs.basename(file)
    assert(fs.write(copy, text:sub(1, at - 1) .. to .. text:sub(last + 1)))
    t:ok(check(copy).code ~= 0, ("%s with %q"):format(file, to))
  end

  test("the files are what the published schemas allow", function(t)
    local checker = tool(t, "check-jsonschema")
    local function schema(name, ...) return { checker, "--builtin-schema", "vendor." .. name, ... } end
    for _, name in ipairs { "ci", "cd", "platform" } do
      checked(t, schema("github-workflows", "FILE"), ("ci/github/%s.yml"):format(name), "runs-on:", "run-on:")
      checked(t, schema("cloudbuild", "FILE"), ("ci/cloud-build/%s.yaml"):format(name), "\nsteps:", "\nstep:")
    end
    checked(t, schema("github-actions", "FILE"), "ci/github/wsrun/action.yml", "using: composite", "using: shell")
    checked(t, schema("gitlab-ci", "--data-transform", "gitlab-ci", "FILE"), "ci/gitlab/gitlab-ci.yml",
      "\n  script:", "\n  scripts:")
  end, { timeout = 120 })

  test("actionlint has nothing to say", function(t)
    local actionlint = tool(t, "actionlint")
    for _, name in ipairs { "ci", "cd", "platform" } do
      checked(t, { actionlint, "-no-color", "FILE" }, ("ci/github/%s.yml"):format(name), "${{ inputs.", "${{ input.")
    end
    -- where a user puts them, they are checked against the action's own declaration
    local dir = t:tmpdir()
    assert(fs.mkdir(dir .. "/.git"))
    assert(fs.copy("ci/github/wsrun", dir .. "/ci/github/wsrun", { recursive = true }))
    local function lint(name, text)
      assert(fs.mkdir(dir .. "/.github/workflows", { parents = true }))
      assert(fs.write(("%s/.github/workflows/%s.yml"):format(dir, name), text))
      return assert(process.run({ actionlint, "-no-color" }, { cwd = dir, timeout = 60 }))
    end
    for _, name in ipairs { "ci", "cd", "platform" } do
      local text = assert(fs.read(("ci/github/%s.yml"):format(name)))
      local r = lint(name, text)
      t:eq(r.code, 0, r.stdout)
      r = lint(name, (text:gsub("service%-account:", "service:")))
      t:has(r.stdout, 'input "service" is not defined')
      lint(name, text)
    end
  end)

  test("a Jenkinsfile with a word that Jenkins does not know is refused", function(t)
    local groovy = tool(t, "groovy")
    local argv = { groovy, "tests/pipelines/jenkinsfile.groovy", "FILE" }
    checked(t, argv, "ci/jenkins/platform.Jenkinsfile", "credentialsId", "credentialId")
    checked(t, argv, "ci/jenkins/cd.Jenkinsfile", "stages {", "stage {")
    checked(t, argv, "ci/jenkins/ci.Jenkinsfile", "options {", "options")
  end, { timeout = 120 })

  test("no credential stands in a command", function()
    for _, pattern in ipairs { "ci/**/*.yml", "ci/**/*.yaml", "ci/**/*Jenkinsfile" } do
      for _, file in ipairs(assert(fs.glob(pattern))) do
        local text = assert(fs.read(file))
        for _, word in ipairs { "secrets%.", "%-%-password", "%-%-token", "access_token" } do
          assert(not text:find(word), file .. ": " .. word)
        end
      end
    end
  end)
end
