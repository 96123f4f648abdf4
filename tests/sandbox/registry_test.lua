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

  test("uploads in pieces", function(t)
    local client = support.client(t, (support.cloud(t)))
    local _, answer = client("POST", REPO .. "/blobs/uploads/", "", 202)
    local at = answer.headers.location:match("^http://[^/]+(/.*)$")
    _, answer = client("PATCH", at, "01234", 202)
    t:eq(answer.headers.range, "0-4")
    _, answer = client("PATCH", at, "9", 416, { ["content-range"] = "9-9" })
    t:eq(answer.headers.range, "0-4")
    client("PATCH", at, "56", 202, { ["content-range"] = "5-6" })
    _, answer = client("GET", at, nil, 204)
    t:eq(answer.headers.range, "0-6")
    client("PUT", at .. "?digest=" .. digest "0123456789", "789", 201)
    t:eq(client("GET", REPO .. "/blobs/" .. digest "0123456789").body, "0123456789")
    client("PUT", at .. "?digest=" .. digest "x", "", 404)
    -- one PUT with everything, as helm does; then a wrong digest
    at = select(2, client("POST", REPO .. "/blobs/uploads/", "", 202)).headers.location:match("^http://[^/]+(/.*)$")
    client("PUT", at .. "?digest=" .. digest "other", "content", 400)
    at = select(2, client("POST", REPO .. "/blobs/uploads/", "", 202)).headers.location:match("^http://[^/]+(/.*)$")
    client("DELETE", at, nil, 204)
    client("PATCH", at, "x", 404)
  end)

  test("blobs are seen where they were pushed or mounted", function(t)
    local client = support.client(t, (support.cloud(t)))
    local blob = push_blob(client, "/v2/one", "shared").digest
    client("HEAD", "/v2/two/blobs/" .. blob, nil, 404)
    local _, answer = client("POST", "/v2/two/blobs/uploads/?from=one&mount=" .. blob, "", 201)
    t:eq(answer.headers["docker-content-digest"], blob)
    client("POST", "/v2/two/blobs/uploads/?from=one&mount=" .. digest "absent", "", 202)
    client("DELETE", "/v2/one/blobs/" .. blob, nil, 202)
    client("GET", "/v2/one/blobs/" .. blob, nil, 404)
    t:eq(client("GET", "/v2/two/blobs/" .. blob).body, "shared")
  end)

  test("what is not right is refused", function(t)
    local client = support.client(t, (support.cloud(t)))
    local function code(...) return client(...).errors[1].code end
    t:eq(code("PUT", REPO .. "/manifests/x", "text", 400), "MANIFEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/x", "[]", 400), "MANIFEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/" .. digest "no", "{}", 400), "DIGEST_INVALID")
    t:eq(code("PUT", REPO .. "/manifests/-bad", "{}", 400), "MANIFEST_INVALID")
    t:eq(code("GET", REPO .. "/manifests/none", nil, 404), "MANIFEST_UNKNOWN")
    t:eq(code("GET", REPO .. "/blobs/sha256:12", nil, 400), "DIGEST_INVALID")
    t:eq(code("GET", "/v2/UPPER/tags/list", nil, 400), "NAME_INVALID")
    t:eq(code("GET", "/v2/app/unknown/thing", nil, 404), "UNSUPPORTED")
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
  end)

  test("credentials, when they are wanted", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    cloud.auth = "google"
    local nobody = { authorization = false, host = "h:1" }
    local _, answer = client("GET", "/v2/", nil, 401, nobody)
    t:eq(answer.headers["www-authenticate"], 'Bearer realm="http://h:1/v2/token",service="h:1"')
    _, answer = client("HEAD", REPO .. "/manifests/x", nil, 401, nobody)
    t:has(answer.headers["www-authenticate"], 'scope="repository:eu.gcr.io/test-project/app:pull"')
    local function login(user, password)
      return { authorization = "Basic " .. crypto.base64_encode(user .. ":" .. password) }
    end
    local granted = client("GET", "/v2/token?service=h:1&scope=repository:a:pull", nil, 200,
      login("oauth2accesstoken", "token"))
    t:eq(granted.token, granted.access_token)
    client("GET", "/v2/", nil, 200, { authorization = "Bearer " .. granted.token })
    client("GET", "/v2/token", nil, 401, login("_json_key", "no file"))
    client("GET", "/v2/token", nil, 200, login("_json_key", '{"type":"service_account"}'))
    t:ok(client("POST", "/v2/token", "grant_type=password&username=u&password=p&service=h").token)
  end)
end
