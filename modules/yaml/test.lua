local yaml = require "ws.yaml"
local json = require "ws.json"
local secret = require "ws.secret"

local function read(text)
  local value, err = yaml.decode(text)
  return value == nil and error(err) or value
end

return function(test)
  test("the README's example is true", function(t) t:examples "modules/yaml/README.md" end)

  test("scalars are typed as the core schema of YAML 1.2 says", function(t)
    for text, value in pairs {
      ["1"] = 1, ["-1"] = -1, ["+12"] = 12, ["012"] = 12, ["0o17"] = 15, ["0x1F"] = 31,
      ["9223372036854775807"] = math.maxinteger,
      ["-9223372036854775808"] = math.mininteger, ["9223372036854775808"] = 2.0 ^ 63, ["1.0"] = 1.0, [".5"] = 0.5,
      ["5."] = 5.0, ["-1.5e3"] = -1500.0, ["1e3"] = 1000.0, [".inf"] = math.huge, ["-.INF"] = -math.huge,
      ["true"] = true,
      ["False"] = false, ["yes"] = "yes", ["no"] = "no", ["On"] = "On", ["off"] = "off", ["y"] = "y", ["'1'"] = "1",
      ['"true"'] = "true", ["1.2.3"] = "1.2.3", ["1_000"] = "1_000", ["12:30"] = "12:30", ["2024-01-01"] = "2024-01-01",
      ["0b1"] = "0b1", ["0x"] = "0x", ["0o8"] = "0o8", ["."] = ".", ["-"] = { yaml.null }, ["- "] = { yaml.null },
      ["1e"] = "1e", ["+.inf"] = math.huge, ["-.nan"] = "-.nan", ["!!str 12"] = "12", ["! 12"] = "12",
      ["!!float 1"] = 1.0,
      ["trUe"] = "trUe", ["nULL"] = "nULL", ["NULL"] = yaml.null, ["~"] = yaml.null, [""] = yaml.null,
      ["# x"] = yaml.null,
      ["|\n a\n b\n"] = "a\nb\n", [">-\n a\n b\n"] = "a b", ['"\\u00e9\\0"'] = "é\0", ["[]"] = {}, ["{}"] = {},
    } do
      local got = read(text)
      t:eq(got, value, text)
      t:eq(math.type(got), math.type(value), text)
    end
    local nan = read ".nan"
    t:ok(nan ~= nan)
    t:eq({ yaml.kind(read "[]"), yaml.kind(read "{}") }, { "array", "object" })
  end)

  test("files of Kubernetes are typed as its tools do", function(t)
    local function read11(text) return (select(1, yaml.decode(text, { yaml11 = true }))) end
    for text, value in pairs {
      ["0644"] = 420, ["-0644"] = -420, ["0"] = 0, ["00"] = 0, ["0o644"] = 420, ["0x1f"] = 31, ["0b101"] = 5,
      ["-0b11"] = -3, ["0689"] = 689, ["yes"] = true, ["On"] = true, ["y"] = true, ["true"] = true, ["no"] = false,
      ["OFF"] = false, ["n"] = false, ["yEs"] = "yEs", ["'yes'"] = "yes", ["one"] = "one", ["0b12"] = "0b12",
      ["1.5"] = 1.5, ["10"] = 10, ["!!str 0644"] = "0644",
    } do
      t:eq(read11(text), value, text)
      t:eq(math.type(read11(text)), math.type(value), text)
    end
    t:eq(json.encode(yaml.decode_all("mode: 0400\n---\non: y\n", { yaml11 = true })), '[{"mode":256},{"on":true}]')
  end)

  test("keys are strings or integers and keep their order", function(t)
    t:eq(json.encode(read "z: 1\n8080: a\ntrue: b\n~: c\n1.5: d\n'2': e\na: 2\n"),
      '{"z":1,"8080":"a","true":"b","~":"c","1.5":"d","2":"e","a":2}')
    t:eq(read("8080: a")[8080], "a")
  end)

  test("aliases are copies, << merges", function(t)
    local v = read "a: &x {b: 1, c: [1]}\nd: *x\ne: {<<: *x, b: 2}\nf: {<<: [{q: 1}, *x, {q: 2}], z: 0}\n"
    t:eq(json.encode(v),
      '{"a":{"b":1,"c":[1]},"d":{"b":1,"c":[1]},"e":{"b":2,"c":[1]},"f":{"z":0,"q":1,"b":1,"c":[1]}}')
    v.d.c[1], v.d.new = 5, 6
    t:eq(v.a, { b = 1, c = { 1 } })
    t:eq(v.e.c, { 1 })
    t:eq(read "&k a: 1\nb: *k\nc: &f false\nd: *f\n", { a = 1, b = "a", c = false, d = false })
    t:eq(read "'<<': 1\n", { ["<<"] = 1 })
  end)

  test("bad text is refused with file, line and column", function(t)
    for text, where in pairs {
      ["a: 1\nb: {c: 1, c: 2}\n"] = '2:11: the key "c" is in this map already',
      ["a: 1\né: 2\nb: [{x: {y: 1}}]\n? é\n: 1\n"] = '4:3: the key "é" is in this map already',
      ["a:\n  b: 1\n\tc: 2"] = "3:1: a tab at the beginning of a line",
      ["a: [1, 2"] = "2:1: did not find expected ',' or ']'", ["a: *no"] = "1:4: alias *no: there is no such anchor",
      ["a: &a [*a]"] = "1:8: alias *a is part of what it stands for",
      ["a: !foo b"] = "1:4: the tag !foo is not supported",
      ["a: 1\n---\nb: 2\n"] = "2:1: a second document", ["? [a]\n: b"] = "1:3: a key has to be a string",
      ["a: 'x"] = "1:6: found unexpected end of stream", ["a: b: c"] = "1:5: mapping values are not allowed",
      ["a: 1\nb: \xff\n"] = "2:4: not readable as UTF-8", ["!!int x"] = '1:1: "x" is no !!int',
      ["!!map [1]"] = "1:1: the tag tag:yaml.org,2002:map is not supported", ["a: {<<: 1}"] = "1:5: << takes a map",
      ["a: {<<: [1]}"] = "1:5: << takes a map", ["{<<: {a: 1}, <<: {b: 1}}"] = '1:14: the key "<<" is in this map',
      ["a: @x"] = "1:4: found character that cannot start any token",
      ["a:\n - b\n c: d"] = "3:2: did not find expected",
      ["!!binary aGk="] = "1:1: the tag", ["a: \1"] = "1:4: not readable",
    } do
      local err = t:err("parse", yaml.decode(text))
      t:eq({ err.message:find(where, 1, true) }, { 1, #where }, text .. " → " .. err.message)
    end
    t:has(t:err("parse", yaml.decode("[", { filename = "a.yaml" })).message, "a.yaml:2:1: ")
    t:err("parse", yaml.decode_all "a: 1\n---\n[")
    t:raises("string expected", yaml.decode, nil)
    t:raises("unknown option", yaml.decode, "a", { file = "x" })
  end)

  test("bombs and depth are limited", function(t)
    local bomb = { "a: &a [x, x, x, x, x, x, x, x, x, x]" }
    for i = 1, 9 do
      local name, before = string.char(97 + i), string.char(96 + i)
      bomb[#bomb + 1] = ("%s: &%s [%s]"):format(name, name, ("*" .. before .. ", "):rep(9) .. "*" .. before)
    end
    t:has(t:err("parse", yaml.decode(table.concat(bomb, "\n"))).message, "aliases expand to more than 100000 values")
    t:ok(yaml.decode(("["):rep(256) .. ("]"):rep(256)))
    t:has(t:err("parse", yaml.decode(("["):rep(257))).message, "nested too deeply")
    local deep = "a: &a " .. ("["):rep(200) .. ("]"):rep(200) .. "\nb: " .. ("["):rep(100) .. "*a" .. ("]"):rep(100)
    t:has(t:err("parse", yaml.decode(deep)).message, "nested too deeply")
    local loop = {}
    loop[1] = loop
    t:raises("contains itself", yaml.encode, loop)
    t:raises("contains itself", yaml.encode, loop, { one_line = true })
  end)

  test("several documents", function(t)
    t:eq(json.encode(yaml.decode_all "a: 1\n---\nb\n---\n"), '[{"a":1},"b",null]')
    t:eq(json.encode(yaml.decode_all ""), "[]")
    t:eq(json.encode(yaml.decode_all "---\n&a a: 1\n...\n"), '[{"a":1}]')
    t:has(t:err("parse", yaml.decode_all "&a 1\n---\n*a").message, "3:1: alias *a")
    t:eq(yaml.encode_all { { a = 1 }, "x" }, "a: 1\n---\nx\n")
  end)

  test("texts look as people write them", function(t)
    t:eq(yaml.encode { a = { b = { 1, { c = 2, d = { 3 } }, { { 4 }, {} } } }, e = "", f = yaml.array(),
      g = yaml.null },
      [[
a:
  b:
    - 1
    - c: 2
      d:
        - 3
    - - - 4
      - {}
e: ""
f: []
g: null
]])
    t:eq(yaml.encode { script = "a\n  b\n\nc\n", no_end = "a\nb", many = "a\n\n\n", list = { "x\ny\n" } }, [[
list:
  - |
    x
    y
many: |+
  a


no_end: |-
  a
  b
script: |
  a
    b

  c
]])
    t:eq(yaml.encode({ a = { 1, "b, c" }, d = { e = "f" } }, { one_line = true }), '{a: [1, "b, c"], d: {e: f}}')
    t:eq(yaml.encode({ "a:?b", "a?", "a:b" }, { one_line = true }), '["a:?b", "a?", a:b]')
    t:eq(yaml.encode "x", "x\n")
    t:eq(yaml.encode(yaml.array()), "[]\n")
  end)

  test("strings are quoted when a reader could take them for something else", function(t)
    for _, s in ipairs { "yes", "No", "on", "y", "true", "null", "~", "", "1", "1.5", "0644", "1e3", "0x1F", "0b1",
    "1_000",
      "12:30", "2024-01-01", "2024-01-01T10:00:00Z", ".inf", "-.inf", ".NaN", "+1", "-1", ".5", "5.", "=", "<<", "- x",
      "-",
      "---", "a: b", "a:", "a #b", "#a", "@a", "`a", "*a", "&a", "!a", "|", ">", "%a", "'a'", '"a"', "[a]", "{a}", "?",
      ", a",
      " a", "a ", "a\tb", "\n", "\1", "\127", "\u{85}", "\u{2028}", "\u{feff}a", "a\r\nb", "...", "\0", "a\0", } do
      local text = yaml.encode(s)
      t:ok(text:find('^".*"\n$'), s .. " → " .. text)
    end
    for _, s in ipairs { "a", "dev-seb", "1.4.2", "v1.18.2", "10.32.0.0/13", "203.0.113.10", "--flag", "a b", "a:b",
    "a#b",
      "é😀", "/x", "user:seb@example.com", "https://a.b/c?d=e&f", "POSTGRES_16", "12ab", "_x", "<a>", "100m", "$x",
        "(a)" } do
      t:eq(yaml.encode(s), s .. "\n")
    end
  end)

  test("whatever is written is read as the same value", function(t)
    local seed = 42
    local function random(n)
      seed = (seed * 6364136223846793005 + 1442695040888963407)
      return (seed >> 33) % n
    end
    local pieces = { "a", "b: ", " #", "\n", "- ", "é", '"', "'", "\\", "1", ".", " ", "\t", "{", "]", ",", "&x",
      "\r", "\0",
      "yes", "0x", ":", "?", "|", ">", "%", "\u{2028}", "\u{85}", "😀", "e", "-", "\n\n", "  ", "~" }
    local function value(depth)
      local kind = random(depth > 3 and 6 or 9)
      if kind == 0 then return random(2) == 0 end
      if kind == 1 then return random(1000000) - 500000 end
      if kind == 2 then return (random(1000000) - 500000) / (1 << random(20)) end
      if kind == 3 then return yaml.null end
      if kind <= 5 then
        local s = {}
        for i = 1, random(6) do s[i] = pieces[random(#pieces) + 1] end
        return table.concat(s)
      end
      if kind == 6 then
        local list = yaml.array()
        for i = 1, random(4) do list[i] = value(depth + 1) end
        return list
      end
      local map = yaml.object()
      for _ = 1, random(4) do
        local key = value(9)
        if type(key) == "string" or math.type(key) == "integer" then map[key] = value(depth + 1) end
      end
      return map
    end
    for _ = 1, 3000 do
      local v = value(0)
      local text = yaml.encode(v)
      t:eq(yaml.encode(read(text)), text)
      t:eq(json.encode(read(text)), json.encode(v), text)
      local line = yaml.encode(v, { one_line = true })
      t:eq(json.encode(read(line)), json.encode(v), line)
      t:ok(not line:find("\n"), line)
    end
  end)

  test("what YAML cannot say raises", function(t)
    for pattern, value in pairs {
      ["no function"] = print, ["neither a list"] = { 1, nil, 3 }, ["not UTF%-8 %(at byte 2%)"] = "a\xffb",
      ["a secret"] = { secret.new "hunter22" }, ["a key of 300"] = { [("k"):rep(300)] = 1 },
    } do
      t:raises(pattern, yaml.encode, value)
    end
    t:eq(yaml.encode({ p = secret.new "hunter22" }, { secrets = true }), secret.new "p: hunter22\n")
  end)

  test("marks say where values and keys are", function(t)
    local text = "# c\na: 1\né:\n  - x: 'y'\n    z: [1, é, {q: 2}]\n  - |\n    t\nb: &x v\nc: *x\n"
    local value, marks = yaml.load_marked(text, { filename = "f.yaml" })
    t:eq(value.b, "v")
    t:eq(marks:source { "é", 1, "z", 1 }, "1")
    t:eq({ marks:get { "a" } }, { 2, 4, 2, 1 })
    t:eq({ marks:get { "é", 1, "z", 3, "q" } }, { 5, 19, 5, 16 })
    t:eq({ marks:get { "é", 2 } }, { 6, 5 })
    t:eq({ marks:get {} }, { 2, 1 })
    t:eq({ marks:get { "nope" } }, {})
    t:eq(marks:where { "é", 1, "x" }, "f.yaml:4:5")
    t:eq(marks:where { "é", 1, "nope", 3 }, "f.yaml:4:5")
    t:eq(marks:where { "é", 2 }, "f.yaml:6:5")
    t:err("parse", yaml.load_marked "[")
    local _, empty = yaml.load_marked ""
    t:eq(empty:where { "a" }, "(text):1:1")
  end)

  test("any damage to a text is an error or a value, never a crash", function(t)
    local text = "a: &x {b: [1, -2.5e3], c: 'd'}\ne:\n  - |\n    f\n  - *x\n  - <<: *x\n    g: \"h\\n\"\n"
    local seed = 7
    for _ = 1, 10000 do
      seed = (seed * 1103515245 + 12345) & 0x7fffffff
      local at, byte = seed % #text + 1, (seed >> 8) & 255
      local damaged = text:sub(1, at - 1) .. string.char(byte) .. text:sub(at + (seed >> 16) % 3)
      local value, err = yaml.decode(damaged)
      if value == nil then
        t:eq(err.kind, "parse")
      else
        local again = yaml.encode(value)
        t:eq(yaml.encode(read(again)), again)
      end
    end
  end)
end
