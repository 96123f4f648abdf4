-- Writes what is generated from the manifest's schema: manifests/schema.json and the tables of docs/manifest.md.
--
--   build/wsrun tools/manifest.lua      from the root of the source tree
local fs = require "ws.fs"
local manifest = require "lib.manifest"

assert(fs.write("manifests/schema.json", manifest.json_schema()))
assert(fs.write("docs/manifest.md", manifest.documentation(assert(fs.read "docs/manifest.md"))))
