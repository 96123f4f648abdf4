local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local json = require "ws.json"
local secret = require "ws.secret"
local server = require "ws.server"

local MIB = 1 << 20

--- A storage server as far as `handler(n, request)` makes one. Returns what it saw.
local function serve(t, handler)
  local seen, s = {}, nil
  s = t:ok(server.listen { handler = function(req)
    seen[#seen + 1] = { method = req.method, path = req.path, query = req.query, headers = req.headers,
      body = req:body() }
    return handler(#seen, seen[#seen], s)
  end, on_error = function() end })
  environment.set { STORAGE_EMULATOR_HOST = s.url, GOOGLE_STORAGE_CUSTOM_ENDPOINT = false }
  t:ok(gcp.credentials { token = "test-token-1" })
  t:defer(function()
    s:close()
    environment.set { STORAGE_EMULATOR_HOST = false }
    gcp.credentials(nil)
  end)
  return seen
end

local function reply(status, value, headers)
  return { status = status, headers = headers or {}, body = json.encode(value) }
end

local function crc_text(data)
  return crypto.base64_encode(string.pack(">I4", crypto.crc32c(data)))
end

--- The resource of an object with these bytes.
local function resource(data)
  return { bucket = "b", name = "o", generation = "17", metageneration = "1", size = tostring(#data),
    crc32c = crc_text(data), updated = "2024-01-01T00:00:00Z" }
end

--- A resumable session that has what arrived in order. `trouble(n, part)` may answer otherwise.
local function session(data_size, trouble)
  local stored = {}
  return function(n, req, s)
    if req.query.uploadType == "resumable" then
      return { status = 200, headers = { Location = s.url .. "/session" }, body = "" }
    end
    local from, to = req.headers["content-range"]:match("^bytes (%d+)%-(%d+)/")
    local have = 0
    for _, part in ipairs(stored) do have = have + #part end
    if from then
      local answer = trouble and trouble(n, req, stored)
      if answer then return answer end
      if tonumber(from) ~= have then return { status = 400, body = "wrong offset" } end
      stored[#stored + 1] = req.body
      have = tonumber(to) + 1
    end
    if have == data_size then return reply(200, resource(table.concat(stored))) end
    return { status = 308, headers = { Range = have > 0 and ("bytes=0-%d"):format(have - 1) or nil } }
  end
end

return function(test)
  test("a small object is one request with its checksum, and its preconditions", function(t)
    local seen = serve(t, function() return reply(200, resource("hello")) end)
    local object = t:ok(gcs.put("gs://b/a b/ö?.txt", "hello", { if_generation = 0, content_type = "text/plain",
      metadata = { key = "value" } }))
    t:eq({ object.generation, object.size, object.crc32c }, { "17", 5, crypto.crc32c("hello") })
    t:eq({ seen[1].method, seen[1].path }, { "POST", "/upload/storage/v1/b/b/o" })
    t:eq(seen[1].query, { uploadType = "multipart", name = "a b/ö?.txt", ifGenerationMatch = "0" })
    t:has(seen[1].body, '"crc32c":"' .. crc_text("hello"))
    t:has(seen[1].body, '"metadata":{"key":"value"}')
    t:has(seen[1].body, "content-type: text/plain\r\n\r\nhello\r\n--")
    t:ok(gcs.put("gs://b/o", secret.new("hidden value")))
    t:has(seen[2].body, "hidden value")
  end)

  test("names are escaped whole", function(t)
    local seen = serve(t, function() return reply(200, resource("")) end)
    t:ok(gcs.stat("gs://b/dir/a%2Fb c"))
    t:eq(seen[1].path, "/storage/v1/b/b/o/dir%2Fa%252Fb%20c")
  end)

  test("what the server stored otherwise than it was sent is an error", function(t)
    serve(t, function() return reply(200, resource("hellO")) end)
    t:has(t:err("protocol", gcs.put("gs://b/o", "hello")).message, "CRC32C")
  end)

  test("what arrives damaged is an error and no file", function(t)
    local dir = t:tmpdir()
    serve(t, function() return { headers = { ["x-goog-hash"] = "crc32c=" .. crc_text("right") }, body = "wrong" } end)
    t:has(t:err("protocol", gcs.get("gs://b/o")).message, "CRC32C")
    t:err("protocol", gcs.get("gs://b/o", { file = dir .. "/o" }))
    t:eq(#t:ok(fs.list(dir)), 0)
  end)

  test("an object that the server unpacks on the way is not measured by the packed one's checksum", function(t)
    serve(t, function()
      return { body = "unpacked", headers = { ["x-goog-hash"] = "crc32c=" .. crc_text("packed"),
        ["x-goog-stored-content-encoding"] = "gzip" } }
    end)
    t:eq(gcs.get("gs://b/o"), "unpacked")
  end)

  test("a refused download leaves no file and says why", function(t)
    local dir = t:tmpdir()
    serve(t, function() return reply(404, { error = { code = 404, message = "No such object: b/o" } }) end)
    t:has(t:err("not_found", gcs.get("gs://b/o", { file = dir .. "/o" })).message, "No such object")
    t:eq(#t:ok(fs.list(dir)), 0)
  end)

  test("preconditions that do not hold have their kind and are not tried again", function(t)
    local seen = serve(t, function()
      return reply(412, { error = { code = 412, message = "At least one of the pre-conditions did not hold." } })
    end)
    t:err("precondition", gcs.put("gs://b/o", "x", { if_generation = 0 }))
    t:err("precondition", gcs.delete("gs://b/o", { if_generation = "5" }))
    t:eq(#seen, 2)
    t:eq(seen[2].query, { ifGenerationMatch = "5" })
  end)

  test("a write is tried again only when doing it twice does no harm", function(t)
    local seen = serve(t, function() return { status = 503, headers = { ["retry-after"] = "0" }, body = "" } end)
    t:err("unavailable", gcs.put("gs://b/o", "x"))
    t:eq(#seen, 1)
    t:err("unavailable", gcs.put("gs://b/o", "x", { if_generation = 3 }))
    t:eq(#seen, 7)
  end)

  test("a large object goes in pieces", function(t)
    local data = crypto.random_bytes(MIB):rep(20)
    local seen = serve(t, session(#data))
    local told = {}
    local object = t:ok(gcs.put("gs://b/o", data, { on_progress = function(done, total)
      told[#told + 1] = { done, total }
    end }))
    t:eq(object.crc32c, crypto.crc32c(data))
    t:eq(#seen, 3)
    t:eq(seen[1].headers["x-upload-content-length"], tostring(#data))
    t:eq(seen[3].headers["content-range"], ("bytes %d-%d/%d"):format(16 * MIB, 20 * MIB - 1, 20 * MIB))
    t:eq(told, { { 16 * MIB, 20 * MIB } })
  end)

  test("a large file continues after a broken connection, from what the server has", function(t)
    local data = crypto.random_bytes(MIB):rep(20)
    local path = t:tmpdir() .. "/data"
    t:ok(fs.write(path, data))
    local broken = 0
    local seen = serve(t, session(#data, function(_, req, stored)
      if broken == 0 then -- takes a part of the piece, then the connection breaks
        broken = 1
        stored[1] = req.body:sub(1, 5 * MIB)
        return { stream = function(write)
          write("x")
          error("cut")
        end }
      elseif broken == 1 then
        broken = 2
        return { status = 503, body = "" }
      end
    end))
    local object = t:ok(gcs.put("gs://b/o", { file = path }))
    t:eq(object.crc32c, crypto.crc32c(data))
    t:eq(seen[3].headers["content-range"], "bytes */" .. #data)
    t:has(seen[4].headers["content-range"], "bytes " .. 5 * MIB .. "-")
  end)

  test("a session that is refused ends the upload", function(t)
    local data = ("x"):rep(9 * MIB)
    serve(t, session(#data, function() return reply(403, { error = { code = 403, message = "not you" } }) end))
    t:has(t:err("denied", gcs.put("gs://b/o", data)).message, "not you")
    serve(t, function() return reply(200, {}) end)
    t:has(t:err("protocol", gcs.put("gs://b/o", data)).message, "no location")
  end)

  test("lists and copies go on until they are complete", function(t)
    local seen = serve(t, function(n, req)
      if req.method == "POST" then
        if n < 5 then return reply(200, { done = false, rewriteToken = "token" .. n }) end
        return reply(200, { done = true, resource = resource("copied") })
      end
      return reply(200, { items = { resource("x") }, prefixes = { "p" .. n .. "/" },
        nextPageToken = n < 3 and "t" .. n or nil })
    end)
    local objects, prefixes = t:ok(gcs.list("gs://b/dir/", { delimiter = "/" }))
    t:eq({ #objects, prefixes }, { 3, { "p1/", "p2/", "p3/" } })
    t:eq(seen[3].query, { prefix = "dir/", delimiter = "/", pageToken = "t2" })
    t:eq(t:ok(gcs.copy("gs://b/o", "gs://c/o", { if_generation = 0 })).size, 6)
    t:eq({ seen[5].path, seen[5].query.rewriteToken }, { "/storage/v1/b/b/o/o/rewriteTo/b/c/o/o", "token4" })
  end)

  test("misuse raises", function(t)
    t:raises("unknown option 'generaton'", gcs.get, "gs://b/o", { generaton = 1 })
    t:raises("string, a secret or", gcs.put, "gs://b/o", 5)
    t:raises("needs an object's name", gcs.put, "gs://b/", "x")
    t:raises("gs://", gcs.get, "s3://b/o")
    t:err("not_found", gcs.put("gs://b/o", { file = "/nowhere" }))
  end)
end
