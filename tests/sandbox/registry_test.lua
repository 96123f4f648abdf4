local crypto = require "ws.crypto"
local json = require "ws.json"
local support = dofile "tests/sandbox/support.lua"

local REPO = "/v2/eu.gcr.io/test-project/app"
local TYPE = "application/vnd.oci.image.manifest.v1+json"

local function digest(bytes) return "sha256:" .. crypto.sha256(bytes) end

local function push_blob(client, repo, bytes)
  client("POST", repo .. "/blobs/uploads/?digest=" .. digest(bytes), bytes, 201)
  return { mediaType = "application/octet-stream", digest = digest(bytes), size = #bytes }
end

local function push(client, repo, tag, more)
  local manifest = { schemaVersion = 2, config = push_blob(client, repo, "{}"),
    layers = json.array { push_blob(client, repo, "layer " .. tag) } }
  for key, value in pairs(more or {}) do manifest[key] = value end
  local text = json.encode(manifest)
  local _, answer = client("PUT", repo .. "/manifests/" .. tag, text, 201, { ["content-type"] = TYPE })
  return digest(text), text, answer
end

return function(test)
  test("an image goes in and comes out", function(t)
    local client = support.client(t, (support.cloud(t)))
    client("GET", "/v2/")
    local id, text = push(client, REPO, "1.0")
    for _, reference in ipairs { "1.0", id } do
      local _, answer = client("GET", REPO .. "/manifests/" .. reference)
      t:eq({ answer.body, answer.headers["content-type"], answer.headers["docker-content-digest"] }, { text, TYPE, id })
      _, answer = client("HEAD", REPO .. "/manifests/" .. reference)
      t:eq({ answer.body, answer.headers["content-length"] }, { "", tostring(#text) })
    end
    local blob = digest "layer 1.0"
    t:eq(client("GET", REPO .. "/blobs/" .. blob).body, "layer 1.0")
    local _, part = client("GET", REPO .. "/blobs/" .. blob, nil, 206, { range = "bytes=6-" })
    t:eq({ part.body, part.headers["content-range"] }, { "1.0", "bytes 6-8/9" })
    push(client, REPO, "1.1")
    t:eq(client("GET", REPO .. "/tags/list").tags, { "1.0", "1.1" })
    local list, answer = client("GET", REPO .. "/tags/list?n=1")
    t:eq(list.tags, { "1.0" })
    t:has(answer.headers.link, 'last=1.0>; rel="next"')
    t:eq(client("GET", "/v2/_catalog").repositories, { "eu.gcr.io/test-project/app" })
    client("DELETE", REPO .. "/manifests/1.0", nil, 202) -- the tag only
    client("GET", REPO .. "/manifests/" .. id)
    client("DELETE", REPO .. "/manifests/" .. id, nil, 202)
    client("GET", REPO .. "/manifests/" .. id, nil, 404)
    t:eq(client("GET", "/v2/none/tags/list", nil, 404).errors[1].code, "NAME_UNKNOWN")
  end)

  test("a tag that is given is a tag that is listed, page by page", function(t)
    local client = support.client(t, (support.cloud(t)))
    for _, tag in ipairs { "b", "B", "a.1", "_x" } do push(client, REPO, tag) end
    local function tags(query)
      local list, answer = client("GET", REPO .. "/tags/list" .. query)
      return list.tags, answer.headers.link
    end
    t:eq((tags ""), { "B", "_x", "a.1", "b" }) -- in the order of their bytes
    local page, link = tags "?n=3"
    t:eq({ page, link }, { { "B", "_x", "a.1" }, ("<%s/tags/list?n=3&last=a.1>; rel=\"next\""):format(REPO) })
    t:eq({ tags "?n=3&last=a.1" }, { { "b" } })
    t:eq({ tags "?n=0" }, { {} })
    t:eq({ tags "?last=b" }, { {} })
    for _, n in ipairs { "-1", "many", "1.5" } do client("GET", REPO .. "/tags/list?n=" .. n, nil, 400) end
    client("DELETE", REPO .. "/manifests/b", nil, 202)
    t:eq((tags "?last=a"), { "a.1" })
  end)

  test("a push by digest sets the tags beside it, sha512 included", function(t)
    local client = support.client(t, (support.cloud(t)))
    local text = json.encode { schemaVersion = 2, config = push_blob(client, REPO, "{}"), layers = json.array {} }
    local long = "sha512:" .. crypto.sha512(text)
    local _, answer = client("PUT", REPO .. "/manifests/" .. long .. "?tag=1&tag=1.2", text, 201)
    t:eq({ answer.headers["oci-tag"], answer.headers["docker-content-digest"] }, { "1, 1.2", long })
    t:eq(select(2, client("HEAD", REPO .. "/manifests/1.2")).headers["docker-content-digest"], long)
    client("PUT", REPO .. "/manifests/" .. long .. "?tag=-no", text, 400)
    client("DELETE", REPO .. "/manifests/" .. long, nil, 202)
    t:eq(client("GET", REPO .. "/tags/list").tags, {})
  end)

  test("a manifest and a blob of the same bytes come and go apart", function(t)
    local client = support.client(t, (support.cloud(t)))
    local id, text = push(client, REPO, "1.0")
    client("GET", REPO .. "/blobs/" .. id, nil, 404)
    push_blob(client, REPO, text)
    client("DELETE", REPO .. "/blobs/" .. id, nil, 202)
    t:eq(client("GET", REPO .. "/manifests/" .. id, nil, 200).config.size, 2)
    push_blob(client, REPO, text)
    client("DELETE", REPO .. "/manifests/" .. id, nil, 202)
    t:eq(select(2, client("GET", REPO .. "/blobs/" .. id)).body, text)
  end)

  test("what the client accepts decides", function(t)
    local client = support.client(t, (support.cloud(t)))
    local DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
    local LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    local function get(reference, accept, status)
      local _, answer = client("GET", REPO .. "/manifests/" .. reference, nil, status, { accept = accept })
      return answer.headers["content-type"]
    end
    push(client, REPO, "oci")
    t:eq({ get "oci", get("oci", "*/*"), get("oci", DOCKER .. ", " .. TYPE .. ";q=0.5") }, { TYPE, TYPE, TYPE })
    get("oci", DOCKER, 404)
    local docker = json.encode { schemaVersion = 2, mediaType = DOCKER, config = push_blob(client, REPO, "{}"),
      layers = json.array {} }
    client("PUT", REPO .. "/manifests/docker", docker, 201, { ["content-type"] = DOCKER .. "; charset=utf-8" })
    t:eq(get("docker", DOCKER), DOCKER)
    local list = json.encode { schemaVersion = 2, mediaType = LIST, manifests = json.array { { mediaType = DOCKER,
      digest = digest(docker), size = #docker, platform = { os = "linux", architecture = "amd64" } } } }
    client("PUT", REPO .. "/manifests/list", list, 201, { ["content-type"] = LIST })
    t:eq({ get("list", LIST .. "," .. DOCKER), get("list", DOCKER) }, { LIST, DOCKER })
    get(digest(list), DOCKER, 404) -- what has another digest is not given for it
  end)

  test("preconditions", function(t)
    local client = support.client(t, (support.cloud(t)))
    local id, text = push(client, REPO, "1.0")
    local url, tag = REPO .. "/manifests/1.0", '"' .. id .. '"'
    client("GET", url, nil, 304, { ["if-none-match"] = tag })
    client("HEAD", REPO .. "/blobs/" .. digest "{}", nil, 304, { ["if-none-match"] = '"x", "' .. digest "{}" .. '"' })
    client("GET", url, nil, 200, { ["if-none-match"] = '"other"' })
    client("PUT", url, text, 412, { ["content-type"] = TYPE, ["if-none-match"] = "*" })
    client("PUT", url, text, 412, { ["content-type"] = TYPE, ["if-match"] = '"other"' })
    client("PUT", url, text, 201, { ["content-type"] = TYPE, ["if-match"] = tag })
    client("PUT", REPO .. "/manifests/new", text, 201, { ["content-type"] = TYPE, ["if-none-match"] = "*" })
    client("DELETE", url, nil, 412, { ["if-match"] = '"other"' })
  end)

  test("ranges of a blob", function(t)
    local client = support.client(t, (support.cloud(t)))
    local url = REPO .. "/blobs/" .. push_blob(client, REPO, "0123456789").digest
    for range, expected in pairs { ["2-4"] = "234", ["8-20"] = "89", ["-3"] = "789", ["0-0"] = "0",
      ["-20"] = "0123456789" } do
      t:eq(select(2, client("GET", url, nil, 206, { range = "bytes=" .. range })).body, expected)
    end
    for _, range in ipairs { "10-", "5-2", "-0" } do
      local _, answer = client("GET", url, nil, 416, { range = "bytes=" .. range })
      t:eq(answer.headers["content-range"], "bytes */10")
    end
    t:eq(select(2, client("GET", url, nil, 200, { range = "bytes=0-1,4-5" })).body, "0123456789")
    push_blob(client, REPO, "")
    t:eq(select(2, client("GET", REPO .. "/blobs/" .. digest "")).body, "")
  end)

  test("what is not right is refused, with the specification's codes", function(t)
    local client = support.client(t, (support.cloud(t)))
    local function code(...) return client(...).errors[1].code end
    local function put(manifest, content_type)
      return code("PUT", REPO .. "/manifests/x", json.encode(manifest), 400,
        { ["content-type"] = content_type or TYPE })
    end
    local blob = push_blob(client, REPO, "{}")
    local function image(more)
      local manifest = { schemaVersion = 2, config = blob, layers = json.array {} }
      for key, value in pairs(more) do manifest[key] = value end
      return manifest
    end
    t:eq(code("PUT", REPO .. "/manifests/x", "text", 400), "MANIFEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/x", "[]", 400), "MANIFEST_INVALID")
    local absent = { mediaType = "x", digest = digest "absent", size = 6 }
    t:eq(put(image { layers = json.array { absent } }), "MANIFEST_BLOB_UNKNOWN")
    t:eq(put { schemaVersion = 2, mediaType = "application/vnd.oci.image.index.v1+json",
      manifests = json.array { absent } }, "MANIFEST_INVALID") -- its Content-Type is another
    t:eq(put({ schemaVersion = 2, manifests = json.array { absent } }, "application/vnd.oci.image.index.v1+json"),
      "MANIFEST_BLOB_UNKNOWN")
    t:eq(put(image { config = { mediaType = "x", digest = blob.digest, size = 3 } }), "SIZE_INVALID")
    for _, more in ipairs { { schemaVersion = 1 }, { config = "x" }, { config = {} }, { layers = { a = 1 } },
      { layers = json.array { { mediaType = "x", digest = "md5:12", size = 1 } } }, { mediaType = "other/type" },
      { layers = json.array { { mediaType = "x", digest = blob.digest, size = -1 } } }, { mediaType = 1 },
      { manifests = json.array {} }, { subject = { digest = "x" } } } do
      t:eq(put(image(more)), "MANIFEST_INVALID")
    end
    t:eq(put({ schemaVersion = 1 }, "application/vnd.docker.distribution.manifest.v1+prettyjws"), "UNSUPPORTED")
    t:eq(code("PUT", REPO .. "/manifests/x", (" "):rep((4 << 20) + 1), 413), "MANIFEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/" .. digest "no", "{}", 400), "DIGEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/-bad", "{}", 400), "MANIFEST_INVALID")
    t:eq(code("GET", REPO .. "/manifests/none", nil, 404), "MANIFEST_UNKNOWN")
    t:eq(code("DELETE", REPO .. "/manifests/none", nil, 404), "MANIFEST_UNKNOWN")
    t:eq(code("GET", REPO .. "/manifests/sha256:12", nil, 400), "DIGEST_INVALID")
    t:eq(code("GET", REPO .. "/blobs/sha256:12", nil, 400), "DIGEST_INVALID")
    t:eq(code("GET", REPO .. "/blobs/" .. digest("x"):upper(), nil, 400), "DIGEST_INVALID")
    t:eq(code("DELETE", REPO .. "/blobs/" .. digest "none", nil, 404), "BLOB_UNKNOWN")
    t:eq(code("GET", REPO .. "/referrers/sha256:12", nil, 400), "DIGEST_INVALID")
    for _, name in ipairs { "UPPER", "a//b", "-a", "a..b", "a___b", "a_-b", ("a"):rep(256) } do
      t:eq(code("GET", "/v2/" .. name .. "/tags/list", nil, 400), "NAME_INVALID")
    end
    for _, name in ipairs { "a--b/c__d", "a.b-c_d" } do
      t:eq(code("GET", "/v2/" .. name .. "/tags/list", nil, 404), "NAME_UNKNOWN")
    end
    t:eq(code("GET", "/v2/app/unknown/thing", nil, 404), "UNSUPPORTED")
    for url, allowed in pairs { ["/manifests/x"] = "GET, HEAD, PUT, DELETE", ["/blobs/uploads/"] = "POST",
      ["/tags/list"] = "GET, HEAD", ["/blobs/" .. digest "x"] = "GET, HEAD, DELETE" } do
      local refused, answer = client("PATCH", REPO .. url, "", 405)
      t:eq({ refused.errors[1].code, answer.headers.allow }, { "UNSUPPORTED", allowed })
    end
  end)

  test("referrers", function(t)
    local client = support.client(t, (support.cloud(t)))
    local subject = push(client, REPO, "1.0")
    t:eq(client("GET", REPO .. "/referrers/" .. subject).manifests, {})
    local signature, _, answer = push(client, REPO, "sig", { subject = { digest = subject, size = 1, mediaType = TYPE },
      artifactType = "application/x.sig", annotations = { a = "b" } })
    t:eq(answer.headers["oci-subject"], subject)
    local list, found = client("GET", REPO .. "/referrers/" .. subject .. "?artifactType=application/x.sig")
    t:eq({ list.manifests[1].digest, list.manifests[1].artifactType, list.manifests[1].annotations },
      { signature, "application/x.sig", { a = "b" } })
    t:eq(found.headers["oci-filters-applied"], "artifactType")
    t:eq(client("GET", REPO .. "/referrers/" .. subject .. "?artifactType=other").manifests, {})
    -- An image's type is that of its configuration; an index has none of its own. The subject may come later, or never.
    local later = { digest = digest "later", size = 5, mediaType = TYPE }
    push(client, REPO, "image", { subject = later, artifactType = "" })
    client("PUT", REPO .. "/manifests/index", json.encode { schemaVersion = 2, manifests = json.array {},
      subject = later }, 201, { ["content-type"] = "application/vnd.oci.image.index.v1+json" })
    local types = {}
    for _, one in ipairs(client("GET", REPO .. "/referrers/" .. later.digest).manifests) do
      types[one.mediaType:match("image%.(%a+)")] = one.artifactType or "none"
    end
    t:eq(types, { manifest = "application/octet-stream", index = "none" })
    client("DELETE", REPO .. "/manifests/" .. subject, nil, 202)
    t:eq(#client("GET", REPO .. "/referrers/" .. subject).manifests, 1) -- they outlive what they refer to
    client("DELETE", REPO .. "/manifests/" .. signature, nil, 202)
    t:eq(client("GET", REPO .. "/referrers/" .. subject).manifests, {})
    t:eq(client("GET", "/v2/none/referrers/" .. subject).manifests, {})
  end)
end
