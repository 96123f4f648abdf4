-- The application's chart: looked at, rendered, rehearsed, and packaged so that the same inputs give the same bytes.
local archive = require "ws.archive"
local cluster = require "lib.cluster"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local helm = require "ws.helm"
local platform = require "lib.platform"
local ws = require "ws"
local yaml = require "ws.yaml"

local M = {}

local NO_DIGEST = "sha256:" .. ("0"):rep(64) -- stands for the image's, which is not known yet

--- The values that a build sets in the chart.
local function image_values(b, digest)
  return { image = { repository = b.repository, tag = b.tag, digest = digest } }
end

--- "charts/app-chart/templates/x.yaml:12:3" of helm's words, when they name a place.
local function place_in(b, message)
  local file, rest = message:match(b.chart:gsub("%p", "%%%0") .. "/(templates/[^:%s]+):(%d+:?%d*)")
  if not file then file = message:match("%f[%w](templates/[^:%s]+)") end
  if not file then file = message:match("%f[%w](values%.schema%.json)") or message:match("%f[%w](values%.yaml)")
    or message:match("%f[%w](Chart%.yaml)") end
  if not file then return b.chart_shown end
  return ("%s/%s%s"):format(b.chart_shown, file, rest and ":" .. rest or "")
end

--- Says what is wrong with the chart, at its place.
local function fail_at(b, message, detail)
  ws.fail(message, { where = place_in(b, message), detail = detail, hint = "helm lint " .. b.chart_shown })
end

--- Says at its place what helm found in the chart; that helm could not be run at all is another matter.
local function fail_of_helm(b, what, err)
  if err.kind ~= "failed" then error(err, 0) end
  fail_at(b, ("%s: %s"):format(what, err.message), err.detail)
end

--- helm lint: an error ends the build, a warning is told.
---@param b ci.Build
function M.lint(b)
  local result = assert(helm.lint { chart = b.chart_dir, values = image_values(b, NO_DIGEST), log = b.w:log_file() })
  b.lint = table.concat(result.messages, "\n") .. "\n"
  assert(fs.write(b.w.dir .. "/helm-lint.txt", b.lint))
  local errors, warnings = {}, 0
  for _, message in ipairs(result.messages) do
    local level, text = message:match("^%[(%u+)%]%s*(.*)$")
    if level == "ERROR" then
      errors[#errors + 1] = text
    elseif level == "WARNING" then
      warnings = warnings + 1
      b.w:note(text)
    end
  end
  if not result.ok then
    fail_at(b, "helm lint: " .. (errors[1] or "failed"), #errors > 1 and table.concat(errors, "\n", 2) or nil)
  end
  b.w:summary(warnings == 0 and "no mistakes" or ("%d warning%s"):format(warnings, warnings == 1 and "" or "s"))
end

--- The objects of a rendered chart; raises when it is no YAML or has none.
local function objects_of(b, text, where)
  local documents, err = yaml.decode_all(text, { filename = where, yaml11 = true })
  if not documents then
    err.where = b.chart_shown .. "/templates"
    error(err, 0)
  end
  local count = 0
  for _, object in ipairs(documents) do
    if type(object) == "table" and object.kind then count = count + 1 end
  end
  if count == 0 then ws.fail("the chart makes no objects", { where = b.chart_shown .. "/templates" }) end
  return count
end

--- helm template: what would be installed is kept in the run's folder.
---@param b ci.Build
function M.template(b)
  local text, err = helm.template { chart = b.chart_dir, release = b.app, values = image_values(b),
    log = b.w:log_file() }
  if not text then fail_of_helm(b, "helm template", err) end
  local path = b.w.dir .. "/manifest.yaml"
  assert(fs.write(path, text))
  b.w:summary(("%d objects"):format(objects_of(b, text, path)))
end

--- Connects to the platform's cluster. Returns nil and why not when it cannot be reached.
local function reach(b)
  local p = platform.open(b.w, b.manifest)
  local ok, err = pcall(cluster.connect, p)
  if ok then return p end
  if require "ws.error".is(err) and err.kind ~= "cancelled" and err.kind ~= "internal" then return nil, err.message end
  error(err, 0)
end

--- helm install --dry-run: in the platform's cluster when one is named and answers, else on this side. Says which.
---@param b ci.Build
function M.dry_run(b)
  local name = b.manifest and b.manifest.name
  local opts = { chart = b.chart_dir, release = b.app .. "-dry-run", values = image_values(b), log = b.w:log_file() }
  local p, why
  if name then
    p, why = reach(b)
    if p then opts.kubeconfig, opts.namespace = p.kubeconfig, "default" end
  end
  local text, err = helm.dry_run(opts)
  if not text and p and err.kind == "connection" then
    p, why, opts.kubeconfig, opts.namespace = nil, err.message, nil, nil
    text, err = helm.dry_run(opts)
  end
  if not text then fail_of_helm(b, "helm install --dry-run", err) end
  assert(fs.write(b.w.dir .. "/helm-dry-run.txt", text))
  if why then b.w:note(("the cluster of %s was not asked: %s"):format(name, why)) end
  b.w:summary(p and ("in the cluster of %s"):format(name) or name and "on this side: the cluster does not answer"
    or "on this side: no --platform was named")
end

--- Changes values of one of the chart's files in its copy, and no byte beside them.
local function edit(b, copy, file, changes)
  local path = copy .. "/" .. file
  local text = fs.read(path) or ""
  for _, change in ipairs(changes) do
    text = assert(yaml.edit(text, change[1], change[2], { filename = ("%s/%s"):format(b.chart_shown, file) }))
  end
  assert(fs.write(path, text, { durable = false }))
  return text
end

--- The files of helm's package as an archive that only depends on their content. Helm decides which files belong to a
--- chart and what its dependencies are; it also writes the time into the package, and Chart.yaml in its own words.
local function repack(b, package, copy)
  local from = b.temp .. "/unpacked"
  assert(fs.mkdir(from))
  assert(archive.extract({ file = package }, from))
  local entries = {}
  for path, entry in fs.walk(from) do
    if entry.type == "file" then
      local name = fs.relative(path, from)
      local own = ("%s/%s"):format(copy, name:sub(#b.chart + 2))
      entries[#entries + 1] = { name = name, file = fs.exists(own) and own or path, mode = 420 } -- 0644
    end
  end
  return assert(archive.tar_create { entries = entries })
end

--- Packages the chart with the version and the image by digest. The package is in `b.package`.
---@param b ci.Build
function M.package(b)
  local copy = b.temp .. "/chart"
  assert(fs.copy(b.chart_dir, copy, { recursive = true, durable = false }))
  edit(b, copy, "values.yaml", { { { "image", "repository" }, b.repository }, { { "image", "tag" }, b.tag },
    { { "image", "digest" }, b.image.digest } })
  local metadata = edit(b, copy, "Chart.yaml", { { { "version" }, b.version }, { { "appVersion" }, b.version } })
  local out = b.temp .. "/package"
  assert(fs.mkdir(out))
  local bytes = repack(b, assert(helm.package { chart = copy, dir = out, log = b.w:log_file() }), copy)
  local name = ("%s-%s.tgz"):format(b.chart, b.version)
  b.package = { bytes = bytes, name = name, path = ("%s/%s/%s"):format(b.chart, b.version, name),
    digest = crypto.sha256(bytes), crc32c = crypto.crc32c(bytes), metadata = assert(yaml.decode(metadata)) }
  assert(fs.write(("%s/%s"):format(b.w.dir, name), bytes))
  b.w:summary(("%s, %d bytes, sha256:%s"):format(name, #bytes, b.package.digest:sub(1, 12)))
end

return M
