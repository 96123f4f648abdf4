-- The documents that are attached to an image: their form, and that they say what is known and no secret.
local json = require "ws.json"
local provenance = require "lib.ci.provenance"
local sbom = require "lib.ci.sbom"

local DIGEST = "sha256:" .. ("ab"):rep(32)
local facts = {
  app = "app", version = "1.4.2", repository = "eu.gcr.io/p/app", digest = DIGEST, created = "2026-01-02T03:04:05Z",
  tool = "wsrun-0.1.0", tool_version = "0.1.0", go_version = "go1.26.8", platform = "linux/amd64", builder = "none",
  inputs = "sha256:" .. ("cd"):rep(32), settings = { go = "go1.26.8" }, source = "app/src", commit = ("1"):rep(40),
  git_url = "https://user:secret@host.example/team/app.git", dirty = true, builder_id = "https://builder.example/1",
  modules = { { path = "example.com/A", version = "v1.0.0+incompatible",
    sum = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" },
    { path = "example.com/a", version = "v1.0.0" }, { path = "example.com/local", version = "" } },
  bases = { { reference = "gcr.io/distroless/static:latest", digest = DIGEST },
    { reference = "docker.io/library/x:1" } },
}

return function(test)
  test("the bill of materials is SPDX 2.3", function(t)
    local text = sbom.write(facts)
    t:eq(sbom.write(facts), text)
    local d = assert(json.decode(text))
    t:eq({ d.spdxVersion, d.dataLicense, d.SPDXID, d.name }, { "SPDX-2.3", "CC0-1.0", "SPDXRef-DOCUMENT", "app-1.4.2" })
    t:eq(d.creationInfo, { created = "2026-01-02T03:04:05Z", creators = { "Tool: wsrun-0.1.0" } })
    t:ok(d.documentNamespace:find("^https://[^#]+$"))
    local ids = { ["SPDXRef-DOCUMENT"] = true }
    for _, p in ipairs(d.packages) do
      t:ok(p.SPDXID:find("^SPDXRef%-[%w.-]+$"), p.SPDXID)
      t:ok(not ids[p.SPDXID], p.SPDXID .. " twice")
      ids[p.SPDXID] = true
      t:ok(p.name and p.downloadLocation and p.filesAnalyzed == false)
    end
    for _, r in ipairs(d.relationships) do t:ok(ids[r.spdxElementId] and ids[r.relatedSpdxElement], json.encode(r)) end
    t:eq(#d.packages, 1 + 1 + 3 + 2)
    t:eq(d.packages[1].checksums[1].checksumValue, DIGEST:sub(8))
    t:eq(d.packages[3].externalRefs[1].referenceLocator, "pkg:golang/example.com/a@v1.0.0%2Bincompatible")
  end)

  test("the provenance is an in-toto statement with SLSA's predicate", function(t)
    local text = provenance.write(facts)
    local s = assert(json.decode(text))
    t:eq({ s._type, s.predicateType }, { "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1" })
    t:eq(s.subject, { { name = "eu.gcr.io/p/app", digest = { sha256 = DIGEST:sub(8) } } })
    local definition, details = s.predicate.buildDefinition, s.predicate.runDetails
    t:eq(definition.externalParameters.version, "1.4.2")
    local found = definition.resolvedDependencies
    t:eq(found[1], { name = "source", uri = "git+https://host.example/team/app.git",
      digest = { gitCommit = facts.commit }, annotations = { dirty = true } })
    t:eq(found[2].digest, { sha256 = DIGEST:sub(8) })
    t:eq(found[3].digest, nil)
    t:eq(found[5].digest, { dirHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" })
    t:eq(details, { builder = { id = "https://builder.example/1", version = { wsrun = "0.1.0" } } })
    t:eq(text:find("secret", 1, true), nil)
  end)

  test("addresses of repositories as URIs, without credentials", function(t)
    for url, uri in pairs {
      ["git@host.example:team/app.git"] = "git+ssh://host.example/team/app.git",
      ["ssh://git@host.example/team/app.git"] = "git+ssh://host.example/team/app.git",
      ["https://token@host.example/a@b"] = "git+https://host.example/a@b",
      ["/srv/git/app.git"] = "git+file:///srv/git/app.git", ["file:///srv/x"] = "git+file:///srv/x",
    } do t:eq(provenance.git_uri(url), uri) end
  end)

  test("who builds, by what the service says of itself", function(t)
    local function of(values) return { provenance.builder(function(name) return values[name] end) } end
    t:eq(of {}, { "https://wsrun.invalid/local" })
    t:eq(of { GITHUB_ACTIONS = "true", GITHUB_REPOSITORY = "a/b", GITHUB_RUN_ID = "7" },
      { "https://github.com/actions/runner", "https://github.com/a/b/actions/runs/7" })
    t:eq(of { GITLAB_CI = "true", CI_PROJECT_URL = "https://g/a", CI_RUNNER_ID = "3",
      CI_JOB_URL = "https://g/a/-/jobs/1" },
      { "https://g/a/-/runners/3", "https://g/a/-/jobs/1" })
    t:eq(of { JENKINS_URL = "https://j/", BUILD_URL = "https://j/job/1/" }, { "https://j/", "https://j/job/1/" })
    t:eq(of { BUILDER_OUTPUT = "/x", BUILD_ID = "9", PROJECT_ID = "p" },
      { "https://cloudbuild.googleapis.com/GoogleHostedWorker",
        "https://cloudbuild.googleapis.com/v1/projects/p/builds/9" })
  end)
end
