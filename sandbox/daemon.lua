--- The sandbox's process: it holds the lock of the state folder, listens, and ends on TERM, INT or a request.
---
--- The lock decides who runs: it ends with the process, so a process that was killed leaves nothing that has to be told
--- from a living one. `daemon.json` says where the holder listens.
local fs = require "ws.fs"
local json = require "ws.json"
local log = require "ws.log"
local process = require "ws.process"
local server = require "ws.server"
local task = require "ws.task"
local time = require "ws.time"
local tokens = require "sandbox.tokens"

local M = {}

local LOG_SIZE = 16 << 20 -- bytes after which the log begins anew
local LAST_REQUESTS = 1 -- seconds that requests in flight get when the sandbox ends

--- Listens on the port of the last time, so that addresses in states and configurations stay true; on any free port
--- when it is taken.
local function listen(port, last, opts)
  opts.port = port ~= 0 and port or last or 0
  local listening, err = server.listen(opts)
  if not listening and port == 0 and last then
    opts.port = 0
    listening, err = server.listen(opts)
  end
  return listening, err
end

--- What is known about the last run of the daemon in a folder; an empty table at first.
---@param dir string
---@return table
function M.record(dir)
  local text = fs.read(dir .. "/daemon.json")
  local record = text and json.decode(text)
  return type(record) == "table" and record or {}
end

local function own_pid()
  return tonumber((fs.readlink("/proc/self")))
end

local function log_request(req, status, seconds)
  local query = req.query and next(req.query) and "?…" or ""
  log.info(("%s %s%s %d %.0f ms"):format(req.method, req.path, query, status, seconds * 1000))
end

local function status_of(cloud, address)
  local clusters = json.array {}
  for _, cluster in ipairs(cloud.clusters and cloud.clusters() or {}) do clusters[#clusters + 1] = cluster end
  return {
    endpoint = address.endpoint, tls_endpoint = address.tls_endpoint, registry = address.registry,
    charts = address.endpoint .. "/_charts", kubernetes = clusters, kubeconfig = cloud.dir .. "/kubeconfig",
    project = (tokens.default_project(cloud) or {}).projectId, pid = address.pid, state = cloud.dir,
    provider = address.provider, version = address.version,
  }
end

local function serve_provider(dir, endpoint, project)
  local found, provider = pcall(require, "sandbox.provider")
  if not found then
    log.warn("the Terraform provider is not part of this build: " .. tostring(provider))
    return nil
  end
  local socket = dir .. "/provider.sock"
  -- Socket paths are short (108 bytes); a deep state folder needs one elsewhere.
  if #socket > 100 then socket = assert(fs.temp_dir { prefix = "wsrun-provider-" }) .. "/s" end
  os.remove(socket)
  local serving, err = provider.serve { socket = socket, endpoint = endpoint, project = project }
  if not serving then
    log.error("the Terraform provider does not start: " .. tostring(err))
    return nil
  end
  return serving
end

--- Runs the sandbox until it is told to end.
---@async
---@param opts { dir: string, port?: integer, tls_port?: integer, auth?: string, operation_seconds?: number[],
---  project_root?: string, provider?: boolean, kubernetes?: string }  ports: 0 means those of the last time, or any
---@return true? ok
---@return ws.Error? err  kind `locked`: another one runs in this folder
function M.serve(opts)
  local dir = opts.dir
  local made, problem = fs.mkdir(dir, { mode = 448, parents = true }) -- 0700
  if not made then return nil, problem end
  local lock <close>, held = fs.lock(dir .. "/lock")
  if not lock then return nil, held end
  local last = M.record(dir)
  local cloud <const>, err = require "sandbox.cloud".new {
    dir = dir, auth = opts.auth, operation_seconds = opts.operation_seconds, project_root = opts.project_root,
  }
  if not cloud then return nil, err end
  cloud.kubernetes_mode = opts.kubernetes or "built-in"
  local certificates = require "sandbox.certificates"
  cloud.ca = certificates.authority(dir)
  local stop = task.queue()
  cloud.shutdown = function() stop:push("request") end
  cloud.on_request = log_request
  local handler = function(req) return cloud:handle(req) end
  local plain, tls, provider
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(function()
      if provider then provider:close() end
      if plain then plain:close { grace = LAST_REQUESTS } end
      if tls then tls:close() end
      cloud:close()
    end)
  end })
  plain, err = listen(opts.port or 0, last.port, { handler = handler })
  if not plain then return nil, err end
  local cert, key = certificates.server(cloud.ca, dir, "server")
  tls, err = listen(opts.tls_port or 0, last.tls_port, { handler = handler, tls = { cert = cert, key = key } })
  if not tls then return nil, err end
  cloud.endpoint = plain.url
  local address = { endpoint = plain.url, tls_endpoint = tls.url, registry = "127.0.0.1:" .. plain.port,
    pid = own_pid(), version = require "ws.engine".native.version }
  cloud.status = function() return status_of(cloud, address) end
  if cloud.start_clusters then cloud.start_clusters() end
  require "sandbox.seed".apply(cloud)
  if opts.provider ~= false then
    provider = serve_provider(dir, plain.url, (tokens.default_project(cloud) or {}).projectId)
    if provider then
      local reattach = provider.reattach and provider:reattach()
      address.provider = { socket = provider.socket, reattach = reattach }
    end
  end
  assert(fs.write(dir .. "/daemon.json", json.encode({ port = plain.port, tls_port = tls.port, pid = address.pid,
    endpoint = plain.url, started_at = time.rfc3339() }, { indent = 2 }) .. "\n", { durable = false }))
  require "ws.signal.native".handle(function(name) stop:push(name) end)
  log.info(("the sandbox runs at %s"):format(plain.url))
  local why = stop:pop()
  log.info(("the sandbox ends: %s"):format(tostring(why)))
  return true
end

--- Starts the daemon as a process of its own and returns its handle.
---@param dir string
---@param words string[]  further arguments of `wsrun sandbox serve`
---@return ws.process.Child? child
---@return ws.Error? err
function M.spawn(dir, words)
  local made, err = fs.mkdir(dir, { mode = 448, parents = true })
  if not made then return nil, err end
  local log_file = dir .. "/log"
  local stat = fs.stat(log_file)
  if stat and stat.size > LOG_SIZE then fs.rename(log_file, log_file .. ".1") end
  local argv = { assert(fs.realpath("/proc/self/exe")), "sandbox", "serve", "--dir", dir }
  table.move(words, 1, #words, #argv + 1, argv)
  return process.start(argv, {
    cwd = "/", detached = true, stdout = { file = log_file, append = true }, stderr = "stdout",
  })
end

return M
