-- What is in an image, as SPDX 2.3 in JSON: the program, its Go modules, the toolchain, the base image.
--
-- Pure. Nothing in it depends on when or where it was made, so the same build has the same document.
local crypto = require "ws.crypto"
local json = require "ws.json"
local ordered = require "lib.ci.ordered"

local M = {}

M.MEDIA_TYPE = "application/spdx+json"

local NONE = "NOASSERTION"

--- An identifier may have letters, digits, dots and dashes only.
local function id_of(text)
  return "SPDXRef-" .. text:gsub("[^%w.-]", "-")
end

--- Escapes what a package URL does not take as it is.
local function purl_part(text)
  return (text:gsub("[^%w._~/-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The package URL of a Go module: upper case letters are written small there.
---@param path string
---@param version string
---@return string
function M.go_purl(path, version)
  return ("pkg:golang/%s@%s"):format(purl_part(path:lower()), purl_part(version))
end

local function package(fields)
  return ordered("name", fields.name, "SPDXID", fields.id, "versionInfo", fields.version,
    "primaryPackagePurpose", fields.purpose, "downloadLocation", fields.location or NONE, "filesAnalyzed", false,
    "checksums", fields.checksum and json.array { { algorithm = "SHA256", checksumValue = fields.checksum } },
    "licenseConcluded", NONE, "licenseDeclared", NONE, "copyrightText", NONE,
    "externalRefs", fields.purl and json.array { ordered("referenceCategory", "PACKAGE-MANAGER",
      "referenceType", "purl", "referenceLocator", fields.purl) },
    "comment", fields.comment)
end

local function relation(from, kind, to)
  return ordered("spdxElementId", from, "relationshipType", kind, "relatedSpdxElement", to)
end

---@class ci.SbomFacts
---@field app string
---@field version string
---@field repository string         of the image
---@field digest string             of the image, "sha256:…"
---@field created string            RFC 3339; of the commit
---@field tool string               "wsrun-0.1.0"
---@field go_version? string        "go1.26.8"
---@field modules ci.Module[]
---@field bases { reference: string, digest?: string }[]

--- The document of an image.
---@param facts ci.SbomFacts
---@return string json
function M.write(facts)
  local hex = facts.digest:match(":(%x+)$")
  local image = id_of("image-" .. facts.app)
  local packages = json.array { package {
    id = image, name = facts.repository, version = facts.version, purpose = "CONTAINER", checksum = hex,
    purl = ("pkg:oci/%s@%s?repository_url=%s"):format(purl_part(facts.app), (facts.digest:gsub(":", "%%3A")),
      (facts.repository:gsub(":", "%%3A"))),
  } }
  local relations = json.array { relation("SPDXRef-DOCUMENT", "DESCRIBES", image) }
  if facts.go_version then
    local plain = facts.go_version:gsub("^go", "")
    packages[#packages + 1] = package { id = "SPDXRef-go-stdlib", name = "stdlib", version = plain, purpose = "LIBRARY",
      purl = M.go_purl("stdlib", plain), location = "https://go.dev/dl/" }
    relations[#relations + 1] = relation(image, "CONTAINS", "SPDXRef-go-stdlib")
  end
  for _, module in ipairs(facts.modules) do
    local id = id_of(("go-%s-%s"):format(module.path, crypto.sha256(module.path .. "@" .. module.version):sub(1, 8)))
    packages[#packages + 1] = package { id = id, name = module.path, version = module.version ~= "" and module.version
      or nil, purpose = "LIBRARY", purl = M.go_purl(module.path, module.version),
      comment = module.sum and "go.sum: " .. module.sum or nil }
    relations[#relations + 1] = relation(image, "CONTAINS", id)
  end
  for i, base in ipairs(facts.bases) do
    local id = ("SPDXRef-base-%d"):format(i)
    packages[#packages + 1] = package { id = id, name = base.reference, purpose = "CONTAINER",
      checksum = base.digest and base.digest:match("^sha256:(%x+)$") }
    relations[#relations + 1] = relation(id, "BUILD_DEPENDENCY_OF", image)
  end
  return json.encode(ordered("spdxVersion", "SPDX-2.3", "dataLicense", "CC0-1.0", "SPDXID", "SPDXRef-DOCUMENT",
    "name", ("%s-%s"):format(facts.app, facts.version),
    "documentNamespace", ("https://%s/sbom/%s"):format(facts.repository, hex),
    "creationInfo", ordered("created", facts.created, "creators", json.array { "Tool: " .. facts.tool }),
    "packages", packages, "relationships", relations), { indent = 2 }) .. "\n"
end

return M
