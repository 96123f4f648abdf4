-- What cd.lua is asked for, what it reads before it changes anything, and what it writes to the manifest.
local delivery = require "lib.delivery"
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local k8s = require "ws.k8s"
local manifest = require "lib.manifest"
local platform = require "lib.platform"
local process = require "ws.process"
local publication = require "lib.publication"
local release = require "lib.release"

--- A run of which only the words are kept.
local function run_of(t)
  local said = {}
  local function say(_, text) said[#said + 1] = text end
  return { id = "r1", dir = t:tmpdir(), options = {}, sandbox = false, note = say, progress = function() end,
    summary = say, changed = say, log_file = function(self) return self.dir .. "/log" end }, said
end

local function open(t, name, root)
  local w, said = run_of(t)
  return platform.open(w, assert(manifest.load(name or "dev-seb", root and { root = root }))), said
end

local function git(dir, ...)
  return assert(process.check({ "git", "-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org", ... },
    { env = { GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_NOSYSTEM = "1" } })).stdout
end

--- A project with one manifest in a repository, its bare remote, and another clone of it.
local function repository(t)
  local base = assert(fs.realpath(t:tmpdir()))
  local root, remote, other = base .. "/project", base .. "/remote.git", base .. "/other"
  assert(fs.mkdir(root .. "/manifests", { parents = true }))
  assert(fs.copy("manifests/dev-seb.yaml", root .. "/manifests/dev-seb.yaml"))
  git(base, "init", "-q", "--bare", "--initial-branch", "main", remote)
  git(root, "init", "-q", "--initial-branch", "main")
  git(root, "add", "-A")
  git(root, "commit", "-qm", "first")
  git(root, "remote", "add", "origin", remote)
  git(root, "push", "-q", "-u", "origin", "main")
  git(base, "clone", "-q", remote, other)
  return root, remote, other
end

local function upstream(remote)
  return git(remote, "show", "main:manifests/dev-seb.yaml")
end

local function change(dir, from, to)
  local path = dir .. "/manifests/dev-seb.yaml"
  local text = assert(fs.read(path))
  local at, last = text:find(from, 1, true)
  assert(fs.write(path, text:sub(1, at - 1) .. to .. text:sub(last + 1)))
end

local function write(p, expect, value)
  return p:replace_in_manifest({ "applications", { name = "test-app" }, "version" }, expect, value, "m")
end

return function(test)
  test("another project or cluster than the manifest's is refused", function(t)
    local p = open(t)
    delivery.check_context(p, { project = "livingpackets-sandbox", cluster = "lp-cluster-dev-seb" })
    for option, value in pairs { project = "other", cluster = "lp-cluster-prod-eu" } do
      local err = t:raises("%-%-" .. option .. " says", delivery.check_context, p, { [option] = value })
      t:eq(err.exit, 64)
    end
  end)

  test("applications and versions that there are not", function(t)
    local p = open(t)
    local app = delivery.application(p, "test-app")
    t:eq(app.name, "test-app")
    t:has(t:raises("no application called tset%-app", delivery.application, p, "tset-app").hint, "test-app?")
    t:raises("plain YAML", delivery.application, p, "parcels")
    t:eq(delivery.version(p, app, { version = "v1.4.2-rc.1" }), "1.4.2-rc.1")
    t:eq(delivery.version(p, app, { rollback = true }), nil)
    for _, text in ipairs { "1.4", "1.4.2.1", "01.4.2", "", "latest", "1.4.2/../../x", "1.4.x" } do
      t:eq(t:raises("is not a version", delivery.version, p, app, { version = text }).exit, 64, text)
    end
    t:raises("VERSION is missing", delivery.version, p, app, {})
    t:raises("%-%-policy goes with %-%-watch", delivery.version, p, app, { version = "1.4.2", policy = "minor" })
    t:raises("0 or more", delivery.options, { ["tolerate-restarts"] = -1 })
  end)

  test("an image that the manifest names is its own affair", function(t)
    t:eq(publication.names_image { values = { replicaCount = 1 } }, false)
    for _, key in ipairs { "repository", "tag", "digest" } do
      t:eq(publication.names_image { values = { image = { [key] = "x" } } }, true)
    end
    t:eq(publication.repository({ ["gcp-project"] = "p" }, { chart = "billing-chart" }), "eu.gcr.io/p/billing")
    t:eq(publication.repository({ ["images-registry"] = "r.example/x" }, {}), "r.example/x/app")
  end)

  test("a cluster that cannot be reached changes nothing and says what people forget", function(t)
    local random = math.random
    t:defer(function() -- luacheck: ignore 122
      math.random = random -- luacheck: ignore 122
      environment.set { STORAGE_EMULATOR_HOST = false, GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = false }
      gcp.credentials(nil)
    end)
    math.random = function(...) return ... and random(...) or 0 end -- luacheck: ignore 122
    environment.set { STORAGE_EMULATOR_HOST = "http://127.0.0.1:1",
      GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = "http://127.0.0.1:1/storage/v1/" }
    assert(gcp.credentials { token = "any" })
    local p = open(t)
    p.api = k8s.client { server = "https://127.0.0.1:1" }
    local err = t:raises("", release.examine, p, p.manifest.applications[1], "1.4.2")
    t:eq(err.kind, "connection")
    t:has(err.hint, "ips_whitelist")
  end)

  test("the version is replaced where it stands, committed and pushed, and the rest stays", function(t)
    local root, remote, other = repository(t)
    local p = open(t, "dev-seb", root)
    change(other, "  - name: test-app\n", "  - name: first\n    version: 1.4.1\n  - name: test-app\n")
    git(other, "commit", "-qam", "an application before it")
    git(other, "push", "-q")
    t:eq(write(p, "1.4.1", "1.4.2"), "1.4.2")
    local text = upstream(remote)
    t:has(text, "  - name: first\n    version: 1.4.1\n  - name: test-app\n    version: 1.4.2\n")
    t:eq(p.manifest.applications[1].version, "1.4.2")
    t:has(fs.read(root .. "/manifests/dev-seb.yaml"), "  - name: test-app\n    version: 1.4.2\n")
    t:eq(write(p, "1.4.2", "1.4.2"), "1.4.2")
    t:eq(git(remote, "rev-list", "--count", "main"), "3\n")
  end)

  test("what somebody else wrote meanwhile is left alone, upstream and here", function(t)
    local root, remote, other = repository(t)
    local p, said = open(t, "dev-seb", root)
    change(other, "version: 1.4.1", "version: 1.4.0")
    git(other, "commit", "-qam", "back")
    git(other, "push", "-q")
    local before = fs.read(root .. "/manifests/dev-seb.yaml")
    release.write_back(p, p.manifest.applications[1], "1.4.1", "1.4.2")
    t:has(said[#said], "says 1.4.0 for test-app, which somebody has written meanwhile (it said 1.4.1)")
    t:has(upstream(remote), "version: 1.4.0")
    t:eq(fs.read(root .. "/manifests/dev-seb.yaml"), before)
    t:eq(p.manifest.applications[1].version, "1.4.1")
    change(other, "  - name: test-app\n    version", "  - name: renamed\n    version")
    git(other, "commit", "-qam", "renamed")
    git(other, "push", "-q")
    release.write_back(p, p.manifest.applications[1], "1.4.1", "1.4.2")
    t:has(said[#said], "has no test-app any more")
  end)

  test("others who push all the time are no obstacle; without a repository the file is written", function(t)
    local root, remote, other = repository(t)
    local p, said = open(t, "dev-seb", root)
    local marker = root .. "/../pushed"
    -- The remote's hook lets somebody else push first, twice: the push that it belongs to is refused then.
    assert(fs.write(remote .. "/hooks/pre-receive", ([[#!/bin/sh
n=$(cat %s 2>/dev/null || echo 0)
[ "$n" -lt 2 ] && [ -z "$INNER" ] || exit 0
echo $((n + 1)) >%s
unset GIT_DIR GIT_QUARANTINE_PATH
cd %s && git -c user.name=x -c user.email=x@example.org commit -q --allow-empty -m theirs && INNER=1 git push -q
exit 1
]]):format(marker, marker, other), { mode = 493 }))
    t:eq(write(p, "1.4.1", "1.4.2"), "1.4.2")
    t:has(upstream(remote), "version: 1.4.2")
    t:eq(fs.read(marker), "2\n")
    assert(fs.remove(root .. "/.git", { recursive = true }))
    t:eq(write(p, "1.4.2", "1.4.3"), "1.4.3")
    t:has(said[#said], "it is in no git repository")
    t:eq(write(p, "1.4.2", "1.4.4"), "1.4.3", "it is not the expected one")
    t:has(fs.read(root .. "/manifests/dev-seb.yaml"), "version: 1.4.3\n")
  end)
end
