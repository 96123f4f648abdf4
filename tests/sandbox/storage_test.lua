local archive = require "ws.archive"
local crypto = require "ws.crypto"
local json = require "ws.json"
local support = dofile "tests/sandbox/support.lua"

local JSON = "/storage/v1/b/bucket/o"
local UPLOAD = "/upload/storage/v1/b/bucket/o?uploadType="

local function bucket(t, opts)
  local cloud = support.cloud(t, opts)
  local client = support.client(t, cloud)
  client("POST", "/storage/v1/b?project=test-project", { name = "bucket", location = "europe-west1" })
  return client, cloud
end

local function put(client, name, text, query, headers)
  return client("POST", UPLOAD .. "media&name=" .. name .. (query or ""), text, 200, headers)
end

return function(test)
  test("buckets", function(t)
    local client = bucket(t)
    local b = client("GET", "/storage/v1/b/bucket")
    t:eq(b.location, "EUROPE-WEST1")
    t:eq(b.locationType, "region")
    t:eq(type(b.projectNumber), "string")
    t:eq(b.metageneration, "1")
    client("POST", "/storage/v1/b?project=test-project", { name = "bucket" }, 409)
    client("POST", "/storage/v1/b?project=test-project", { name = "ab" }, 400)
    client("POST", "/storage/v1/b?project=nowhere", { name = "other" }, 400)
    client("GET", "/storage/v1/b/absent", nil, 404)
    t:eq(client("GET", "/storage/v1/b?project=test-project").items[1].name, "bucket")
    -- Absent fields keep their value, null removes, output-only fields are ignored.
    client("PATCH", "/storage/v1/b/bucket", { labels = { a = "1" }, versioning = { enabled = true } })
    local changed = client("PATCH", "/storage/v1/b/bucket", { labels = { a = json.null, b = "2" }, etag = "x",
      metageneration = "9", timeCreated = "2020-01-01T00:00:00+00:00" })
    t:eq(changed.labels, { b = "2" })
    t:eq(changed.versioning.enabled, true)
    t:eq(changed.metageneration, "3")
    t:ok(changed.etag ~= b.etag and changed.timeCreated == b.timeCreated)
    client("PATCH", "/storage/v1/b/bucket?ifMetagenerationMatch=1", { labels = {} }, 412)
    put(client, "x", "1")
    client("DELETE", "/storage/v1/b/bucket", nil, 409)
    client("DELETE", JSON .. "/x?generation=" .. client("GET", JSON .. "/x").generation, nil, 204)
    local _, answer = client("DELETE", "/storage/v1/b/bucket", nil, 204)
    t:eq(answer.body, "")
  end)

  test("what gcloud insists on around buckets", function(t)
    local client = bucket(t)
    local layout = client("GET", "/storage/v1/b/bucket/storageLayout")
    t:eq({ layout.bucket, layout.location, layout.locationType }, { "bucket", "EUROPE-WEST1", "region" })
    t:eq(client("GET", "/storage/v1/b/bucket/managedFolders?pageSize=1000").kind, "storage#managedFolders")
    client("GET", "/storage/v1/b/bucket/anywhereCaches/")
    local policy = client("GET", "/storage/v1/b/bucket/iam?optionsRequestedPolicyVersion=3")
    table.insert(policy.bindings, { role = "roles/storage.objectViewer", members = { "allUsers" } })
    local set = client("PUT", "/storage/v1/b/bucket/iam", policy)
    t:ok(set.etag ~= policy.etag)
    client("PUT", "/storage/v1/b/bucket/iam", policy, 409)
    local hmac = client("POST", "/storage/v1/projects/test-project/hmacKeys?serviceAccountEmail=a@b.c")
    t:ok(hmac.secret and hmac.metadata.accessId)
    t:eq(client("GET", "/storage/v1/projects/test-project/hmacKeys").items[1].secret, nil)
  end)

  test("multipart uploads as each client writes them", function(t)
    local client = bucket(t)
    local function upload(name, body, content_type, query)
      client("POST", UPLOAD .. "multipart" .. (query or ""), body, 200, { ["content-type"] = content_type })
      return client("GET", JSON .. "/" .. name)
    end
    -- gcloud, gsutil: bare LF, single quotes around the boundary, an extra LF after the JSON
    local o = upload("lf", "--===1==\ncontent-type: application/json\n\n{\"name\":\"lf\"}\n\n--===1==\n"
      .. "content-type: text/plain\n\nline\r\nend\n\n--===1==--", "multipart/related; boundary='===1=='")
    t:eq(client("GET", JSON .. "/lf?alt=media").body, "line\r\nend\n")
    t:eq(o.contentType, "text/plain")
    -- Go, Terraform: CRLF, bare boundary, name in the query
    o = upload("crlf", "--b1\r\nContent-Type: application/json\r\n\r\n{}\r\n--b1\r\nContent-Type: a/b\r\n\r\n"
      .. "--b\r\n--b1--\r\n", "multipart/related; boundary=b1", "&name=crlf")
    t:eq(client("GET", JSON .. "/crlf?alt=media").body, "--b")
    t:eq(o.md5Hash, crypto.base64_encode(crypto.md5("--b", { raw = true })))
    -- rclone: no headers in the second part; Python: double quotes
    o = upload("bare", "--x\r\nContent-Type: application/json\r\n\r\n{\"name\":\"bare\",\"contentType\":\"c/d\"}\r\n"
      .. "--x\r\n\r\nbody\r\n--x--", 'multipart/related; boundary="x"')
    t:eq(client("GET", JSON .. "/bare?alt=media").body, "body")
    t:eq(o.contentType, "c/d")
    t:eq(o.metadata, nil)
    client("POST", UPLOAD .. "multipart", "--x\r\n\r\n{\"name\":\"n\"}\r\n--x\r\n\r\ncut", 400,
      { ["content-type"] = "multipart/related; boundary=x" })
    client("POST", UPLOAD .. "multipart", "text", 400, { ["content-type"] = "multipart/related" })
    client("GET", JSON .. "/n", nil, 404)
  end)

  test("a body that is compressed as a whole", function(t)
    local client = bucket(t)
    local body = "--x\n\n{\"name\":\"z\"}\n--x\n\n" .. ("data"):rep(1000) .. "\n--x--"
    client("POST", UPLOAD .. "multipart", archive.gzip(body), 200,
      { ["content-type"] = "multipart/related; boundary=x", ["content-encoding"] = "gzip" })
    t:eq(client("GET", JSON .. "/z").size, "4000")
  end)

  test("large media across chunk borders is byte-exact", function(t)
    local client = bucket(t)
    local data = crypto.random_bytes(300000) .. "\r\n--almost"
    client("POST", UPLOAD .. "multipart&name=big", "--almost1\r\n\r\n{}\r\n--almost1\r\n\r\n" .. data
      .. "\r\n--almost1--", 200, { ["content-type"] = "multipart/related; boundary=almost1" })
    t:eq(crypto.sha256(client("GET", JSON .. "/big?alt=media").body), crypto.sha256(data))
  end)

  test("preconditions", function(t)
    local client = bucket(t)
    local first = put(client, "o", "1", "&ifGenerationMatch=0")
    put(client, "p", "1", "&ifGenerationMatch=") -- empty means absent
    client("POST", UPLOAD .. "media&name=o&ifGenerationMatch=0", "2", 412)
    client("POST", UPLOAD .. "media&name=o&ifGenerationMatch=12", "2", 412)
    t:eq(client("GET", JSON .. "/o?alt=media").body, "1")
    local second = put(client, "o", "2", "&ifGenerationMatch=" .. first.generation)
    t:ok(tonumber(second.generation) > tonumber(first.generation))
    client("GET", JSON .. "/o?ifGenerationNotMatch=" .. second.generation, nil, 304)
    client("DELETE", JSON .. "/o?ifGenerationMatch=" .. first.generation, nil, 412)
    client("PATCH", JSON .. "/o?ifMetagenerationMatch=2", {}, 412)
    client("DELETE", JSON .. "/o?ifGenerationMatch=" .. second.generation, nil, 204)
    client("POST", UPLOAD .. "media&name=o&ifGenerationMatch=x", "2", 400)
  end)

  test("of many who create at once, one succeeds", function(t)
    local client, cloud = bucket(t)
    t:ok(client)
    local task = require "ws.task"
    local statuses, jobs = {}, {}
    for i = 1, 20 do
      jobs[i] = function()
        local answer = support.call(cloud, "POST", UPLOAD .. "media&name=lock&ifGenerationMatch=0", "holder " .. i)
        statuses[answer.status] = (statuses[answer.status] or 0) + 1
        return true
      end
    end
    t:ok(task.all(jobs))
    t:eq(statuses, { [200] = 1, [412] = 19 })
  end)

  test("checksums are checked", function(t)
    local client = bucket(t)
    client("POST", UPLOAD .. "media&name=o", "data", 400, { ["x-goog-hash"] = "crc32c=AAAAAA==" })
    client("GET", JSON .. "/o", nil, 404)
    local good = put(client, "o", "123456789", "", { ["x-goog-hash"] = "crc32c=4waSgw==" })
    t:eq(good.crc32c, "4waSgw==")
  end)

  test("resumable uploads of gcloud, Python and Go", function(t)
    local client = bucket(t)
    local function start(path, name)
      local _, answer = client("POST", path .. "uploadType=resumable", { name = name, metadata = { k = "v" } }, 200,
        { ["x-upload-content-type"] = "text/x", host = "127.0.0.1:9" })
      t:has(answer.headers.location, "http://127.0.0.1:9/upload/storage/v1/b/bucket/o?")
      return answer.headers.location:match("^http://[^/]+(/.*)$")
    end
    -- gcloud: /resumable/upload, one PUT
    local at = start("/resumable/upload/storage/v1/b/bucket/o?", "one")
    client("PUT", at .. "&key=x", "0123456789", 200, { ["content-range"] = "bytes 0-9/10" })
    t:eq(client("GET", JSON .. "/one").metadata, { k = "v" })
    t:eq(client("GET", JSON .. "/one").contentType, "text/x")
    -- asked again after its end: the resource
    t:eq(client("PUT", at, "", 200, { ["content-range"] = "bytes */10" }).name, "one")
    -- Python: pieces, an unknown total
    at = start("/upload/storage/v1/b/bucket/o?", "two")
    local _, answer = client("PUT", at, "", 308, { ["content-range"] = "bytes */*" })
    t:eq(answer.headers.range, nil)
    _, answer = client("PUT", at, "01234", 308, { ["content-range"] = "bytes 0-4/*" })
    t:eq(answer.headers.range, "bytes=0-4")
    -- a piece that is partly there already, then a gap
    _, answer = client("PUT", at, "3456", 308, { ["content-range"] = "bytes 3-6/*" })
    t:eq(answer.headers.range, "bytes=0-6")
    _, answer = client("PUT", at, "zz", 308, { ["content-range"] = "bytes 20-21/*" })
    t:eq(answer.headers.range, "bytes=0-6")
    client("PUT", at, "789", 200, { ["content-range"] = "bytes 7-9/10" })
    t:eq(client("GET", JSON .. "/two?alt=media").body, "0123456789")
    -- Go: POST, no 308
    at = start("/upload/storage/v1/b/bucket/o?", "three")
    _, answer = client("POST", at, "01234", 200, { ["content-range"] = "bytes 0-4/*", ["x-guploader-no-308"] = "yes" })
    t:eq(answer.headers["x-http-status-code-override"], "308")
    client("POST", at, "56789", 200, { ["content-range"] = "bytes 5-9/10", ["x-guploader-no-308"] = "yes",
      ["x-goog-hash"] = "crc32c=KAwGng==" })
    -- an empty object
    at = start("/upload/storage/v1/b/bucket/o?", "empty")
    client("PUT", at, "", 200, { ["content-range"] = "bytes */0" })
    t:eq(client("GET", JSON .. "/empty").size, "0")
    t:eq(client("GET", JSON .. "/empty?alt=media").body, "")
    -- cancelled
    at = start("/upload/storage/v1/b/bucket/o?", "gone")
    client("DELETE", at, nil, 499)
    client("PUT", at, "x", 404, { ["content-range"] = "bytes 0-0/1" })
    -- preconditions hold at the end, too
    at = client("POST", "/upload/storage/v1/b/bucket/o?uploadType=resumable&name=raced&ifGenerationMatch=0", {}, 200)
      .headers.location:match("^http://[^/]+(/.*)$")
    put(client, "raced", "first")
    client("PUT", at, "second", 412, { ["content-range"] = "bytes 0-5/6" })
    t:eq(client("GET", JSON .. "/raced?alt=media").body, "first")
  end)

  test("a session goes on after a restart", function(t)
    local dir = t:tmpdir()
    local cloud = t:ok(require "sandbox.cloud".new { dir = dir, operation_seconds = { 0, 0 } })
    local client = support.client(t, cloud)
    client("POST", "/resourcemanager/v1/projects", { projectId = "test-project" })
    client("POST", "/storage/v1/b?project=test-project", { name = "bucket" })
    local _, answer = client("POST", UPLOAD .. "resumable&name=o", {})
    local at = answer.headers.location:match("^http://[^/]+(/.*)$")
    client("PUT", at, "01234", 308, { ["content-range"] = "bytes 0-4/10" })
    cloud:close()
    local again = support.cloud(t, { dir = dir })
    client = support.client(t, again)
    client("PUT", at, "", 308, { ["content-range"] = "bytes */10" })
    client("PUT", at, "56789", 200, { ["content-range"] = "bytes 5-9/10" })
    t:eq(client("GET", JSON .. "/o?alt=media").body, "0123456789")
  end)

  test("downloads and ranges", function(t)
    local client = bucket(t)
    put(client, "a%2Fb", "0123456789")
    local o = client("GET", JSON .. "/a%2Fb", nil, 200, { host = "h:1" })
    t:eq(o.mediaLink, ("http://h:1/download/storage/v1/b/bucket/o/a%%2Fb?generation=%s&alt=media"):format(o.generation))
    local function range(header, expected)
      local _, answer = client("GET", "/download/storage/v1/b/bucket/o/a%2Fb?alt=media", nil, expected,
        { range = header })
      return answer.body, answer.headers["content-range"]
    end
    t:eq({ range("bytes=0-9", 206) }, { "0123456789", "bytes 0-9/10" })
    t:eq({ range("bytes=8-", 206) }, { "89", "bytes 8-9/10" })
    t:eq({ range("bytes=-3", 206) }, { "789", "bytes 7-9/10" })
    t:eq({ range("bytes=5-99", 206) }, { "56789", "bytes 5-9/10" })
    t:eq(select(2, range("bytes=10-", 416)), "bytes */10")
    t:eq(range("bytes=5-2", 200), "0123456789")
    for _, path in ipairs { "/bucket/a%2Fb", "/bucket/a/b" } do
      local _, answer = client("GET", path, nil, 200)
      t:eq(answer.body, "0123456789")
      t:eq(answer.headers["x-goog-generation"], o.generation)
      t:has(answer.headers["x-goog-hash"], "crc32c=" .. o.crc32c)
    end
    t:eq(client("HEAD", "/bucket/a/b").headers["x-goog-stored-content-length"], "10")
    local _, missing = client("GET", "/bucket/none", nil, 404)
    t:has(missing.body, "<Code>NoSuchKey</Code>")
  end)

  test("gzip content is unpacked for those who do not take it", function(t)
    local client = bucket(t)
    local packed = archive.gzip("plain text")
    client("POST", UPLOAD .. "multipart", "--x\n\n{\"name\":\"z\",\"contentEncoding\":\"gzip\"}\n--x\n\n" .. packed
      .. "\n--x--", 200, { ["content-type"] = "multipart/related; boundary=x" })
    t:eq(client("GET", JSON .. "/z?alt=media").body, "plain text")
    local _, raw = client("GET", JSON .. "/z?alt=media", nil, 200, { ["accept-encoding"] = "gzip" })
    t:eq(raw.headers["content-encoding"], "gzip")
    t:eq(raw.body, packed)
  end)

  test("lists", function(t)
    local client = bucket(t)
    for _, name in ipairs { "a", "dir%2F1", "dir%2F2", "dir%2Fsub%2F3", "z.txt" } do put(client, name, "x") end
    local function names(query)
      local list, found = client("GET", JSON .. "?" .. query), {}
      for _, o in ipairs(list.items or {}) do found[#found + 1] = o.name end
      return found, list.prefixes, list.nextPageToken
    end
    t:eq(names "", { "a", "dir/1", "dir/2", "dir/sub/3", "z.txt" })
    t:eq({ names "delimiter=/&prefix=" }, { { "a", "z.txt" }, { "dir/" } })
    t:eq({ names "delimiter=/&prefix=dir/" }, { { "dir/1", "dir/2" }, { "dir/sub/" } })
    t:eq(names "startOffset=dir/2&endOffset=z", { "dir/2", "dir/sub/3" })
    t:eq(names "matchGlob=**/%7B1,3%7D", { "dir/1", "dir/sub/3" })
    t:eq(names "matchGlob=*.txt", { "z.txt" })
    local all, token = {}, nil
    repeat
      local page, prefixes, next_token = names("delimiter=/&maxResults=1" .. (token and "&pageToken=" .. token or ""))
      t:ok(#page + #(prefixes or {}) == 1)
      all[#all + 1] = page[1] or prefixes[1]
      token = next_token
    until not token
    t:eq(all, { "a", "dir/", "z.txt" })
    client("GET", JSON .. "?pageToken=%21", nil, 400)
  end)

  test("generations", function(t)
    local client = bucket(t)
    client("PATCH", "/storage/v1/b/bucket", { versioning = { enabled = true } })
    local one = put(client, "o", "1")
    local two = put(client, "o", "2")
    t:eq(client("GET", JSON .. "/o?alt=media&generation=" .. one.generation).body, "1")
    client("DELETE", JSON .. "/o", nil, 204)
    client("GET", JSON .. "/o", nil, 404)
    t:eq(#client("GET", JSON .. "?versions=True").items, 2)
    t:eq(client("GET", JSON).items, nil)
    for _, o in ipairs { one, two } do client("DELETE", JSON .. "/o?generation=" .. o.generation, nil, 204) end
    t:eq(client("GET", JSON .. "?versions=true").items, nil)
    client("DELETE", "/storage/v1/b/bucket", nil, 204)
  end)

  test("metadata", function(t)
    local client = bucket(t)
    put(client, "o", "1")
    local o = client("PATCH", JSON .. "/o", { metadata = { a = "1", b = "2" }, cacheControl = "no-store", size = "7" })
    t:eq(o.metageneration, "2")
    t:eq(o.size, "1")
    o = client("PATCH", JSON .. "/o", { metadata = { a = json.null }, cacheControl = json.null })
    t:eq(o.metadata, { b = "2" })
    t:eq(o.cacheControl, nil)
    o = client("PUT", JSON .. "/o", { contentType = "x/y" })
    t:eq({ o.metadata, o.contentType }, { nil, "x/y" })
    client("PATCH", JSON .. "/o", { temporaryHold = true })
    client("DELETE", JSON .. "/o", nil, 403)
    client("PATCH", JSON .. "/o", { temporaryHold = false })
    client("DELETE", JSON .. "/o", nil, 204)
  end)

  test("compose, rewrite, copy, move", function(t)
    local client = bucket(t)
    local a, b = put(client, "a", "1234"), put(client, "b", "56789")
    -- gcloud repeats the first source's checksums in the destination
    local c = client("POST", JSON .. "/c/compose", { destination = { contentType = "x/y", md5Hash = a.md5Hash,
      crc32c = a.crc32c }, sourceObjects = { { name = "a", generation = a.generation }, { name = "b" } } })
    t:eq({ c.size, c.crc32c, c.md5Hash, c.componentCount }, { "9", "4waSgw==", nil, 2 })
    client("POST", JSON .. "/c/compose", { sourceObjects = { { name = "a", generation = "1" } } }, 404)
    client("POST", JSON .. "/c/compose", { sourceObjects = {} }, 400)
    client("POST", "/storage/v1/b?project=test-project", { name = "other" })
    local r = client("POST", JSON .. "/c/rewriteTo/b/other/o/d%2Fc?maxBytesRewrittenPerCall=104857600", "")
    t:eq({ r.done, r.objectSize, r.resource.name, r.resource.contentType }, { true, "9", "d/c", "x/y" })
    t:eq(client("POST", JSON .. "/b/copyTo/b/bucket/o/b2", "").name, "b2")
    client("POST", JSON .. "/b/copyTo/b/bucket/o/b2?ifGenerationMatch=0", "", 412)
    t:eq(client("POST", JSON .. "/b2/moveTo/o/b3", "").name, "b3")
    client("GET", JSON .. "/b2", nil, 404)
    t:eq(client("GET", JSON .. "/b3?alt=media").body, "56789")
    t:eq(b.size, "5")
  end)

  test("batches", function(t)
    local client = bucket(t)
    put(client, "o", "1")
    local function part(method, path, body)
      return ("--==b==\nContent-Type: application/http\nMIME-Version: 1.0\n\n%s http://h:1%s HTTP/1.1\n"
        .. "Content-Type: application/json\n\n%s\n\n"):format(method, path, body or "")
    end
    local _, answer = client("POST", "/batch/storage/v1", part("PATCH", JSON .. "/o", '{"metadata":{"a":"1"}}')
      .. part("DELETE", JSON .. "/none") .. part("DELETE", JSON .. "/o") .. "--==b==--\n", 200,
      { ["content-type"] = 'multipart/mixed; boundary="==b=="' })
    t:has(answer.headers["content-type"], "multipart/mixed")
    local codes = {}
    for code in answer.body:gmatch("HTTP/1.1 (%d+)") do codes[#codes + 1] = code end
    t:eq(codes, { "200", "404", "204" })
    client("GET", JSON .. "/o", nil, 404)
  end)

  test("the XML API", function(t)
    local client = bucket(t)
    client("PUT", "/bucket/x/y", "data", 200, { ["x-goog-meta-k"] = "v", ["content-type"] = "a/b" })
    t:eq(client("GET", JSON .. "/x%2Fy").metadata, { k = "v" })
    client("PUT", "/bucket/x/y", "data", 412, { ["x-goog-if-generation-match"] = "0" })
    t:has(client("GET", "/bucket?prefix=x&list-type=2").body, "<Key>x/y</Key>")
    client("PUT", "/bucket/copy", "", 200, { ["x-amz-copy-source"] = "/bucket/x%2Fy" })
    t:eq(client("GET", "/bucket/copy").body, "data")
    local id = client("POST", "/bucket/big?uploads", "").body:match("<UploadId>(.-)</UploadId>")
    client("PUT", "/bucket/big?partNumber=2&uploadId=" .. id, "world")
    client("PUT", "/bucket/big?partNumber=1&uploadId=" .. id, "wrong", 400, { ["x-goog-hash"] = "crc32c=AAAAAA==" })
    client("PUT", "/bucket/big?partNumber=1&uploadId=" .. id, "hello ")
    client("POST", "/bucket/big?uploadId=" .. id, "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part>"
      .. "<Part><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>")
    t:eq(client("GET", "/bucket/big").body, "hello world")
    client("DELETE", "/bucket/big", nil, 204)
    client("PUT", "/made", "", 200)
    t:has(client("GET", "/").body, "<Name>made</Name>")
    client("DELETE", "/made", nil, 204)
    -- A bucket may be called like an API.
    client("POST", "/storage/v1/b?project=test-project", { name = "compute" })
    client("PUT", "/compute/o", "x")
    t:eq(client("GET", "/compute/o").body, "x")
    client("GET", "/compute/v1/projects/test-project/global/networks")
    t:has(client("GET", "/made", nil, 404).body, "NoSuchBucket")
    local signed = "X-Goog-Signature=00&X-Goog-Expires=60&X-Goog-Date=" -- by nobody that the sandbox knows
    t:has(client("GET", "/bucket/x/y?" .. signed .. "20200101T000000Z", nil, 400).body, "ExpiredToken")
    client("GET", "/bucket/x/y?" .. signed .. os.date("!%Y%m%dT%H%M%SZ"), nil, 200, { authorization = false })
  end)

  test("signed URLs of an account that the sandbox has keys of", function(t)
    local client = bucket(t)
    put(client, "a%2Fb", "data")
    local accounts = "/iam/v1/projects/test-project/serviceAccounts"
    local email = client("POST", accounts, { accountId = "signer" }).email
    local key = t:ok(json.decode(crypto.base64_decode(client("POST", accounts .. "/" .. email .. "/keys", {})
      .privateKeyData)))
    local function sign(path, expires)
      local stamp = os.date "!%Y%m%dT%H%M%SZ"
      local scope = stamp:sub(1, 8) .. "/auto/storage/goog4_request"
      local query = ("X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=%s&X-Goog-Date=%s&X-Goog-Expires=%d"
        .. "&X-Goog-SignedHeaders=host"):format((email .. "/" .. scope):gsub("@", "%%40"):gsub("/", "%%2F"), stamp,
        expires)
      local canonical = ("GET\n%s\n%s\nhost:127.0.0.1\n\nhost\nUNSIGNED-PAYLOAD"):format(path, query)
      local text = ("GOOG4-RSA-SHA256\n%s\n%s\n%s"):format(stamp, scope, crypto.sha256(canonical))
      return query .. "&X-Goog-Signature=" .. crypto.hex_encode(t:ok(crypto.rsa_sign(key.private_key, text)))
    end
    local nobody = { authorization = false }
    t:eq(client("GET", "/bucket/a/b?" .. sign("/bucket/a/b", 60), nil, 200, nobody).body, "data")
    t:has(client("GET", "/bucket/a/b?" .. sign("/bucket/other", 60), nil, 403, nobody).body, "SignatureDoesNotMatch")
    client("GET", "/bucket/a/b?" .. sign("/bucket/a/b", 60):gsub("Expires=60", "Expires=600"), nil, 403, nobody)
    client("GET", "/bucket/a/b?" .. sign("/bucket/a/b", 60 * 86400), nil, 400, nobody)
  end)

  test("one piece of an upload at a time", function(t)
    local client, cloud = bucket(t)
    local _, started = client("POST", UPLOAD .. "resumable&name=o", {})
    local at = started.headers.location:match("^http://[^/]+(/.*)$")
    local task, request = require "ws.task", require "sandbox.request"
    local slow = request.new { method = "PUT", url = at, headers = { ["content-range"] = "bytes 0-3/4",
      authorization = "Bearer x" } }
    local pieces = { "01", "23" }
    slow.read = function()
      task.sleep(0.1)
      return table.remove(pieces, 1)
    end
    local first = task.spawn(function() return cloud:handle(slow).status end)
    task.sleep(0.05)
    client("PUT", at, "0123", 503, { ["content-range"] = "bytes 0-3/4" })
    t:eq({ first:join() }, { true, 200 })
    t:eq(client("GET", JSON .. "/o?alt=media").body, "0123")
  end)

  test("contents that belong to nothing are removed at the start", function(t)
    local fs = require "ws.fs"
    local dir = t:tmpdir()
    local client, cloud = bucket(t, { dir = dir })
    put(client, "kept", "1")
    t:ok(fs.write(dir .. "/objects/orphan", "x"))
    cloud:close()
    local again = support.cloud(t, { dir = dir })
    t:eq(#t:ok(fs.list(dir .. "/objects")), 1)
    t:eq(support.call(again, "GET", JSON .. "/kept?alt=media").body, "1")
  end)
end
