--- The work of git.commit_push, on git's plumbing: an index of its own, trees and commits made directly, so that
--- neither the user's index nor what is checked out takes part.
local command = require "ws.git.command"
local errors = require "ws.error"
local fs = require "ws.fs"
local fence = require "ws.fence"
local task = require "ws.task"

local M = {}

local ATTEMPTS = 10
local FIRST_DELAY, LAST_DELAY = 0.05, 2 -- seconds, doubled, with jitter

local known = { dir = "string", paths = "table", message = "string", apply = "function", attempts = "number",
  remote = "string", branch = "string" }

local function check(opts)
  if type(opts) ~= "table" then error("commit_push: a table expected", 3) end
  for key, value in pairs(opts) do
    if not known[key] then error(("commit_push: unknown option '%s'"):format(tostring(key)), 3) end
    if type(value) ~= known[key] then
      error(("commit_push: %s must be a %s, not a %s"):format(key, known[key], type(value)), 3)
    end
  end
  for _, key in ipairs { "dir", "paths", "message", "apply" } do
    if opts[key] == nil then error("commit_push needs " .. key, 3) end
  end
  if #opts.paths == 0 then error("commit_push: paths is empty", 3) end
end

--- The path with the links of its folders resolved; the last folders need not exist.
local function resolved(path)
  local folder, rest = fs.dirname(path), fs.basename(path)
  while not fs.exists(folder) do
    folder, rest = fs.dirname(folder), fs.join(fs.basename(folder), rest)
  end
  return fs.join(assert(fs.realpath(folder)), rest)
end

--- Paths from the top of the working tree.
local function relative_paths(opts, root)
  local list = {}
  for i, path in ipairs(opts.paths) do
    local absolute = fs.absolute(path:sub(1, 1) == "/" and path or fs.join(opts.dir, path))
    local inside = fs.relative(resolved(absolute), root)
    if inside:find("^%.%.") then
      return nil, errors.new { kind = "invalid", op = "git.commit_push", message = path .. " is not below " .. root }
    end
    list[i] = inside
  end
  return list
end

--- The branch of the remote: as told, as the local branch follows, of the local branch's name, or the remote's default
--- when HEAD is detached on it.
local function find_branch(opts, git, root, remote)
  if opts.branch then return opts.branch end
  local head, err = git.head(root)
  if not head then return nil, err end
  if head.branch then
    local merge = command.run(root, { "config", "--get", "branch." .. head.branch .. ".merge" },
      { ok_codes = { [1] = true } })
    return merge and merge:match("^refs/heads/(.+)$") or head.branch
  end
  local listed = command.run(root, { "ls-remote", "--symref", remote.name, "HEAD" })
  local default = listed and listed:match("ref: refs/heads/([^\t\n]+)\tHEAD")
  local commit = listed and listed:match("(%x+)\tHEAD")
  if default and commit then
    local below = command.run(root, { "merge-base", "--is-ancestor", head.commit, commit })
    if below or head.commit == commit then return default end
  end
  return nil, errors.new {
    kind = "invalid", op = "git.commit_push", message = root .. " has a detached HEAD: no branch to push to",
    hint = "check a branch out" .. (default and (", such as git switch " .. default) or ""),
  }
end

--- Who commits, for a machine where nobody is configured.
local function identity(root)
  local env = {}
  for role, variable in pairs { AUTHOR = "GIT_AUTHOR_IDENT", COMMITTER = "GIT_COMMITTER_IDENT" } do
    if not command.run(root, { "var", variable }) then
      local host = (fs.read("/proc/sys/kernel/hostname") or "localhost"):match("%S+")
      env["GIT_" .. role .. "_NAME"], env["GIT_" .. role .. "_EMAIL"] = "wsrun", "wsrun@" .. host
    end
  end
  return env
end

--- The newest upstream commit; nil, nil when the branch is not there yet.
local function fetch(root, remote, branch)
  local tracking = ("refs/remotes/%s/%s"):format(remote.name, branch)
  local ok, err = command.run(root,
    { "fetch", "--quiet", "--no-tags", remote.name, ("+refs/heads/%s:%s"):format(branch, tracking) })
  if ok then return command.run(root, { "rev-parse", "--verify", tracking .. "^{commit}" }) end
  if (err.detail or err.message):find("couldn't find remote ref", 1, true) then return nil, nil end
  return nil, err
end

--- mode and blob of a path in a commit, or nil.
local function entry_of(root, commit, path)
  local line = commit and command.run(root, { "ls-tree", "-z", commit, "--", path })
  if not line then return nil end
  return line:match("^(%d+) blob (%x+)\t")
end

--- Lays the files of the upstream commit out below `scratch`; one that upstream lacks is taken from the working tree.
local function lay_out(root, commit, paths, scratch)
  for _, path in ipairs(paths) do
    local target = fs.join(scratch, path)
    local ok, err = fs.mkdir(fs.dirname(target))
    if not ok then return nil, err end
    local mode = entry_of(root, commit, path)
    if mode then
      local content, show_err = command.run(root, { "cat-file", "--filters", commit .. ":" .. path }, { raw = true })
      if not content then return nil, show_err end
      ok, err = fs.write(target, content, { durable = false, mode = mode == "100755" and 493 or nil }) -- 0755
      if not ok then return nil, err end
    elseif fs.exists(fs.join(root, path)) then
      ok, err = fs.copy(fs.join(root, path), target, { durable = false })
      if not ok then return nil, err end
    end
  end
  return true
end

--- The tree of the commit with the scratch files in place of its own.
local function make_tree(root, commit, paths, scratch, index)
  local env = { GIT_INDEX_FILE = index }
  local ok, err = command.run(root, commit and { "read-tree", commit } or { "read-tree", "--empty" }, { env = env })
  if not ok then return nil, err end
  for _, path in ipairs(paths) do
    local file = fs.join(scratch, path)
    local stat = fs.stat(file)
    if stat then
      local mode = entry_of(root, commit, path) or (stat.mode & 64 ~= 0 and "100755" or "100644")
      local blob
      blob, err = command.run(root, { "hash-object", "-w", "--path=" .. path, "--", file })
      if not blob then return nil, err end
      ok, err = command.run(root, { "update-index", "--add", "--cacheinfo", ("%s,%s,%s"):format(mode, blob, path) },
        { env = env })
    else
      ok, err = command.run(root, { "update-index", "--force-remove", "--", path }, { env = env })
    end
    if not ok then return nil, err end
  end
  return command.run(root, { "write-tree" }, { env = env })
end

local function make_commit(root, tree, parent, message, who)
  local args = { "commit-tree", tree, "-F", "-" }
  if parent then table.move({ "-p", parent }, 1, 2, #args + 1, args) end
  if command.run(root, { "config", "--type=bool", "--get", "commit.gpgSign" }) == "true" then args[#args + 1] = "-S" end
  return command.run(root, args, { env = who, stdin = message })
end

--- Whether a failed push may succeed after another fetch; with what the remote said.
local function refused(err)
  local result = err.result
  if not result then return false end
  local line = result.stdout:match("(![^\n]*)")
  if not line then return false end
  local remote_said = {}
  for said in result.stderr:gmatch("remote: ([^\n]*)") do
    said = said:match("^(.-)%s*$")
    if said ~= "" then remote_said[#remote_said + 1] = said end
  end
  return line:match("%[.*$") or line, table.concat(remote_said, "\n")
end

--- One attempt. Returns what was pushed; or nil, err and whether another attempt may help.
local function attempt(git, opts, root, remote, branch, paths, who)
  local base, err = fetch(root, remote, branch)
  if err then return nil, err, err.kind == "connection" or err.kind == "locked" end
  local parent = base or (git.head(root) or {}).commit
  local scratch = assert(fs.temp_dir { prefix = "wsrun-git-" })
  local clean <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    task.shield(fs.remove, scratch, { recursive = true, missing_ok = true })
  end })
  local ok
  ok, err = lay_out(root, parent, paths, scratch .. "/files")
  if not ok then return nil, err end
  ok, err = opts.apply(scratch .. "/files")
  if ok == nil and err ~= nil then return nil, err end
  local tree, commit
  tree, err = make_tree(root, parent, paths, scratch .. "/files", scratch .. "/index")
  if not tree then return nil, err end
  local done = { remote = remote.name, branch = branch, parent = parent, tree = tree }
  if base and tree == command.run(root, { "rev-parse", base .. "^{tree}" }) then
    done.commit, done.unchanged = base, true
    return done
  end
  commit, err = make_commit(root, tree, parent, opts.message, who)
  if not commit then return nil, err end
  ok, err = fence.check { long = true }
  if not ok then return nil, err end
  ok, err = command.run(root, { "push", "--porcelain", remote.name, ("%s:refs/heads/%s"):format(commit, branch) })
  if not ok then return nil, err, refused(err) or err.kind == "connection" end
  done.commit, done.unchanged = commit, false
  return done
end

--- Makes the user's checkout agree with what was pushed: the files, and the branch when it stood right below the
--- commit.
local function follow(git, opts, root, paths, done)
  local ok, err = opts.apply(root)
  if ok == nil and err ~= nil then return nil, err end
  done.followed = false
  local head = git.head(root)
  if not head or not head.branch or done.unchanged or head.commit ~= done.parent then return true end
  local moves = {}
  for _, path in ipairs(paths) do
    -- An entry of the index that holds something else is the user's own, staged for later.
    local mode, blob = entry_of(root, done.commit, path)
    local _, before = entry_of(root, done.parent, path)
    local staged = command.run(root, { "ls-files", "-s", "--", path })
    local in_index = staged and staged:match("^%d+ (%x+) 0\t")
    if in_index == before then
      moves[#moves + 1] = mode and { "update-index", "--add", "--cacheinfo", ("%s,%s,%s"):format(mode, blob, path) }
        or { "update-index", "--force-remove", "--", path }
    end
  end
  local moved = command.run(root, { "update-ref", "-m", "wsrun: " .. opts.message:match("[^\n]*"),
    "refs/heads/" .. head.branch, done.commit, done.parent or ("0"):rep(40) })
  if not moved then return true end -- somebody commits here right now: the branch is theirs
  for _, args in ipairs(moves) do
    ok, err = command.run(root, args)
    if not ok then return nil, err end
  end
  done.followed = true
  return true
end

local function gave_up(err, attempts, remote, branch)
  local why, said = refused(err)
  if not why then return err end
  return errors.new {
    kind = "conflict", op = "git.commit_push", retryable = true, cause = err,
    message = ("%s (%s) refused %d pushes to %s: %s"):format(remote.name, remote.url, attempts, branch, why),
    detail = said ~= "" and said or nil,
    hint = said ~= "" and "a rule of the remote refuses the commit: see what it said, or push to another branch"
      or "others push there all the time: run again",
  }
end

--- See git.commit_push.
function M.push(git, opts)
  check(opts)
  local root, err = git.root(opts.dir)
  if not root then return nil, err end
  local paths, remote, branch
  paths, err = relative_paths(opts, root)
  if not paths then return nil, err end
  remote, err = git.remote(root, opts.remote)
  if not remote then return nil, err end
  branch, err = find_branch(opts, git, root, remote)
  if not branch then return nil, err end
  local who, attempts, delay = identity(root), opts.attempts or ATTEMPTS, FIRST_DELAY
  for i = 1, attempts do
    local done, again
    done, err, again = attempt(git, opts, root, remote, branch, paths, who)
    if done then
      done.attempts = i
      local ok, follow_err = follow(git, opts, root, paths, done)
      if not ok then return nil, follow_err end
      done.parent, done.tree = nil, nil
      return done
    end
    if not again then return nil, err end
    if i < attempts then
      task.sleep(delay * (0.5 + math.random()))
      delay = math.min(delay * 2, LAST_DELAY)
    end
  end
  return nil, gave_up(err, attempts, remote, branch)
end

return M
