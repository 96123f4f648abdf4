-- The version that is built: what was said, or what git's tags say.
local semver = require "ws.semver"
local ws = require "ws"

local M = {}

local HINT = "versions are three numbers and perhaps a prerelease: 1.4.2, 1.5.0-rc.1"

--- Reads a version as a person says it; a leading v is left out.
---@param text string
---@return string version
function M.read(text)
  local plain = text:gsub("^[vV]", "")
  local version, err = semver.parse(plain)
  if not version then
    ws.fail("VERSION: " .. err.message, { kind = "invalid", usage = true, hint = HINT })
  end
  return tostring(version)
end

--- The highest of some tags that are versions.
local function highest(tags)
  local best
  for _, tag in ipairs(tags) do
    local version = semver.parse((tag:gsub("^v", "")))
    if version and (not best or best < version) then best = version end
  end
  return best
end

--- The version that `git describe` stands for, and in words why. Pure.
---
--- A commit with a version tag, and no change of its files, is that version. Every other commit gets a prerelease that
--- comes after the nearest tag and before the version after it, with the commits since then, the commit, and `dirty`:
--- v1.4.2 and five commits are 1.4.3-dev.5.g0a1b2c3, 1.5.0-rc.1 and five are 1.5.0-rc.1.dev.5.g0a1b2c3, five commits
--- without any tag 0.0.0-dev.5.g0a1b2c3.
---@param description ws.git.Description
---@param dirty boolean
---@return string version
---@return string why
function M.of_git(description, dirty)
  local base = description.tags and highest(description.tags)
    or description.tag and semver.parse((description.tag:gsub("^v", "")))
  if base and description.distance == 0 and not dirty then
    return tostring(base), ("commit %s has the tag %s"):format(description.commit, tostring(base))
  end
  if description.tag and not base then
    ws.fail(("the nearest tag is %s, which is no version"):format(description.tag), { kind = "invalid", usage = true,
      hint = "say which version this is: wsrun workflows/ci.lua 1.4.2" })
  end
  local place = ("dev.%d.g%s%s"):format(description.distance, description.commit, dirty and ".dirty" or "")
  local why = base and description.distance == 0 and tostring(base)
    or ("%d commit%s after %s"):format(description.distance, description.distance == 1 and "" or "s",
      base and tostring(base) or "the beginning: no tag is a version")
  if dirty then why = why .. ", and changes in no commit" end
  if not base then return "0.0.0-" .. place, why end
  if base.prerelease then
    return ("%d.%d.%d-%s.%s"):format(base.major, base.minor, base.patch, base.prerelease, place), why
  end
  return ("%d.%d.%d-%s"):format(base.major, base.minor, base.patch + 1, place), why
end

--- The tag of an image: a plus is not allowed there, Helm writes an underscore instead.
---@param version string
---@return string
function M.tag(version)
  return (version:gsub("%+", "_"))
end

return M
