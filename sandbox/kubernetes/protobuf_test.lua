local client = require "sandbox.kubernetes.client"
local kubernetes = require "sandbox.kubernetes"
local protobuf = require "sandbox.kubernetes.protobuf"

-- A small writer of protobuf: { {number, value}, … }, where a value is an integer, a text, or a list of fields.

local function varint(n)
  local out = {}
  repeat
    local b = n & 0x7f
    n = n >> 7
    out[#out + 1] = string.char(n ~= 0 and b | 0x80 or b)
  until n == 0
  return table.concat(out)
end

local function encode(fields)
  local out = {}
  for _, f in ipairs(fields) do
    local number, value = f[1], f[2]
    if type(value) == "number" then
      out[#out + 1] = varint(number << 3) .. varint(value)
    else
      local bytes = type(value) == "table" and encode(value) or value
      out[#out + 1] = varint(number << 3 | 2) .. varint(#bytes) .. bytes
    end
  end
  return table.concat(out)
end

local function body(api_version, kind, fields)
  return "k8s\0" .. encode { { 1, { { 1, api_version }, { 2, kind } } }, { 2, encode(fields) } }
end

return function(test)
  test("a secret is read: maps, bytes, times, empty texts", function(t)
    local o = protobuf.decode(body("v1", "Secret", {
      { 1, { { 1, "s" }, { 2, "" }, { 8, { { 1, 1750000000 } } }, { 11, { { 1, "name" }, { 2, "r1" } } },
        { 11, { { 1, "empty" } } }, { 14, "a" }, { 14, "b" } } },
      { 2, { { 1, "release" }, { 2, "\0\1\2" } } }, { 3, "helm.sh/release.v1" },
    }))
    t:eq({ o.apiVersion, o.kind, o.type, o.data.release }, { "v1", "Secret", "helm.sh/release.v1", "AAEC" })
    t:eq(o.metadata, { name = "s", creationTimestamp = "2025-06-15T15:06:40Z", labels = { name = "r1", empty = "" },
      finalizers = { "a", "b" } })
  end)

  test("nested kinds are read: quantities, int-or-string, inlined parts, numbers that are zero", function(t)
    local container = { { 1, "c" }, { 2, "i:1" }, { 6, { { 2, 0 }, { 3, 80 }, { 4, "TCP" } } },
      { 8, { { 1, { { 1, "cpu" }, { 2, { { 1, "200m" } } } } } } },
      { 10, { { 1, { { 2, { { 1, "/" }, { 2, { { 1, 1 }, { 2, 0 }, { 3, "http" } } } } } } }, { 2, 0 } } } }
    local o = protobuf.decode(body("apps/v1", "Deployment", { { 1, { { 1, "d" } } }, { 2, {
      { 1, 0 }, { 3, { { 2, { { 2, container } } } } }, { 7, 0 } } } }))
    t:eq(o.spec.replicas, 0)
    t:eq(o.spec.paused, nil)
    t:eq(o.spec.template.spec.containers[1], { name = "c", image = "i:1", ports = { { containerPort = 80,
      protocol = "TCP" } },
      resources = { limits = { cpu = "200m" } }, livenessProbe = { httpGet = { path = "/", port = "http" } } })
  end)

  test("delete options and reviews are read", function(t)
    local o = protobuf.decode(body("v1", "DeleteOptions", { { 1, 0 }, { 2, { { 1, "uid-1" } } }, { 4, "Background" },
      { 5, "All" } }))
    t:eq({ o.gracePeriodSeconds, o.preconditions.uid, o.propagationPolicy, o.dryRun },
      { 0, "uid-1", "Background", { "All" } })
    o = protobuf.decode(body("authorization.k8s.io/v1", "SelfSubjectAccessReview",
      { { 2, { { 1, { { 1, "ns" }, { 2, "get" }, { 5, "pods" } } } } } }))
    t:eq(o.spec.resourceAttributes, { namespace = "ns", verb = "get", resource = "pods" })
  end)

  test("negative numbers and unknown fields", function(t)
    local o = protobuf.decode(body("v1", "DeleteOptions", { { 1, -1 }, { 99, "future" }, { 98, 7 } }))
    t:eq(o, { apiVersion = "v1", kind = "DeleteOptions", gracePeriodSeconds = -1 })
  end)

  test("broken and unknown bodies are refused", function(t)
    local whole = body("v1", "Secret", { { 1, { { 1, "s" } } }, { 3, "Opaque" } })
    for cut = 5, #whole - 1 do
      local ok, err = pcall(protobuf.decode, whole:sub(1, cut))
      if not ok then t:ok(err.code == 400 or err.code == 415, tostring(err)) end
    end
    t:eq(t:raises("unexpected end", protobuf.decode, "k8s\0\18\127x").code, 400)
    t:eq(t:raises("not understood", protobuf.decode, body("v1", "Nonsense", {})).code, 415)
    t:eq(t:raises("wrong wire type", protobuf.decode, body("v1", "Secret", { { 3, 1 } })).code, 400)
  end)

  test("the API takes them and answers in JSON", function(t)
    local c = client.new(kubernetes.new { name = "t", token = "x", ca = { cert = "", key = "" } }, "x")
    local status, o = c:call("POST", "/api/v1/namespaces", body("v1", "Namespace",
      { { 1, { { 1, "team" } } }, { 2, "" }, { 3, "" } }),
      "application/vnd.kubernetes.protobuf")
    t:eq({ status, o.metadata.name, o.status.phase }, { 201, "team", "Active" })
    status, o = c:call("POST", "/api/v1/namespaces/team/services", body("v1", "Service", { { 1, { { 1, "lb" } } },
      { 2, { { 1, { { 1, "http" }, { 2, "TCP" }, { 3, 80 }, { 4, { { 1, 0 }, { 2, 0 } } }, { 5, 0 } } },
        { 4, "LoadBalancer" } } } }),
      "application/vnd.kubernetes.protobuf")
    t:eq(status, 201)
    t:eq(o.spec.ports[1].targetPort, 80)
    t:ok(o.spec.ports[1].nodePort >= 30000)
  end)
end
