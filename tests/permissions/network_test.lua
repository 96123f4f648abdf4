-- Scripts that try to reach hosts that they may not: by other names of an address, by redirects, proxies and children.
--
-- Two servers listen on 127.0.0.1: one at port $N, which policies list, and one at $M, which has the secret.
local cage = require "cage"
local fs = require "ws.fs"
local process = require "ws.process"
local server = require "ws.server"

local OPEN = "--allow-net=127.0.0.1:$N"
local get = "local r, e = http.get('http://127.0.0.1:' .. PORT .. '/') return r and r.body == 'open' or e"

local function url(text)
  return ("return http.get(%q)"):format(text):gsub("OTHER", '" .. OTHER .. "'):gsub("PORT", '" .. PORT .. "')
end

local cases = {
  { name = "a host that is not listed", policy = { OPEN }, attack = url "http://127.0.0.1:OTHER/", control = get },
  { name = "nothing listed", policy = { "--allow-read=pub" }, attack = url "http://127.0.0.1:OTHER/",
    control = "return fs.read('pub/a.txt')" },
  { name = "another port", policy = { OPEN }, attack = url "http://127.0.0.1:OTHER/?127.0.0.1:PORT", control = get },
  { name = "a listed host as user name", policy = { OPEN }, attack = url "http://127.0.0.1:PORT@127.0.0.1:OTHER/",
    control = get },
  { name = "a listed host before a backslash", policy = { OPEN },
    attack = url "http://127.0.0.1:PORT\\@127.0.0.1:OTHER/", control = get },
  { name = "a listed host before a fragment", policy = { OPEN }, attack = url "http://127.0.0.1:OTHER#@127.0.0.1:PORT/",
    control = get },
  { name = "a name of this machine", policy = { OPEN }, attack = url "http://localhost:OTHER/", control = get },
  { name = "localhost with a dot", policy = { OPEN }, attack = url "http://localhost.:OTHER/", control = get },
  { name = "a name below localhost", policy = { OPEN }, attack = url "http://x.localhost:OTHER/", control = get },
  { name = "a denied range: decimal", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://2130706433:OTHER/", control = get },
  { name = "a denied range: hexadecimal", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://0x7f000001:OTHER/", control = get },
  { name = "a denied range: octal", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://0177.0.0.1:OTHER/", control = get },
  { name = "a denied range: short", policy = { "--allow-net=*", "--deny-net=127.0.0.0/8:$M" },
    attack = "return http.get('http://127.1:' .. OTHER .. '/')", control = get },
  { name = "a denied range: IPv4 in IPv6", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://[::ffff:127.0.0.1]:OTHER/", control = get },
  { name = "a denied range: IPv4 in IPv6 in hexadecimal", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://[::ffff:7f00:1]:OTHER/", control = get },
  { name = "a denied range by a name", policy = { "--allow-net=*", "--deny-net=127.0.0.1:$M" },
    attack = url "http://localhost:OTHER/", control = get },
  { name = "a denied name", policy = { "--allow-net=*", "--deny-net=localhost" },
    attack = url "http://LOCALHOST:OTHER/", control = get },
  { name = "deny alone", policy = { "--deny-net=127.0.0.1:$M" }, attack = url "http://127.0.0.1:OTHER/",
    control = get },
  { name = "0.0.0.0 is this machine", policy = { OPEN }, attack = url "http://0.0.0.0:OTHER/", control = get },
  { name = ":: is this machine", policy = { OPEN }, attack = url "http://[::]:OTHER/", control = get },
  { name = "a name that leads to this machine (DNS rebinding)", host = true, policy = { OPEN, "--allow-net=$H" },
    attack = "return http.get('http://' .. HOST .. ':' .. OTHER .. '/')", control = get },
  { name = "a redirect", policy = { OPEN }, attack = url "http://127.0.0.1:PORT/redirect", control = get },
  { name = "a redirect to a name", policy = { OPEN }, attack = url "http://127.0.0.1:PORT/redirect-name",
    control = get },
  { name = "a redirect after a kept connection", policy = { OPEN },
    attack = "http.get('http://127.0.0.1:' .. PORT .. '/') " .. url "http://127.0.0.1:PORT/redirect", control = get },
  { name = "a redirect of a POST", policy = { OPEN },
    attack = "return http.post('http://127.0.0.1:' .. PORT .. '/redirect', { body = 'x', follow = true })",
    control = get },
  { name = "the metadata server", policy = { "--allow-net=*" },
    attack = url "http://169.254.169.254/computeMetadata/v1/", refused = "may not be reached", control = get },
  { name = "the metadata server in a listed range", policy = { OPEN, "--allow-net=0.0.0.0/0" },
    attack = url "http://169.254.169.254/", refused = "may not be reached", control = get },
  { name = "the metadata server by its name", policy = { OPEN, "--allow-net=*.internal" },
    attack = url "http://metadata.google.internal/", refused = "may not be reached", control = get },
  { name = "the metadata server in IPv6", policy = { OPEN, "--allow-net=::/0" }, attack = url "http://[fd00:ec2::254]/",
    refused = "may not be reached", control = get },
  { name = "the metadata server as IPv4 in IPv6", policy = { OPEN, "--allow-net=::/0" },
    attack = url "http://[::ffff:169.254.169.254]/", refused = "may not be reached", control = get },
  { name = "the metadata server through NAT64", policy = { OPEN, "--allow-net=::/0" },
    attack = url "http://[64:ff9b::a9fe:a9fe]/", refused = "may not be reached", control = get },
  { name = "the metadata server, decimal", policy = { OPEN, "--allow-net=0.0.0.0/0" },
    attack = url "http://2852039166/", refused = "may not be reached", control = get },
  { name = "a link-local address", policy = { OPEN, "--allow-net=::/0" }, attack = url "http://[fe80::1]:OTHER/",
    refused = "may not be reached", control = get },
  { name = "other protocols of libcurl", policy = { OPEN, "--allow-read=pub" }, refused = "cannot be requested",
    attack = "for _, u in ipairs { 'file://' .. O .. '/secret', 'gopher://127.0.0.1:' .. OTHER .. '/', "
      .. "'dict://127.0.0.1:' .. OTHER .. '/', 'ftp://127.0.0.1/', 'FILE://' .. O .. '/secret' } do if "
      .. "try(http.get(u)) then return 'pw' .. 'ned' end end", control = get },
  { name = "a redirect to a file", policy = { OPEN, "--allow-read=pub" },
    attack = url "http://127.0.0.1:PORT/redirect-file", refused = "cannot be requested", control = get },
  { name = "a name that a listed address may have (names leak by DNS)", policy = { OPEN, "--allow-net=0.0.0.0/0" },
    attack = url "http://the-secret.example.com/", control = get },
  { name = "a proxy of the environment", policy = { "--allow-net=example.com" },
    env = { http_proxy = "http://127.0.0.1:$M" }, attack = url "http://example.com/",
    control = "return fs.cwd() or true" },
  { name = "a listed proxy for a host that is not", policy = { "--allow-net=127.0.0.1:$M" },
    env = { http_proxy = "http://127.0.0.1:$M" }, attack = url "http://example.com/", control = "return true" },
  { name = "a proxy that the script sets", policy = { OPEN }, refused = "denied",
    attack = "require 'ws.environment'.set { http_proxy = 'http://127.0.0.1:' .. OTHER, ALL_PROXY = "
      .. "'http://127.0.0.1:' .. OTHER } " .. url "http://example.com/", control = get },
  { name = "a response into a file outside", policy = { OPEN, "--allow-write=out" },
    attack = "return http.get('http://127.0.0.1:' .. PORT .. '/', { sink = { file = O .. '/victim' } })",
    control = "return http.get('http://127.0.0.1:' .. PORT .. '/', { sink = { file = 'out/f' } }).status" },
  { name = "a file outside as the body", policy = { OPEN, "--allow-read=pub" },
    attack = "return http.post('http://127.0.0.1:' .. PORT .. '/echo', { body = { file = O .. '/secret' } })",
    control = "return http.post('http://127.0.0.1:' .. PORT .. '/echo', { body = { file = 'pub/a.txt' } "
      .. "}).body == 'public\\n'" },
  { name = "certificates and keys as a way to read", policy = { OPEN },
    attack = "return try(http.get('https://127.0.0.1:' .. PORT .. '/', { ca = O .. '/secret' })) or "
      .. "try(http.get('https://127.0.0.1:' .. PORT, { cert = O .. '/secret', key = O .. '/secret' }))",
    refused = "may not be read", control = get },
  { name = "a unix socket", policy = { OPEN, "--allow-read=pub" }, unix = true,
    attack = "return http.get('http://127.0.0.1:' .. PORT .. '/', { unix = O .. '/socket' })", control = get },
  { name = "a unix socket through a link", policy = { OPEN, "--allow-read=out", "--allow-write=out" }, unix = true,
    prepare = function(w) assert(fs.symlink(w.outside .. "/socket", w.project .. "/out/s")) end,
    attack = "return http.get('http://127.0.0.1:' .. PORT .. '/', { unix = 'out/s' })", control = get },
  { name = "listen for others", policy = { OPEN },
    attack = "return server.listen { host = '0.0.0.0', handler = print }", control = get },
  { name = "listen on a port that is not listed", policy = { OPEN },
    attack = "return server.listen { port = 0, handler = print }", control = get },
  { name = "listen on a unix socket outside", policy = { OPEN, "--allow-write=out" },
    attack = "return server.listen { unix = O .. '/s', handler = print }",
    control = "local s = server.listen { unix = 'out/s', handler = print } return s and s:close() ~= 0" },
  { name = "a file outside as an answer", policy = { OPEN, "--allow-read=out", "--allow-write=out" },
    attack = "local s = assert(server.listen { unix = 'out/s', handler = function() return { file = O .. "
      .. "'/secret' } end }) local r = http.get('http://x/', { unix = 'out/s' }) s:close() return nil, "
      .. "'denied ' .. r.status .. r.body", refused = "denied 500",
    control = "local s = assert(server.listen { unix = 'out/s', handler = function() return { file = "
      .. "'out/mine' } end }) local r = http.get('http://x/', { unix = 'out/s' }) s:close() return "
      .. "r.body == 'mine\\n'" },
  { name = "a child with no network", policy = { "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die "denied $!"; ]]
      .. [[connect(S, sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) or die $!; print "pw"."ned"', OTHER }]],
    control = "return process.run({ 'perl', '-e', 'print 1' }).stdout == '1'" },
  { name = "a child with no network, by datagrams", policy = { "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'use Socket; for my $f (PF_INET, PF_INET6, 17, 40, 38) { for my $t ]]
      .. [[(1, 2, 3) { socket(S, $f, $t, 0) and print "pw"."ned" } } print "denied $!"' }]],
    control = "return process.run({ 'perl', '-e', 'print 1' }).stdout == '1'" },
  { name = "a child with another port", policy = { OPEN, "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, ]]
      .. [[sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) and print "pw"."ned"; print "denied $!"', OTHER ]]
      .. [[}]],
    control = [[return process.run({ "perl", "-e", 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); print ]]
      .. [[connect(S, sockaddr_in($ARGV[0], inet_aton("127.0.0.1")))', PORT }).stdout == "1"]] },
  { name = "a child and a raw socket", policy = { OPEN, "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'use Socket; socket(S, PF_INET, SOCK_RAW, 1) and print "pw"."ned"; ]]
      .. [[print "denied $!"' }]], control = get },
  { name = "a child and a unix socket", policy = { OPEN, "--allow-run=perl" }, needs = "perl", unix = true,
    attack = [[return out { "perl", "-e", 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die "denied $!"; ]]
      .. [[connect(S, sockaddr_un($ARGV[0])) and print "pw"."ned"', O .. "/socket" }]],
    control = "return process.run({ 'perl', '-e', 'print 1' }).stdout == '1'" },
  { name = "a child and the 32-bit system calls", policy = { "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'my $r = syscall(0x40000000 + 41, 2, 1, 0); print $r >= 0 ? ]]
      .. [["pw"."ned" : "denied $!"' }]], control = "return process.run({ 'perl', '-e', 'print 1' }).stdout == '1'" },
  { name = "a child and io_uring", policy = { "--allow-run=perl" }, needs = "perl",
    attack = [[return out { "perl", "-e", 'my $b = chr(0) x 120; my $r = syscall(425, 8, $b); print $r >= 0 ? ]]
      .. [["pw"."ned" : "denied $!"' }]], control = "return process.run({ 'perl', '-e', 'print 1' }).stdout == '1'" },
}

--- A name other than localhost that leads to this machine, or nil.
local function own_name()
  local r = process.run { "getent", "hosts", (fs.read("/proc/sys/kernel/hostname") or ""):match("%S*") }
  local address, name = (r and r.stdout or ""):match("^(%S+)%s+(%S+)")
  return address and address:find("^127%.") and name ~= "localhost" and name or nil
end

return function(test)
  for _, case in ipairs(cases) do
    test(case.name, function(t)
      if case.needs and not process.which(case.needs) then t:skip(case.needs .. " is not installed") end
      local host = case.host and own_name()
      if case.host and not host then t:skip("this machine's name does not lead to itself") end
      local reached = 0
      local function secret() reached = reached + 1 return { body = "TOP-" .. "SECRET" } end
      local closed = assert(server.listen { handler = secret })
      t:defer(function() closed:close() end)
      local open = assert(server.listen { handler = function(req)
        local to = ({ ["/redirect"] = "http://127.0.0.1:" .. closed.port .. "/",
          ["/redirect-file"] = "file:///etc/passwd",
          ["/redirect-name"] = "http://localhost:" .. closed.port .. "/" })[req.path]
        if to then return { status = 302, headers = { location = to } } end
        return { body = req.path == "/echo" and req:body() or "open" }
      end })
      t:defer(function() open:close() end)
      if case.unix then
        local before = case.prepare
        local made
        case.prepare = function(w, tt)
          made = assert(server.listen { unix = w.outside .. "/socket", handler = secret })
          tt:defer(function() made:close() end)
          if before then before(w, tt) end
        end
      end
      local env = {}
      for name, value in pairs(case.env or {}) do env[name] = (value:gsub("%$M", tostring(closed.port))) end
      case.refused = case.refused or "denied"
      cage.try(t, case, { port = open.port, other = closed.port, host = host, env = env })
      t:eq(reached, 0, case.name .. ": the server was reached")
    end)
  end
end
