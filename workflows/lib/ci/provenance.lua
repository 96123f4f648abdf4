-- How an image was built, as an in-toto statement with SLSA's provenance, version 1.
--
-- It says what the build knows and no more: the statement is not signed, so it is level 1 (https://slsa.dev/spec/v1.0).
local crypto = require "ws.crypto"
local json = require "ws.json"
local ordered = require "lib.ci.ordered"
local sbom = require "lib.ci.sbom"

local M = {}

M.MEDIA_TYPE = "application/vnd.in-toto+json"
M.PREDICATE = "https://slsa.dev/provenance/v1"
M.BUILD_TYPE = "https://wsrun.invalid/ci/v1"

--- A repository's address as a URI, without the credentials that it may carry.
---@param url string
---@return string
function M.git_uri(url)
  if not url:find("^%a[%w+.-]*://") then
    local host, path = url:match("^([^/:]+):([^/].*)$") -- host:path is ssh
    url = host and ("ssh://%s/%s"):format(host, path) or "file://" .. url
  end
  local scheme, rest = url:match("^(%a[%w+.-]*)://(.*)$")
  return ("git+%s://%s"):format(scheme, rest:gsub("^[^/]*@", ""))
end

--- Who builds, as a URI: the service that runs this, by the variables that it sets, else this tool on some machine.
---@param get fun(name: string): string?  a variable of the environment
---@return string id
---@return string? invocation  where this run can be seen
function M.builder(get)
  if get "GITHUB_ACTIONS" == "true" then
    local server = get "GITHUB_SERVER_URL" or "https://github.com"
    local run = ("%s/%s/actions/runs/%s"):format(server, get "GITHUB_REPOSITORY" or "", get "GITHUB_RUN_ID" or "")
    return server .. "/actions/runner", run
  end
  if get "GITLAB_CI" == "true" then
    return ("%s/-/runners/%s"):format(get "CI_PROJECT_URL" or "https://gitlab.com", get "CI_RUNNER_ID" or ""),
      get "CI_JOB_URL"
  end
  if get "JENKINS_URL" then return get "JENKINS_URL", get "BUILD_URL" end
  if get "BUILDER_OUTPUT" and get "BUILD_ID" then
    return "https://cloudbuild.googleapis.com/GoogleHostedWorker", "https://cloudbuild.googleapis.com/v1/projects/"
      .. (get "PROJECT_ID" or "-") .. "/builds/" .. get "BUILD_ID"
  end
  return "https://wsrun.invalid/local", nil
end

---@class ci.ProvenanceFacts
---@field app string
---@field version string
---@field repository string    of the image
---@field digest string        of the image
---@field platform string      "linux/amd64"
---@field builder string       what built the image: "docker", …, "none"
---@field inputs string        "sha256:…"
---@field settings table       of the build, as they are in the inputs
---@field source string        folder, from the repository's top
---@field commit? string
---@field git_url? string
---@field dirty boolean
---@field go_version? string
---@field modules ci.Module[]
---@field bases { reference: string, digest?: string }[]
---@field tool_version string
---@field builder_id string
---@field invocation? string

--- What the build took beside its own files.
local function dependencies(facts)
  local list = json.array()
  if facts.commit then
    list[#list + 1] = ordered("name", "source", "uri", facts.git_url and M.git_uri(facts.git_url),
      "digest", { gitCommit = facts.commit }, "annotations", facts.dirty and { dirty = true } or nil)
  end
  for _, base in ipairs(facts.bases) do
    list[#list + 1] = ordered("name", "base image", "uri", "oci://" .. base.reference,
      "digest", base.digest and { [base.digest:match("^(%w+):")] = base.digest:match(":(%x+)$") } or nil)
  end
  if facts.go_version then
    list[#list + 1] = ordered("name", "Go toolchain", "uri", sbom.go_purl("stdlib", (facts.go_version:gsub("^go", ""))))
  end
  for _, module in ipairs(facts.modules) do
    local hash = module.sum and crypto.base64_decode((module.sum:gsub("^h1:", "")))
    list[#list + 1] = ordered("uri", sbom.go_purl(module.path, module.version),
      "digest", hash and { dirHash = crypto.hex_encode(hash) } or nil)
  end
  return list
end

--- The statement about an image.
---@param facts ci.ProvenanceFacts
---@return string json
function M.write(facts)
  return json.encode(ordered("_type", "https://in-toto.io/Statement/v1",
    "subject", json.array { ordered("name", facts.repository, "digest", { sha256 = facts.digest:match(":(%x+)$") }) },
    "predicateType", M.PREDICATE,
    "predicate", ordered(
      "buildDefinition", ordered("buildType", M.BUILD_TYPE,
        "externalParameters", ordered("app", facts.app, "version", facts.version, "source", facts.source,
          "platform", facts.platform, "builder", facts.builder),
        "internalParameters", ordered("inputs", facts.inputs, "settings", facts.settings),
        "resolvedDependencies", dependencies(facts)),
      "runDetails", ordered("builder", ordered("id", facts.builder_id, "version", { wsrun = facts.tool_version }),
        "metadata", facts.invocation and { invocationId = facts.invocation } or nil))), { indent = 2 }) .. "\n"
end

return M
