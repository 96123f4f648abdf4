-- The image: built by docker, buildah or podman, or made of the compiled program without any of them.
local builder = require "lib.ci.builder"
local dockerfile = require "lib.ci.dockerfile"
local fs = require "ws.fs"
local golang = require "lib.ci.golang"
local inputs = require "lib.ci.inputs"
local registry = require "ws.registry"
local ws = require "ws"

local M = {}

--- What an image is without a Dockerfile: the program, run by nobody in particular.
local DEFAULT = { program = "/app", entrypoint = { "/app" }, user = "65532:65532", copies = {}, env = {}, labels = {},
  ports = {} }

--- Decides what builds the image, and for a build without a daemon what it will be.
---@param b ci.Build
function M.choose(b)
  local why
  b.builder, why = builder.choose(b)
  if b.builder == "none" then
    if not b.is_go then
      ws.fail(("%s is no Go program, so its image needs docker, buildah or podman (%s)"):format(b.shown, why), {
        kind = "missing_tool", hint = "install one of them, or make it work here" })
    end
    local plan, err = DEFAULT, nil
    if b.dockerfile then plan, err = dockerfile.plan(b.dockerfile) end
    if not plan then
      err.where = ("%s/Dockerfile:%s"):format(b.shown, err.message:match("^line (%d+)") or "1")
      err.message = ("the image cannot be made without a daemon (%s): %s"):format(why, err.message)
      error(err, 0)
    end
    b.plan = plan
  end
  b.w:summary(b.builder == "none" and "without a daemon: " .. why or ("%s: %s"):format(b.builder, why))
end

--- The files of an image that is made here.
local function files_of(b, program)
  local list = { { path = b.plan.program, file = program, mode = 493 } } -- 0755
  for _, copy in ipairs(b.plan.copies) do
    local path = fs.normalize(fs.join(b.dir, copy.from))
    local stat = path:sub(1, #b.dir + 1) == b.dir .. "/" and fs.stat(path)
    if not stat or stat.type ~= "file" then
      ws.fail(("COPY %s: %s"):format(copy.from, stat and "folders are not copied without a daemon"
        or "there is no such file"), { kind = stat and "unsupported" or "not_found",
        where = ("%s/Dockerfile:%d"):format(b.shown, copy.line) })
    end
    list[#list + 1] = { path = copy.to, file = path, mode = stat.mode & 64 ~= 0 and 493 or 420 }
  end
  return list
end

local function make(b, program)
  local plan, labels = b.plan, { [inputs.LABEL] = b.inputs }
  for name, value in pairs(plan.labels) do labels[name] = value end
  local base = b.bases[1]
  return assert(registry.image { base = base and ("%s@%s"):format(base.reference:gsub("@.*$", ""), base.digest) or nil,
    files = files_of(b, program), entrypoint = plan.entrypoint, cmd = plan.cmd, env = plan.env, user = plan.user,
    workdir = plan.workdir, labels = labels, exposed_ports = plan.ports, platform = b.platform })
end

--- Builds the image unless the registry has one of the same inputs. `b.image` has its digest, `b.source` what is to be
--- pushed.
---@param b ci.Build
function M.make(b)
  if b.found then
    b.image = { digest = b.found.digest }
    b.w:summary(("not built: %s has an image of the same inputs, %s"):format(b.repository, b.found.digest:sub(1, 19)))
    return
  end
  b.w:together {
    function() b.modules = b.is_go and b.w:step("modules", function() return golang.modules(b) end) or {} end,
    function()
      if b.builder ~= "none" then
        b.source = builder.build(b, inputs.LABEL)
        return
      end
      local program = b.temp .. "/program"
      b.w:step("compile", function()
        assert(golang.compile(b, program, { ldflags = b.ldflags, log = b.w:log_file() }))
        b.w:summary(("%.1f MB, static, %s"):format(assert(fs.stat(program)).size / 1e6, b.go_version))
      end)
      b.source = make(b, program)
    end,
  }
  b.image = { digest = b.source.root.digest }
  b.w:summary(b.image.digest:sub(1, 19))
end

return M
