--- Watches: the changes of a collection as a stream of JSON lines, pushed by the store and never polled for.
---
--- A watch from an empty or zero resourceVersion begins with the present objects; from another one with the changes
--- after
--- it, or with a 410 when they are no longer known. A changed object that leaves the selector is reported as deleted.
local encode = require "sandbox.kubernetes.encode"
local errors = require "sandbox.kubernetes.errors"
local handlers = require "sandbox.kubernetes.handlers"
local json = require "ws.json"
local request = require "sandbox.kubernetes.request"
local resources = require "sandbox.kubernetes.resources"
local respond = require "sandbox.kubernetes.respond"
local task = require "ws.task"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local LONGEST = 1800 -- seconds; a client that vanished without a word is forgotten after that
local BOOKMARK_EVERY = 30 -- seconds

--- What a change means to a watch with a selector: ADDED, MODIFIED, DELETED or nil.
local function meaning(change, matches)
  if change.type == "DELETED" then return matches(change.old) and "DELETED" or nil end
  local is, was = matches(change.object), change.old and matches(change.old) or false
  if is then return was and "MODIFIED" or "ADDED" end
  return was and "DELETED" or nil
end

local function line(kind, object)
  return ('{"type":"%s","object":%s}\n'):format(kind, encode.object(object))
end

local function bookmark(ctx, req, revision, initial_end)
  local object = {
    apiVersion = resources.join(ctx.resource.group, ctx.version), kind = ctx.resource.kind,
    metadata = {
      resourceVersion = tostring(revision), creationTimestamp = json.null,
      annotations = initial_end and { ["k8s.io/initial-events-end"] = "true" } or nil,
    },
  }
  if respond.form(req) == "Table" then
    object = { apiVersion = "meta.k8s.io/v1", kind = "Table", metadata = object.metadata,
      columnDefinitions = values.array(),
      rows = values.array() }
  elseif respond.form(req) then
    object.apiVersion, object.kind = "meta.k8s.io/v1", "PartialObjectMetadata"
  end
  return line("BOOKMARK", object)
end

local function check_parameters(req)
  local initial = req.query.sendInitialEvents
  local match = req.query.resourceVersionMatch
  if initial and match ~= "NotOlderThan" then
    errors.raise("Invalid", 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: '
      .. "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
  elseif match and not initial then
    errors.raise("Invalid", 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: '
      .. "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
  end
end

--- The answer to a watch request. The stream ends when the client goes, after `timeoutSeconds`, or when the API stops.
---@param api kubernetes.Api
---@param req table
---@param ctx kubernetes.Context
---@return table res
function M.watch(api, req, ctx)
  check_parameters(req)
  local matches, name = handlers.selection(req, ctx)
  if ctx.name then name = ctx.name end
  local namespace = ctx.resource.namespaced and ctx.namespace or nil
  local function wanted(object)
    if namespace and object.metadata.namespace ~= namespace then return false end
    if name and object.metadata.name ~= name then return false end
    return matches(object)
  end
  local version_text = req.query.resourceVersion or ""
  local from = math.tointeger(tonumber(version_text ~= "" and version_text or "0"))
  if not from then errors.bad_request("invalid resource version %q", version_text) end
  local initial = request.is_true(req.query.sendInitialEvents)
  local seconds = math.min(tonumber(req.query.timeoutSeconds or "") or LONGEST, LONGEST)

  -- From here to the end of the initial events nothing waits, so no change is missed or sent twice.
  local queue, backlog = task.queue(), {}
  local columns_sent = false
  local function shaped(object)
    local out = respond.shape(req, ctx, object)
    if out.kind == "Table" then
      if columns_sent then out.columnDefinitions = values.array() end
      columns_sent = true
    end
    return out
  end
  if initial or (from == 0 and not req.query.sendInitialEvents) then
    for _, object in ipairs(api.store:list(ctx.resource.id, namespace)) do
      if wanted(object) then backlog[#backlog + 1] = { "ADDED", object } end
    end
    if initial then backlog[#backlog + 1] = { "INITIAL_END", api.store.revision } end
  elseif from ~= 0 then
    local changes = api.store:since(ctx.resource.id, from)
    if not changes then
      backlog[1] = { "ERROR", errors.new("Expired", ("too old resource version: %d (%d)"):format(from,
        api.store.oldest)).body }
    end
    for _, change in ipairs(changes or {}) do
      local kind = meaning(change, wanted)
      if kind then backlog[#backlog + 1] = { kind, change.object } end
    end
  end
  local unlisten = api.store:listen(function(change)
    if change.id ~= ctx.resource.id then return end
    local kind = meaning(change, wanted)
    if kind then queue:push { kind, change.object } end
  end)
  api.watchers[queue] = true

  local function send(write, event)
    if event[1] == "INITIAL_END" then return write(bookmark(ctx, req, event[2], true)) end
    if event[1] == "ERROR" then return write(line("ERROR", event[2])) end
    return write(line(event[1], shaped(event[2])))
  end

  local function stream(write)
    local _ <close> = setmetatable({}, { __close = function()
      unlisten()
      api.watchers[queue] = nil
    end })
    for _, event in ipairs(backlog) do
      if not send(write, event) or event[1] == "ERROR" then return end
    end
    local ends = time.monotonic() + seconds
    local bookmarks = request.is_true(req.query.allowWatchBookmarks)
    while true do
      local left = ends - time.monotonic()
      if left <= 0 then return end
      local event = queue:pop(math.min(left, BOOKMARK_EVERY))
      if event == "stop" then return end
      if event then
        if not send(write, event) then return end
      elseif bookmarks and ends - time.monotonic() > 0 then
        if not write(bookmark(ctx, req, api.store.revision)) then return end
      end
    end
  end
  return { status = 200, headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-cache, private" },
    stream = stream }
end

--- Ends all watches.
---@param api kubernetes.Api
function M.stop(api)
  for queue in pairs(api.watchers) do queue:push "stop" end
end

return M
