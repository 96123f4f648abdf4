-- Who we are to a registry, and the tokens that prove it.
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local json = require "ws.json"
local oci = require "oci_registry"
local registry = require "ws.registry"
local secret = require "ws.secret"
local task = require "ws.task"
local tokens = require "ws.registry.tokens"

--- A folder that is docker's and podman's, and has no credentials yet.
local function home(t)
  local dir = t:tmpdir()
  environment.set { HOME = dir, DOCKER_CONFIG = dir, REGISTRY_AUTH_FILE = false, XDG_RUNTIME_DIR = dir .. "/run" }
  t:defer(function() environment.set { HOME = false, DOCKER_CONFIG = false, XDG_RUNTIME_DIR = false } end)
  return dir
end

local function configure(dir, config, file)
  local path = dir .. "/" .. (file or "config.json")
  assert(fs.mkdir(fs.dirname(path)))
  assert(fs.write(path, type(config) == "string" and config or json.encode(config)))
end

local function login(dir, r, user)
  configure(dir, { auths = { [r.host] = { auth = crypto.base64_encode(user) } } })
end

local function helper(t, dir, name, script)
  assert(fs.mkdir(dir .. "/bin"))
  assert(fs.write(dir .. "/bin/docker-credential-" .. name, "#!/bin/sh\n" .. script, { mode = 493 })) -- 0755
  local path = os.getenv("PATH")
  environment.set { PATH = dir .. "/bin:" .. path }
  t:defer(function() environment.set { PATH = path } end)
end

local function has_image(r, name)
  local image, auth = oci.image { "x" }, r.auth
  r.auth = nil
  assert(registry.push(image, r.host .. "/" .. (name or "app") .. ":1"))
  r.auth, r.log = auth, {}
  return image
end

return function(test)
  test("challenges are read", function(t)
    t:eq(tokens.parse_challenges 'Bearer realm="https://a/t?x=1,2",service="s s", scope="repository:a/b:pull,push"',
      { { scheme = "bearer", realm = "https://a/t?x=1,2", service = "s s", scope = "repository:a/b:pull,push" } })
    t:eq(tokens.parse_challenges 'Negotiate, Basic realm="a" , BEARER Realm = b',
      { { scheme = "negotiate" }, { scheme = "basic", realm = "a" }, { scheme = "bearer", realm = "b" } })
    t:eq(tokens.parse_challenges "", {})
    t:eq(tokens.parse_challenges '="', {})
    t:eq(tokens.parse_challenges 'Bearer realm="unfinished', { { scheme = "bearer", realm = "unfinished" } })
  end)

  test("one token for many tasks, with the rights that are needed", function(t)
    local dir = home(t)
    local r = oci.start(t, { auth = "bearer", user = "me:p:w" })
    login(dir, r, "me:p:w")
    r.token_fault = function() task.sleep(0.05) end
    local layers = {}
    for i = 1, 8 do layers[i] = "layer " .. i end
    local image = oci.image(layers)
    t:ok(registry.push(image, r.host .. "/p/app:1", { jobs = 8 }))
    t:eq({ #r.asked, r.asked[1].query }, { 1, { { "scope", "repository:p/app:pull,push" }, { "service", "test" } } })
    local functions = {}
    for i = 1, 10 do functions[i] = function() return assert(registry.resolve(r.host .. "/p/app:1")) end end
    t:ok(task.all(functions))
    t:eq(#r.asked, 2) -- the challenge says pull,push, as for the push; what was learned is kept by what was asked
    t:ok(registry.resolve(r.host .. "/p/app:1"))
    t:eq(#r.asked, 2)
  end)

  test("a token that expires in the middle of a push is renewed, wherever that is", function(t)
    local dir = home(t)
    for uses = 1, 12 do
      local r = oci.start(t, { auth = "bearer", user = "me:pw", token_uses = uses })
      login(dir, r, "me:pw")
      local image = oci.image { "one" .. uses, "two" }
      image.read = function(self, descriptor)
        local file = ("%s/%s"):format(dir, descriptor.digest)
        assert(fs.write(file, self.contents[descriptor.digest]))
        if descriptor.digest == self.root.digest then return self.contents[descriptor.digest] end
        return { file = file }
      end
      local result = t:ok(registry.push(image, r.host .. "/app:1", { jobs = 1 }))
      t:eq({ result.sent, r:at "app".tags["1"] }, { 3, image.root.digest }, uses)
    end
  end)

  test("a token is renewed before it expires", function(t)
    local r = oci.start(t, { auth = "bearer", expires_in = 0.2 })
    home(t)
    has_image(r)
    t:ok(registry.resolve(r.host .. "/app:1"))
    local asked, refused = #r.asked, 0
    r.fault = function() refused = refused + 1 end
    for _ = 1, 3 do
      task.sleep(0.15)
      t:ok(registry.resolve(r.host .. "/app:1"))
    end
    t:eq({ #r.asked - asked, refused, #r.log }, { 3, 3, 5 }) -- each request was let in at once; the first never is
  end)

  test("a token that is refused although it is new ends it", function(t)
    home(t)
    local r = oci.start(t, { auth = "bearer", token_uses = 0 })
    local err = t:err("unauthenticated", registry.resolve(r.host .. "/app:1"))
    t:has(err.hint, "docker login " .. r.host)
    t:ok(#r.log <= 4, #r.log)
    r.token_fault = function() return { body = "{}" } end
    t:has(t:err("protocol", registry.resolve(r.host .. "/b:1")).message, "without a token")
  end)

  test("wrong passwords, refused tokens, a token server that is down", function(t)
    oci.hurry(t)
    local dir = home(t)
    local r = oci.start(t, { auth = "bearer", user = "me:right" })
    login(dir, r, "me:wrong-password")
    local err = t:err("unauthenticated", registry.resolve(r.host .. "/app:1"))
    t:has(err.message, "401 incorrect username or password")
    t:has(err.hint, dir .. "/config.json")
    t:ok(not (tostring(err) .. err.hint):find("wrong-password", 1, true))
    login(dir, r, "me:right") -- logged in meanwhile: no new process is needed
    t:err("not_found", registry.resolve(r.host .. "/app:1"))
    r.token_fault = function() return oci.fail(403, "DENIED", "not for you") end
    t:err("denied", registry.resolve(r.host .. "/other:1"))
    local calls = 0
    r.token_fault = function()
      calls = calls + 1
      return calls < 3 and { status = 503 } or nil
    end
    t:err("not_found", registry.resolve(r.host .. "/third:1"))
    t:eq(calls, 3)
  end)

  test("basic authentication, with and without credentials", function(t)
    local dir = home(t)
    local r = oci.start(t, { auth = "basic", user = "me:pw" })
    local image = has_image(r)
    t:err("unauthenticated", registry.resolve(r.host .. "/app:1"))
    t:ok(#r.log <= 2)
    login(dir, r, "me:pw")
    t:eq(registry.resolve(r.host .. "/app:1").digest, image.root.digest)
    login(dir, r, "me:changed")
    r.user = "me:changed"
    t:eq(registry.resolve(r.host .. "/app:1").digest, image.root.digest)
  end)

  test("docker's credential helpers", function(t)
    local dir = home(t)
    helper(t, dir, "test", [[read host; echo "$1 $host" >> "$0.log"
      printf '{"ServerURL":"%s","Username":"helped","Secret":"of-helper"}' "$host"]])
    local r = oci.start(t, { auth = "bearer", user = "helped:of-helper" })
    has_image(r)
    configure(dir, { credHelpers = { [r.host] = "test" }, auths = { [r.host] = {} } })
    t:ok(registry.resolve(r.host .. "/app:1"))
    t:eq(fs.read(dir .. "/bin/docker-credential-test.log"), "get " .. r.host .. "\n")

    local store = oci.start(t, { auth = "bearer", user = "helped:of-helper" })
    has_image(store)
    configure(dir, { credsStore = "test" })
    t:ok(registry.resolve(store.host .. "/app:1"))

    helper(t, dir, "token", [[cat > /dev/null; echo '{"Username":"<token>","Secret":"refresh-me"}']])
    local identity = oci.start(t, { auth = "bearer", refresh = "refresh-me" })
    has_image(identity)
    configure(dir, { credsStore = "token" })
    t:ok(registry.resolve(identity.host .. "/app:1"))
    t:eq({ identity.asked[1].form.grant_type, identity.asked[1].form.scope },
      { "refresh_token", "repository:app:pull,push" })
  end)

  test("helpers that fail, know nothing, or are missing", function(t)
    local dir = home(t)
    local r = oci.start(t, { auth = "bearer" })
    has_image(r, "public")
    helper(t, dir, "empty", [[cat > /dev/null; echo "credentials not found in native keychain"; exit 1]])
    configure(dir, { credsStore = "empty" })
    t:ok(registry.resolve(r.host .. "/public:1")) -- anonymous

    for script, expected in pairs {
      ["cat > /dev/null; echo 'the store is locked' >&2; exit 3"] = { "unauthenticated", "the store is locked" },
      ["cat > /dev/null; echo not JSON"] = { "parse", "something else than JSON" },
    } do
      local other = oci.start(t, { auth = "bearer" })
      helper(t, dir, "bad", script)
      configure(dir, { credHelpers = { [other.host] = "bad" } })
      t:has(t:err(expected[1], registry.resolve(other.host .. "/app:1")).message, expected[2])
    end
    for name, kind in pairs { missing = "missing_tool", ["../bad"] = "invalid" } do
      local other = oci.start(t, { auth = "bearer" })
      configure(dir, { credsStore = name })
      local err = t:err(kind, registry.resolve(other.host .. "/app:1"))
      t:has(tostring(err.hint) .. err.message, dir .. "/config.json")
    end
  end)

  test("what docker and podman have written", function(t)
    local dir = home(t)
    local function serve(user) return oci.start(t, { auth = "bearer", user = user }) end
    local function resolves(r, name)
      has_image(r, name)
      return t:ok(registry.resolve(("%s/%s:1"):format(r.host, name or "app")))
    end
    local key = json.encode { type = "service_account", project_id = "p" }
    local r = serve("_json_key:" .. key)
    login(dir, r, "_json_key:" .. key)
    resolves(r)
    r = serve "a:b"
    configure(dir, { auths = { ["https://" .. r.host .. "/v1/"] = { username = "a", password = "b" } } })
    resolves(r)
    r = oci.start(t, { auth = "bearer", refresh = "rt" })
    configure(dir, { auths = { [r.host] = { auth = crypto.base64_encode "u:p", identitytoken = "rt" } } })
    resolves(r)
    r = serve "pod:man"
    configure(dir, { auths = {
      [r.host] = { auth = crypto.base64_encode "wrong:one" },
      [r.host .. "/team"] = { auth = crypto.base64_encode "pod:man" } } }, "run/containers/auth.json")
    configure(dir, {})
    resolves(r, "team/app")
    t:err("unauthenticated", registry.resolve(r.host .. "/elsewhere:1"))
    r = serve "named:file"
    configure(dir, { auths = { [r.host] = { auth = crypto.base64_encode "named:file" } } }, "other.json")
    environment.set { REGISTRY_AUTH_FILE = dir .. "/other.json" }
    t:defer(function() environment.set { REGISTRY_AUTH_FILE = false } end)
    resolves(r)

    r = serve "x:y"
    for text, expected in pairs {
      ["{"] = { "parse", "config.json" }, ["[]"] = { "unauthenticated", "401" }, ['"x"'] = { "parse", "config.json" },
      [json.encode { auths = { [r.host] = { auth = "%%%" } } }] = { "invalid", "not base64" },
      [json.encode { auths = { [r.host] = { auth = crypto.base64_encode "no" } } }] = { "invalid", "USER:PASSWORD" },
    } do
      configure(dir, text)
      t:has(t:err(expected[1], registry.resolve(r.host .. "/app:1")).message, expected[2])
    end
  end)

  test("Google's hosts take the access token of ws.gcp, which is renewed when it is refused", function(t)
    home(t)
    local r = oci.start(t, { auth = "bearer", user = "oauth2accesstoken:ya29.first" })
    environment.set { WSRUN_REGISTRY_ENDPOINT = r.url }
    t:ok(gcp.credentials { token = "ya29.first" })
    t:defer(function()
      environment.set { WSRUN_REGISTRY_ENDPOINT = false }
      gcp.credentials(nil)
    end)
    t:ok(registry.push(oci.image { "x" }, "eu.gcr.io/p/app:1"))
    t:eq(r.asked[1].query[1], { "scope", "repository:eu.gcr.io/p/app:pull,push" })
    t:ok(registry.resolve "eu.gcr.io/p/app:1")
    r.user = "oauth2accesstoken:ya29.other"
    local err = t:err("unauthenticated", registry.resolve "europe-docker.pkg.dev/p/r/app:1")
    t:has(err.hint, "artifactregistry")
    t:ok(not tostring(err):find("ya29", 1, true))
    t:err("unauthenticated", registry.resolve "registry.example/app:1") -- no Google host: nothing was sent
    t:eq(r.asked[#r.asked].authorization, nil)
  end)

  test("passwords do not go where the registry is not reached in the same way", function(t)
    local place = tokens.place("registry.example", "https://registry.example")
    place.challenge = { scheme = "bearer", realm = "http://127.0.0.1:1/token" }
    place.found.app = { username = "u", password = secret.new "very-secret", source = "test" }
    t:has(t:err("denied", tokens.header(place, "app", { "repository:app:pull" })).message, "without TLS")
  end)

  test("a location on another server gets no token", function(t)
    local seen
    local other = oci.start(t, { fault = function(req)
      seen = req.headers.authorization or "none"
      return { status = 201 }
    end })
    home(t)
    local r
    r = oci.start(t, { auth = "bearer", fault = function(req)
      if req.method == "POST" then
        return { status = 202, headers = { Location = other.url .. "/v2/app/blobs/uploads/1" } }
      end
    end })
    t:ok(registry.put_blob(r.host .. "/app", "hello"))
    t:eq(seen, "none")
  end)
end
