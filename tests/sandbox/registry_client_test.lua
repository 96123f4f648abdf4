-- ws.registry against the sandbox's registry, as workflows use it: by the names of gcr.io and pkg.dev.
local environment = require "ws.environment"
local gcp = require "ws.gcp"
local oci = require "oci_registry"
local registry = require "ws.registry"
local support = dofile "tests/sandbox/support.lua"
local tokens = require "sandbox.tokens"

local function sandbox(t, opts)
  local cloud = support.cloud(t, opts)
  environment.set { WSRUN_REGISTRY_ENDPOINT = support.serve(t, cloud) }
  assert(gcp.credentials { token = tokens.FIXED })
  t:defer(function()
    environment.set { WSRUN_REGISTRY_ENDPOINT = false }
    gcp.credentials(nil)
  end)
  return cloud
end

return function(test)
  for name, opts in pairs { ["open to all"] = {}, ["with tokens as Google's"] = { auth = "google" } } do
    test("push, pull, copy, attach: " .. name, function(t)
      sandbox(t, opts)
      local image, ref = oci.image { ("layer"):rep(100000), "two" }, "eu.gcr.io/test-project/app:1.4.2"
      local result = t:ok(registry.push(image, ref))
      t:eq({ result.digest, result.sent }, { image.root.digest, 3 })
      t:eq(t:ok(registry.push(image, ref)).unchanged, true)
      t:err("exists", registry.push(oci.image { "other" }, ref))
      t:eq(registry.config(ref).os, "linux")
      t:eq(registry.get_blob("eu.gcr.io/test-project/app", image.manifest.layers[2]), "two")
      t:eq(t:ok(registry.copy(ref, "eu.gcr.io/test-project/mirror:1")).mounted, 3)
      t:eq(t:ok(registry.copy(ref, "europe-docker.pkg.dev/test-project/images/app:1.4.2")).digest, image.root.digest)
      local index = oci.index { ["linux/amd64"] = image, ["linux/arm64"] = oci.image { "arm" } }
      t:ok(registry.push(index, "eu.gcr.io/test-project/app:multi"))
      t:eq(registry.resolve("eu.gcr.io/test-project/app:multi", { platform = "linux/amd64" }).digest,
        image.root.digest)
      for _ = 1, 2 do
        t:ok(registry.attach(ref, { artifact_type = "application/spdx+json", media_type = "application/spdx+json",
          data = "{}" }))
      end
      t:eq(#t:ok(registry.referrers(ref, { artifact_type = "application/spdx+json" })), 1)
      t:ok(registry.tag(ref, "stable"))
      t:eq(registry.tags "eu.gcr.io/test-project/app", { "1.4.2", "multi", "stable" }) -- it has the referrers API
      t:ok(registry.delete "eu.gcr.io/test-project/app:stable")
      t:err("not_found", registry.resolve "eu.gcr.io/test-project/app:stable")
      t:eq(registry.resolve(ref).digest, image.root.digest)
    end)
  end
end
