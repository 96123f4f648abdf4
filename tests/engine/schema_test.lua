local s = require "ws.schema"
local cidr = require "ws.cidr"
local json = require "ws.json"
local yaml = require "ws.yaml"

local function problems(type_, text)
  local value, marks = assert(yaml.load_marked(text, { filename = "f.yaml" }))
  local _, found = s.check(type_, value, marks)
  local texts = {}
  for i, problem in ipairs(found) do texts[i] = problem.text end
  return texts
end

local function record(fields, check)
  return s.record { fields = fields, check = check }
end

return function(test)
  test("each type refuses what it does not allow, with what was found", function(t)
    local hostname = { match = "^%l+$", regex = "^[a-z]+$", allowed = "lower case letters" }
    local function why(text) return text == "ok", "because" end
    for _, case in ipairs {
      { s.string(), "1", "found 1 (integer), allowed: string (put it in quotes)" },
      { s.string(), "[]", "found a list, allowed: string" },
      { s.string { min = 2, max = 3 }, "abcd", 'found "abcd" (string), allowed: string of a length 2..3' },
      { s.string { format = hostname }, "A", 'found "A" (string), allowed: lower case letters' },
      { s.string { format = { match = why, regex = "^ok$", allowed = "ok" } }, "no",
        'found "no" (string), allowed: ok (because)' },
      { s.string { secret = true, format = hostname }, "HUNTER2", "found a string, allowed: lower case letters" },
      { s.string(), "", "found nothing (null), allowed: string" },
      { s.integer(), "1.5", "found 1.5 (number), allowed: integer" },
      { s.integer(), "'1'", 'found "1" (string), allowed: integer (without quotes)' },
      { s.integer { min = 1, max = 3 }, "4", "found 4 (integer), allowed: integer 1..3" },
      { s.integer { min = 1 }, "0", "found 0 (integer), allowed: integer, at least 1" },
      { s.integer { one_of = { 60, 300 } }, "61", "found 61 (integer), allowed: one of 60, 300" },
      { s.number { above = 0, max = 1 }, "0", "found 0 (integer), allowed: number, at most 1" },
      { s.number { above = 0 }, "-1.5", "found -1.5 (number), allowed: number above 0" },
      { s.number(), ".nan", "found nan (number), allowed: number" },
      { s.boolean(), "yes", 'found "yes" (string), allowed: true or false' },
      { s.enum { one_of = { "zonal", "regional" } }, "regoinal",
        'found "regoinal" (string), allowed: one of zonal, regional (did you mean regional?)' },
      { s.enum { one_of = { "a" } }, "1", "found 1 (integer), allowed: one of a" },
      { s.cidr(), "10.0.0.1",
      'found "10.0.0.1" (string), allowed: range such as 10.32.0.0/20 (an address, not a range)' },
      { s.cidr { least = 28, most = 28 }, "10.0.0.0/24",
        'found "10.0.0.0/24" (string), allowed: range of exactly /28 such as 10.32.0.0/28' },
      { s.cidr { single = true }, "10.0.0.256", 'found "10.0.0.256" (string), allowed: address, or range such as '
        .. "10.32.0.0/20 (not a range of IPv4 addresses)" },
      { s.cidr(), "7", "found 7 (integer), allowed: range such as 10.32.0.0/20" },
      { s.list { of = s.string() }, "{}", "found a map, allowed: list: string" },
      { s.list { of = s.string(), min = 1 }, "[]", "0 entries, allowed: list with at least 1 entries: string" },
      { s.map { of = s.integer() }, "[]", "found a list, allowed: map of integer" },
      { s.map { of = s.any() }, "x", 'found "x" (string), allowed: map' },
      { record { { "a", s.any() }, { "b", s.any() } }, "3", "found 3 (integer), allowed: map with a, b" },
      { s.either { of = { s.string(), s.list { of = s.string() } } }, "3",
        "found 3 (integer), allowed: string; or list: string" },
    } do
      t:eq(problems(case[1], case[2]), { "f.yaml:1:1: " .. case[3] }, case[2])
    end
  end)

  test("problems stand at the value, at the key, or at the map that lacks a key", function(t)
    local schema = record {
      { "name", s.string { required = true } },
      { "list", s.list { of = s.either { of = { s.string(), record { { "n", s.integer { required = true } } } } },
        unique = true } },
      { "map", s.map { of = s.integer(), keys = { match = "^%l+$", regex = "^[a-z]+$", allowed = "letters" } } },
    }
    t:eq(problems(schema, "nmae: x\nlist:\n  - a\n  - m: 1\n  - 5\n  - a\nmap:\n  A: 1\n  b: x\n  \"c.d\": 'y'\n"), {
      'f.yaml:1:1: nmae: no such key, did you mean "name"?',
      'f.yaml:1:1: the key "name" is missing (string)',
      'f.yaml:4:5: list[2].m: no such key, did you mean "n"?',
      'f.yaml:4:5: list[2]: the key "n" is missing (integer)',
      "f.yaml:5:5: list[3]: found 5 (integer), allowed: string; or map with n",
      'f.yaml:6:5: list[4]: "a" (string) is in this list already',
      "f.yaml:8:3: map.A: the key is not allowed: letters",
      'f.yaml:9:6: map.b: found "x" (string), allowed: integer',
      'f.yaml:10:3: map["c.d"]: the key is not allowed: letters',
      'f.yaml:10:10: map["c.d"]: found "y" (string), allowed: integer',
    })
    t:eq(problems(schema, "name: x\nwholly-other: 1\n"),
      { "f.yaml:2:1: wholly-other: no such key, allowed: name, list, map" })
  end)

  test("values in aliases are reported where the alias stands", function(t)
    local schema = record { { "a", s.any() }, { "b", record { { "n", s.integer() } } } }
    t:eq(problems(schema, "a: &x\n  n: no\nb: *x\n"), { 'f.yaml:3:1: b.n: found "no" (string), allowed: integer' })
  end)

  test("one problem does not hide another: checks see what is right by itself", function(t)
    local schema = record {
      { "min", s.integer() }, { "max", s.integer() }, { "other", s.integer { required = true } },
      { "list", s.list { of = record({ { "n", s.integer() } }, function(v, report)
        if v.n and v.n > 5 then report({ "n" }, "too many") end
      end) } },
    }
    schema.check = function(v, report)
      if v.min and v.max and v.min > v.max then report({ "min" }, "above max") end
      if v.list then
        local sum = 0
        for _, entry in ipairs(v.list) do sum = sum + (entry and entry.n or 0) end
        if sum > 10 then report({ "list" }, "sum " .. sum, true) end
      end
    end
    t:eq(problems(schema, "min: 3\nmax: 2\nunknown: 1\nlist:\n  - n: 6\n  - n: x\n  - 7\n  - n: 6\n"), {
      'f.yaml:1:1: the key "other" is missing (integer)',
      "f.yaml:1:6: min: above max",
      "f.yaml:3:1: unknown: no such key, allowed: min, max, other, list",
      "f.yaml:4:1: list: sum 12",
      "f.yaml:5:8: list[1].n: too many",
      'f.yaml:6:8: list[2].n: found "x" (string), allowed: integer',
      "f.yaml:7:5: list[3]: found 7 (integer), allowed: map with n",
      "f.yaml:8:8: list[4].n: too many",
    })
    t:eq(problems(schema, "min: x\nmax: 2\nother: 1\n"), { 'f.yaml:1:6: min: found "x" (string), allowed: integer' })
  end)

  test("defaults are given as copies, and keep the order", function(t)
    local default = { a = { 1 } }
    local schema = record { { "x", s.integer { default = 5 } }, { "y", s.any { default = default } }, { "z", s.any() } }
    local value = assert(s.validate(schema, assert(yaml.decode "z: 1\n")))
    t:eq(json.encode(value), '{"z":1,"x":5,"y":{"a":[1]}}')
    value.y.a[1] = 2
    t:eq(default, { a = { 1 } })
    t:eq(assert(s.validate(schema, { x = 1, y = 2, z = 3 })), { x = 1, y = 2, z = 3 })
  end)

  test("versions are the characters of the text", function(t)
    local format = { match = "^%d+%.%d+$", regex = "^[0-9]+\\.[0-9]+$", allowed = "version" }
    local schema = record { { "v", s.version { format = format } } }
    local function read(text)
      local value, marks = yaml.load_marked(text)
      return assert(s.validate(schema, value, marks)).v
    end
    t:eq({ read "v: 1.30", read "v: '1.30'", read "v: 1.0", read "v:   1.10 # c" }, { "1.30", "1.30", "1.0", "1.10" })
    t:eq(problems(schema, "v: 1.30.1"), { 'f.yaml:1:4: v: found "1.30.1" (string), allowed: version' })
  end)

  test("all problems are in one error", function(t)
    local schema = record { { "a", s.integer { required = true } }, { "b", s.integer() } }
    local err = t:err("invalid", s.validate(schema, { b = "x" }))
    t:eq(#err.problems, 2)
    t:eq(err.message, 'b: found "x" (string), allowed: integer\nthe key "a" is missing (integer)')
  end)

  test("a schema that is wrong itself raises", function(t)
    t:raises("integer has no option 'mn'", s.integer, { mn = 1 })
    t:raises("option 'min' of integer must be a number, not string", s.integer, { min = "1" })
  end)

  test("ranges", function(t)
    local a, b = cidr.parse "10.32.0.0/20", cidr.parse "10.32.15.255"
    t:ok(cidr.contains(a, b) and cidr.overlap(a, b) and not cidr.contains(b, a))
    t:ok(not cidr.overlap(a, cidr.parse "10.32.16.0/28"))
    t:eq(cidr.parse "0.0.0.0/0", { first = 0, last = 0xffffffff, prefix = 0 })
    for _, text in ipairs { "", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "1.2.3.4.5", "256.0.0.0", "010.0.0.0", "a.b.c.d",
      "10.0.0.0/-1", " 10.0.0.0", "::1" } do
      t:eq(cidr.parse(text), nil, text)
    end
    t:eq(select(2, cidr.parse "10.0.5.1/16"), "10.0.5.1 is inside the range that begins at 10.0.0.0/16")
  end)

  test("JSON Schema has the same limits", function(t)
    local schema = require "ws.schema.json"(record {
      { "i", s.integer { min = 1, max = 2, required = true, doc = "An integer." } }, { "n", s.number { above = 0 } },
      { "e", s.enum { one_of = { "a", "b" }, otherwise = "a" } }, { "c", s.cidr { least = 28, most = 28 } },
      { "l", s.list { of = s.string { max = 3 }, min = 1, unique = true } }, { "m", s.map { of = s.boolean() } },
      { "x", s.either { of = { s.string(), s.integer() } } }, { "any", s.any { default = 1 } },
    }, { title = "T" })
    local p = schema.properties
    t:eq({ schema.title, schema["$schema"], schema.additionalProperties, schema.required },
      { "T", "https://json-schema.org/draft/2020-12/schema", false, { "i" } })
    t:eq(json.encode(p.i),
      '{"description":"An integer. Allowed: integer 1..2.","type":"integer","minimum":1,"maximum":2}')
    t:eq({ p.n.exclusiveMinimum, p.e.enum, p.l.minItems, p.l.items.maxLength, p.m.additionalProperties.type, #p.x.anyOf,
      p.any.default }, { 0, { "a", "b" }, 1, 3, "boolean", 2, 1 })
    t:has(p.e.description, "Without the key: a.")
    t:has(p.c.pattern, "/(28)$")
  end)

  test("the examples in the documentation are true", function(t)
    for _, file in ipairs { "host/lua/ws/schema.lua", "host/lua/ws/schema/json.lua", "host/lua/ws/schema/markdown.lua",
      "host/lua/ws/cidr.lua" } do
      local source, ran = assert(require "ws.fs".read(file)), 0
      for block in source:gmatch("%-%-%- ```lua\n(.-)\n%-%-%- ```") do
        assert(load((block:gsub("^%-%-%- ?", ""):gsub("\n%-%-%- ?", "\n")), "@" .. file))()
        ran = ran + 1
      end
      t:ok(ran > 0, file)
    end
  end)
end
