-- Traces: what a collector gets of real runs, and that a collector which is not there, slow or rude changes nothing.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local task = require "ws.task"
local trace = require "ws.trace"

local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")
local PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

local function project(t, script)
  local dir = fs.realpath(t:tmpdir())
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.write(dir .. "/workflows/s.lua", script))
  return dir
end

local function run(dir, env, ...)
  local all = { WSRUN_STATE_DIR = dir .. "/state", LC_ALL = "C.UTF-8", TRACEPARENT = false }
  for name, value in pairs(env) do all[name] = value end
  return assert(process.run({ wsrun, ... }, { cwd = dir, timeout = 60, env = all }))
end

--- A collector: `answer(count)` says what it answers; `requests` is what it got.
local function collector(t, answer)
  local requests = {}
  local server = assert(require "ws.server".listen { handler = function(req)
    local body = assert(req:body())
    requests[#requests + 1] = { path = req.path, headers = req.headers, body = body }
    return answer and answer(#requests) or { body = "{}" }
  end })
  t:defer(function() server:close() end)
  return server.url, requests
end

local function plain_attributes(list)
  local values = {}
  for _, entry in ipairs(list) do
    local v = entry.value
    values[entry.key] = v.stringValue or v.intValue or v.boolValue
    if v.arrayValue then
      values[entry.key] = {}
      for i, member in ipairs(v.arrayValue.values) do values[entry.key][i] = member.stringValue end
    end
  end
  return values
end

--- The spans of all requests by name, and the resource's attributes.
local function spans_of(requests)
  local spans, resource, count = {}, nil, 0
  for _, request in ipairs(requests) do
    local document = assert(json.decode(request.body))
    resource = plain_attributes(document.resourceSpans[1].resource.attributes)
    for _, span in ipairs(document.resourceSpans[1].scopeSpans[1].spans) do
      span.values, count = plain_attributes(span.attributes), count + 1
      spans[span.name] = span
    end
  end
  return spans, resource, count
end

local SCRIPT = [[
local ws, process, task = require "ws", require "ws.process", require "ws.task"
return ws.workflow { summary = "t", run = function(w)
  w:step("base", function() task.sleep(0.05) w:changed("1 added") w:changed("2 changed") end)
  w:step("apps", { needs = { "base" } }, function()
    w:step("web", function()
      local r = assert(process.run({ "sh", "-c", "printf %s \"$TRACEPARENT\"" }))
      w:summary(r.stdout)
      ws.fail("no rollout of hunter2-hunter2", { kind = "timeout", hint = "look", where = "a.yaml:3" })
    end)
  end)
  w:step("after", function() end)
end }
]]

return function(test)
  test("a failed run: spans with parents, links, attributes, errors; children are told theirs", function(t)
    local url, requests = collector(t)
    local dir = project(t, SCRIPT)
    local r = run(dir, { OTEL_EXPORTER_OTLP_ENDPOINT = url .. "/", TRACEPARENT = PARENT,
      OTEL_EXPORTER_OTLP_HEADERS = "authorization=Bearer%20hunter2-hunter2,x-team=a", OTEL_SERVICE_NAME = "platforms",
      OTEL_RESOURCE_ATTRIBUTES = "deployment.environment=test%20a,service.name=other" }, "workflows/s.lua", "--json")
    t:eq(r.code, 1, r.stderr)
    t:eq(#requests, 1)
    t:eq(requests[1].path, "/v1/traces")
    t:eq(requests[1].headers["content-type"], "application/json")
    t:eq(requests[1].headers.authorization, "Bearer hunter2-hunter2")
    t:eq(requests[1].headers["x-team"], "a")
    for _, text in ipairs { requests[1].body, r.stdout, r.stderr } do t:ok(not text:find("hunter2", 1, true), text) end

    local spans, resource, count = spans_of(requests)
    t:eq(count, 4) -- the run and three steps: "after" was not started
    t:eq(resource["service.name"], "platforms")
    t:eq(resource["deployment.environment"], "test a")
    t:eq(resource["service.version"], require "ws.engine".native.version)
    local root, base, apps, web = spans.s, spans.base, spans.apps, spans["apps/web"]
    for _, span in pairs(spans) do
      t:eq(span.traceId, "0af7651916cd43dd8448eb211c80319c")
      t:ok(span.spanId:find("^%x+$") and #span.spanId == 16, span.spanId)
      local from, to = math.tointeger(span.startTimeUnixNano), math.tointeger(span.endTimeUnixNano)
      t:ok(from <= to and math.abs(from - os.time() * 1000000000) < 60e9, span.name)
    end
    t:eq(root.parentSpanId, "b7ad6b7169203331")
    t:eq({ base.parentSpanId, apps.parentSpanId, web.parentSpanId }, { root.spanId, root.spanId, apps.spanId })
    t:eq(apps.links, { { traceId = root.traceId, spanId = base.spanId } })
    t:eq(base.values["wsrun.step.changes"], { "1 added", "2 changed" })
    t:eq({ base.status.code, web.status.code, root.status.code }, { 1, 2, 2 })
    t:eq(web.status.message, "no rollout of ***")
    t:eq({ web.values["error.type"], web.values["code.line.number"] }, { "timeout", "5" })
    t:eq(plain_attributes(web.events[1].attributes)["wsrun.error.hint"], "look")
    t:eq(apps.events, nil) -- the exception is told once, where it happened
    t:eq(root.values["wsrun.status"], "failed")
    t:eq({ root.values["wsrun.exit"], root.values["wsrun.changes"] }, { "1", "2" })
    t:eq(web.values["wsrun.step.summary"], ("00-%s-%s-01"):format(root.traceId, web.spanId))
    t:ok(math.tointeger(base.endTimeUnixNano) - math.tointeger(base.startTimeUnixNano) >= 50000000)
  end)

  test("TRACEPARENT: what is none begins a new trace; one that is not recorded is left alone", function(t)
    t:eq(trace.parse_traceparent(PARENT), { trace_id = "0af7651916cd43dd8448eb211c80319c",
      parent_id = "b7ad6b7169203331", sampled = true })
    t:eq(trace.parse_traceparent((PARENT:gsub("^00", "cc")) .. "-more").sampled, true)
    t:eq(trace.parse_traceparent((PARENT:gsub("01$", "00"))).sampled, false)
    for _, wrong in ipairs { "", "x", PARENT .. "-more", (PARENT:gsub("^00", "ff")), PARENT:upper(), PARENT:sub(2),
      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", (PARENT:gsub("c80319c", "c80319")) } do
      t:eq(trace.parse_traceparent(wrong), nil, wrong)
    end
    local url, requests = collector(t)
    local dir = project(t, SCRIPT)
    run(dir, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = url .. "/own?x=1", TRACEPARENT = "00-nonsense" }, "workflows/s.lua")
    t:eq(requests[1].path, "/own")
    local root = spans_of(requests).s
    t:eq(root.parentSpanId, nil)
    t:ok(#root.traceId == 32 and root.traceId ~= "0af7651916cd43dd8448eb211c80319c")
    local quiet = PARENT:gsub("01$", "00")
    run(dir, { OTEL_EXPORTER_OTLP_ENDPOINT = url, TRACEPARENT = quiet }, "workflows/s.lua")
    for _, step in ipairs(assert(json.decode(run(dir, {}, "show", "--json").stdout)).steps) do
      if step.step == "apps/web" then t:eq(step.summary, quiet) end -- the child got the one that came
    end
    for _, off in ipairs { { OTEL_SDK_DISABLED = "true" }, { OTEL_TRACES_EXPORTER = "none" } } do
      off.OTEL_EXPORTER_OTLP_ENDPOINT = url
      run(dir, off, "workflows/s.lua")
    end
    t:eq(#requests, 1)
  end)

  test("many steps go in several requests; a busy collector is asked again", function(t)
    local url, requests = collector(t, function(count)
      if count == 1 then return { status = 503, headers = { ["Retry-After"] = "0" } } end
      return { body = "{}" }
    end)
    local dir = project(t, [[
      return require "ws".workflow { summary = "t", run = function(w)
        for i = 1, 1100 do w:step("s" .. i, function() end) end
      end }]])
    local r = run(dir, { OTEL_EXPORTER_OTLP_ENDPOINT = url }, "workflows/s.lua", "--quiet")
    t:eq({ r.code, r.stderr }, { 0, "" })
    t:eq(#requests, 4)
    table.remove(requests, 1)
    t:eq(select(3, spans_of(requests)), 1101)
  end)

  test("a collector that is not there, refuses, never answers or is no URL costs one line and no more", function(t)
    local dir = project(t, 'return require "ws".workflow { summary = "t", run = function(w) w:step("a", function() '
      .. "end) end }")
    local refusing = collector(t, function() return { status = 401, body = "who are you" } end)
    local partial = collector(t, function()
      return { body = '{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}' }
    end)
    local silent = collector(t, function() task.sleep(20) end)
    local nobody = assert(require "ws.server".listen { handler = function() return {} end })
    nobody:close()
    for _, case in ipairs { { nobody.url, "not sent: " }, { refusing, "answered 401" },
      { partial, "refused 2 spans: too old" }, { silent, "not sent: " }, { "nonsense", "not sent: " } } do
      local began = os.time()
      local r = run(dir, { OTEL_EXPORTER_OTLP_ENDPOINT = case[1], OTEL_EXPORTER_OTLP_TIMEOUT = "500" },
        "workflows/s.lua", "--quiet")
      t:eq(r.code, 0, r.stderr)
      t:has(r.stderr, case[2])
      t:eq(select(2, r.stderr:gsub("\n", "")), 1, r.stderr)
      t:ok(os.time() - began < 6)
    end
  end)

  test("headers that are none are said and left out", function(t)
    local url, requests = collector(t)
    local dir = project(t, 'return require "ws".workflow { summary = "t", run = function() end }')
    local r = run(dir, { OTEL_EXPORTER_OTLP_ENDPOINT = url,
      OTEL_EXPORTER_OTLP_HEADERS = "a=1,b c=2,nothing,d=%0d%0ae" }, "workflows/s.lua")
    t:eq(r.code, 0)
    t:has(r.stderr, "an entry of OTEL_EXPORTER_OTLP_HEADERS is not name=value")
    t:eq(requests[1].headers.a, "1")
    t:eq(requests[1].headers.d, nil)
  end)
end
