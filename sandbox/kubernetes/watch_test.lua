local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"
local task = require "ws.task"
local watch = require "sandbox.kubernetes.watch"

local MAPS = "/api/v1/namespaces/default/configmaps"

local function cluster()
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "", key = "" } }
  return client.new(api, "x"), api
end

local function add(c, name, labels)
  local _, o = c:call("POST", MAPS, { apiVersion = "v1", kind = "ConfigMap",
    metadata = { name = name, labels = labels } })
  return o
end

--- Runs a watch in a task: `events` grows as it writes; `stop` ends it.
local function start(t, c, api, query)
  local res = c:send("GET", MAPS .. "?watch=true&" .. query)
  local w = { status = res.status, events = {} }
  if not res.stream then
    w.answer = json.decode(res.body)
    return w
  end
  w.task = task.spawn(function()
    res.stream(function(chunk)
      for line in chunk:gmatch "[^\n]+" do table.insert(w.events, json.decode(line)) end
      return true
    end)
  end)
  task.sleep(0)
  --- Waits until n events have come.
  function w.settle(n)
    for _ = 1, 1000 do
      if #w.events >= n then return end
      task.sleep(0.002)
    end
  end
  t:defer(function()
    watch.stop(api)
    w.task:join()
  end)
  return w
end

local function summary(w)
  local out = {}
  for i, e in ipairs(w.events) do out[i] = e.type .. " " .. tostring(e.object.metadata.name) end
  return table.concat(out, ", ")
end

return function(test)
  test("a watch from nowhere begins with what there is, then follows", function(t)
    local c, api = cluster()
    add(c, "a")
    local w = start(t, c, api, "resourceVersion=0")
    add(c, "b")
    c:call("PATCH", MAPS .. "/a", '{"data":{"x":"1"}}', "application/merge-patch+json")
    c:call("DELETE", MAPS .. "/b")
    w.settle(4)
    t:eq(summary(w), "ADDED a, ADDED b, MODIFIED a, DELETED b")
  end)

  test("a watch from a version gets the changes since", function(t)
    local c, api = cluster()
    local a = add(c, "a")
    add(c, "b")
    c:call("DELETE", MAPS .. "/a")
    local w = start(t, c, api, "resourceVersion=" .. a.metadata.resourceVersion)
    add(c, "c")
    w.settle(3)
    t:eq(summary(w), "ADDED b, DELETED a, ADDED c")
    t:ok(tonumber(w.events[2].object.metadata.resourceVersion) > tonumber(w.events[1].object.metadata.resourceVersion))
  end)

  test("an object that leaves the selector is deleted for the watch, one that enters is added", function(t)
    local c, api = cluster()
    add(c, "a", { team = "x" })
    local w = start(t, c, api, "resourceVersion=0&labelSelector=team%3Dx")
    add(c, "other", { team = "y" })
    c:call("PATCH", MAPS .. "/a", '{"metadata":{"labels":{"team":"y"}}}', "application/merge-patch+json")
    c:call("PATCH", MAPS .. "/other", '{"metadata":{"labels":{"team":"x"}}}', "application/merge-patch+json")
    c:call("DELETE", MAPS .. "/a")
    w.settle(3)
    t:eq(summary(w), "ADDED a, DELETED a, ADDED other")
  end)

  test("one name and one namespace are watched alone", function(t)
    local c, api = cluster()
    local w = start(t, c, api, "fieldSelector=metadata.name%3Db")
    add(c, "a")
    add(c, "b")
    w.settle(1)
    t:eq(summary(w), "ADDED b")
  end)

  test("sendInitialEvents ends them with a bookmark", function(t)
    local c, api = cluster()
    add(c, "a")
    local w = start(t, c, api, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
    add(c, "b")
    w.settle(3)
    t:eq(summary(w), "ADDED a, BOOKMARK nil, ADDED b")
    local bookmark = w.events[2].object
    t:eq({ bookmark.kind, bookmark.metadata.annotations }, { "ConfigMap", { ["k8s.io/initial-events-end"] = "true" } })
    local refused = start(t, c, api, "sendInitialEvents=true")
    t:eq({ refused.status, refused.answer.reason }, { 422, "Invalid" })
  end)

  test("a version that is forgotten is answered with 410", function(t)
    local c, api = cluster()
    local first = add(c, "a")
    for i = 1, 5000 do
      api.store:put("/configmaps", { metadata = { name = "filler", namespace = "default", uid = "u" .. i % 2 } })
    end
    local w = start(t, c, api, "resourceVersion=" .. first.metadata.resourceVersion)
    w.settle(1)
    t:eq({ #w.events, w.events[1].type, w.events[1].object.code, w.events[1].object.reason },
      { 1, "ERROR", 410, "Expired" })
  end)

  test("a watch ends after its time, and frees what it held", function(t)
    local c, api = cluster()
    local w = start(t, c, api, "timeoutSeconds=1")
    t:eq(next(api.watchers) ~= nil, true)
    t:ok(w.task:join(5))
    t:eq(next(api.watchers), nil)
  end)

  test("a watch whose client left ends at the next write", function(t)
    local c, api = cluster()
    local res = c:send("GET", MAPS .. "?watch=true")
    local ended = task.spawn(function() res.stream(function() return nil end) end)
    task.sleep(0)
    add(c, "a")
    t:ok(ended:join(5))
    t:eq(next(api.watchers), nil)
  end)

  test("tables are watched row by row, columns first", function(t)
    local c = cluster()
    add(c, "a")
    add(c, "b")
    local res = c:send("GET", MAPS .. "?watch=true&timeoutSeconds=0", nil,
      { accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" })
    local events = {}
    res.stream(function(chunk)
      events[#events + 1] = json.decode(chunk)
      return true
    end)
    t:eq({ #events, events[1].object.kind, #events[1].object.columnDefinitions, #events[2].object.columnDefinitions },
      { 2, "Table", 3, 0 })
    t:eq(events[2].object.rows[1].cells[1], "b")
  end)
end
