local fs = require "ws.fs"
local git = require "ws.git"
local process = require "ws.process"
local task = require "ws.task"

--- git in the tests: an identity, nothing of the user's configuration.
local env = {
  GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_SYSTEM = "/dev/null", LC_ALL = "C",
  GIT_AUTHOR_NAME = "Test", GIT_AUTHOR_EMAIL = "test@example.org",
  GIT_COMMITTER_NAME = "Test", GIT_COMMITTER_EMAIL = "test@example.org",
}

local function run(dir, ...)
  return (assert(process.check({ "git", "-C", dir, ... }, { env = env })).stdout:gsub("\n$", ""))
end

--- A bare remote and two clones of it with one commit: manifest.yaml and other.txt.
local function repositories(t)
  local dir = fs.realpath(t:tmpdir())
  local remote, a, b = dir .. "/remote.git", dir .. "/a", dir .. "/b"
  run(dir, "init", "--quiet", "--bare", "--initial-branch=main", remote)
  run(dir, "clone", "--quiet", remote, a)
  run(a, "symbolic-ref", "HEAD", "refs/heads/main")
  assert(fs.mkdir(a .. "/manifests"))
  assert(fs.write(a .. "/manifests/dev.yaml", "name: dev\nnumber:\nregion: eu\n"))
  assert(fs.write(a .. "/other.txt", "other\n"))
  run(a, "add", ".")
  run(a, "commit", "--quiet", "-m", "first")
  run(a, "push", "--quiet", "-u", "origin", "main")
  run(dir, "clone", "--quiet", remote, b)
  return { dir = dir, remote = remote, a = a, b = b, file = a .. "/manifests/dev.yaml" }
end

--- An apply that sets the line `number:`.
local function set_number(n)
  return function(root)
    local file = root .. "/manifests/dev.yaml"
    local text = assert(fs.read(file))
    return fs.write(file, (text:gsub("number:[^\n]*", "number: " .. n)))
  end
end

local function push(r, opts)
  local options = { dir = r.a, paths = { r.file }, message = "number drawn", apply = set_number(7) }
  for k, v in pairs(opts or {}) do options[k] = v end
  return git.commit_push(options)
end

local function commit_in(dir, file, text, message)
  assert(fs.write(dir .. "/" .. file, text))
  run(dir, "add", file)
  run(dir, "commit", "--quiet", "-m", message)
end

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/git/README.md"
  end)

  test("a commit, and where it stands between the tags", function(t)
    local dir = fs.realpath(t:tmpdir())
    t:err("not_found", git.commit(dir))
    run(dir, "init", "--quiet", "--initial-branch=main")
    t:err("not_found", git.commit(dir))
    commit_in(dir, "a", "1", "first")
    local made = t:ok(git.commit(dir))
    t:eq(made.commit, run(dir, "rev-parse", "HEAD"))
    t:eq(tostring(made.time), run(dir, "log", "-1", "--format=%ct"))
    t:eq(git.describe(dir), { distance = 1, commit = run(dir, "rev-parse", "--short", "HEAD") })
    run(dir, "tag", "v1.4.2")
    run(dir, "tag", "1.4.2-rc.1")
    run(dir, "tag", "release")
    local at = t:ok(git.describe(dir))
    t:eq(at.distance, 0)
    t:eq(at.tags, { "1.4.2-rc.1", "release", "v1.4.2" })
    commit_in(dir, "a", "2", "second")
    run(dir, "tag", "newest")
    local after = t:ok(git.describe(dir))
    t:eq({ after.distance, after.commit, after.tags }, { 1, run(dir, "rev-parse", "--short", "HEAD"), nil })
    t:ok(after.tag == "v1.4.2" or after.tag == "1.4.2-rc.1", after.tag)
  end)

  test("blame: who wrote a line; lines that are not committed, files that git does not know", function(t)
    local r = repositories(t)
    commit_in(r.a, "manifests/dev.yaml", "name: dev\nnumber: 7\nregion: eu\n", "number: seven")
    local line = assert(git.blame(r.file, 2))
    t:eq(line.commit, run(r.a, "rev-parse", "HEAD"))
    t:eq({ line.author, line.summary }, { "Test", "number: seven" })
    t:ok(math.abs(line.time - os.time()) < 60)
    t:eq(git.blame(r.file, 1).summary, "first")
    assert(fs.write(r.file, "name: dev\nnumber: 8\nregion: eu\n"))
    t:eq(git.blame(r.file, 2), {})
    t:err("failed", git.blame(r.file, 9))
    assert(fs.write(r.a .. "/new.yaml", "a: 1\n"))
    t:err("not_found", git.blame(r.a .. "/new.yaml", 1))
    t:err("not_found", git.blame(r.dir .. "/x", 1))
  end)

  test("root, head, status and remote", function(t)
    local r = repositories(t)
    t:eq(git.root(r.a .. "/manifests"), r.a)
    t:err("not_found", git.root(r.dir))
    t:eq(git.head(r.a), { branch = "main", commit = run(r.a, "rev-parse", "HEAD") })
    t:eq(git.status(r.a), {})
    t:ok(fs.write(r.a .. "/new file", ""))
    t:ok(fs.write(r.a .. "/other.txt", "x"))
    run(r.a, "mv", "manifests/dev.yaml", "moved.yaml")
    t:eq(git.status(r.a), {
      { path = "moved.yaml", from = "manifests/dev.yaml", index = "R", worktree = " " },
      { path = "other.txt", index = " ", worktree = "M" },
      { path = "new file", index = "?", worktree = "?" },
    })
    t:eq(git.status(r.a, { paths = { "other.txt" } }), { { path = "other.txt", index = " ", worktree = "M" } })
    t:eq(git.remote(r.a), { name = "origin", url = r.remote, is_local = true })
    for url, is_local in pairs {
      ["https://example.org/x.git"] = false, ["git@example.org:x.git"] = false, ["ssh://example.org/x"] = false,
      ["file:///srv/x.git"] = true, ["../x.git"] = true, ["./a:b"] = true,
    } do
      run(r.a, "remote", "set-url", "origin", url)
      t:eq(git.remote(r.a).is_local, is_local, url)
    end
    run(r.a, "remote", "remove", "origin")
    t:err("not_found", git.remote(r.a))
    t:err("not_found", git.remote(r.a, "nowhere"))
    t:raises("unknown option", git.status, r.a, { path = "x" })
  end)

  test("the change is one commit with one line, and the checkout follows", function(t)
    local r = repositories(t)
    local pushed = t:ok(push(r))
    t:eq(pushed.attempts, 1)
    t:eq(pushed.followed, true)
    t:eq(run(r.remote, "rev-parse", "main"), pushed.commit)
    t:eq(run(r.remote, "rev-list", "--count", "main"), "2")
    t:eq(run(r.remote, "diff", "--stat", "--numstat", "main~", "main"):match("^(%d+\t%d+\t%S+)"),
      "1\t1\tmanifests/dev.yaml")
    t:eq(run(r.remote, "log", "-1", "--format=%s", "main"), "number drawn")
    t:eq(git.head(r.a), { branch = "main", commit = pushed.commit })
    t:eq(git.status(r.a), {})
    t:eq(fs.read(r.file), "name: dev\nnumber: 7\nregion: eu\n")
    local again = t:ok(push(r))
    t:eq(again.unchanged, true)
    t:eq(again.commit, pushed.commit)
  end)

  test("what others pushed first stays, and the change comes on top of it", function(t)
    local r = repositories(t)
    commit_in(r.b, "manifests/dev.yaml", "name: dev\nnumber:\nregion: us\n", "theirs")
    run(r.b, "push", "--quiet")
    local head = run(r.a, "rev-parse", "HEAD")
    local pushed = t:ok(push(r))
    t:eq(pushed.followed, false)
    t:eq(run(r.remote, "show", "main:manifests/dev.yaml"), "name: dev\nnumber: 7\nregion: us")
    t:eq(run(r.remote, "log", "--format=%s", "main"), "number drawn\ntheirs\nfirst")
    t:eq(run(r.a, "rev-parse", "HEAD"), head, "the local branch was not there: it stays")
    t:eq(fs.read(r.file), "name: dev\nnumber: 7\nregion: eu\n")
  end)

  test("someone who pushes between fetch and push is no obstacle", function(t)
    local r = repositories(t)
    local calls = 0
    local pushed = t:ok(push(r, { apply = function(root)
      calls = calls + 1
      if calls <= 3 then
        commit_in(r.b, "other.txt", "change " .. calls .. "\n", "theirs " .. calls)
        run(r.b, "push", "--quiet")
      end
      return set_number(7)(root)
    end }))
    t:eq(pushed.attempts, 4)
    t:eq(run(r.remote, "log", "--format=%s", "main"), "number drawn\ntheirs 3\ntheirs 2\ntheirs 1\nfirst")
  end)

  test("five at once from five clones all come through", function(t)
    local r = repositories(t)
    local tasks = {}
    for i = 1, 5 do
      local clone = r.dir .. "/clone" .. i
      run(r.dir, "clone", "--quiet", r.remote, clone)
      tasks[i] = task.spawn(function()
        local function add(root) return fs.write(root .. "/list.txt", i .. "\n", { how = "append" }) end
        return assert(git.commit_push { dir = clone, paths = { "list.txt" }, message = "add " .. i, apply = add })
      end)
    end
    for _, x in ipairs(tasks) do assert(x:join()) end
    t:eq(run(r.remote, "rev-list", "--count", "main"), "6")
    local _, lines = run(r.remote, "show", "main:list.txt"):gsub("%d", "")
    t:eq(lines, 5)
  end)

  test("a dirty checkout stays as it is, but for the file", function(t)
    local r = repositories(t)
    t:ok(fs.write(r.file, "# mine\nname: dev\nnumber:\nregion: eu\n"))
    t:ok(fs.write(r.a .. "/other.txt", "staged\n"))
    run(r.a, "add", "other.txt")
    t:ok(fs.write(r.a .. "/other.txt", "unstaged\n"))
    t:ok(fs.write(r.a .. "/new.txt", "new\n"))
    local pushed = t:ok(push(r))
    t:eq(run(r.remote, "show", "main:manifests/dev.yaml"), "name: dev\nnumber: 7\nregion: eu")
    t:eq(run(r.remote, "show", "main:other.txt"), "other")
    t:eq(fs.read(r.file), "# mine\nname: dev\nnumber: 7\nregion: eu\n")
    t:eq(run(r.a, "show", ":other.txt"), "staged")
    t:eq(fs.read(r.a .. "/other.txt"), "unstaged\n")
    t:eq(git.head(r.a).commit, pushed.commit)
    t:eq(git.status(r.a), {
      { path = "manifests/dev.yaml", index = " ", worktree = "M" },
      { path = "other.txt", index = "M", worktree = "M" },
      { path = "new.txt", index = "?", worktree = "?" },
    })
  end)

  test("commits that are not pushed are not pushed along", function(t)
    local r = repositories(t)
    commit_in(r.a, "other.txt", "mine\n", "mine")
    local head = run(r.a, "rev-parse", "HEAD")
    t:ok(push(r))
    t:eq(run(r.remote, "log", "--format=%s", "main"), "number drawn\nfirst")
    t:eq(run(r.a, "rev-parse", "HEAD"), head)
  end)

  test("a detached HEAD pushes to the branch it is on, else asks for one", function(t)
    local r = repositories(t)
    run(r.a, "checkout", "--quiet", "--detach")
    local head = run(r.a, "rev-parse", "HEAD")
    local pushed = t:ok(push(r))
    t:eq(pushed.branch, "main")
    t:eq(git.head(r.a), { commit = head })
    commit_in(r.a, "other.txt", "aside\n", "aside")
    local err = t:err("invalid", push(r, { apply = set_number(8) }))
    t:has(err.hint, "git switch main")
    t:eq(t:ok(push(r, { apply = set_number(8), branch = "release" })).branch, "release")
    t:eq(run(r.remote, "show", "release:manifests/dev.yaml"), "name: dev\nnumber: 8\nregion: eu")
  end)

  test("an empty remote gets its first commit", function(t)
    local dir = fs.realpath(t:tmpdir())
    run(dir, "init", "--quiet", "--bare", dir .. "/remote.git")
    run(dir, "clone", "--quiet", dir .. "/remote.git", dir .. "/a")
    run(dir .. "/a", "symbolic-ref", "HEAD", "refs/heads/main")
    t:ok(git.commit_push { dir = dir .. "/a", paths = { "x" }, message = "m", apply = function(root)
      return fs.write(root .. "/x", "1\n")
    end })
    t:eq(run(dir .. "/remote.git", "show", "main:x"), "1")
    t:eq(git.status(dir .. "/a"), {})
  end)

  test("a remote that always refuses is a conflict, and nothing is changed", function(t)
    local r = repositories(t)
    t:ok(fs.write(r.remote .. "/hooks/pre-receive", "#!/bin/sh\necho 'main is frozen'\nexit 1\n", { mode = 493 }))
    local err = t:err("conflict", push(r, { attempts = 3 }))
    t:has(err.message, "refused 3 pushes to main")
    t:has(err.message, r.remote)
    t:has(err.detail, "main is frozen")
    t:ok(err.hint)
    t:eq(run(r.remote, "rev-list", "--count", "main"), "1")
    t:eq(fs.read(r.file), "name: dev\nnumber:\nregion: eu\n")
    t:eq(git.status(r.a), {})
  end)

  test("line ends and the executable bit survive", function(t)
    local r = repositories(t)
    t:ok(fs.write(r.b .. "/.gitattributes", "*.bat text eol=crlf\n"))
    t:ok(fs.write(r.b .. "/run.bat", "one\r\ntwo\r\n", { mode = 493 }))
    run(r.b, "add", ".")
    run(r.b, "commit", "--quiet", "-m", "bat")
    run(r.b, "push", "--quiet")
    run(r.a, "pull", "--quiet")
    t:ok(git.commit_push { dir = r.a, paths = { "run.bat" }, message = "m", apply = function(root)
      local text = fs.read(root .. "/run.bat")
      return fs.write(root .. "/run.bat", (text:gsub("two", "2")))
    end })
    t:eq(fs.read(r.a .. "/run.bat"), "one\r\n2\r\n")
    t:eq(git.status(r.a), {})
    t:eq(run(r.remote, "ls-tree", "main", "run.bat"):match("^%d+"), "100755")
    t:eq(run(r.remote, "diff", "--numstat", "main~", "main"), "1\t1\trun.bat")
  end)

  test("a file can be removed and a new one added", function(t)
    local r = repositories(t)
    t:ok(git.commit_push { dir = r.a, paths = { "other.txt", "b/new.txt" }, message = "m", apply = function(root)
      fs.remove(root .. "/other.txt", { missing_ok = true })
      return fs.mkdir(root .. "/b") and fs.write(root .. "/b/new.txt", "new\n")
    end })
    t:eq(run(r.remote, "ls-tree", "-r", "--name-only", "main"), "b/new.txt\nmanifests/dev.yaml")
    t:eq(git.status(r.a), {})
  end)

  test("without an identity a commit still has an author", function(t)
    local r = repositories(t)
    run(r.a, "config", "user.useConfigOnly", "true")
    local environment = require "ws.environment"
    local hidden = { GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_SYSTEM = "/dev/null" }
    for _, role in ipairs { "AUTHOR", "COMMITTER" } do
      hidden["GIT_" .. role .. "_NAME"], hidden["GIT_" .. role .. "_EMAIL"] = false, false
    end
    hidden.EMAIL = false
    environment.set(hidden)
    t:defer(function() for name in pairs(hidden) do environment.overlay()[name] = nil end end)
    t:ok(push(r))
    t:eq(run(r.remote, "log", "-1", "--format=%an <%ae>", "main"):match("^wsrun <wsrun@"), "wsrun <wsrun@")
  end)

  test("what goes wrong says so", function(t)
    local r = repositories(t)
    t:err("invalid", push(r, { paths = { "/etc/passwd" } }))
    local e = require "ws.error".new { kind = "precondition", message = "no such key" }
    t:eq(select(2, push(r, { apply = function() return nil, e end })), e)
    t:raises("boom", push, r, { apply = function() error("boom") end })
    t:raises("unknown option 'path'", git.commit_push, { path = "x" })
    t:raises("needs message", git.commit_push, { dir = ".", paths = { "x" }, apply = print })
    run(r.a, "remote", "set-url", "origin", r.dir .. "/gone.git")
    t:err("not_found", push(r))
    t:eq(fs.read(r.file), "name: dev\nnumber:\nregion: eu\n")
  end)
end
