-- A cluster on etcd, kube-apiserver and kube-controller-manager behind the functions of the built-in one.
local cluster = require "kubernetes_cluster"
local crypto = require "ws.crypto"
local real = require "sandbox.kubernetes.real"
local time = require "ws.time"

return function(test)
  test("workloads become ready, a broken one does not, and objects outlive a restart", function(t)
    local c = cluster.start(t, "kubectl", { real = true }, "etcd", "kube-apiserver", "kube-controller-manager")
    c:kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2", "--port=80")
    c:kubectl("expose", "deploy", "web", "--type=LoadBalancer")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=60s")
    c:kubectl("wait", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "svc/web", "--timeout=30s")
    t:has(c:kubectl("get", "endpoints", "web"), ":80")
    c:kubectl("create", "job", "j", "--image=busybox", "--", "echo", "hi")
    c:kubectl("wait", "--for=condition=Complete", "job/j", "--timeout=30s")
    c:kubectl("create", "deployment", "bad", "--image=registry.local/broken:1")
    t:has(c:kubectl_fails("rollout", "status", "deploy/bad", "--timeout=4s"), "timed out")
    t:has(c:kubectl("get", "pods", "-l", "app=bad"), "ImagePull") -- ErrImagePull, ImagePullBackOff: they take turns
    t:has(c:kubectl("auth", "whoami"), "sandbox-admin")
    t:has(c:kubectl_fails("--token=wrong", "get", "ns"), "Unauthorized")
    local before = c.info.endpoint
    c:restart()
    t:eq(c.info.endpoint, before)
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    c:kubectl("delete", "deploy", "web", "bad", "--timeout=30s")
    c:kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")
  end, { timeout = 240 })

  test("what images do is what they do in the built-in one", function(t)
    local c = cluster.start(t, "kubectl", { real = true, images = function(reference)
      local behaviour = reference:match "app:(%a+)" or reference:match "@sha256:c" and "crash"
      if behaviour == "gone" then return { problem = "rpc error: code = NotFound desc = not found" } end
      return behaviour and { id = "local/app@sha256:c", size = 1, config = { Entrypoint = { "/app" },
        Labels = { ["dev.wsrun.sandbox.behaviour"] = behaviour } } }
    end }, "etcd", "kube-apiserver", "kube-controller-manager")
    for _, tag in ipairs { "gone", "crash" } do c:kubectl("create", "deployment", tag, "--image=local/app:" .. tag) end
    local reason = "jsonpath={.items[0].status.containerStatuses[0].state.waiting.reason}"
    local deadline, seen = time.monotonic() + 30, {}
    repeat
      for _, app in ipairs { "gone", "crash" } do
        seen[app] = c:kubectl("get", "pods", "-l", "app=" .. app, "-o", reason)
      end
    until seen.gone == "ImagePullBackOff" and seen.crash == "CrashLoopBackOff" or time.monotonic() > deadline
    t:eq(seen, { gone = "ImagePullBackOff", crash = "CrashLoopBackOff" })
    local told = c:kubectl("describe", "pods", "-l", "app=crash")
    t:has(told, "Back-off restarting failed container")
    t:ok(told:find "%(x%d+ over" ~= nil, told) -- one event that is counted, not one for each time
  end, { timeout = 240 })

  test("a missing program is named, and nothing keeps running", function(t)
    local ca = assert(crypto.x509.create { subject = "test CA", ca = true })
    local api = real.new { name = "t", dir = t:tmpdir() .. "/state", token = "x", ca = ca }
    local find = real.find
    t:defer(function() real.find = find end)
    real.find = function(name)
      if name == "etcd" then return find "no-such-program" end
      return find(name)
    end
    local err = t:err("missing_tool", api:start())
    t:has(err.message, "no-such-program is not installed")
  end)

  test("unknown options are refused", function(t)
    t:raises("unknown option 'colour'", real.new, { name = "t", colour = "red" })
    t:raises("dir are needed", real.new, { name = "t", token = "x", ca = {} })
  end)
end
