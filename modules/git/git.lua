--- Git: looking at a repository, and one change committed and pushed on top of what others have pushed.
local command = require "ws.git.command"
local errors = require "ws.error"

local M = {}

--- The top folder of the working tree that a folder is in.
---@async
---@param dir string
---@return string? root
---@return ws.Error? err  kinds: `not_found` (no repository), `missing_tool`
function M.root(dir)
  return command.run(dir, { "rev-parse", "--show-toplevel" })
end

---@class ws.git.Head
---@field commit? string  nil before the first commit
---@field branch? string  nil when HEAD is detached

--- What is checked out.
---@async
---@param dir string
---@return ws.git.Head? head
---@return ws.Error? err
function M.head(dir)
  local commit, err = command.run(dir, { "rev-parse", "--verify", "--quiet", "HEAD" }, { ok_codes = { [1] = true } })
  if not commit then return nil, err end
  local branch, branch_err = command.run(dir, { "symbolic-ref", "--quiet", "--short", "HEAD" },
    { ok_codes = { [1] = true } })
  if not branch then return nil, branch_err end
  return { commit = commit ~= "" and commit or nil, branch = branch ~= "" and branch or nil }
end

---@class ws.git.Commit
---@field commit string
---@field time integer  when it was made, in seconds since 1970

--- The commit that is checked out.
---@async
---@param dir string
---@return ws.git.Commit? commit
---@return ws.Error? err  kind `not_found`: no repository, or no commit yet
function M.commit(dir)
  local text, err = command.run(dir, { "log", "-1", "--no-show-signature", "--format=%H %ct" })
  if not text then
    if err.message:find("does not have any commits", 1, true) then err.kind = "not_found" end
    return nil, err
  end
  local commit, time = text:match("^(%x+) (%d+)$")
  return { commit = commit, time = math.tointeger(time) }
end

---@class ws.git.Description
---@field tag? string        the nearest tag at or below the commit; nil when there is none
---@field tags? string[]      every tag of the commit itself, when it has one
---@field distance integer   commits since the tag; since the beginning when there is none
---@field commit string      the commit's first digits

--- Where the commit that is checked out stands, seen from the tags that look like versions (`1.4.2`, `v1.4.2`).
---@async
---@param dir string
---@return ws.git.Description? description
---@return ws.Error? err
function M.describe(dir)
  local text, err = command.run(dir, { "describe", "--tags", "--always", "--long", "--match", "[0-9]*", "--match",
    "v[0-9]*" })
  if not text then return nil, err end
  local tag, distance, commit = text:match("^(.+)%-(%d+)%-g(%x+)$")
  if tag then
    local found = { tag = tag, distance = math.tointeger(distance), commit = commit }
    if found.distance > 0 then return found end
    local list, list_err = command.run(dir, { "tag", "--points-at", "HEAD" })
    if not list then return nil, list_err end
    found.tags = {}
    for one in list:gmatch("[^\n]+") do found.tags[#found.tags + 1] = one end
    return found
  end
  local count, count_err = command.run(dir, { "rev-list", "--count", "HEAD" })
  if not count then return nil, count_err end
  return { distance = math.tointeger(count), commit = text }
end

---@class ws.git.Change
---@field path string      from the top of the working tree
---@field index string     one letter of `git status --short`: M A D R C U ? or a space
---@field worktree string  likewise
---@field from? string     of a rename or copy

--- What differs from the last commit; an empty list when nothing does.
---@async
---@param dir string
---@param opts? { paths?: string[], untracked?: boolean }  untracked files are listed unless false
---@return ws.git.Change[]? changes
---@return ws.Error? err
function M.status(dir, opts)
  opts = opts or {}
  for key in pairs(opts) do
    if key ~= "paths" and key ~= "untracked" then error(("unknown option '%s'"):format(tostring(key)), 2) end
  end
  local args = { "status", "--porcelain=v1", "-z", "--untracked-files=" .. (opts.untracked == false and "no" or "all") }
  if opts.paths then
    args[#args + 1] = "--"
    table.move(opts.paths, 1, #opts.paths, #args + 1, args)
  end
  local text, err = command.run(dir, args, { raw = true })
  if not text then return nil, err end
  local changes, from_next = {}, nil
  for entry in text:gmatch("([^\0]*)\0") do
    if from_next then
      from_next.from, from_next = entry, nil
    else
      local change = { index = entry:sub(1, 1), worktree = entry:sub(2, 2), path = entry:sub(4) }
      changes[#changes + 1] = change
      if change.index == "R" or change.index == "C" then from_next = change end
    end
  end
  return changes
end

--- Whether a remote's URL is a path of this machine.
local function is_local(url)
  if url:find("^file://") then return true end
  if url:find("^%a[%w+.-]*://") then return false end
  local colon, slash = url:find(":", 1, true), url:find("/", 1, true)
  return not colon or (slash ~= nil and slash < colon) -- host:path is ssh
end

---@class ws.git.Remote
---@field name string
---@field url string      where it pushes to
---@field is_local boolean  a path of this machine

--- The remote that the current branch follows, else `origin`, else the only one.
---@async
---@param dir string
---@param name? string  this one instead
---@return ws.git.Remote? remote
---@return ws.Error? err  kind `not_found`: there is none, or it cannot be told which
function M.remote(dir, name)
  if not name then
    local head, err = M.head(dir)
    if not head then return nil, err end
    if head.branch then
      local configured = command.run(dir, { "config", "--get", "branch." .. head.branch .. ".remote" },
        { ok_codes = { [1] = true } })
      if configured and configured ~= "" and configured ~= "." then name = configured end
    end
  end
  if not name then
    local all, err = command.run(dir, { "remote" })
    if not all then return nil, err end
    local names = {}
    for one in all:gmatch("[^\n]+") do
      names[#names + 1] = one
      if one == "origin" then name = one end
    end
    name = name or (#names == 1 and names[1] or nil)
    if not name then
      return nil, errors.new {
        kind = "not_found", op = "git remote",
        message = #names == 0 and dir .. " has no remote" or dir .. " has several remotes and none is called origin",
      }
    end
  end
  local url, err = command.run(dir, { "remote", "get-url", "--push", name })
  if not url then
    if err.message:find("No such remote", 1, true) then err.kind = "not_found" end
    return nil, err
  end
  return { name = name, url = url, is_local = is_local(url) }
end

---@class ws.git.Line
---@field commit? string   nil when the line is not committed yet
---@field author? string
---@field time? integer    when it was written, in seconds since 1970
---@field summary? string  first line of the commit's message

--- Which commit wrote a line of a file, as it is in the working tree.
---@async
---@param file string  its path
---@param line integer
---@return ws.git.Line? found
---@return ws.Error? err  kinds `not_found` (no repository, or git does not know the file), `failed` (no such line)
function M.blame(file, line)
  local dir, name = file:match("^(.*)/([^/]+)$")
  local text, err = command.run(dir or ".", { "blame", "--porcelain", ("-L%d,%d"):format(line, line), "--",
    name or file })
  if not text then
    if err.message:find("no such path", 1, true) or err.message:find("no such ref: HEAD", 1, true) then
      err.kind = "not_found"
    end
    return nil, err
  end
  local commit = text:match("^%x+")
  if not commit:find("[^0]") then return {} end
  return { commit = commit, author = text:match("\nauthor ([^\n]*)"),
    time = math.tointeger(tonumber(text:match("\nauthor%-time (%d+)"))), summary = text:match("\nsummary ([^\n]*)") }
end

---@class ws.git.CommitPush
---@field dir string        in the working tree
---@field paths string[]    the files that may change; absolute, or from `dir`
---@field message string    of the commit
---@field apply fun(root: string): any, ws.Error?  makes the change to the files below `root`, where they lie as they do
---  below the working tree's top; called for a copy of the newest upstream files, perhaps several times, and at the end
---  for the working tree. nil and an error give up
---@field attempts? integer  pushes at most; default 10
---@field remote? string
---@field branch? string    of the remote; default: the one that the current branch follows, or of the same name

---@class ws.git.Pushed
---@field commit string     the newest commit upstream
---@field unchanged boolean  upstream had the change already: nothing was committed
---@field attempts integer
---@field remote string
---@field branch string
---@field followed boolean  the local branch was moved to the commit (it stood right below it)

--- Commits a change to some files and pushes it, on top of what others have pushed meanwhile: fetch, apply to the
--- newest upstream files, commit, push, and again when someone was faster. Never forces. In the user's working tree
--- only the named files change; index, other changes and unpushed commits stay as they are.
---
--- Raises on misuse, and what `apply` raises.
---@async
---@param opts ws.git.CommitPush
---@return ws.git.Pushed? pushed
---@return ws.Error? err  kinds: `conflict` (all attempts were refused), `not_found` (no repository or remote),
---  `invalid` (a detached HEAD without `branch`), `unauthenticated`, `connection`, or what `apply` gave
function M.commit_push(opts)
  return require "ws.git.commit".push(M, opts)
end

return M
