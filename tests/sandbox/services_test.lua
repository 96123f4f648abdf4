local crypto = require "ws.crypto"
local json = require "ws.json"
local support = dofile "tests/sandbox/support.lua"

return function(test)
  test("projects, policies, services", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local root = "/resourcemanager/v1/projects"
    local project = client("GET", root .. "/test-project")
    t:eq({ project.lifecycleState, type(project.projectNumber) }, { "ACTIVE", "string" })
    t:eq(client("GET", root .. "/" .. project.projectNumber).projectId, "test-project")
    t:eq(client("GET", "/billing/v1/projects/test-project/billingInfo").billingEnabled, true)
    client("POST", root, { projectId = "x" }, 400)
    client("POST", root, { projectId = "test-project" }, 409)
    client("GET", root .. "/absent-project", nil, 403)
    local policy = client("POST", root .. "/test-project:getIamPolicy", {})
    table.insert(policy.bindings, { role = "roles/viewer", members = { "user:a@example.com" } })
    local set = client("POST", root .. "/test-project:setIamPolicy", { policy = policy })
    t:ok(set.etag ~= policy.etag)
    t:eq(client("POST", root .. "/test-project:setIamPolicy", { policy = policy }, 409).error.status, "ABORTED")
    client("POST", root .. "/test-project:setIamPolicy", { policy = { bindings = { { role = "roles/viewer",
      members = { "someone" } } } } }, 400)
    client("POST", root .. "/test-project:setIamPolicy", { policy = { bindings = { { role = "roles/viewer",
      members = { "serviceAccount:absent@test-project.iam.gserviceaccount.com" } } } } }, 400)
    t:eq(client("POST", root .. "/test-project:setIamPolicy", { policy = { bindings = json.array {} } }).bindings, nil)

    client("POST", root, { projectId = "fresh-project" })
    local refused = client("GET", "/compute/v1/projects/fresh-project/global/networks", nil, 403)
    t:eq(refused.error.errors[1].reason, "accessNotConfigured")
    local services = "/serviceusage/v1/projects/fresh-project/services"
    local done = client("POST", services .. ":batchEnable", { serviceIds = { "compute.googleapis.com" } })
    t:eq(client("GET", "/serviceusage/v1/" .. done.name).done, true)
    local list = client("GET", services .. "?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200")
    t:has(list.services[1].name, "/services/compute.googleapis.com")
    client("GET", "/compute/v1/projects/fresh-project/global/networks")
    client("POST", services .. "/compute.googleapis.com:disable", {})
    client("GET", "/compute/v1/projects/fresh-project/global/networks", nil, 403)
    client("POST", services .. ":batchEnable", { serviceIds = { "nothing" } }, 403)
  end)

  test("service accounts", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local root = "/iam/v1/projects/test-project/serviceAccounts"
    client("POST", root, { accountId = "x" }, 400)
    local account = client("POST", root, { accountId = "builder", serviceAccount = { displayName = "B" } })
    t:eq(account.email, "builder@test-project.iam.gserviceaccount.com")
    client("POST", root, { accountId = "builder" }, 409)
    t:eq(client("GET", "/iam/v1/projects/-/serviceAccounts/" .. account.email).uniqueId, account.uniqueId)
    t:eq(client("PATCH", root .. "/" .. account.email, { serviceAccount = { displayName = "C" },
      updateMask = "display_name" }).displayName, "C")
    client("POST", root .. "/" .. account.email .. ":setIamPolicy", { policy = { bindings = {
      { role = "roles/iam.workloadIdentityUser", members = { "serviceAccount:test-project.svc.id.goog[ns/sa]" } } } } })
    local member = "serviceAccount:" .. account.email
    client("POST", "/resourcemanager/v1/projects/test-project:setIamPolicy", { policy = { bindings = {
      { role = "roles/viewer", members = { member } } } } })
    client("DELETE", root .. "/" .. account.email)
    client("GET", root .. "/" .. account.email, nil, 404)
    local policy = client("POST", "/resourcemanager/v1/projects/test-project:getIamPolicy", {})
    t:eq(policy.bindings[1].members[1], ("deleted:%s?uid=%s"):format(member, account.uniqueId))
  end)

  test("a key file gives tokens", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local root = "/iam/v1/projects/test-project/serviceAccounts"
    local email = client("POST", root, { accountId = "builder" }).email
    local key = client("POST", root .. "/" .. email .. "/keys", {})
    local file = t:ok(json.decode(crypto.base64_decode(key.privateKeyData)))
    t:has(file.token_uri, "/oauth2/token")
    local function assertion(changes)
      local now = os.time()
      local claims = { iss = email, scope = "s", aud = file.token_uri, iat = now, exp = now + 3600 }
      for name, value in pairs(changes or {}) do claims[name] = value end
      local head = crypto.base64url_encode(json.encode { alg = "RS256", typ = "JWT", kid = file.private_key_id })
      local text = head .. "." .. crypto.base64url_encode(json.encode(claims))
      return text .. "." .. crypto.base64url_encode(assert(crypto.rsa_sign(file.private_key, text)))
    end
    local function ask(jwt, expected)
      return client("POST", "/oauth2/token",
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=" .. jwt, expected)
    end
    local granted = ask(assertion(), 200)
    t:eq({ granted.token_type, granted.id_token }, { "Bearer", nil })
    local info = client("GET", "/oauth2/v3/userinfo", nil, 200, { authorization = "Bearer " .. granted.access_token })
    t:eq(info.email, email)
    t:eq(ask(assertion { exp = os.time() - 10 }, 400).error, "invalid_grant")
    t:has(ask(assertion():sub(1, -9) .. "AAAAAAAA", 400).error_description, "Signature")
    t:has(ask(assertion { iss = "absent@test-project.iam.gserviceaccount.com" }, 400).error_description, "not found")
    ask("x", 400)
    t:ok(client("POST", "/oauth2/token", "grant_type=refresh_token&refresh_token=r").access_token)
    client("POST", "/oauth2/token", "grant_type=refresh_token&refresh_token=revoked", 400)
    client("POST", "/oauth2/token", "grant_type=password", 400)
    t:ok(client("POST", "/iamcredentials/v1/projects/-/serviceAccounts/" .. email .. ":generateAccessToken",
      { scope = { "s" }, lifetime = "60s" }).accessToken)
  end)

  test("the metadata server", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local flavor = { ["metadata-flavor"] = "Google", authorization = false }
    local _, answer = client("GET", "/computeMetadata/v1/project/project-id", nil, 200, flavor)
    t:eq({ answer.body, answer.headers["metadata-flavor"] }, { "test-project", "Google" })
    client("GET", "/computeMetadata/v1/project/project-id", nil, 403)
    local token = client("GET", "/computeMetadata/v1/instance/service-accounts/default/token", nil, 200, flavor)
    t:ok(token.access_token and token.expires_in > 0)
  end)

  test("private services and SQL", function(t)
    local cloud = support.cloud(t)
    local client, base = support.network(t, cloud)
    local number = cloud:project("test-project").projectNumber
    local network = ("projects/%s/global/networks/net"):format(number)
    local instances = "/sql/v1beta4/projects/test-project/instances"
    local body = { name = "db", region = "europe-west1", databaseVersion = "POSTGRES_16", rootPassword = "x",
      settings = { tier = "db-f1-micro", ipConfiguration = { ipv4Enabled = false,
        privateNetwork = "projects/test-project/global/networks/net" } } }
    t:has(client("POST", instances, body, 400).error.message, "NETWORK_NOT_PEERED")
    local connections = "/servicenetworking/v1/services/servicenetworking.googleapis.com/connections"
    client("POST", connections, { network = network, reservedPeeringRanges = { "psa" } }, 400)
    client("POST", base .. "/global/addresses", { name = "psa", purpose = "VPC_PEERING", addressType = "INTERNAL",
      address = "10.34.0.0", prefixLength = 20, network = "global/networks/net" })
    t:eq(client("GET", connections .. "?network=" .. network).connections, nil)
    client("POST", connections, { network = network, reservedPeeringRanges = { "psa" } })
    t:eq(client("GET", connections .. "?network=" .. network).connections[1].network, network)
    client("DELETE", base .. "/global/addresses/psa", nil, 400)

    local operation = client("POST", instances, body)
    t:eq(client("GET", "/sql/v1beta4/projects/test-project/operations/" .. operation.name).status, "DONE")
    local db = client("GET", instances .. "/db")
    t:eq({ db.state, db.ipAddresses[1].type, db.settings.settingsVersion, db.settings.activationPolicy, db.rootPassword,
      db.connectionName }, { "RUNNABLE", "PRIVATE", "1", "ALWAYS", nil, "test-project:europe-west1:db" })
    t:has(db.ipAddresses[1].ipAddress, "10.34.0.")
    db.settings.settingsVersion = "0"
    client("PUT", instances .. "/db", { settings = db.settings }, 412)
    db.settings.settingsVersion = "1"
    db.settings.userLabels = { a = "b" }
    client("PUT", instances .. "/db", { settings = db.settings })
    t:eq(client("GET", instances .. "/db").settings.settingsVersion, "2")
    client("POST", instances .. "/db/databases", { name = "app" })
    client("GET", instances .. "/db/databases/app")
    client("POST", instances .. "/db/users", { name = "app", password = "secret" })
    local users = client("GET", instances .. "/db/users").items
    t:eq({ users[1].name, users[1].password }, { "app", nil })
    client("PUT", instances .. "/db/users?name=app&host=", { password = "other" })
    client("DELETE", instances .. "/db/users?name=app&host=")
    client("DELETE", instances .. "/db/users?name=app&host=", nil, 404)
    client("POST", instances, { name = "replica", region = "europe-west1", masterInstanceName = "db",
      settings = { tier = "db-f1-micro" } })
    t:eq(client("GET", instances .. "/replica").masterInstanceName, "test-project:db")
    t:eq(client("GET", instances .. "/db").replicaNames, { "replica" })
    client("DELETE", instances .. "/db", nil, 400)
    client("POST", connections .. "/servicenetworking-googleapis-com", { consumerNetwork = network }, 400)
    client("DELETE", instances .. "/replica")
    client("DELETE", instances .. "/db")
    t:eq(client("GET", instances .. "/db", nil, 404).error.errors[1].reason, "instanceDoesNotExist")
    client("POST", instances, body, 409) -- the name stays taken
    client("DELETE", base .. "/global/networks/net", nil, 400)
    client("POST", connections .. "/servicenetworking-googleapis-com", { consumerNetwork = network })
    client("DELETE", base .. "/global/addresses/psa")
  end)

  test("DNS", function(t)
    local client = support.network(t, support.cloud(t))
    local zones = "/dns/v1/projects/test-project/managedZones"
    local zone = client("POST", zones, { name = "z", dnsName = "p.internal.", visibility = "private",
      privateVisibilityConfig = { networks = { { networkUrl = "projects/test-project/global/networks/net" } } } })
    t:eq(zone.privateVisibilityConfig.networks[1].networkUrl,
      "https://www.googleapis.com/compute/v1/projects/test-project/global/networks/net")
    t:eq(#client("GET", zones .. "/z/rrsets").rrsets, 2)
    local record = { name = "a.p.internal.", type = "A", ttl = 60, rrdatas = { "10.0.0.1" } }
    local change = client("POST", zones .. "/z/changes", { additions = { record } })
    t:eq(client("GET", zones .. "/z/changes/" .. change.id).status, "done")
    t:eq(client("GET", zones .. "/z/rrsets?name=a.p.internal.&type=A").rrsets[1].rrdatas, { "10.0.0.1" })
    client("POST", zones .. "/z/changes", { additions = { record } }, 409)
    local elsewhere = { name = "a.other.", type = "A", rrdatas = { "1.2.3.4" } }
    client("POST", zones .. "/z/changes", { additions = { elsewhere } }, 400)
    t:eq(client("DELETE", zones .. "/z", nil, 400).error.errors[1].reason, "containerNotEmpty")
    client("POST", zones .. "/z/changes", { deletions = { { name = "a.p.internal.", type = "A", ttl = 61,
      rrdatas = { "10.0.0.1" } } } }, 412)
    local newer = { name = "a.p.internal.", type = "A", ttl = 61, rrdatas = { "10.0.0.2" } }
    client("POST", zones .. "/z/changes", { deletions = { record }, additions = { newer } })
    client("PUT", zones .. "/z", { id = 12, name = "z", dnsName = "p.internal.", description = "d",
      nameServers = { "x" } })
    t:eq(type(client("GET", zones .. "/z").id), "string")
    client("POST", zones .. "/z/changes", { deletions = { newer } })
    client("DELETE", zones .. "/z", nil, 204)
  end)

  test("Pub/Sub", function(t)
    local client = support.client(t, (support.cloud(t)))
    for _, root in ipairs { "/pubsub/v1/projects/test-project", "/v1/projects/test-project" } do
      client("PUT", root .. "/topics/events", { labels = { a = "b" } })
      client("PUT", root .. "/topics/events", {}, 409)
      client("PUT", root .. "/subscriptions/sub", { topic = "projects/test-project/topics/absent" }, 404)
      client("PUT", root .. "/subscriptions/sub", { topic = "projects/test-project/topics/events",
        ackDeadlineSeconds = 10 })
      client("PATCH", root .. "/subscriptions/sub?updateMask=ackDeadlineSeconds,bigqueryConfig",
        { subscription = { ackDeadlineSeconds = 20 } })
      t:eq(client("GET", root .. "/subscriptions/sub").ackDeadlineSeconds, 20)
      local ids = client("POST", root .. "/topics/events:publish", { messages = { { data = "aGk=" } } }).messageIds
      local got = client("POST", root .. "/subscriptions/sub:pull", { maxMessages = 5 }).receivedMessages
      t:eq({ got[1].message.data, got[1].message.messageId }, { "aGk=", ids[1] })
      t:eq(client("POST", root .. "/subscriptions/sub:pull", { maxMessages = 5, returnImmediately = true }), {})
      client("POST", root .. "/subscriptions/sub:modifyAckDeadline", { ackIds = { got[1].ackId },
        ackDeadlineSeconds = 0 })
      got = client("POST", root .. "/subscriptions/sub:pull", { maxMessages = 5 }).receivedMessages
      client("POST", root .. "/subscriptions/sub:acknowledge", { ackIds = { got[1].ackId } })
      client("DELETE", root .. "/topics/events")
      t:eq(client("GET", root .. "/subscriptions/sub").topic, "_deleted-topic_")
      client("DELETE", root .. "/subscriptions/sub")
      client("GET", root .. "/subscriptions/sub", nil, 404)
    end
  end)

  test("secrets", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local root = "/secretmanager/v1/projects/test-project/secrets"
    local secret = client("POST", root .. "?secretId=s", { replication = { automatic = {} } })
    t:eq(secret.name, ("projects/%s/secrets/s"):format(cloud:project("test-project").projectNumber))
    client("POST", root .. "?secretId=s", {}, 409)
    local version = client("POST", root .. "/s:addVersion", { payload = { data = "c2VjcmV0" } })
    t:has(version.name, "/versions/1")
    t:eq(client("GET", "/secretmanager/v1/" .. secret.name .. "/versions/latest:access").payload.data, "c2VjcmV0")
    client("POST", root .. "/s/versions/1:disable", {})
    client("GET", root .. "/s/versions/1:access", nil, 400)
    client("POST", root .. "/s/versions/1:destroy", {})
    client("POST", root .. "/s/versions/1:enable", {}, 400)
    client("POST", root .. "/s:addVersion", { payload = { data = "%" } }, 400)
    client("DELETE", root .. "/s")
    client("GET", root .. "/s/versions/1", nil, 404)
  end)

  test("functions, dashboards, alerts, repositories", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local functions = "/cloudfunctions/v2/projects/test-project/locations/europe-west1/functions"
    local made = client("POST", functions .. "?functionId=f", { buildConfig = { runtime = "go124" } })
    t:eq(client("GET", "/cloudfunctions/v2/" .. made.name).response.name,
      "projects/test-project/locations/europe-west1/functions/f")
    client("PATCH", functions .. "/f?updateMask=description,serviceConfig", { description = "d",
      serviceConfig = { timeoutSeconds = 5 } })
    local f = client("GET", functions .. "/f")
    t:eq({ f.state, f.description, f.serviceConfig.timeoutSeconds, f.buildConfig.runtime },
      { "ACTIVE", "d", 5, "go124" })
    client("GET", "/cloudfunctions/v1/projects/test-project/locations/europe-west1/functions/f", nil, 404)
    client("DELETE", functions .. "/f")

    local monitoring = "/monitoring/v3/projects/test-project"
    local channel = client("POST", monitoring .. "/notificationChannels", { type = "email", displayName = "c" })
    local policy = client("POST", monitoring .. "/alertPolicies", { displayName = "p",
      conditions = { { displayName = "x" } }, notificationChannels = { channel.name } })
    t:has(policy.conditions[1].name, policy.name .. "/conditions/")
    client("DELETE", "/monitoring/v3/" .. channel.name .. "?force=false", nil, 400)
    local at = "/monitoring/v3/" .. policy.name .. "?updateMask=displayName"
    t:eq(client("PATCH", at, { displayName = "q" }).displayName, "q")
    client("DELETE", "/monitoring/v3/" .. policy.name)
    client("DELETE", "/monitoring/v3/" .. channel.name .. "?force=false")
    local board = client("POST", "/monitoring/v1/projects/test-project/dashboards", { displayName = "b",
      gridLayout = { columns = "2" } })
    t:eq(board.gridLayout.columns, "2")
    client("PATCH", "/monitoring/v1/" .. board.name, { displayName = "c", etag = "old" }, 409)
    t:ok(client("PATCH", "/monitoring/v1/" .. board.name, { displayName = "c", etag = board.etag }).etag ~= board.etag)
    client("DELETE", "/monitoring/v1/" .. board.name)

    local repositories = "/artifactregistry/v1/projects/test-project/locations/europe-west1/repositories"
    local created = client("POST", repositories .. "?repository_id=images", { format = "DOCKER" })
    t:eq(client("GET", "/artifactregistry/v1/" .. created.name).done, true)
    t:eq(client("PATCH", repositories .. "/images?updateMask=description", { description = "d" }).description, "d")
    client("DELETE", repositories .. "/images")
    client("GET", repositories .. "/images", nil, 404)
  end)
end
