--- A provider as a program that Terraform starts: the handshake of HashiCorp's plugin protocol over stdout, and TLS
--- with
--- certificates that both sides made for this one run (AutoMTLS).
local error_object = require "ws.error"
local provider = require "ws.provider"
local task = require "ws.task"

local M = {}

local COOKIE_NAME = "TF_PLUGIN_MAGIC_COOKIE"
local COOKIE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"
local CORE_PROTOCOL, PROTOCOL = 1, 6

--- Seconds that the program stays after its client has gone without saying goodbye.
local ORPHAN_SECONDS = 5
--- Seconds that Terraform has to connect.
local CONNECT_SECONDS = 60

local function check_environment()
  if os.getenv(COOKIE_NAME) ~= COOKIE then
    return nil, error_object.new { kind = "invalid",
      message = "this is a plugin that Terraform starts, not a program for people",
      hint = "`wsrun sandbox shell` gives a shell in which terraform uses the sandbox's provider" }
  end
  local versions = os.getenv "PLUGIN_PROTOCOL_VERSIONS" or "6"
  if not ("," .. versions .. ","):find("," .. PROTOCOL .. ",", 1, true) then
    return nil, error_object.new { kind = "unsupported",
      message = ("Terraform speaks versions %s of the plugin protocol, this provider %d"):format(versions, PROTOCOL) }
  end
  return true
end

local function base64(bytes)
  local text = require "ws.crypto".base64_encode(bytes):gsub("=+$", "")
  return text
end

--- Runs a provider as a plugin until Terraform asks it to end, or has gone.
---@async
---@param handler fun(method: string, request: table, connection: table): table|string|nil, ws.Error?
---@return true? ok
---@return ws.Error? err  kinds `invalid` (not started by Terraform), `unsupported`, `tls`, `missing_tool`
function M.run(handler)
  local ok, err = check_environment()
  if not ok then return nil, err end
  -- Ctrl-C reaches the whole process group; Terraform decides what it means and says so with StopProvider.
  local stop = task.queue()
  require "ws.signal.native".handle(function(name)
    if name == "TERM" then stop:push(true) end
  end)
  local fs = require "ws.fs"
  local dir
  dir, err = fs.temp_dir { prefix = "wsrun-plugin-", dir = os.getenv "PLUGIN_UNIX_SOCKET_DIR" }
  if not dir then return nil, err end
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(fs.remove, dir, { recursive = true, missing_ok = true })
  end })
  local identity, certificate = nil, ""
  local client = os.getenv "PLUGIN_CLIENT_CERT"
  if client and client ~= "" then
    identity, certificate = provider.identity(client)
    if not identity then return nil, certificate end
  end
  local orphaned = 0
  local server
  server, err = provider.serve {
    socket = dir .. "/s", handler = handler, identity = identity,
    on_shutdown = function() stop:push(true) end,
    on_disconnect = function(last)
      orphaned = orphaned + 1
      local mine = orphaned
      if not last then return end
      task.sleep(ORPHAN_SECONDS)
      if mine == orphaned and not next(server.connections) then stop:push(true) end
    end,
  }
  if not server then return nil, err end
  io.stdout:write(("%d|%d|unix|%s|grpc|%s\n"):format(CORE_PROTOCOL, PROTOCOL, server.socket, base64(certificate)))
  io.stdout:flush()
  if not stop:pop(CONNECT_SECONDS) and next(server.connections) then stop:pop() end
  server:close()
  return true
end

return M
