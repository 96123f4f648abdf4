-- A storage server for the trials of the lock: the few requests of Cloud Storage's JSON API that the lock and its
-- protected object need, with its generations and preconditions, a clock of its own, and faults on both sides of what
-- it does. Everything that it does is one step: its order is the order of the history.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local json = require "ws.json"
local server = require "ws.server"
local task = require "ws.task"
local time = require "ws.time"
local url = require "ws.http.url"

local M = {}

---@class lock.Storage
local Storage = {}
Storage.__index = Storage

local function answer(self, status, value)
  local date = os.date("!%a, %d %b %Y %H:%M:%S GMT", math.floor(time.now() + self.clock))
  return { status = status, body = value and json.encode(value) or "",
    headers = { ["Content-Type"] = "application/json", Date = self.undated and "unknown" or date } }
end

local function fail(self, status, message)
  return answer(self, status, { error = { code = status, message = message } })
end

local function resource(object)
  return { kind = "storage#object", bucket = "b", name = object.name, generation = ("%d"):format(object.generation),
    metageneration = "1", size = ("%d"):format(object.size), metadata = object.metadata, updated = object.updated,
    crc32c = object.crc32c }
end

--- Whether an object is as a request demands.
local function holds(object, query)
  local wanted = query.ifGenerationMatch
  return wanted == nil or tonumber(wanted) == (object and object.generation or 0)
end

--- The metadata and the bytes of a multipart upload.
local function parts(req)
  local boundary = req.headers["content-type"]:match("boundary=(.+)$")
  local body = assert(req:body())
  local pieces, at = {}, 1
  for _ = 1, 2 do
    local _, head = body:find("\r\n\r\n", at, true)
    local last = body:find("\r\n--" .. boundary, head, true)
    pieces[#pieces + 1] = body:sub(head + 1, last - 1)
    at = last
  end
  return assert(json.decode(pieces[1])), pieces[2]
end

local function put(self, req, query)
  local wanted, data = parts(req)
  return wanted.metadata, function()
    local name = query.name
    local object = self.objects[name]
    if not holds(object, query) then return fail(self, 412, "conditionNotMet"), object end
    self.last = self.last + math.random(1, 1000)
    local made = { name = name, generation = self.last, size = #data, metadata = wanted.metadata, data = data,
      updated = time.rfc3339(time.now() + self.clock, 3), crc32c = crypto.base64_encode(string.pack(">I4",
      crypto.crc32c(data))) }
    self.objects[name] = made
    self.on_write(name, made, object)
    return answer(self, 200, resource(made))
  end
end

local function on_object(self, method, name, query)
  return nil, function()
    local object = self.objects[name]
    if not object then return fail(self, 404, "No such object: " .. name) end
    if method == "GET" then return answer(self, 200, resource(object)) end
    if not holds(object, query) then return fail(self, 412, "conditionNotMet") end
    self.objects[name] = nil
    self.on_write(name, nil, object)
    return answer(self, 204)
  end
end

local function cut()
  error(errors.new { kind = "cancelled", message = "connection cut" }, 0) -- the server ends the connection, no more
end

local function handle(self, req)
  local name = req.query.name or url.decode(req.path:match("^/storage/v1/b/[^/]+/o/(.+)$"))
  local metadata, act
  if req.method == "POST" then
    metadata, act = put(self, req, req.query)
  else
    metadata, act = on_object(self, req.method, name, req.query)
  end
  local fault = self.fault(name, metadata)
  if fault.before then task.sleep(fault.before) end
  if fault.refuse then return fail(self, 503, "try again later") end
  if fault.cut_before then cut() end
  local result = act()
  if fault.after then task.sleep(fault.after) end
  if fault.cut_after then cut() end
  if fault.deny_after then return fail(self, 503, "done, and not said") end
  return result
end

--- Starts a server. `fault(name, metadata)` says what goes wrong with a request (metadata: of what it writes): a table
--- with `before` and `after` (seconds of delay), `refuse` (503), `cut_before`, `cut_after` (done, and the connection
--- cut), `deny_after` (done, and 503).
--- `on_write(name, object, previous)` is called in the middle of each write.
---@param opts { clock?: number, undated?: boolean, fault?: fun(name: string, metadata?: table): table,
---  on_write?: function }  clock: seconds by which its clock is off; undated: it does not tell the time
---@return lock.Storage
function M.start(opts)
  local self = setmetatable({ objects = {}, last = 1000000, clock = opts.clock or 0, undated = opts.undated,
    fault = opts.fault or function() return {} end, on_write = opts.on_write or function() end }, Storage)
  self.server = assert(server.listen { handler = function(req) return handle(self, req) end })
  self.url = self.server.url
  return self
end

function Storage:close()
  self.server:close()
end

return M
