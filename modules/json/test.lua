local json = require "ws.json"
local secret = require "ws.secret"

local function round(text)
  local value, err = json.decode(text)
  return json.encode(value == nil and error(err) or value)
end

return function(test)
  test("the README's example is true", function(t) t:examples "modules/json/README.md" end)

  test("values survive a round trip byte for byte", function(t)
    for _, text in ipairs {
      "null", "true", "false", '""', "[]", "{}", "[[],{}]", "0", "-1", "9223372036854775807", "-9223372036854775808",
      "0.1", "-2.5", "1.0", "-0.0", "1.0e+100", "123456.789", "0.3333333333333333", "2.2250738585072014e-308", "5e-324",
      '{"z":1,"a":2,"m":{"y":[1,"2",null],"b":{}}}', '"é😀\\n\\u0000\\"\\\\\127/"',
      '[{"a":1,"b":2},{"a":3,"b":4},{"b":5,"a":6}]',
    } do
      if text == "5e-324" then
        t:eq(json.decode(round(text)), 5e-324)
      else
        t:eq(round(text), text)
      end
    end
    t:eq(math.type(json.decode "1"), "integer")
    t:eq(math.type(json.decode "1.0"), "float")
    t:eq(json.decode "9223372036854775808", 2.0 ^ 63)
    t:eq(json.decode '"\\u00e9\\ud83d\\ude00\\/\\b\\f\\t"', "é😀/\b\f\t")
    t:eq(json.decode "\xef\xbb\xbf[1]", { 1 })
    t:eq(json.decode ' [ 1 , { "a" : "b" } ]\r\n', { 1, { a = "b" } })
  end)

  test("floats are read as the C library reads them", function(t)
    local seed = 12345
    local function random()
      seed = seed * 6364136223846793005 + 1442695040888963407
      return seed >> 11
    end
    for _ = 1, 20000 do
      local digits = tostring(random() % 10 ^ (1 + random() % 19) // 1 | 0):gsub("^%-", "")
      local text = ("%s.%de%d"):format(digits, random() % 100000, random() % 60 - 30)
      t:eq(json.decode(text), tonumber(text), text)
      local number = tonumber(text)
      t:eq(json.decode(json.encode(number)), number, text)
    end
  end)

  test("bad text is refused with line and column", function(t)
    for text, where in pairs {
      [""] = "1:1: the text ends", ["{"] = "1:2: a key", ["[1,]"] = "1:4: a value expected",
      ["{\"a\":1,}"] = "1:8: a key", ['{"a":1,"a":2}'] = "1:8: this key is in the map already",
      ["[01]"] = "1:2: a number has no leading zeros", ['"\\ud800"'] = "1:2: half of a surrogate pair",
      ['"\\udc00"'] = "1:2: half of", ['"\\ud800\\u0041"'] = "1:2: half of", ['"abc'] = "1:1: the string does not end",
      ['"\\'] = "1:1: the string does not end", ['"\\"'] = "1:1: the string does not end",
      ['{"a" 1}'] = "1:6: ':' expected", ["[1 2]"] = "1:4: ',' or ']'",
      ['\n\n {"é":\n   tru}'] = "4:4: unexpected word",
      ['"é\1"'] = "1:3: control character", ['"\xff"'] = "1:2: not UTF-8", ['"\\n\xc0\x80"'] = "1:4: not UTF-8",
      ['"\xed\xa0\x80"'] = "1:2: not UTF-8", ["1 2"] = "1:3: the text goes on", ["-"] = "1:1: unexpected character",
      ["1."] = "1:3: a digit", ["1e+"] = "1:4: a digit", ["1e999"] = "1:1: the number is too large",
      ["\0"] = "1:1: unexpected NUL", ['["a\0b"]'] = "1:4: control character", ["[1]\0"] = "1:4: the text goes on",
      ['"\\u12g4"'] = "1:2: \\u needs", ['"\\x"'] = "1:2: unknown escape", ["'a'"] = "1:1: unexpected character",
      ["NaN"] = "1:1: unexpected character", ["+1"] = "1:1: unexpected character", ["[,1]"] = "1:2: a value expected",
      ['{"a":}'] = "1:6: a value expected", ['{"a"}'] = "1:5: ':' expected", ["]"] = "1:1: a value expected",
    } do
      local err = t:err("parse", json.decode(text))
      t:has(err.message, where)
      t:eq(err.message:find(where, 1, true), 1, text)
    end
    t:has(t:err("parse", json.decode("[", { filename = "a.json" })).message, "a.json:1:2: ")
    t:has(t:err("parse", json.decode '[{"x":[1,"}\\""], "b":"q", "x":2}]').message, "1:27: this key")
  end)

  test("a key that occurs twice is found in large maps too", function(t)
    local parts = {}
    for i = 1, 1000 do parts[i] = ('"k%d":[%d,{"k%d":1}]'):format(i, i, i) end
    t:eq(#json.encode(assert(json.decode("{" .. table.concat(parts, ",") .. "}"))), #table.concat(parts, ",") + 2)
    parts[900] = '"k7":0'
    local text = "{" .. table.concat(parts, ",\n") .. "}"
    t:has(t:err("parse", json.decode(text)).message, "900:1: this key")
  end)

  test("depth is limited both ways", function(t)
    t:ok(json.decode(("["):rep(512) .. ("]"):rep(512)))
    t:has(t:err("parse", json.decode(("["):rep(100000))).message, "1:513: nested too deeply")
    t:has(t:err("parse", json.decode(('{"a":'):rep(513))).message, "nested too deeply")
    local loop = {}
    loop.loop = loop
    t:raises("contains itself", json.encode, loop)
  end)

  test("maps keep their order while they change", function(t)
    local v = json.decode '[{"b":1,"a":2,"c":3},{"b":1,"a":2,"c":3}]'
    v[1].d = 4
    v[1].a = nil
    v[1].b = 5
    t:eq(json.encode(v), '[{"b":5,"c":3,"d":4},{"b":1,"a":2,"c":3}]')
    v[1].a = 6
    t:eq(json.encode(v[1]), '{"b":5,"a":6,"c":3,"d":4}')
    local keys = {}
    for k in pairs(v[1]) do keys[#keys + 1] = k end
    t:eq(keys, { "b", "a", "c", "d" })
    rawset(v[2], "z", 1)
    rawset(v[2], "y", 1)
    t:eq(json.encode(v[2]), '{"b":1,"a":2,"c":3,"y":1,"z":1}')
    local o = json.object()
    for _, k in ipairs { "x", "m", "a" } do o[k] = k end
    t:eq(json.encode(o), '{"x":"x","m":"m","a":"a"}')
    t:raises("keys of a map are strings or integers, got boolean", function() o[true] = 1 end)
    keys = {}
    for k, x in json.pairs { z = 1, b = 2, [3] = 3 } do keys[#keys + 1] = k .. "=" .. x end
    t:eq(keys, { "3=3", "b=2", "z=1" })
  end)

  test("maps may lose entries while they are walked", function(t)
    local o = assert(json.decode '{"a":1,"b":2,"c":3}')
    local seen = {}
    for k in pairs(o) do
      seen[#seen + 1] = k
      o[k] = nil
    end
    t:eq(seen, { "a", "b", "c" })
    t:eq(next(o), nil)
    t:eq(json.encode(o), "{}")
  end)

  test("plain tables: lists when non-empty sequences, else maps with sorted keys", function(t)
    t:eq(json.encode { z = 1, b = { 1, 2 }, a = {} }, '{"a":{},"b":[1,2],"z":1}')
    t:eq(json.encode(json.array()), "[]")
    t:eq(json.encode(json.array { {} }), "[{}]")
    t:eq(json.encode(json.object { [8080] = "a", b = 1 }), '{"8080":"a","b":1}')
    t:eq({ json.kind {}, json.kind { 1 }, json.kind(json.array()), json.kind(json.null), json.kind { 1, a = 2 },
      json.kind "s" }, { "object", "array", "array", "null" })
    t:eq(json.encode({ 1, { a = json.array(), b = json.object() } }, { indent = 2 }),
      '[\n  1,\n  {\n    "a": [],\n    "b": {}\n  }\n]')
  end)

  test("what JSON cannot say raises", function(t)
    for pattern, value in pairs {
      ["no function"] = print, ["no NaN"] = 0 / 0, ["no infinity"] = { math.huge }, ["neither a list"] = { 1, nil, 3 },
      ["not UTF%-8"] = "a\xffb", ["secret"] = { secret.new "hunter22" }, ["no userdata"] = io.stdout,
    } do
      t:raises(pattern, json.encode, value)
    end
    t:raises("neither a list", json.encode, { 1, x = 2 })
    t:raises("neither a list", json.encode, { [true] = 1 })
    t:raises("neither a list", json.encode, json.array { a = 1 })
    t:raises("unknown option 'ident'", json.encode, 1, { ident = 2 })
    t:raises("0 to 16", json.encode, 1, { indent = 17 })
    t:raises("string expected", json.decode, 12)
    t:eq(json.encode("a\xffb", { invalid_utf8 = "replace" }), '"a\u{fffd}b"')
    t:raises("invalid option", json.encode, 1, { invalid_utf8 = "drop" })
  end)

  test("a text with secrets is a secret", function(t)
    local text = json.encode({ password = secret.new "hunter22" }, { secrets = true })
    t:ok(secret.is(text))
    t:eq(text, secret.new '{"password":"hunter22"}')
  end)

  test("any damage to a text is an error or a value, never a crash", function(t)
    local text = '{"a": [1, -2.5e3, "x\\u00e9\\n", true, null, {"b": {}}], "c": "é", "a2": []}'
    local seed = 7
    for _ = 1, 20000 do
      seed = (seed * 1103515245 + 12345) & 0x7fffffff
      local at, byte = seed % #text + 1, (seed >> 8) & 255
      local damaged = text:sub(1, at - 1) .. string.char(byte) .. text:sub(at + (seed >> 16) % 3)
      local value, err = json.decode(damaged)
      if value == nil then
        t:eq(err.kind, "parse")
      else
        t:eq(round(json.encode(value)), json.encode(value))
      end
    end
  end)
end
