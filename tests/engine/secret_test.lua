local fs = require "ws.fs"
local process = require "ws.process"
local secret = require "ws.secret"

return function(test)
  test("a secret shows nothing and cannot become text", function(t)
    local s = secret.new("pa55word!")
    t:eq(tostring(s), "***")
    t:raises("cannot become part of a string", function() return "x" .. s end)
    t:raises("cannot become part of a string", function() return s .. "x" end)
    t:eq(getmetatable(s), false)
    t:eq(secret.is(s), true)
    t:eq(secret.is("pa55word!"), false)
    t:eq(s == secret.new("pa55word!"), true)
    t:eq(s == secret.new("pa55word?"), false)
    t:eq(secret.new(s), s)
    t:raises("string expected", secret.new, 5)
  end)

  test("known secrets are masked in text, also line by line; short ones are not", function(t)
    secret.new("first line of it\nsecond line of it")
    secret.new("short")
    t:eq(secret.redact("a first line of it b\nsecond line of it"), "a *** b\n***")
    t:eq(secret.redact("short"), "short")
    t:eq(secret.redact(""), "")
  end)

  test("a stream masks across the borders of its pieces", function(t)
    secret.new("stream-secret-1")
    local stream = secret.stream()
    t:eq(stream:feed("before stream-sec"), "before ")
    t:eq(stream:feed("ret-1 after stream"), "*** after ")
    t:eq(stream:finish(), "stream")
  end)

  test("the private members of a JSON document are masked alone, its other members are not", function(t)
    secret.new('{"type": "service_account", "private_key_id": "0123456789ab", "project_id": "my-project", '
      .. '"token_uri": "https://oauth2.example/token", '
      .. '"nested": {"refresh_token": "1//refresh"}, "tokens": ["first-one", "second-one"]}')
    t:eq(secret.redact("0123456789ab 1//refresh first-one second-one"), "*** *** *** ***")
    t:eq(secret.redact("service_account https://oauth2.example/token my-project"),
      "service_account https://oauth2.example/token my-project")
  end)

  local function run(t, script)
    local path = t:tmpdir() .. "/script.lua"
    t:ok(fs.write(path, 'local secret = require "ws.secret"\nlocal s <const> = "standard-secret-2"\nsecret.new(s)\n'
      .. script))
    return t:ok(process.run { os.getenv "WSRUN", path })
  end

  test("standard streams are masked, however the text gets there", function(t)
    local result = run(t, [[
      print("print", s)
      io.write("write ", s:sub(1, 5)) io.write(s:sub(6), "\n")
      io.stdout:write("method ", s:sub(1, 12)):write(s:sub(13), 1, " ", 2.5, "\n")
      io.stderr:write("stderr ", s, "\n")
      io.stderr:write("encoded ", require "ws.crypto".base64_encode("x" .. s), "\n")
      io.write("kept back: standard")
    ]])
    t:eq(result.stdout, "print\t***\nwrite ***\nmethod ***1 2.5\nkept back: standard")
    t:eq(result.stderr, "stderr ***\nencoded eH***\n")
    t:eq(result.code, 0)
  end)

  test("an error that holds a secret is masked", function(t)
    local result = run(t, "error('cannot log in with ' .. s)")
    t:has(result.stderr, "cannot log in with ***")
    t:eq(result.stderr:find("standard-secret-2", 1, true), nil)
  end)

  test("joined parts are a secret", function(t)
    local header = secret.join("Bearer ", secret.new("token-token"))
    t:eq(tostring(header), "***")
    t:eq(header == secret.new("Bearer token-token"), true)
    t:raises("string expected", secret.join, {})
  end)
end
