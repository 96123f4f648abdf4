--- The sandbox: a Google Cloud, a container registry and Kubernetes clusters in one local process.
---
--- ```lua
--- local sandbox = require "sandbox"
--- local status = assert(sandbox.up {})
--- print(status.endpoint)
--- ```
local errors = require "ws.error"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local project = require "ws.project"
local task = require "ws.task"
local time = require "ws.time"
local daemon = require "sandbox.daemon"

local M = {}

local START_SECONDS = 120 -- that a sandbox may take to answer; clusters on real servers are slow
local STOP_SECONDS = 60

---@class sandbox.Status
---@field endpoint string  of all APIs, e.g. "http://127.0.0.1:36721"
---@field tls_endpoint string  the same over TLS, which gsutil insists on
---@field registry string  host and port of the container registry
---@field charts string  URL of the chart repository
---@field kubernetes { name: string, endpoint: string, project: string, location: string }[]  the clusters
---@field kubeconfig string  path of a file with all clusters
---@field pid integer
---@field state string  folder of the state
---@field provider? { socket: string, reattach: string }

local OPTIONS = { dir = true, port = true, tls_port = true, auth = true, operation_seconds = true, project_root = true,
  provider = true, kubernetes = true }

local function check_options(opts, name)
  for key in pairs(opts or {}) do
    if not OPTIONS[key] then error(("sandbox.%s: unknown option '%s'"):format(name, tostring(key)), 3) end
  end
end

--- The folder of the sandbox's state: `opts.dir`, or `sandbox` in the project's state folder.
---@param opts? { dir?: string }
---@return string
function M.dir(opts)
  return fs.absolute(opts and opts.dir or project.state_dir() .. "/sandbox")
end

local function fail(kind, message, hint)
  return nil, errors.new { kind = kind, op = "sandbox", message = message, hint = hint }
end

local function ask(endpoint, method, path, timeout)
  local answer, err = http.request { method = method, url = endpoint .. path, timeout = timeout or 5 }
  if not answer then return nil, err end
  local value = json.decode(answer.body)
  if answer.status ~= 200 or type(value) ~= "table" then
    return fail("failed", ("%s %s answered %d: %s"):format(method, path, answer.status, answer.body))
  end
  return value
end

--- The running sandbox of a folder. A record of one that is gone, or whose port somebody else has now, does not count.
---@async
---@param opts? { dir?: string }
---@return sandbox.Status? status
---@return ws.Error? err  kind `not_found` when none runs
function M.status(opts)
  local dir = M.dir(opts)
  local record = daemon.record(dir)
  local status = record.endpoint and ask(record.endpoint, "GET", "/_sandbox/status")
  if status and status.state == dir and status.pid == record.pid then return status end
  return fail("not_found", "no sandbox runs in " .. dir, "wsrun sandbox up")
end

local function end_of_log(dir)
  local text = fs.read(dir .. "/log") or ""
  local lines = {}
  for line in text:sub(-4000):gmatch("[^\n]+") do lines[#lines + 1] = "  " .. line end
  return table.concat(lines, "\n", math.max(1, #lines - 15))
end

local function words_of(opts)
  local words = { "--port", tostring(opts.port or 0), "--tls-port", tostring(opts.tls_port or 0),
    "--project", opts.project_root or project.root() }
  if opts.auth then words[#words + 1], words[#words + 2] = "--auth", opts.auth end
  if opts.operation_seconds then
    words[#words + 1] = "--operation-seconds"
    words[#words + 1] = ("%g-%g"):format(opts.operation_seconds[1], opts.operation_seconds[2])
  end
  if opts.kubernetes then words[#words + 1], words[#words + 2] = "--kubernetes", opts.kubernetes end
  if opts.provider == false then words[#words + 1] = "--no-provider" end
  return words
end

--- Starts the sandbox of a folder, unless it runs already, and waits until it answers. Several processes may do this at
--- once: one sandbox comes of it.
---@async
---@param opts? { dir?: string, port?: integer, tls_port?: integer, auth?: string, operation_seconds?: number[],
---  project_root?: string, provider?: boolean, kubernetes?: string }  `port`: 0 (default) the last one or any; `auth`:
---  "emulator" (default), "google" (credentials wherever Google wants them) or "off"; `operation_seconds`: shortest and
---  longest duration of operations; `provider = false`: without the Terraform provider; `kubernetes`: "built-in"
---  (default), or "real" for clusters on etcd and kube-apiserver. They count when a sandbox is started, not when it
---  runs already.
---@return sandbox.Status? status
---@return ws.Error? err
function M.up(opts)
  opts = opts or {}
  check_options(opts, "up")
  local dir = M.dir(opts)
  local status = M.status(opts)
  if status then return status end
  local child, err = daemon.spawn(dir, words_of(opts))
  if not child then return nil, err end
  local deadline = time.monotonic() + START_SECONDS
  local pause = 0.01
  while time.monotonic() < deadline do
    status = M.status(opts)
    if status then return status end
    -- It may end because another one has the lock: then that one is about to answer.
    if child:finished() then
      local free = fs.lock(dir .. "/lock")
      if free then
        free:release()
        return fail("failed", "the sandbox ended while it started:\n" .. end_of_log(dir),
          "its log is " .. dir .. "/log")
      end
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, 0.2)
  end
  return fail("timeout", ("the sandbox did not answer within %d s:\n%s"):format(START_SECONDS, end_of_log(dir)),
    "its log is " .. dir .. "/log")
end

--- Waits for the end of a daemon: its lock becomes free.
local function wait_for_end(dir, seconds)
  local deadline = time.monotonic() + seconds
  repeat
    local lock = fs.lock(dir .. "/lock")
    if lock then
      lock:release()
      return true
    end
    task.sleep(0.05)
  until time.monotonic() >= deadline
  return false
end

--- Ends the sandbox of a folder; its state stays.
---@async
---@param opts? { dir?: string }
---@return boolean? was_running
---@return ws.Error? err  kind `timeout`
function M.down(opts)
  local dir = M.dir(opts)
  local status = M.status(opts)
  if status then
    ask(status.endpoint, "POST", "/_sandbox/shutdown")
  elseif not fs.exists(dir .. "/lock") then
    return false
  end
  if wait_for_end(dir, status and STOP_SECONDS or 0) then return status ~= nil end
  return fail("timeout", ("the sandbox in %s does not end"):format(dir),
    ("its process is %s"):format(tostring(daemon.record(dir).pid)))
end

--- Forgets everything: ends the sandbox when it runs, removes its state, and starts it anew when it ran.
---@async
---@param opts? table  as for up
---@return sandbox.Status|true|nil done  the status when it was started again
---@return ws.Error? err
function M.reset(opts)
  opts = opts or {}
  check_options(opts, "reset")
  local was_running, err = M.down(opts)
  if was_running == nil then return nil, err end
  local dir = M.dir(opts)
  local names = fs.list(dir) or {}
  for _, name in ipairs(names) do
    -- The ports stay: whoever holds an address of this sandbox can go on using it.
    if name ~= "lock" and name ~= "log" and name ~= "daemon.json" then
      local removed, problem = fs.remove(dir .. "/" .. name, { recursive = true })
      if not removed then return nil, problem end
    end
  end
  if was_running then return M.up(opts) end
  return true
end

--- The environment in which tools use the sandbox: Terraform with the published provider or the sandbox's, gcloud,
--- gsutil, kubectl, helm, Google's client libraries. Credentials of the user are hidden from them.
---@async
---@param opts? { dir?: string }
---@return table<string, string|false>? variables  false: not set
---@return ws.Error? err  kind `not_found` when no sandbox runs
function M.environment(opts)
  local status, err = M.status(opts)
  if not status then return nil, err end
  return require "sandbox.environment".of(status)
end

--- The URL of the chart repository with the stand-ins.
---@async
---@param opts? { dir?: string }
---@return string? url
---@return ws.Error? err
function M.charts(opts)
  local status, err = M.status(opts)
  if not status then return nil, err end
  return status.charts
end

--- Runs a program that uses the sandbox, with our terminal; without a command the user's shell.
---@async
---@param argv? string[]
---@param opts? { dir?: string }
---@return ws.process.Result? result
---@return ws.Error? err
function M.shell(argv, opts)
  local variables, err = M.environment(opts)
  if not variables then return nil, err end
  if not argv or #argv == 0 then argv = { os.getenv("SHELL") or "/bin/sh" } end
  return require "ws.process".run(argv, { env = variables, stdout = "inherit", stderr = "inherit", interactive = true,
    timeout = 7 * 86400 })
end

return M
