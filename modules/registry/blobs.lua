--- Blobs: is it there, put it, take it; each byte checked against the digest.
---
--- A blob goes up in one PUT (Artifact Registry refuses chunks) to a session that a POST has begun. What breaks begins
--- anew with another session: content is named by its digest, so sending it twice does no harm.
local client = require "ws.registry.client"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local http = require "ws.http"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"
local retry = require "ws.gcp.retry"
local task = require "ws.task"

local M = {}

local ATTEMPTS = 5

--- Where a blob is in a repository.
local function path_of(descriptor)
  return "blobs/" .. descriptor.digest
end

--- Whether a repository has a blob.
---@async
---@param ref ws.registry.Reference
---@param descriptor ws.registry.Descriptor
---@param actions? string  as for client.request
---@return boolean? there
---@return ws.Error? err
function M.has(ref, descriptor, actions)
  local answer, err = client.request(ref, { method = "HEAD", path = path_of(descriptor), actions = actions,
    statuses = { [200] = true, [404] = true } })
  if not answer then return nil, err end
  return answer.status == 200
end

local function same_registry(a, b)
  return a.registry == b.registry and a.repository ~= b.repository
end

--- Begins an upload, or mounts the blob from another repository. Returns true when it is mounted, else the session.
local function begin(ref, descriptor, from)
  if from and same_registry(ref, from) then
    local name = client.name(from)
    -- Refused in any way (401: no right to read there; 4xx: no such feature) it is sent as if nothing was asked.
    local answer = client.request(ref, { method = "POST", actions = "pull,push", from = name, attempts = 2,
      path = "blobs/uploads/?" .. http.query { mount = descriptor.digest, from = name },
      statuses = { [201] = true, [202] = true } })
    if answer and answer.status == 201 then return true end
    if answer and answer.headers.location then return answer.headers.location end
  end
  local answer, err = client.request(ref, { method = "POST", path = "blobs/uploads/", actions = "pull,push",
    statuses = { [202] = true } })
  if not answer then return nil, err end
  if answer.headers.location then return answer.headers.location end
  return nil, errors.new { kind = "protocol", op = "registry",
    message = client.url(ref, "blobs/uploads/") .. ": the upload session has no location" }
end

--- Sends the content to a session.
local function send(ref, descriptor, content, session)
  local body, closer
  if type(content) == "string" then body = content
  elseif content.stream then body, closer = content.stream()
  else
    body = { file = content.file, offset = content.offset, length = descriptor.size, sha256 = descriptor.digest:sub(8) }
  end
  local _ <close> = closer
  local target = session .. (session:find("?", 1, true) and "&" or "?") .. http.query { digest = descriptor.digest }
  local called, answer, err = pcall(client.request, ref, { method = "PUT", url = target, blob = true,
    actions = "pull,push", attempts = 1, body = body, statuses = { [200] = true, [201] = true, [204] = true },
    headers = { ["content-type"] = "application/octet-stream",
      ["content-length"] = type(body) == "function" and descriptor.size or nil } })
  if not called then -- a stream raises what its own source failed with
    if not closer or not errors.is(answer) or answer.kind == "cancelled" then error(answer, 0) end
    return nil, answer
  end
  if answer then return "sent" end
  if err.status == 404 then err.retryable = true end -- the session is lost: the registry was restarted
  return nil, err
end

local function check_content(descriptor, content)
  if type(content) ~= "string" then return true end
  if #content == descriptor.size and "sha256:" .. crypto.sha256(content) == descriptor.digest then return true end
  return nil, errors.new { kind = "invalid", op = "registry",
    message = ("the content is not what its descriptor says: %s, %d bytes"):format(descriptor.digest, descriptor.size) }
end

local function check_digest(descriptor)
  if reference.is_digest(descriptor.digest) then return true end
  return nil, errors.new { kind = "unsupported", op = "registry",
    message = ("%s: only sha256 is supported"):format(tostring(descriptor.digest)) }
end

--- Puts a blob into a repository unless it is there.
---@async
---@param ref ws.registry.Reference
---@param descriptor ws.registry.Descriptor
---@param read fun(): string|table|nil, ws.Error?  its content: a string, `{ file=, offset? }`, or `{ stream= }`, which
---  gives a body and what is to be closed after it; called only when the blob has to be sent
---@param opts? { from?: ws.registry.Reference }  a repository to mount it from
---@return "skipped"|"mounted"|"sent"|nil how
---@return ws.Error? err  kind `invalid`: the content has another digest; those of the registry
function M.put(ref, descriptor, read, opts)
  local ok, problem = check_digest(descriptor)
  if not ok then return nil, problem end
  local content
  return retry.run(function(n)
    local there, err = M.has(ref, descriptor, "pull,push")
    if there == nil then return true, nil, err end
    if there then return true, n > 1 and "sent" or "skipped" end -- only the answer was lost
    local session
    session, err = begin(ref, descriptor, n == 1 and opts and opts.from)
    if session == true then return true, "mounted" end
    if not session then return true, nil, err end
    if not content then
      content, err = read()
      if content then ok, err = check_content(descriptor, content) end
      if not content or not ok then return true, nil, err end
    end
    local how
    how, err = send(ref, descriptor, content, session)
    if how then return true, how end
    return retry.failed(err)
  end, { attempts = ATTEMPTS, total = math.huge })
end

--- One try to get a blob into a file.
local function receive(ref, descriptor, part)
  local answer, err = client.request(ref, { path = path_of(descriptor), blob = true, attempts = 1,
    sink = { file = part, max = descriptor.size } })
  if not answer then return nil, err end
  local stat, problem = fs.stat(part)
  if not stat then return nil, problem end
  local digest
  digest, problem = crypto.sha256_file(part)
  if not digest then return nil, problem end
  if stat.size == descriptor.size and "sha256:" .. digest == descriptor.digest then return true end
  return nil, errors.new { kind = "protocol", op = "registry",
    message = ("%s: sha256:%s came (%d bytes), %d bytes were promised"):format(client.url(ref, path_of(descriptor)),
      digest, stat.size, descriptor.size),
    hint = "what is stored or what came in between is damaged; nothing of it was kept" }
end

--- Gets a blob: its bytes, or with `file` into a file that appears only when it is complete and right.
---@async
---@param ref ws.registry.Reference
---@param descriptor ws.registry.Descriptor
---@param opts? { file?: string }
---@return string|true|nil content  true with `file`
---@return ws.Error? err  kinds `not_found`, `protocol` (another digest or size), `no_space`, …
function M.get(ref, descriptor, opts)
  local ok, problem = check_digest(descriptor)
  if not ok then return nil, problem end
  local file = opts and opts.file
  if not file then
    local answer, err = client.request(ref, { path = path_of(descriptor), blob = true,
      max_body = descriptor.size })
    if not answer then return nil, err end
    ok, err = manifest.verify(descriptor, answer.body, client.url(ref, path_of(descriptor)))
    if not ok then return nil, err end
    return answer.body
  end
  local part = ("%s.part-%s"):format(file, crypto.random_hex(4))
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(fs.remove, part, { missing_ok = true })
  end })
  return retry.run(function()
    local done, err = receive(ref, descriptor, part)
    if done then done, err = fs.rename(part, file) end
    if done then return true, true end
    return retry.failed(err)
  end, { attempts = ATTEMPTS, total = math.huge })
end

return M
