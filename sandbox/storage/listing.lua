--- Listing objects: prefix, delimiter, offsets, globs, versions, pages; for the JSON and the XML API.
local crypto = require "ws.crypto"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- `{a,b}` of a glob, as the list of globs without braces.
local function expand_braces(glob)
  local before, inside, after = glob:match("^([^{}]*){([^{}]*)}(.*)$")
  if not before then return { glob } end
  local expanded = {}
  for option in (inside .. ","):gmatch("([^,]*),") do
    for _, one in ipairs(expand_braces(before .. option .. after)) do expanded[#expanded + 1] = one end
  end
  return expanded
end

local function to_pattern(glob)
  local pattern, i = "^", 1
  while i <= #glob do
    local ch = glob:sub(i, i)
    if glob:sub(i, i + 1) == "**" then
      pattern, i = pattern .. ".*", i + 1
    elseif ch == "*" then
      pattern = pattern .. "[^/]*"
    elseif ch == "?" then
      pattern = pattern .. "[^/]"
    elseif ch == "[" then
      local class = glob:match("^%[[^%]]+%]", i)
      if not class then reply.fail(400, "invalid", "Invalid matchGlob: a [ is not closed.") end
      pattern, i = pattern .. class:gsub("^%[!", "[^"):gsub("%%", "%%%%"), i + #class - 1
    else
      pattern = pattern .. ch:gsub("%p", "%%%0")
    end
    i = i + 1
  end
  return pattern .. "$"
end

--- A function that says whether a name fits the glob of `matchGlob`.
---@param glob string
---@return fun(name: string): boolean
function M.matcher(glob)
  local patterns = {}
  for _, one in ipairs(expand_braces(glob)) do patterns[#patterns + 1] = to_pattern(one) end
  return function(name)
    for _, pattern in ipairs(patterns) do
      if name:find(pattern) then return true end
    end
    return false
  end
end

local function generations(entry, versions)
  local list = {}
  if versions then
    for _, old in ipairs(entry.older or {}) do list[#list + 1] = old end
  end
  if entry.live then list[#list + 1] = entry.live end
  return list
end

--- One page of a bucket's objects and common prefixes.
---@param collection sandbox.Collection
---@param opts { prefix?: string, delimiter?: string, start?: string, stop?: string, glob?: string, versions?: boolean,
---  trailing?: boolean, limit?: integer, after?: string }  `start` inclusive, `stop` exclusive; `after`: name or prefix
---  that the page before ended with; `trailing`: objects that end in the delimiter are listed too
---@return { items: table[], prefixes: string[], last: string? }  `last`: more follow after it
function M.page(collection, opts)
  local prefix, delimiter = opts.prefix or "", values.given(opts.delimiter)
  local limit, count = opts.limit or 1000, 0
  local fits = opts.glob and M.matcher(opts.glob)
  local page = { items = {}, prefixes = {} }
  local seen, last
  for _, name in ipairs(collection:keys()) do
    if name:sub(1, #prefix) == prefix and not (opts.start and name < opts.start)
      and not (opts.stop and name >= opts.stop) and (not fits or fits(name)) then
      local list = generations(collection:get(name), opts.versions)
      local cut = delimiter and name:find(delimiter, #prefix + 1, true)
      local common = cut and name:sub(1, cut + #delimiter - 1)
      local shown = common or name
      if #list > 0 and (not opts.after or shown > opts.after) then
        local is_item = not common or (opts.trailing and common == name)
        local new = (is_item and #list or 0) + (common and common ~= seen and 1 or 0)
        if new > 0 then
          if count > 0 and count + new > limit then
            page.last = last
            return page
          end
          count, last = count + new, shown
          if common and common ~= seen then
            page.prefixes[#page.prefixes + 1] = common
            seen = common
          end
          for i = 1, is_item and #list or 0 do page.items[#page.items + 1] = list[i] end
        end
      end
    end
  end
  return page
end

--- The options of a listing from a query of the JSON API.
---@param query table<string, string>
---@return table
function M.options(query)
  local token = values.given(query.pageToken)
  local after = token and crypto.base64url_decode(token)
  if token and not after then reply.fail(400, "invalid", "Invalid value for pageToken.") end
  local limit = math.tointeger(tonumber(values.given(query.maxResults) or 1000))
  if not limit or limit < 0 then reply.fail(400, "invalid", "Invalid value for maxResults.") end
  return {
    prefix = values.given(query.prefix), delimiter = values.given(query.delimiter),
    start = values.given(query.startOffset), stop = values.given(query.endOffset), glob = values.given(query.matchGlob),
    versions = values.flag(query.versions), trailing = values.flag(query.includeTrailingDelimiter),
    limit = limit == 0 and 1000 or math.min(limit, 1000), after = after,
  }
end

return M
