local crypto = require "ws.crypto"
local fs = require "ws.fs"
local http = require "ws.http"
local process = require "ws.process"
local secret = require "ws.secret"
local server = require "ws.server"
local task = require "ws.task"
local url = require "ws.http.url"

local program = os.getenv("WSRUN") or "build/wsrun"

local function listen(t, handler, opts)
  local all = { handler = handler, on_error = function() end }
  for key, value in pairs(opts or {}) do all[key] = value end
  local s = t:ok(server.listen(all))
  t:defer(function() s:close() end)
  return s
end

local function echo(req)
  return { body = req.method .. " " .. req.path .. " " .. (req:body() or "") }
end

--- A server that does what no proper one does: for each connection it reads a head, then runs a line of Perl with $c as
--- the connection. Returns its URL.
local function misbehave(t, action)
  local child = t:ok(process.start({ "perl", "-MIO::Socket::INET", "-e", [[
    $SIG{PIPE} = "IGNORE"; $| = 1;
    my $s = IO::Socket::INET->new(Listen => 10, LocalAddr => "127.0.0.1", LocalPort => 0) or die;
    print $s->sockport, "\n";
    while (my $c = $s->accept) {
      my $head = ""; while ($head !~ /\r\n\r\n/) { sysread($c, $head, 1, length $head) or last }
      ]] .. action .. [[; close $c }]] }, { stdout = "pipe" }))
  t:defer(function() child:stop() end)
  return "http://127.0.0.1:" .. child:lines()()
end

return function(test)
  test("the README's example is true", function(t) t:examples "modules/http/README.md" end)

  test("URLs: escapes, queries, parts", function(t)
    t:eq(url.encode("a b/c"), "a%20b%2Fc")
    t:eq(url.query { prefix = "a/b", maxResults = 10 }, "maxResults=10&prefix=a%2Fb")
    for _, text in ipairs { "", "a b", "ä/\0%", "a+b&c=d" } do t:eq(url.decode(url.encode(text)), text) end
    t:eq(url.encode("a/b c", { keep = "/" }), "a/b%20c")
    t:eq(url.decode("100%"), "100%")
    t:eq(url.query { b = { "1", "2" }, a = "x y", c = true }, "a=x%20y&b=1&b=2&c=true")
    t:eq(url.parse "HTTPS://user:pw@Host.Example:8443/a/b?c=d#e",
      { scheme = "https", user = "user:pw", host = "host.example", port = 8443, path = "/a/b", query = "c=d",
        fragment = "e" })
    t:eq(url.parse "http://[::1]:80", { scheme = "http", host = "::1", port = 80, path = "/" })
    t:eq(url.parse "http://h?x", { scheme = "http", host = "h", path = "/", query = "x" })
    for _, case in ipairs {
      { "http://h/a/b?c", "/d", "http://h/d" }, { "http://h/a/b?c", "d", "http://h/a/d" },
      { "http://h/a/b?c", "?d", "http://h/a/b?d" }, { "http://u:p@h:1/a", "//i/b", "http://i/b" },
      { "http://u:p@h:1/a", "/b", "http://h:1/b" }, { "https://h", "b", "https://h/b" },
      { "https://h/a", "http://other/", "http://other/" },
    } do
      t:eq(url.resolve(case[1], case[2]), case[3])
    end
    for _, text in ipairs { "", "host", "http://", "http://h:x/", "http://h:99999/", "http://a b/", "http://h/\n" } do
      t:err("invalid", url.parse(text))
    end
  end)

  test("methods, headers and bodies", function(t)
    local seen
    local s = listen(t, function(req)
      seen = req
      return { status = 202, headers = { ["Set-Cookie"] = { "a=1", "b=2" } }, body = assert(req:body()) }
    end)
    for _, name in ipairs { "get", "post", "put", "patch", "delete" } do
      local res = t:ok(http[name](s.url, { body = name ~= "get" and "body of " .. name or nil }))
      t:eq(seen.method, name:upper())
      t:eq(res.body, name ~= "get" and "body of " .. name or "")
      t:eq(res.status, 202)
    end
    t:eq(t:ok(http.head(s.url)).body, "")
    t:eq(seen.headers["content-type"], nil)
    t:ok(http.post(s.url, { headers = { ["Content-Type"] = "a/b", ["X-List"] = { "1", secret.new("second one") }, n = 5,
      empty = "" }, body = secret.new("secret body") }))
    t:eq(seen.headers["content-type"], "a/b")
    t:eq(seen.headers["x-list"], "1, second one")
    t:eq(seen.headers.n, "5")
    t:eq(seen.headers.empty, "")
    t:eq(seen.whole_body, "secret body")
    t:eq(t:ok(http.post(s.url)).headers["set-cookie"], "a=1, b=2")
    t:eq(seen.headers["content-length"], "0")
  end)

  test("misuse raises", function(t)
    t:raises("unknown option 'bodi'", http.get, "http://x/", { bodi = "" })
    t:raises("'url' is given by the function", http.get, "http://x/", { url = "" })
    t:raises("option 'timeout': number expected", http.get, "http://x/", { timeout = "1" })
    t:raises("option 'body'", http.post, "http://x/", { body = 5 })
    t:raises("option 'sink'", http.get, "http://x/", { sink = "x" })
    t:raises("is not a header's name", http.get, "http://x/", { headers = { ["a b"] = "c" } })
    t:raises("line end", http.get, "http://x/", { headers = { a = "b\r\nc: d" } })
    t:raises("string, number or secret expected", http.get, "http://x/", { headers = { a = true } })
    t:raises("capitals", http.request, { url = "http://x/", method = "get" })
    t:raises("'url' expected", http.request, {})
    t:err("invalid", http.get "no url")
    t:err("invalid", http.get "ftp://host/file")
  end)

  test("files go out and come in", function(t)
    local dir = t:tmpdir()
    local data = crypto.random_bytes(1 << 20):rep(3)
    t:ok(fs.write(dir .. "/out", data))
    local s = listen(t, function(req)
      if req.path == "/missing" then return { status = 404, body = "no such thing" } end
      if req.path == "/empty" then return { body = "" } end
      return { body = assert(req:body()) }
    end)
    t:ok(t:ok(http.put(s.url, { body = { file = dir .. "/out" } })).body == data)
    local part = { file = dir .. "/out", offset = 100, length = 5000 }
    t:ok(t:ok(http.put(s.url, { body = part })).body == data:sub(101, 5100))
    local res = t:ok(http.put(s.url, { body = { file = dir .. "/out" }, sink = { file = dir .. "/in" } }))
    t:eq(res.body, "")
    t:ok(assert(fs.read(dir .. "/in")) == data)
    t:ok(http.put(s.url, { body = "tail", sink = { file = dir .. "/in", append = true } }))
    t:eq(#assert(fs.read(dir .. "/in")), #data + 4)
    t:ok(http.get(s.url .. "/empty", { sink = { file = dir .. "/in" } }))
    t:eq(assert(fs.read(dir .. "/in")), "")
    t:eq(t:ok(http.get(s.url .. "/missing", { sink = { file = dir .. "/not" } })).body, "no such thing")
    t:eq(fs.exists(dir .. "/not"), false)
    t:err("not_found", http.put(s.url, { body = { file = dir .. "/nowhere" } }))
    t:err("invalid", http.put(s.url, { body = { file = dir .. "/out", offset = 1, length = #data } }))
    t:err("not_found", http.put(s.url, { body = "x", sink = { file = dir .. "/no/folder" } }))
    if fs.exists("/dev/full") then
      t:err("no_space", http.put(s.url, { body = "x", sink = { file = "/dev/full" } }))
    end
  end)

  test("a file that has not the digest that was promised is not sent to its end", function(t)
    local dir, received = t:tmpdir(), {}
    local s = listen(t, function(req)
      received[#received + 1] = assert(req:body())
      return { status = 201 }
    end)
    for _, size in ipairs { 0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 7 } do
      local data = crypto.random_bytes(1000):rep(size // 1000 + 1):sub(1, size)
      t:ok(fs.write(dir .. "/f", data))
      local body = { file = dir .. "/f", sha256 = crypto.sha256(data) }
      t:eq(t:ok(http.put(s.url, { body = body })).status, 201)
      t:ok(received[#received] == data, size)
      local count = #received
      body.sha256 = crypto.sha256("other")
      local err = t:err("invalid", http.put(s.url, { body = body }))
      t:has(err.message, dir .. "/f: the bytes to send do not have the digest")
      t:eq(#received, count)
    end
    local data = assert(fs.read(dir .. "/f"))
    local piece = data:sub(11, 10 + (2 << 20))
    local part = { file = dir .. "/f", offset = 10, length = 2 << 20, sha256 = crypto.sha256(piece) }
    t:ok(http.put(s.url, { body = part }))
    t:ok(received[#received] == piece)
    for _, text in ipairs { "", "abc", ("G"):rep(64), ("A"):rep(64), ("a"):rep(65) } do
      t:err("invalid", http.put(s.url, { body = { file = dir .. "/f", sha256 = text } }))
    end
    t:err("invalid", http.put(s.url, { body = { file = dir .. "/f", offset = -1 } }))
    t:err("invalid", http.put(s.url, { body = { file = dir } }))
  end)

  test("a body from a file begins anew when a kept connection was dead, and stops when it is given up", function(t)
    local dir, data, cuts = t:tmpdir(), crypto.random_bytes(1 << 20):rep(6), 0
    t:ok(fs.write(dir .. "/f", data))
    local got
    local s = listen(t, function(req)
      if req.method == "GET" then return {} end
      if cuts > 0 then
        cuts = cuts - 1
        if cuts % 2 == 1 then req:read() end
        error(require "ws.error".new { kind = "cancelled", message = "cut" }, 0)
      end
      got = assert(req:body())
      return {}
    end)
    local body = { file = dir .. "/f", sha256 = crypto.sha256(data) }
    for n = 1, 6 do
      t:ok(http.get(s.url))
      cuts, got = n, nil
      local res
      for _ = 1, 10 do
        res = http.put(s.url, { body = body })
        if res then break end
      end
      t:ok(res)
      t:ok(got == data)
    end
    local slow = listen(t, function() task.sleep(30) end)
    for _ = 1, 5 do
      t:err("timeout", task.timeout(0.02, http.put, slow.url, { body = body }))
    end
  end)

  test("a file takes no more than it may", function(t)
    local dir = t:tmpdir()
    local s = listen(t, function() return { body = ("x"):rep(1000) } end)
    t:ok(http.get(s.url, { sink = { file = dir .. "/a", max = 1000 } }))
    t:eq(#assert(fs.read(dir .. "/a")), 1000)
    t:has(t:err("too_large", http.get(s.url, { sink = { file = dir .. "/a", max = 999 } })).message, dir .. "/a")
    t:err("too_large", http.get(s.url, { sink = { file = dir .. "/a", max = 0 } }))
  end)

  test("a slow sink slows the sender; an error in it ends the request", function(t)
    local written = 0
    local s = listen(t, function(req)
      if req.method == "PUT" then return { body = assert(req:body()) } end
      return { stream = function(write)
        for _ = 1, 500 do
          if not write(("x"):rep(100000)) then return end
          written = written + 1
        end
      end }
    end)
    local size = 0
    t:ok(http.get(s.url, { sink = function(chunk)
      if size == 0 then
        task.sleep(0.2)
        t:ok(written < 300, "it did not wait: " .. written)
      end
      size = size + #chunk
    end }))
    t:eq(size, 50000000)
    t:raises("stop here", http.get, s.url, { sink = function() error("stop here") end })
    t:raises("producer broke", http.put, s.url, { body = function() error("producer broke") end })
  end)

  test("redirects are followed for GET, with limits", function(t)
    local s
    s = listen(t, function(req)
      local n = tonumber(req.path:match("^/r(%d+)$"))
      if n then return { status = 302, headers = { Location = n == 0 and "end?x=1" or "/r" .. (n - 1) } } end
      local code, to = req.path:match("^/(30%d)(.*)$")
      if code then
        return { status = math.tointeger(tonumber(code)), headers = { Location = to ~= "" and to or s.url .. "/end" } }
      end
      return echo(req)
    end)
    local res = t:ok(http.get(s.url .. "/r9"))
    t:eq(res.body, "GET /end ")
    t:eq(res.url, s.url .. "/end?x=1")
    t:err("protocol", http.get(s.url .. "/r10"))
    t:eq(t:ok(http.get(s.url .. "/r1", { follow = false })).status, 302)
    t:eq(t:ok(http.post(s.url .. "/302", { body = "x" })).status, 302)
    local function post(code) return t:ok(http.post(s.url .. "/" .. code, { body = "x", follow = true })).body end
    t:eq(post(302), "GET /end ")
    t:eq(post(303), "GET /end ")
    t:eq(post(307), "POST /end x")
    t:eq(post(308), "POST /end x")
    t:eq(t:ok(http.request { method = "PUT", url = s.url .. "/301", body = "x", follow = true }).body, "PUT /end x")
    t:eq(t:ok(http.put(s.url .. "/307", { follow = true, body = function() return nil end })).status, 307)
    t:err("invalid", http.get(s.url .. "/302http://"))
  end)

  test("credentials stay with their origin", function(t)
    local seen
    local other = listen(t, function(req)
      seen = req.headers
      return {}
    end)
    local s = listen(t, function(req)
      if req.path == "/same" then
        seen = req.headers
        return {}
      end
      return { status = 302, headers = { Location = req.path == "/here" and "/same" or other.url } }
    end)
    local function arrived() return { seen.authorization, seen.cookie, seen["x-key"], seen.accept } end
    local key = secret.new("0123456789")
    local headers = { Authorization = "Bearer abcdef", Cookie = "c=1", ["X-Key"] = key, Accept = "a/b" }
    t:ok(http.get(s.url .. "/there", { headers = headers }))
    t:eq(arrived(), { nil, nil, nil, "a/b" })
    t:ok(http.get(s.url .. "/here", { headers = headers }))
    t:eq(arrived(), { "Bearer abcdef", "c=1", "0123456789", "a/b" })
  end)

  test("each failure has its kind, and says what was asked without the query", function(t)
    local s = listen(t, function(req)
      if req.path == "/slow" then task.sleep(30) end
      if req.path == "/stall" then
        return { stream = function(write)
          write("x")
          task.sleep(30)
        end }
      end
      if req.path == "/cut" then
        return { headers = { ["Content-Length"] = 100 }, stream = function(write) write("x") end }
      end
      return { body = ("x"):rep(100000) }
    end)
    local refused = t:err("connection", http.get("http://127.0.0.1:1/path?signature=hidden"))
    t:has(refused.message, "GET http://127.0.0.1:1/path:")
    t:ok(not refused.message:find("hidden"))
    t:eq(refused.retryable, true)
    t:ok(refused.hint)
    t:err("connection", http.get("http://name.invalid/"))
    t:err("timeout", http.get(s.url .. "/slow", { timeout = 0.2 }))
    t:err("timeout", http.get(s.url .. "/stall", { stall_timeout = 1 }))
    t:err("connection", http.get(s.url .. "/cut"))
    local large = t:err("too_large", http.get(s.url, { max_body = 99999 }))
    t:has(large.hint, "max_body")
    t:ok(http.get(s.url, { max_body = 100000 }))
    t:err("connection", http.get("http://x/", { unix = "/nowhere/socket" }))
    local resolving = task.spawn(http.get, "http://a-name-that-is-looked-up.invalid/")
    resolving:cancel()
    t:err("cancelled", resolving:join(2))
  end)

  test("servers that break the protocol", function(t)
    t:err("connection", http.get(misbehave(t, "")))
    t:err("protocol", http.get(misbehave(t, [[print $c "nonsense\r\n\r\n"]])))
    t:err("connection", http.get(misbehave(t,
      [[print $c "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"; $c->flush;
        setsockopt($c, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))]])))
    t:err("protocol", http.get(misbehave(t,
      [[print $c "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]])))
    t:err("too_large", http.get(misbehave(t, [[print $c "HTTP/1.1 200 OK\r\n";
      for (1..3000) { print $c "X-$_: ", "y" x 1000, "\r\n" } print $c "\r\n"]])))
    local res = t:ok(http.get(misbehave(t, [[print $c "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nEmpty:\r\nContent-Length: 2\r\n\r\nok"]])))
    t:eq({ res.body, res.headers["x-folded"], res.headers.empty, res.headers.a }, { "ok", "a b", "", nil })
  end)

  test("TLS is verified: authority, name, and what it says about it", function(t)
    local ca = t:ok(crypto.x509.create { subject = "Test authority", ca = true })
    local stranger = t:ok(crypto.x509.create { subject = "Stranger", ca = true })
    local good = t:ok(crypto.x509.create { subject = "good", names = { "localhost" }, ips = { "127.0.0.1" },
      issuer = ca })
    local other = t:ok(crypto.x509.create { subject = "other", names = { "other.example" }, issuer = ca })
    local s = listen(t, echo, { tls = good })
    t:eq(t:ok(http.get(s.url .. "/x", { ca = ca.cert })).body, "GET /x ")
    t:eq(t:ok(http.get(("https://localhost:%d/x"):format(s.port), { ca = ca.cert })).body, "GET /x ")
    local path = t:tmpdir() .. "/ca.pem"
    t:ok(fs.write(path, ca.cert))
    t:ok(http.get(s.url, { ca = path }))
    t:has(t:err("tls", http.get(s.url)).hint, "SSL_CERT_FILE")
    t:err("tls", http.get(s.url, { ca = stranger.cert }))
    t:err("tls", http.get(s.url, { ca = "/nowhere.pem" }))
    t:err("tls", http.get(s.url, { ca = ca.cert, cert = good.cert, key = other.key }))
    local wrong = listen(t, echo, { tls = other })
    t:has(t:err("tls", http.get(wrong.url, { ca = ca.cert })).message, "127.0.0.1")
    local plain = listen(t, echo)
    t:err("tls", http.get((plain.url:gsub("^http:", "https:"))))
  end)

  test("proxies come from the environment, and loopback never goes through one", function(t)
    local asked
    local proxy = listen(t, function(req)
      asked = req.headers.host
      return { body = "by proxy " .. req.path }
    end)
    local direct = listen(t, function() return { body = "direct" } end)
    local result = t:ok(process.run({ program, "-e", ([[local http = require "ws.http"
      print(http.get("http://name.invalid/x?y").body, http.get("%s").body)]]):format(direct.url) },
      { env = { http_proxy = proxy.url, no_proxy = "", NO_PROXY = "" }, timeout = 30 }))
    t:eq(result.stdout, "by proxy /x\tdirect\n", result.stderr)
    t:eq(asked, "name.invalid")
    result = t:ok(process.run({ program, "-e", [[print(require "ws.http".get "http://name.invalid/")]] },
      { env = { http_proxy = "http://127.0.0.1:1", no_proxy = "", NO_PROXY = "" }, timeout = 30 }))
    t:has(result.stdout, "Failed to connect to 127.0.0.1 port 1")
  end)

  test("connections are kept and used again", function(t)
    local ports = {}
    local base = misbehave(t, [[
      do { print $c "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", sprintf("%05d", $c->peerport);
        $c->flush; $head = "";
        while ($head !~ /\r\n\r\n/) { sysread($c, $head, 1, length $head) or last } } while ($head)]])
    for i = 1, 3 do ports[i] = t:ok(http.get(base)).body end
    t:eq(ports, { ports[1], ports[1], ports[1] })
  end)

  test("a cancelled request ends at once and leaves nothing", function(t)
    local inside, left = false, false
    local s = listen(t, function(req)
      inside = true
      while not req:gone() do task.sleep(0.01) end
      left = true
      return {}
    end)
    local asking = task.spawn(http.get, s.url)
    while not inside do task.sleep(0.01) end
    asking:cancel()
    t:err("cancelled", asking:join(2))
    for _ = 1, 100 do if left then break end task.sleep(0.02) end
    t:eq(left, true)
    t:err("timeout", task.timeout(0.1, http.get, s.url))
  end)

  test("many at once, more than there may be connections", function(t)
    local s = listen(t, function(req)
      task.sleep(0.01)
      return { body = req.path }
    end)
    local calls = {}
    for i = 1, 300 do calls[i] = function() return t:ok(http.get(s.url .. "/" .. i)).body end end
    local bodies = t:ok(task.all(calls))
    for i = 1, 300 do t:eq(bodies[i], "/" .. i) end
  end)

  test("without free descriptors a request fails as exhausted, and the next one works", function(t)
    local result = t:ok(process.run({ "bash", "-c", [[ulimit -n 24; exec "$0" -e "$1"]], program,
      [[local http, server, task = require "ws.http", require "ws.server", require "ws.task"
      local s = assert(server.listen { handler = function() return { body = "ok" } end })
      assert(http.get(s.url).body == "ok")
      local held = {}
      while true do
        local f = io.open("/dev/null")
        if not f then break end
        held[#held + 1] = f
      end
      local res, err = http.get((s.url:gsub("127.0.0.1", "127.0.0.2")))
      for _, f in ipairs(held) do f:close() end
      print(res, err and err.kind)
      print(assert(http.get(s.url)).body)
      s:close()]] }, { timeout = 30 }))
    t:eq(result.stdout, "nil\texhausted\nok\n", result.stderr)
  end)

  test("a program may end with requests and servers open", function(t)
    local result = t:ok(process.run({ program, "-e",
      [[local http, server, task = require "ws.http", require "ws.server", require "ws.task"
      local s = assert(server.listen { handler = function(req)
        if req.path == "/slow" then task.sleep(60) end
        return { stream = function(write) while write("xxxx") do task.sleep(0.01) end end }
      end })
      for _, path in ipairs { "/slow", "/stream" } do
        task.spawn(function() http.get(s.url .. path, { sink = function() end }) end)
      end
      HELD = require "ws.http.native".start({ method = "GET", url = s.url .. "/slow" }, false)
      task.sleep(0.2)
      print "end"]] }, { timeout = 30 }))
    t:eq({ result.code, result.stdout, result.stderr }, { 0, "end\n", "" })
  end)

  test("a run that may not write may only read, unless the caller knows better", function(t)
    local s = listen(t, echo)
    local result = t:ok(process.run({ program, "-e", ([[
      require "ws.engine".native.forbid("write")
      local http = require "ws.http"
      print(pcall(http.post, "%s", { body = "x" }))
      print(http.get("%s").status, http.post("%s", { reads = true }).status)]]):format(s.url, s.url, s.url) }))
    t:has(result.stdout, "POST " .. s.url .. " would change something")
    t:has(result.stdout, "200\t200")
  end)
end
