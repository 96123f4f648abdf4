local fs = require "ws.fs"
local native = require "ws.provider.native"
local provider = require "ws.provider"
local messages = require "ws.provider.messages"

local STRING, NUMBER, BOOL = { kind = "string" }, { kind = "number" }, { kind = "bool" }

local function object(attributes) return { kind = "object", attributes = attributes } end

local function list(elem) return { kind = "list", elem = elem } end

return function(test)
  test("values survive a round trip", function(t)
    local of = object {
      text = STRING, n = NUMBER, yes = BOOL, tags = { kind = "set", elem = STRING },
      labels = { kind = "map", elem = STRING }, rules = list(object { port = NUMBER, name = STRING }),
    }
    local value = {
      text = "é\0\n", n = -9007199254740993, yes = false, tags = {}, labels = { a = "b", c = provider.null },
      rules = { { port = 80 }, { port = provider.unknown, name = ("x"):rep(70000) } },
    }
    t:eq(provider.unpack(of, provider.pack(of, value)), value)
    t:eq(provider.unpack(of, provider.pack(of, nil)), nil)
    t:eq(provider.unpack(of, ""), nil, "an empty value is null")
    t:eq(provider.unpack(list(STRING), provider.pack(list(STRING), provider.unknown)), provider.unknown)
  end)

  test("numbers keep their value, whatever their size", function(t)
    local cases = { 0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, math.maxinteger, -1, -32, -33, -128,
      -129, -32768, -32769, -2147483648, -2147483649, math.mininteger, 0.5, -1e300, "18446744073709551615", "1e400" }
    for _, n in ipairs(cases) do
      if n ~= "1e400" then t:eq(provider.unpack(NUMBER, provider.pack(NUMBER, n)), n, tostring(n)) end
    end
    t:eq(provider.pack(NUMBER, 3.0), "\3", "the shortest form")
    t:eq(provider.unpack(NUMBER, "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "18446744073709551615")
    t:eq(provider.unpack(NUMBER, "\xa41e30"), "1e30", "neither integer nor float: decimal digits")
    t:eq(provider.unpack(NUMBER, "\xca\x3f\x00\x00\x00"), 0.5, "a short float")
    t:raises("a finite number", provider.pack, NUMBER, 1 / 0)
    t:raises("a number expected", provider.pack, NUMBER, "0x10")
  end)

  test("an unknown value with refinements is unknown", function(t)
    t:eq(provider.unpack(STRING, "\xd4\0\0"), provider.unknown)
    t:eq(provider.unpack(STRING, "\xc7\3\x0c\x81\1\xc2"), provider.unknown)
    t:eq(provider.unpack(list(object { a = STRING }), "\xd4\0\0"), provider.unknown)
  end)

  test("what does not fit the type is refused with its path", function(t)
    local of = object { rule = list(object { port = NUMBER }) }
    t:raises("rule%[1%]%.port: a number expected, got boolean", provider.pack, of,
      { rule = { { port = 1 }, { port = true } } })
    t:raises("rule%.?.*: list expected, got string", provider.pack, of, { rule = "x" })
    t:raises("rul: nothing of this name", provider.pack, of, { rul = {} })
    t:err("protocol", provider.unpack(of, provider.pack(object { other = STRING }, {})))
    t:err("protocol", provider.unpack(of, provider.pack(list(STRING), { "a" })))
    t:err("protocol", provider.unpack(STRING, "\1"))
    t:err("protocol", provider.unpack(STRING, "\xa1a\xa1b")) -- something after the value
  end)

  test("malformed values are errors, never crashes", function(t)
    local of = list(object { a = STRING })
    for _, bytes in ipairs { "\xc1", "\xdb\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff", "\x91", "\x91\x81",
      "\x91\x81\xa1a",
      "\xc7\xff", "\xdf\x7f\xff\xff\xff", "\xcf\1" } do
      t:err("protocol", provider.unpack(of, bytes))
    end
    local nested = STRING
    for _ = 1, 200 do nested = list(nested) end
    t:err("protocol", provider.unpack(nested, ("\x91"):rep(200) .. "\xa0")) -- too deep
    local value = "x"
    for _ = 1, 200 do value = { value } end
    t:raises("nested too deeply", provider.pack, nested, value)
  end)

  test("messages survive a round trip; unknown fields are skipped", function(t)
    local plan = messages.PlanResourceChange.response
    local value = {
      planned_state = { msgpack = "\xc0" }, legacy_type_system = true, planned_private = ("p"):rep(300),
      requires_replace = { { steps = { { attribute_name = "a" }, { element_key_int = 0 },
        { element_key_string = "" } } } },
      diagnostics = { { severity = 1, summary = "s" }, { severity = 2, summary = "t", detail = "d" } },
    }
    local bytes = native.encode(plan, value)
    t:eq(native.decode(plan, bytes), value)
    t:eq(native.decode(plan, bytes .. "\xf8\x07\1" .. "\xfa\x07\3abc"), value, "fields 127 of a newer Terraform")
    local schema = messages.GetProviderSchema.response
    local reply = { resource_schemas = { a = { version = 3, block = {} }, b = { block = { attributes = {
      { name = "x", type = '"string"', required = true } } } } } }
    t:eq(native.decode(schema, native.encode(schema, reply)), reply)
    local negative = native.encode({ { 1, "n", "int" } }, { n = -2 })
    t:eq(native.decode({ { 1, "n", "int" } }, negative), { n = -2 })
  end)

  test("malformed messages are errors", function(t)
    local plan = messages.PlanResourceChange.response
    for _, bytes in ipairs { "\10", "\10\5ab", "\x08", "\0\1", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "\11\0",
      "\12\1\10",
      "\x0b", "\x2a\1a" } do
      t:err("protocol", native.decode(plan, bytes))
    end
    t:raises("string expected", native.encode, messages.StopProvider.response, { error = {} })
  end)

  test("a server replaces a dead socket, refuses a live one and a path that is too long", function(t)
    local dir = t:tmpdir()
    local handler = function() return {} end
    local server = assert(provider.serve { socket = dir .. "/s", handler = handler })
    t:eq(fs.stat(dir .. "/s").mode & 511, 384, "nobody else may connect")
    t:err("s: address already in use", provider.serve { socket = dir .. "/s", handler = handler })
    server:close()
    server:close()
    t:eq(fs.exists(dir .. "/s"), false)
    local err = t:err("invalid", provider.serve { socket = dir .. "/" .. ("x"):rep(120), handler = handler })
    t:has(err.message, "at most 107 bytes")
    t:err("not_found", provider.serve { socket = dir .. "/none/s", handler = handler })
    t:raises("a socket and a handler are needed", provider.serve, { socket = dir .. "/s" })
  end)

  test("a server that a script forgets ends with the program", function(t)
    local dir = t:tmpdir()
    local r = assert(require "ws.process".run({ os.getenv "WSRUN" or "build/wsrun", "-e",
      ('require "ws.provider".serve { socket = %q, handler = print }'):format(dir .. "/s") }, { timeout = 20 }))
    t:eq({ r.code, r.stdout .. r.stderr }, { 0, "" })
    t:eq(fs.exists(dir .. "/s"), false)
  end)

  test("a certificate that is none is refused", function(t)
    t:err("tls", provider.identity("no PEM"))
  end)
end
