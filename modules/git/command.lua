--- One git command: never a prompt, messages in English, nothing inherited from a surrounding git.
local environment = require "ws.environment"
local errors = require "ws.error"
local process = require "ws.process"

local M = {}

local TIMEOUT = 300 -- seconds

local function base_environment()
  return {
    GIT_TERMINAL_PROMPT = "0", GIT_OPTIONAL_LOCKS = "0", LC_ALL = "C", LANGUAGE = false,
    -- Set when wsrun is started by a hook; they would point every command at that repository.
    GIT_DIR = false, GIT_WORK_TREE = false, GIT_INDEX_FILE = false, GIT_NAMESPACE = false, GIT_PREFIX = false,
    GIT_OBJECT_DIRECTORY = false, GIT_COMMON_DIR = false, GIT_ALTERNATE_OBJECT_DIRECTORIES = false,
  }
end

--- What git is called with before its own words. Not GIT_SSH_COMMAND: permissions let nobody give a child variables
--- that run programs.
local function base_words(dir)
  local words = { "git", "-C", dir }
  if not environment.get("GIT_SSH_COMMAND") and not environment.get("GIT_SSH") then
    words[4], words[5] = "-c", "core.sshCommand=ssh -oBatchMode=yes"
  end
  return words
end

--- What git's words mean: { pattern, kind, hint }.
local causes = {
  { "not a git repository", "not_found" },
  { "dubious ownership", "denied", "the folder belongs to another user: git config --global --add safe.directory DIR" },
  { "[Aa]uthentication failed", "unauthenticated" },
  { "could not read Username", "unauthenticated", "give git credentials for this remote: a credential helper, a key" },
  { "Permission denied %(", "unauthenticated" },
  { "Repository not found", "not_found" },
  { "does not appear to be a git repository", "not_found" },
  { "[Cc]ould not resolve host", "connection" },
  { "[Cc]onnection refused", "connection" },
  { "[Cc]onnection timed out", "connection" },
  { "early EOF", "connection" },
  { "No space left on device", "no_space" },
  { "Unable to create '.*%.lock'", "locked", "another git process runs in this repository, or one has died there" },
  { "cannot lock ref", "locked" },
}

--- Runs git in a folder.
---@param dir string
---@param args string[]
---@param opts? { env?: table, stdin?: any, ok_codes?: table<integer, true>, timeout?: number, raw?: boolean }
---@return string? stdout  without the last newline, unless `raw`
---@return ws.Error? err  with `result`
function M.run(dir, args, opts)
  opts = opts or {}
  local env = base_environment()
  for name, value in pairs(opts.env or {}) do env[name] = value end
  local argv = base_words(dir)
  table.move(args, 1, #args, #argv + 1, argv)
  local result, err = process.run(argv, {
    env = env, stdin = opts.stdin, timeout = opts.timeout or TIMEOUT, max_output = 1 << 28,
  })
  if not result then return nil, err end
  if result.code == 0 or (opts.ok_codes and opts.ok_codes[result.code]) then
    return opts.raw and result.stdout or (result.stdout:gsub("\n$", ""))
  end
  local said = result.stderr:match("^%s*(.-)%s*$")
  local message = said:match("[Ff]atal: ([^\n]+)") or said:match("error: ([^\n]+)") or said:match("[^\n]*$")
  if message == "" then
    message = result.signal and "was ended by " .. result.signal or "failed with exit code " .. result.code
  end
  local fields = {
    kind = "failed", op = "git " .. args[1], message = require "ws.secret".redact(message), status = result.code,
    detail = said ~= message and require "ws.secret".redact(said) or nil, result = result,
  }
  for _, cause in ipairs(causes) do
    if said:find(cause[1]) then
      fields.kind, fields.hint = cause[2], cause[3]
      break
    end
  end
  return nil, errors.new(fields)
end

return M
