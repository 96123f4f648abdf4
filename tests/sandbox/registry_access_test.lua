-- Who may use the sandbox's registry when credentials are checked as strictly as Google does.
local crypto = require "ws.crypto"
local json = require "ws.json"
local support = dofile "tests/sandbox/support.lua"
local time = require "ws.time"

local REPO = "/v2/eu.gcr.io/test-project/app"
local NOBODY = { authorization = false, host = "h:1" }

local function login(user, password)
  return { authorization = "Basic " .. crypto.base64_encode(user .. ":" .. password) }
end

local function start(t)
  local cloud = support.cloud(t)
  cloud.auth = "google"
  return support.client(t, cloud), cloud
end

--- The headers of a token that was asked for with the scopes, by somebody or by nobody.
local function token(client, user, ...)
  local url = "/v2/token?service=h:1"
  for _, scope in ipairs { ... } do url = url .. "&scope=" .. scope end
  local granted = client("GET", url, nil, 200, user or { authorization = false })
  return { authorization = "Bearer " .. granted.token, host = "h:1" }, granted
end

local SOMEBODY = login("oauth2accesstoken", "ya29.x")

return function(test)
  test("without credentials the answer says where to get them", function(t)
    local client = start(t)
    local _, answer = client("GET", "/v2/", nil, 401, NOBODY)
    t:eq({ answer.json.errors[1].code, answer.headers["www-authenticate"] },
      { "UNAUTHORIZED", 'Bearer realm="http://h:1/v2/token",service="h:1"' })
    _, answer = client("HEAD", REPO .. "/manifests/x", nil, 401, NOBODY)
    t:has(answer.headers["www-authenticate"], 'scope="repository:eu.gcr.io/test-project/app:pull"')
    _, answer = client("POST", REPO .. "/blobs/uploads/", "", 401, NOBODY)
    t:has(answer.headers["www-authenticate"], 'scope="repository:eu.gcr.io/test-project/app:pull,push"')
  end)

  test("tokens, by each way to ask for one", function(t)
    local client = start(t)
    local headers, granted = token(client, SOMEBODY)
    t:eq({ granted.token == granted.access_token, granted.expires_in }, { true, 3599 })
    client("GET", "/v2/", nil, 200, headers)
    client("GET", "/v2/token", nil, 401, login("_json_key", "no file"))
    client("GET", "/v2/token", nil, 401, login("oauth2accesstoken", ""))
    client("GET", "/v2/token", nil, 200, login("_json_key", '{"type":"service_account"}'))
    client("GET", "/v2/token", nil, 200, login("_json_key_base64", crypto.base64_encode '{"type":"x"}'))
    client("GET", "/v2/token", nil, 401, login("_json_key_base64", "{}"))
    local form = "&service=h&scope=repository:a:pull,push"
    t:ok(client("POST", "/v2/token", "grant_type=password&username=u&password=p" .. form).token)
    local refreshed = client("POST", "/v2/token", "grant_type=refresh_token&refresh_token=r" .. form).token
    client("POST", "/v2/a/blobs/uploads/", "", 202, { authorization = "Bearer " .. refreshed })
    client("POST", "/v2/a/blobs/uploads/", "", 202, SOMEBODY) -- Google takes them without a token, too
    client("POST", "/v2/a/blobs/uploads/", "", 202, { authorization = "Bearer ya29.oauth" })
  end)

  test("a token counts for what it was asked for", function(t)
    local client = start(t)
    local pull, push = token(client, SOMEBODY, "repository:a:pull"), token(client, SOMEBODY, "repository:a:push,pull")
    client("GET", "/v2/a/tags/list", nil, 404, pull)
    local _, answer = client("POST", "/v2/a/blobs/uploads/", "", 401, pull)
    t:has(answer.headers["www-authenticate"], 'scope="repository:a:pull,push",error="insufficient_scope"')
    client("GET", "/v2/b/tags/list", nil, 401, push)
    local blob = "sha256:" .. crypto.sha256("blob")
    client("POST", "/v2/a/blobs/uploads/?digest=" .. blob, "blob", 201, push)
    client("DELETE", "/v2/a/blobs/" .. blob, nil, 401, pull)
    -- A mount wants to read where the blob is.
    local one = token(client, SOMEBODY, "repository:b:pull,push")
    local both = token(client, SOMEBODY, "repository:b:pull,push", "repository:a:pull")
    client("POST", "/v2/b/blobs/uploads/?from=a&mount=" .. blob, "", 202, one)
    client("POST", "/v2/b/blobs/uploads/?from=a&mount=" .. blob, "", 201, both)
    client("DELETE", "/v2/b/blobs/" .. blob, nil, 202, token(client, SOMEBODY, "repository:b:*"))
  end)

  test("a token ends", function(t)
    local client, cloud = start(t)
    client("PATCH", "/_sandbox/settings", { token_seconds = 60 })
    local headers, granted = token(client, SOMEBODY, "repository:a:pull")
    t:eq(granted.expires_in, 60)
    client("GET", "/v2/a/tags/list", nil, 404, headers)
    cloud.store:collection("tokens"):update(granted.token, function(r) r.expires_at = time.now() - 1 end)
    local _, answer = client("GET", "/v2/a/tags/list", nil, 401, headers)
    t:has(answer.headers["www-authenticate"], 'error="invalid_token"')
    client("GET", "/v2/token", nil, 401, login("oauth2accesstoken", granted.token))
    client("PATCH", "/_sandbox/settings", { token_seconds = 0 }, 400)
  end)

  test("nobody reads what is open to everybody, and nothing else", function(t)
    local client = start(t)
    local name = "europe-docker.pkg.dev/test-project/open/app"
    local function nobody() return (token(client, nil, ("repository:%s:pull,push"):format(name))) end
    local manifest = json.encode { schemaVersion = 2, manifests = json.array {} }
    client("PUT", ("/v2/%s/manifests/1"):format(name), manifest, 201)
    t:eq(client("GET", ("/v2/%s/manifests/1"):format(name), nil, 403, nobody()).errors[1].code, "DENIED")
    local repository = "/artifactregistry/v1/projects/test-project/locations/europe/repositories"
    client("POST", repository .. "?repositoryId=open", { format = "DOCKER" })
    client("POST", repository .. "/open:setIamPolicy", { policy = { bindings = { {
      role = "roles/artifactregistry.reader", members = { "allUsers" } } } } })
    client("GET", ("/v2/%s/manifests/1"):format(name), nil, 200, nobody())
    client("PUT", ("/v2/%s/manifests/1"):format(name), manifest, 403, nobody())
  end)
end
