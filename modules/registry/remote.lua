--- The manifests and tags of a registry.
local client = require "ws.registry.client"
local errors = require "ws.error"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"

local M = {}

local function path_of(ref)
  return "manifests/" .. reference.which(ref)
end

--- Says which image it is that is not there.
local function with_name(ref, err)
  if err.status ~= 404 then return err end
  return errors.new { kind = "not_found", op = "registry", status = 404, code = err.code, cause = err,
    message = ("%s is not in the registry%s"):format(ref, err.code and (" (%s)"):format(err.code) or ""),
    hint = err.hint or ("wsrun image ls %s shows the tags"):format(reference.with(ref)) }
end

local function wrong_digest(ref, digest)
  return nil, errors.new { kind = "protocol", op = "registry",
    message = ("%s: the registry answered with %s"):format(ref, digest) }
end

--- Gets a manifest as it is, verified.
---@async
---@param ref ws.registry.Reference
---@param actions? string
---@return table? manifest
---@return ws.registry.Descriptor|ws.Error descriptor  with `bytes`
local function get(ref, actions)
  local answer, err = client.request(ref, { path = path_of(ref), actions = actions, max_body = manifest.MAX_SIZE,
    headers = { accept = manifest.ACCEPT } })
  if not answer then return nil, with_name(ref, err) end
  local promised = ref.digest or answer.headers["docker-content-digest"]
  if reference.is_digest(promised) then
    local ok, problem = manifest.verify({ digest = promised }, answer.body, tostring(ref))
    if not ok then return nil, problem end
  end
  return manifest.read(answer.body, answer.headers["content-type"], tostring(ref))
end

--- Gets a manifest; of a list the one for a platform when one is asked for.
---@async
---@param ref ws.registry.Reference
---@param opts? { platform?: string, actions?: string }
---@return table? manifest
---@return ws.registry.Descriptor|ws.Error descriptor  with `bytes`
function M.get(ref, opts)
  local found, descriptor = get(ref, opts and opts.actions)
  if not found or not (opts and opts.platform) or not manifest.is_index(descriptor.mediaType) then
    return found, descriptor
  end
  local one, err = manifest.choose(found, opts.platform, tostring(ref))
  if not one then return nil, err end
  local child
  child, descriptor = get(reference.with(ref, { digest = one.digest }), opts.actions)
  if not child then return nil, descriptor end
  descriptor.platform, descriptor.annotations = one.platform, one.annotations
  return child, descriptor
end

--- What a tag or digest stands for, without its content.
---@async
---@param ref ws.registry.Reference
---@param opts? { actions?: string }
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kind `not_found`, …
function M.head(ref, opts)
  local answer, err = client.request(ref, { method = "HEAD", path = path_of(ref), actions = opts and opts.actions,
    headers = { accept = manifest.ACCEPT } })
  if not answer then return nil, with_name(ref, err) end
  local headers = answer.headers
  local digest, size = headers["docker-content-digest"], math.tointeger(tonumber(headers["content-length"]))
  local media_type = (headers["content-type"] or ""):match("^%s*([^%s;]*)")
  if not reference.is_digest(digest) or not size or not manifest.is_manifest(media_type) then
    local _, descriptor = M.get(ref, opts)
    if errors.is(descriptor) then return nil, descriptor end
    return descriptor
  end
  if ref.digest and digest ~= ref.digest then return wrong_digest(ref, digest) end
  return { mediaType = media_type, digest = digest, size = size }
end

--- Puts a manifest under a tag or its digest.
---@async
---@param ref ws.registry.Reference
---@param descriptor ws.registry.Descriptor  with `bytes`
---@return boolean? ok       whether the registry lists it among its subject's referrers
---@return ws.Error? err
function M.put(ref, descriptor)
  local answer, err = client.request(ref, { method = "PUT", path = path_of(ref), actions = "pull,push",
    body = descriptor.bytes, headers = { ["content-type"] = descriptor.mediaType },
    statuses = { [200] = true, [201] = true, [202] = true } })
  if not answer then return nil, err end
  local stored = answer.headers["docker-content-digest"]
  if reference.is_digest(stored) and stored ~= descriptor.digest then return wrong_digest(ref, stored) end
  return answer.headers["oci-subject"] ~= nil
end

--- Refuses a tag that stands for another manifest already.
---@async
---@param ref ws.registry.Reference  with a tag or digest
---@param descriptor ws.registry.Descriptor
---@param overwrite? boolean
---@return "absent"|"same"|"other"|nil state
---@return ws.Error? err  kind `exists`
function M.check_tag(ref, descriptor, overwrite)
  local there, err = M.head(ref, { actions = "pull,push" })
  if not there then
    if err.kind == "not_found" then return "absent" end
    return nil, err
  end
  if there.digest == descriptor.digest then return "same" end
  if overwrite then return "other" end
  return nil, errors.new { kind = "exists", op = "registry",
    message = ("%s is %s already, not %s"):format(ref, there.digest, descriptor.digest),
    hint = "take another tag; overwrite (on the command line --overwrite) moves this one" }
end

--- Lists the tags of a repository, sorted.
---@async
---@param ref ws.registry.Reference
---@return string[]? tags
---@return ws.Error? err  kind `not_found`, …
function M.tags(ref)
  local json, list = require "ws.json", {}
  local ok, err = client.pages(ref, { path = "tags/list?n=1000" }, function(answer)
    local page = json.decode(answer.body)
    if type(page) ~= "table" then
      return nil, errors.new { kind = "protocol", op = "registry", message = ("%s: the list of tags is no JSON"):format(
        client.url(ref, "tags/list")) }
    end
    for _, tag in ipairs(type(page.tags) == "table" and page.tags or {}) do list[#list + 1] = tag end
    return true
  end)
  if not ok then return nil, with_name(ref, err) end
  table.sort(list)
  return list
end

--- Deletes a tag, or with a digest the manifest and every tag of it.
---@async
---@param ref ws.registry.Reference
---@return true? ok
---@return ws.Error? err  kinds `not_found`, `unsupported`, `conflict`, …
function M.delete(ref)
  local answer, err = client.request(ref, { method = "DELETE", path = path_of(ref), actions = "pull,push",
    statuses = { [200] = true, [202] = true, [204] = true } })
  if answer then return true end
  if not ref.digest and (err.status == 400 or err.status == 405) then
    err = errors.new { kind = "unsupported", op = "registry", status = err.status, code = err.code, cause = err,
      message = ("the registry cannot delete the tag %s alone"):format(ref),
      hint = "delete the image by its digest, NAME@sha256:...; all its tags go with it" }
  end
  return nil, with_name(ref, err)
end

return M
