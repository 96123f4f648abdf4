-- What is attached to an image, with the referrers API and without.
local fs = require "ws.fs"
local json = require "ws.json"
local oci = require "oci_registry"
local registry = require "ws.registry"
local task = require "ws.task"

local SBOM = { artifact_type = "application/spdx+json", media_type = "application/spdx+json", data = "{}" }

local function start(t, fields)
  local r, image = oci.start(t, fields), oci.image { "app" }
  assert(registry.push(image, r.host .. "/app:1"))
  return r, image, r.host .. "/app:1"
end

local function fallback_tag(image) return (image.root.digest:gsub(":", "-")) end

return function(test)
  for name, api in pairs { ["with the API"] = true, ["without the API"] = false } do
    test("attached and listed " .. name, function(t)
      local r, image, ref = start(t, { referrers = api })
      t:eq(registry.referrers(ref), {})
      local sbom = t:ok(registry.attach(ref, SBOM))
      t:eq({ sbom.artifactType, sbom.bytes }, { SBOM.artifact_type, nil })
      local stored = r:at "app".manifests[sbom.digest].manifest
      t:eq({ stored.subject.digest, stored.subject.size, stored.layers[1].digest, stored.config.mediaType },
        { image.root.digest, image.root.size, oci.digest "{}", "application/vnd.oci.empty.v1+json" })

      local file = t:tmpdir() .. "/provenance.json"
      assert(fs.write(file, '{"predicate":1}'))
      local provenance = t:ok(registry.attach(("%s/app@%s"):format(r.host, image.root.digest),
        { artifact_type = "application/vnd.in-toto+json", media_type = "application/vnd.in-toto+json", file = file,
          annotations = { ["in-toto.io/predicate-type"] = "https://slsa.dev/provenance/v1" } }))
      local list = t:ok(registry.referrers(ref))
      t:eq(#list, 2)
      list = t:ok(registry.referrers(ref, { artifact_type = "application/vnd.in-toto+json" }))
      t:eq({ #list, list[1].digest, list[1].annotations["in-toto.io/predicate-type"] },
        { 1, provenance.digest, "https://slsa.dev/provenance/v1" })
      t:eq(registry.referrers(ref, { artifact_type = "none/such" }), {})
      t:eq(r:at "app".tags[fallback_tag(image)] == nil, api)

      r.log = {}
      t:eq(registry.attach(ref, SBOM).digest, sbom.digest) -- once more changes nothing
      t:eq({ r:count "PUT", r:count "POST" }, { 0, 0 })
    end)
  end

  test("twenty at once are all listed although tags know no preconditions", function(t)
    local r, image, ref = start(t)
    r.fault = function() task.sleep(math.random() * 0.005) end
    local functions = {}
    for i = 1, 20 do
      functions[i] = function()
        return assert(registry.attach(ref, { artifact_type = "a/b", media_type = "c/d", data = "number " .. i }))
      end
    end
    t:ok(task.all(functions))
    t:eq(#t:ok(registry.referrers(ref)), 20)
    t:eq(#r:at "app".manifests[r:at "app".tags[fallback_tag(image)]].manifest.manifests, 20)
  end, { timeout = 30 })

  test("a list that others overwrite again and again is given up, with what to do", function(t)
    oci.hurry(t)
    local r, image, ref
    r, image, ref = start(t, { fault = function(req, name, _, last)
      if image and req.method == "GET" and last == fallback_tag(image) then r:at(name).tags[last] = nil end
    end })
    local err = t:err("conflict", registry.attach(ref, SBOM))
    t:has(err.hint, "run it again")
  end)

  test("a registry that filters, pages, or answers strangely", function(t)
    local r, image, ref = start(t, { referrers = true })
    local one = { mediaType = "m/n", digest = oci.digest "1", size = 1, artifactType = "a/b" }
    local other = { mediaType = "m/n", digest = oci.digest "2", size = 1, artifactType = "c/d" }
    local asked
    r.fault = function(req, _, what)
      if what ~= "referrers" then return nil end
      asked = req.query.artifactType
      local second = req.query.page == "2"
      return { headers = { Link = not second and ("<%s?page=2>; rel=next"):format(req.path) or nil },
        body = json.encode { manifests = json.array { second and other or one } } }
    end
    t:eq(registry.referrers(ref), { one, other })
    t:eq(registry.referrers(ref, { artifact_type = "c/d" }), { other })
    r.fault = function(req, _, what)
      asked = req.query.artifactType
      if what == "referrers" then
        return { headers = { ["OCI-Filters-Applied"] = "artifactType" },
          body = json.encode { manifests = json.array { one } } }
      end
    end
    t:eq(registry.referrers(ref, { artifact_type = "a/b" }), { one })
    t:eq(asked, "a/b")
    for _, status in ipairs { 400, 404, 405, 501 } do
      r.fault = function(_, _, what)
        if what == "referrers" then return oci.fail(status, "UNSUPPORTED") end
      end
      t:eq(registry.referrers(ref), {}, status)
    end
    r.fault = function(_, _, what)
      if what == "referrers" then return { body = "<html>" } end
    end
    t:eq(registry.referrers(ref), {})
    r.fault = function(_, _, what)
      if what == "referrers" then return oci.fail(403, "DENIED") end
    end
    t:err("denied", registry.referrers(ref))
    r.fault = nil
    t:err("not_found", registry.referrers(r.host .. "/app:none"))
    t:err("not_found", registry.attach(r.host .. "/app:none", SBOM))
    t:err("not_found", registry.attach(ref, { artifact_type = "a/b", media_type = "c/d", file = "/nowhere" }))
    t:eq(registry.referrers(("%s/app@%s"):format(r.host, image.root.digest)), {})
  end)

  test("an image that is pushed with a subject is listed too", function(t)
    local r, image, ref = start(t)
    local signature = oci.image({ "sig" }, { artifactType = "s/t", subject = image.root })
    t:ok(registry.push(signature, r.host .. "/app:sig"))
    t:eq(t:ok(registry.referrers(ref))[1].digest, signature.root.digest)
  end)
end
