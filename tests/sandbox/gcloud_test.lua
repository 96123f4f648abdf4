--- gcloud and gsutil against a sandbox in a process of its own; each command takes seconds to start. Skipped where they
--- are not installed.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local support = dofile "tests/sandbox/support.lua"

local need, start = support.tool, support.process

return function(test)
  test("gcloud: objects, small and resumable", function(t)
    local gcloud = need(t, "gcloud")
    local run, root = start(t)
    t:ok(fs.write(root .. "/big", crypto.random_bytes(1 << 20):rep(9)))
    run(gcloud, "storage", "buckets", "create", "gs://bucket", "--location=europe-west1")
    run(gcloud, "storage", "cp", "big", "gs://bucket/dir/big")
    run(gcloud, "storage", "mv", "gs://bucket/dir/big", "gs://bucket/moved")
    run(gcloud, "storage", "cp", "gs://bucket/moved", "back")
    t:eq(t:ok(crypto.sha256_file(root .. "/back")), t:ok(crypto.sha256_file(root .. "/big")))
    run(gcloud, "storage", "rm", "-r", "gs://bucket")
  end, { timeout = 300 })

  test("gsutil: over TLS", function(t)
    local gsutil = need(t, "gsutil")
    local run, root = start(t)
    t:ok(fs.write(root .. "/file", "content"))
    run(gsutil, "mb", "gs://bucket")
    run(gsutil, "cp", "file", "gs://bucket/file")
    t:eq(run(gsutil, "cat", "gs://bucket/file"), "content")
    run(gsutil, "rm", "-r", "gs://bucket")
  end, { timeout = 300 })
end
