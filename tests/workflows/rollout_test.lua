-- When a rollout has failed, and when it only takes its time.
local rollout = require "lib.rollout"
local time = require "ws.time"

local START = 1780000000 -- seconds since 1970
local CREATED, OLDER = time.rfc3339(START + 1), time.rfc3339(START - 86400)

local manifest = {
  { kind = "Deployment", metadata = { name = "web" } }, { kind = "StatefulSet", metadata = { name = "db" } },
  { kind = "DaemonSet", metadata = { name = "agent" } }, { kind = "Service", metadata = { name = "web" } },
}

local function owned_by(kind, name, uid)
  return { { kind = kind, name = name, uid = uid, controller = true } }
end

local function deployment(more)
  local d = { metadata = { name = "web", uid = "d", generation = 2,
    annotations = { ["deployment.kubernetes.io/revision"] = "2" } }, spec = { replicas = 2 },
    status = { observedGeneration = 2, replicas = 3, updatedReplicas = 1, readyReplicas = 2 } }
  for key, value in pairs(more or {}) do d[key] = value end
  return d
end

local function set(uid, revision)
  return { status = { readyReplicas = 1 },
    metadata = { name = "web-" .. uid, uid = uid, ownerReferences = owned_by("Deployment", "web", "d"),
    annotations = { ["deployment.kubernetes.io/revision"] = revision } } }
end

local function pod(name, owner, state, more)
  local status = { name = "main", restartCount = 0, ready = false, state = state }
  for key, value in pairs(more or {}) do status[key] = value end
  return { metadata = { name = name, creationTimestamp = CREATED, ownerReferences = owner },
    status = { containerStatuses = { status } } }
end

local function waiting(reason, message)
  return { waiting = { reason = reason, message = message } }
end

--- A rollout of the manifest above that has come as far as waiting; r.clock is its time.
local function begun(opts)
  local said, crashed = {}, {}
  local r
  r = rollout.new { release = "web", tolerate_restarts = opts and opts.tolerate or 2, since = START,
    now = function() return r.clock end, on_note = function(text) said[#said + 1] = text end,
    on_crash = function(p, container, count) crashed[#crashed + 1] = ("%s/%s %d"):format(p.metadata.name, container,
      count) end }
  r.clock = 0
  r:belongs(manifest, { { kind = "Job", name = "migrate" } })
  if not opts or opts.applied ~= false then r.applied = true end
  r:see("Deployment", "ADDED", deployment())
  r:see("ReplicaSet", "ADDED", set("old", "1"))
  r:see("ReplicaSet", "ADDED", set("new", "2"))
  return r, said, crashed
end

local NEW, OLD = owned_by("ReplicaSet", "web-new", "new"), owned_by("ReplicaSet", "web-old", "old")

return function(test)
  test("an image that cannot be pulled: at once when that is hopeless, else after a moment", function(t)
    local r = begun()
    r:see("Pod", "ADDED", pod("a", NEW, waiting("ErrImagePull", "rpc error: manifest unknown")))
    t:eq(r:verdict().message, "pod a, container main: ErrImagePull: rpc error: manifest unknown")
    r:see("Pod", "MODIFIED", pod("a", NEW, waiting("ErrImagePull", "connection reset by peer")))
    t:eq(r:verdict(), nil)
    r.clock = 5
    r:see("Pod", "MODIFIED", pod("a", NEW, waiting("ImagePullBackOff", 'Back-off pulling image "x": reset by peer')))
    t:eq(r:verdict(), nil)
    r.clock = 8
    t:eq(r:verdict().message, "pod a, container main: ImagePullBackOff: reset by peer")
    r:see("Pod", "MODIFIED", pod("a", NEW, waiting("ContainerCreating")))
    t:eq(r:verdict(), nil)
    r:see("Pod", "MODIFIED", pod("a", NEW, waiting("InvalidImageName", "no")))
    t:ok(r:verdict())
    r:see("Pod", "DELETED", pod("a", NEW))
    t:eq(r:verdict(), nil)
  end)

  test("pods of the version before, of others, and what is not applied yet do not count", function(t)
    local bad = waiting("InvalidImageName", "no")
    local r = begun()
    r:see("Pod", "ADDED", pod("old", OLD, bad))
    r:see("Pod", "ADDED", pod("foreign", owned_by("ReplicaSet", "other-1", "other"), bad))
    r:see("Pod", "ADDED", pod("bare", nil, bad))
    r:see("Pod", "ADDED", pod("job", owned_by("Job", "nightly", "j"), bad))
    t:eq(r:verdict(), nil)
    local going = pod("going", NEW, bad)
    going.metadata.deletionTimestamp = CREATED
    r:see("Pod", "ADDED", going)
    t:eq(r:verdict(), nil)
    r:see("Deployment", "MODIFIED", deployment { status = { observedGeneration = 1 } })
    r:see("Pod", "ADDED", pod("new", NEW, bad))
    t:eq(r:verdict(), nil, "the controller has not seen the new template yet")
    r:see("Deployment", "MODIFIED", deployment())
    t:has(r:verdict().message, "pod new")
    r = begun { applied = false }
    r:see("Pod", "ADDED", pod("new", NEW, bad))
    t:eq(r:verdict(), nil)
    r:see("Pod", "ADDED", pod("hook", owned_by("Job", "migrate", "m"), bad))
    t:has(r:verdict().message, "pod hook", "a hook's pod is the revision's own from the start")
  end)

  test("an older state of a workload that comes late is not believed", function(t)
    local r = begun()
    local late = deployment()
    late.metadata.generation, late.status.observedGeneration = 1, 1
    late.metadata.annotations = { ["deployment.kubernetes.io/revision"] = "1" }
    r:see("Deployment", "MODIFIED", late)
    r:see("Pod", "ADDED", pod("old", OLD, waiting("InvalidImageName", "no")))
    t:eq(r:verdict(), nil)
  end)

  test("restarts are tolerated as often as was said", function(t)
    local r, _, crashed = begun { tolerate = 2 }
    local function ended(count, state)
      r:see("Pod", "MODIFIED", pod("a", NEW, state, { restartCount = count,
        lastState = { terminated = { exitCode = 3, reason = "Error" } } }))
    end
    ended(0, { terminated = { exitCode = 3, reason = "Error" } })
    ended(1, { running = {} })
    ended(1, waiting "CrashLoopBackOff")
    t:eq(r:verdict(), nil)
    ended(2, { running = {} })
    t:eq(r:verdict(), nil)
    ended(2, waiting "CrashLoopBackOff")
    t:eq(r:verdict().message, "pod a, container main: ended 3 times (exit code 3), tolerated are 2")
    t:eq(crashed, { "a/main 1", "a/main 2", "a/main 3" })
    r = begun { tolerate = 0 }
    r:see("Pod", "ADDED", pod("a", NEW, { terminated = { exitCode = 137, reason = "OOMKilled" } }))
    t:has(r:verdict().message, "ended 1 times (out of memory), tolerated are 0")
    r:see("Pod", "MODIFIED", pod("a", NEW, { running = {} }, { restartCount = 1, ready = true }))
    t:eq(r:verdict(), nil, "it is ready now")
  end)

  test("restarts of a pod from before this rollout were before it", function(t)
    local r = begun { tolerate = 0 }
    local p = pod("a", NEW, { running = {} }, { restartCount = 7 })
    p.metadata.creationTimestamp = OLDER
    r:see("Pod", "ADDED", p)
    t:eq(r:verdict(), nil)
    p = pod("a", NEW, { running = {} }, { restartCount = 8 })
    p.metadata.creationTimestamp = OLDER
    r:see("Pod", "MODIFIED", p)
    t:has(r:verdict().message, "ended 1 times")
  end)

  test("a pod without a node, a deployment out of time, pods that are refused", function(t)
    local r = begun()
    local p = pod("a", NEW)
    p.status = { conditions = { { type = "PodScheduled", status = "False", reason = "Unschedulable",
      message = "0/3 nodes are available" } } }
    r:see("Pod", "ADDED", p)
    r.clock = 119
    t:eq(r:verdict(), nil)
    t:eq(r:reasons(), "pod a: PodScheduled: 0/3 nodes are available")
    r.clock = 120
    t:has(r:verdict().message, "has had no node for 120 s: 0/3 nodes are available")
    for reason, after in pairs { ProgressDeadlineExceeded = 0, FailedCreate = 10 } do
      r = begun()
      local kind = reason == "FailedCreate" and "ReplicaFailure" or "Progressing"
      r:see("Deployment", "MODIFIED", deployment { status = { observedGeneration = 2, conditions = {
        { type = kind, status = kind == "Progressing" and "False" or "True", reason = reason, message = "why" } } } })
      if after > 0 then
        t:eq(r:verdict(), nil)
        r.clock = after
      end
      t:has(r:verdict().message, "deployment web: ")
      t:has(r:verdict().message, "why")
    end
  end)

  test("stateful and daemon sets: only pods of the newest template", function(t)
    local r = begun()
    r:see("StatefulSet", "ADDED", { metadata = { name = "db", generation = 3 }, spec = { replicas = 3 },
      status = { observedGeneration = 3, replicas = 3, updatedReplicas = 1, readyReplicas = 3,
        updateRevision = "db-2" } })
    r:see("DaemonSet", "ADDED", { metadata = { name = "agent", generation = 5,
      annotations = { ["deprecated.daemonset.template.generation"] = "4" } }, spec = {},
      status = { observedGeneration = 5, desiredNumberScheduled = 4, updatedNumberScheduled = 2,
        numberAvailable = 3 } })
    local ready, wanted, text = r:ready()
    t:eq({ ready, wanted, text }, { 4, 9, "agent 2/4, web 1/2, db 1/3" })
    local bad = waiting("InvalidImageName", "no")
    local function labelled(name, kind, owner, labels)
      local p = pod(name, owned_by(kind, owner, owner), bad)
      p.metadata.labels = labels
      r:see("Pod", "ADDED", p)
    end
    labelled("db-2", "StatefulSet", "db", { ["controller-revision-hash"] = "db-1" })
    labelled("agent-x", "DaemonSet", "agent", { ["pod-template-generation"] = "3" })
    t:eq(r:verdict(), nil)
    labelled("db-0", "StatefulSet", "db", { ["controller-revision-hash"] = "db-2" })
    t:has(r:verdict().message, "pod db-0")
    r:see("Pod", "DELETED", pod("db-0"))
    labelled("agent-y", "DaemonSet", "agent", { ["pod-template-generation"] = "4" })
    t:has(r:verdict().message, "pod agent-y")
  end)

  test("warnings about the release's own objects are said once, also those that came too early", function(t)
    local r, said = begun()
    local function event(kind, name, more)
      local e = { type = "Warning", reason = "Failed", message = "no\nspace", lastTimestamp = CREATED,
        metadata = {}, involvedObject = { kind = kind, name = name } }
      for key, value in pairs(more or {}) do e[key] = value end
      r:see("Event", "ADDED", e)
    end
    event("Pod", "a")
    t:eq(said, {})
    r:see("Pod", "ADDED", pod("a", NEW, waiting("ContainerCreating")))
    t:eq(said, { "pod a: Failed: no space" })
    event("Pod", "a")
    event("Deployment", "web", { message = "quota" })
    event("Deployment", "other")
    event("ReplicaSet", "web-new", { involvedObject = { kind = "ReplicaSet", name = "web-new", uid = "new" } })
    event("Deployment", "web", { message = "yesterday", lastTimestamp = OLDER })
    event("Deployment", "web", { message = "fine", type = "Normal" })
    t:eq(said, { "pod a: Failed: no space", "deployment web: Failed: quota", "replicaset web-new: Failed: no space" })
  end)
end
