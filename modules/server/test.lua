local crypto = require "ws.crypto"
local fs = require "ws.fs"
local http = require "ws.http"
local log = require "ws.log"
local process = require "ws.process"
local secret = require "ws.secret"
local server = require "ws.server"
local task = require "ws.task"

--- A server for the length of the test. `problems` collects what handlers fail with.
local function listen(t, handler, opts)
  local problems = {}
  local all = { handler = handler, on_error = function(_, err) problems[#problems + 1] = tostring(err) end }
  for key, value in pairs(opts or {}) do all[key] = value end
  local s = t:ok(server.listen(all))
  t:defer(function() s:close() end)
  return s, problems
end

--- Sends bytes as they are and returns all that comes back until the server closes.
local function raw(t, s, text)
  local script = 'exec 3<>/dev/tcp/127.0.0.1/$0; cat >&3; cat <&3'
  local result = t:ok(process.run({ "bash", "-c", script, tostring(s.port) }, { stdin = text, timeout = 10 }))
  return result.stdout
end

local function wait_until(t, what, condition)
  for _ = 1, 400 do
    if condition() then return end
    task.sleep(0.01)
  end
  t:ok(false, what)
end

local function chunks(size, count)
  local left = count
  return function()
    if left == 0 then return nil end
    left = left - 1
    return ("x"):rep(size)
  end
end

return function(test)
  test("the README's example is true", function(t) t:examples "modules/server/README.md" end)

  test("a request arrives as it was sent", function(t)
    local seen
    local s = listen(t, function(req)
      seen = req
      return { body = "ok" }
    end)
    t:ok(http.get(s.url .. "/a%2Fb/c%20d?x=1+2&y&x=%33&z=a=b&=e", { headers = { ["X-Mixed-Case"] = { "1", "2" } } }))
    t:eq(seen.method, "GET")
    t:eq(seen.path, "/a%2Fb/c%20d")
    t:eq(seen.query, { x = "3", y = "", z = "a=b", [""] = "e" })
    t:eq(seen.query_list, { { "x", "1 2" }, { "y", "" }, { "x", "3" }, { "z", "a=b" }, { "", "e" } })
    t:eq(seen.headers["x-mixed-case"], "1, 2")
    t:eq(seen.headers.host, "127.0.0.1:" .. s.port)
    t:eq(seen.remote, "127.0.0.1")
    t:eq(seen.tls, false)
  end)

  test("bodies of all sizes and codings come back unchanged", function(t)
    local s = listen(t, function(req) return { body = t:ok(req:body()) } end)
    for _, size in ipairs { 0, 1, 4095, 65536, 1 << 20, 5000000 } do
      local body = crypto.random_bytes(math.min(size, 1 << 20)):rep(size // (1 << 20) + 1):sub(1, size)
      t:ok(t:ok(http.put(s.url, { body = body })).body == body, "size " .. size)
      local at = 0
      local res = t:ok(http.put(s.url, { body = function() -- chunked
        if at >= size then return nil end
        at = at + 70000
        return body:sub(at - 69999, at)
      end }))
      t:ok(res.body == body, "chunked size " .. size)
    end
  end)

  test("a streamed body slows its sender down", function(t)
    local produced, waiting = 0, true
    local s = listen(t, function(req)
      while waiting do task.sleep(0.01) end
      local size = 0
      for chunk in function() return req:read() end do size = size + #chunk end
      return { body = tostring(size) }
    end)
    local sender = task.spawn(function()
      local next_chunk = chunks(100000, 1000)
      return t:ok(http.put(s.url, { body = function()
        produced = produced + 1
        return next_chunk()
      end })).body
    end)
    task.sleep(0.3)
    t:ok(produced < 300, "it was not slowed down: " .. produced)
    waiting = false
    t:eq({ sender:join() }, { true, "100000000" })
  end)

  test("a body over max_body is refused, whether its length was announced or not", function(t)
    local s, problems = listen(t, function(req) return { body = assert(req:body()) } end, { max_body = 100000 })
    t:eq(#t:ok(http.post(s.url, { body = ("x"):rep(100000) })).body, 100000)
    t:eq(t:ok(http.post(s.url, { body = ("x"):rep(100001) })).status, 413)
    t:eq(t:ok(http.post(s.url, { body = chunks(50000, 3) })).status, 413)
    t:eq(t:ok(http.post(s.url, { body = ("x"):rep(20 << 20) })).status, 413)
    t:eq(problems, {})
  end)

  test("an answer that does not wait for the body keeps the connection when the body is small", function(t)
    local s = listen(t, function() return { status = 401, body = "no" } end)
    t:eq(t:ok(http.post(s.url, { body = "small" })).status, 401)
    t:eq(t:ok(http.post(s.url, { body = ("x"):rep(20 << 20) })).status, 401)
    local answer = raw(t, s, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
      .. "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    local _, count = answer:gsub("HTTP/1.1 401", "")
    t:eq(count, 2)
  end)

  test("a client that waits for 100 Continue gets it, or the refusal", function(t)
    local s = listen(t, function(req)
      if req.path == "/no" then return { status = 403 } end
      return { body = "got " .. #assert(req:body()) }
    end)
    local head = "PUT %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
      .. "Content-Length: 3\r\n\r\n%s"
    local answer = raw(t, s, head:format("/yes", "abc"))
    t:has(answer, "HTTP/1.1 100 Continue")
    t:has(answer, "got 3")
    answer = raw(t, s, head:format("/no", ""))
    t:has(answer, "HTTP/1.1 403")
    t:ok(not answer:find("100 Continue"))
  end)

  test("HEAD has the headers of the body that it leaves out", function(t)
    local s = listen(t, function(req)
      if req.path == "/declared" then return { headers = { ["Content-Length"] = 12345, ["X-A"] = "b" } } end
      if req.path == "/stream" then return { stream = function() error("not for HEAD") end } end
      return { body = "12345" }
    end)
    local res = t:ok(http.head(s.url .. "/declared"))
    t:eq(res.headers["content-length"], "12345")
    t:eq(res.headers["x-a"], "b")
    t:eq(t:ok(http.head(s.url)).headers["content-length"], "5")
    t:eq(t:ok(http.head(s.url .. "/stream")).status, 200)
  end)

  test("files and parts of files are sent", function(t)
    local path = t:tmpdir() .. "/data"
    local data = crypto.random_bytes(1 << 20):rep(5)
    t:ok(fs.write(path, data))
    local s, problems = listen(t, function(req)
      return { file = req.query.file or path, offset = tonumber(req.query.o), length = tonumber(req.query.l) }
    end)
    t:ok(t:ok(http.get(s.url)).body == data)
    t:ok(t:ok(http.get(s.url .. "?o=1000&l=70000")).body == data:sub(1001, 71000))
    t:ok(t:ok(http.get(s.url .. "?o=" .. #data)).body == "")
    t:eq(t:ok(http.get(s.url .. "?o=10&l=" .. #data)).status, 500)
    t:eq(t:ok(http.get(s.url .. "?file=/nowhere")).status, 500)
    t:eq(t:ok(http.get(s.url .. "?file=/tmp")).status, 500)
    t:eq(#problems, 3)
    t:has(problems[2], "/nowhere: No such file")
  end)

  test("a written response arrives piece by piece, with and without a known length", function(t)
    local s = listen(t, function(req)
      local headers = { ["Content-Length"] = req.path == "/known" and 6 or nil }
      return { headers = headers, stream = function(write)
        for i = 1, 3 do
          t:ok(write(i .. "\n"))
          task.sleep(0.02)
        end
      end }
    end)
    for _, path in ipairs { "/known", "/unknown" } do
      local pieces = {}
      local res = t:ok(http.get(s.url .. path, { sink = function(chunk) pieces[#pieces + 1] = chunk end }))
      t:eq(table.concat(pieces), "1\n2\n3\n")
      t:ok(#pieces > 1, "it came in one piece")
      t:eq(res.headers["content-length"], path == "/known" and "6" or nil)
    end
  end)

  test("write waits for a slow client", function(t)
    local written = 0
    local s = listen(t, function()
      return { stream = function(write)
        for _ = 1, 1000 do
          t:ok(write(("x"):rep(100000)))
          written = written + 1
        end
      end }
    end)
    local size, slow = 0, true
    t:ok(http.get(s.url, { sink = function(chunk)
      size = size + #chunk
      if slow then
        task.sleep(0.3)
        t:ok(written < 400, "it did not wait: " .. written)
        slow = false
      end
    end }))
    t:eq(size, 100000000)
  end)

  test("a handler's error answers 500, and the server goes on", function(t)
    local s, problems = listen(t, function(req)
      if req.path == "/raise" then error("boom") end
      if req.path == "/object" then error(require "ws.error".new { kind = "denied", message = "not you" }) end
      if req.path == "/nil" then return nil end
      if req.path == "/status" then return { status = 99 } end
      if req.path == "/unknown" then return { bodi = "x" } end
      if req.path == "/type" then return { body = 5 } end
      if req.path == "/header" then return { headers = { ["X-A"] = "a\r\nX-B: c" } } end
      return { body = "fine" }
    end)
    for _, path in ipairs { "/raise", "/object", "/nil", "/status", "/unknown", "/type", "/header" } do
      t:eq(t:ok(http.get(s.url .. path)).status, 500, path)
    end
    t:eq(#problems, 7)
    t:has(problems[1], "boom")
    t:has(problems[2], "not you")
    t:has(problems[5], "unknown field 'bodi'")
    t:eq(t:ok(http.get(s.url)).body, "fine")
  end)

  test("without on_error a handler's error is logged, with secrets masked", function(t)
    local seen
    local before = log.set_sink(function(record) seen = record end)
    t:defer(function() log.set_sink(before) end)
    secret.new("hidden-0123")
    local s = t:ok(server.listen { handler = function() error("boom hidden-0123") end })
    t:defer(function() s:close() end)
    t:eq(t:ok(http.get(s.url .. "/path")).status, 500)
    t:eq(seen.level, "error")
    t:has(seen.message, "GET /path: ")
    t:has(seen.message, "boom ***")
    t:has(seen.message, "test.lua:")
  end)

  test("an error in the middle of a response cuts the connection", function(t)
    local s, problems = listen(t, function()
      return { stream = function(write)
        write("half")
        task.sleep(0.05)
        error("no more")
      end }
    end)
    t:err("connection", http.get(s.url))
    t:has(problems[1], "no more")
  end)

  test("a writer notices that its client left, also when it waits for something else", function(t)
    local ended, write_error = 0, nil
    local s, problems = listen(t, function(req)
      return { stream = function(write)
        local _ <close> = setmetatable({}, { __close = function() ended = ended + 1 end })
        if req.path == "/wait" then
          write("x")
          task.sleep(60)
        end
        repeat
          local ok, err = write(("x"):rep(10000))
          write_error = err
        until not ok
        assert(nil, write_error)
      end }
    end)
    for _, path in ipairs { "/wait", "/write" } do
      local before = ended
      t:raises("enough", http.get, s.url .. path, { sink = function() error("enough") end })
      wait_until(t, path .. " did not end", function() return ended > before end)
    end
    t:eq(write_error.kind, "connection")
    t:eq(problems, {})
  end)

  test("a handler that has not answered goes on when its client leaves, and can know", function(t)
    local gone, finished
    local s = listen(t, function(req)
      for _ = 1, 200 do
        if req:gone() then break end
        task.sleep(0.01)
      end
      gone, finished = req:gone(), true
      return { body = "nobody reads this" }
    end)
    t:err("timeout", http.get(s.url, { timeout = 0.1 }))
    wait_until(t, "it did not end", function() return finished end)
    t:eq(gone, true)
  end)

  test("a client that leaves in the middle of its body is an error of the read", function(t)
    local problem, done
    local s = listen(t, function(req)
      local ok
      repeat ok, problem = req:read() until not ok
      done = true
      return { body = "" }
    end)
    local sender = task.spawn(function()
      http.put(s.url, { body = function()
        task.sleep(0.01)
        return "data"
      end })
    end)
    task.sleep(0.2)
    sender:cancel()
    wait_until(t, "it did not end", function() return done end)
    t:eq(problem.kind, "connection")
  end)

  test("malformed requests are answered and do no harm", function(t)
    local s = listen(t, function(req) return { body = req.path } end)
    for _, text in ipairs { "nonsense\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", "GET /\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nX: " .. ("y"):rep(300000) .. "\r\n\r\n", "\0\1\2\3",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" } do
      task.timeout(3, raw, t, s, text .. "\r\n\r\n")
    end
    t:eq(t:ok(http.get(s.url .. "/alive")).body, "/alive")
  end)

  test("many requests at once, each handler waiting", function(t)
    local inside, most = 0, 0
    local s = listen(t, function(req)
      inside = inside + 1
      most = math.max(most, inside)
      task.sleep(0.05)
      inside = inside - 1
      return { body = req.query.n }
    end)
    local calls = {}
    for i = 1, 200 do
      calls[i] = function() return t:ok(http.get(s.url .. "?n=" .. i)).body end
    end
    local results = t:ok(task.all(calls))
    for i = 1, 200 do t:eq(results[i], tostring(i)) end
    t:ok(most > 20, "side by side: " .. most)
  end)

  test("close ends what is in flight, at once or after a grace", function(t)
    local cancelled = 0
    local function handler(req)
      local _ <close> = setmetatable({}, { __close = function(_, err) cancelled = cancelled + (err and 1 or 0) end })
      task.sleep(tonumber(req.query.s))
      return { body = "done" }
    end
    local s = listen(t, handler)
    local slow = task.spawn(function() return http.get(s.url .. "?s=60") end)
    task.sleep(0.1)
    s:close()
    t:eq(slow:join(5), true)
    t:eq(cancelled, 1)
    t:err("connection", http.get(s.url .. "?s=0"))
    s:close()

    s = listen(t, handler)
    local quick = task.spawn(function() return http.get(s.url .. "?s=0.3") end)
    task.sleep(0.1)
    s:close { grace = 5 }
    local _, res = quick:join(5)
    t:eq(res.body, "done")
    t:eq(cancelled, 1)
  end)

  test("a handler may close its own server", function(t)
    local s
    s = listen(t, function()
      s:close()
      return { body = "too late" }
    end)
    t:err("connection", http.get(s.url))
  end)

  test("HTTPS with a certificate of our own authority", function(t)
    local ca = t:ok(crypto.x509.create { subject = "Test authority", ca = true })
    local cert = t:ok(crypto.x509.create { subject = "localhost", ips = { "127.0.0.1" }, issuer = ca })
    local big = ("0123456789"):rep(500000)
    local s = listen(t, function(req)
      return { body = req.tls and (req.path == "/big" and big or assert(req:body())) }
    end, { tls = cert })
    t:eq(s.url, "https://127.0.0.1:" .. s.port)
    t:ok(t:ok(http.get(s.url .. "/big", { ca = ca.cert })).body == big)
    t:ok(t:ok(http.put(s.url, { ca = ca.cert, body = big })).body == big)
    t:err("tls", http.get(s.url))
  end)

  test("unix sockets", function(t)
    local path = t:tmpdir() .. "/socket"
    local s = listen(t, function(req) return { body = req.remote } end, { unix = path })
    t:eq(t:ok(http.get("http://anything/", { unix = path })).body, "unix")
    s:close()
    t:eq(fs.exists(path), false)
    t:err("invalid", server.listen { unix = "/tmp/" .. ("x"):rep(200), handler = print })
  end)

  test("what cannot be listened on is said", function(t)
    local s = listen(t, function() return {} end)
    local err = t:err("exists", server.listen { port = s.port, handler = print })
    t:has(err.message, tostring(s.port))
    t:ok(err.hint)
    t:err("invalid", server.listen { host = "nowhere", handler = print })
    t:err("failed", server.listen { tls = { cert = "x", key = secret.new("not a key") }, handler = print })
    t:raises("handler expected", server.listen, {})
    t:raises("unknown option 'prot'", server.listen, { prot = 1, handler = print })
    t:raises("tls needs cert and key", server.listen, { tls = {}, handler = print })
  end)
end
