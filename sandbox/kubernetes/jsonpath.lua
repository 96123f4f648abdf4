--- The simple JSON paths that printer columns and scale subresources use: `.a.b`, `.a['b.c']`, `.a[0]`,
--- `.a[?(@.type=="Ready")].status`, `.a[*].b`.
local values = require "sandbox.kubernetes.values"

local M = {}

local function steps_of(path)
  local steps, at = {}, 1
  while at <= #path do
    local name, after = path:match("^%.([^%.%[]+)()", at)
    if name then
      steps[#steps + 1] = { "member", name }
      at = after
    else
      local key, value
      key, value, after = path:match("^%[%?%(@%.([%w_%-]+)%s*==%s*[\"']([^\"']*)[\"']%)%]()", at)
      if key then
        steps[#steps + 1] = { "filter", key, value }
      else
        name, after = path:match("^%[[\"']([^\"']*)[\"']%]()", at)
        if name then
          steps[#steps + 1] = { "member", name }
        else
          name, after = path:match("^%[(%-?%d+)%]()", at)
          if name then
            steps[#steps + 1] = { "index", math.tointeger(tonumber(name)) }
          else
            after = path:match("^%[%*%]()", at) or path:match("^%.$()", at)
            if not after then return nil end
            steps[#steps + 1] = { "all" }
          end
        end
      end
      at = after
    end
  end
  return steps
end

local function take(found, step)
  local out = {}
  for _, v in ipairs(found) do
    if type(v) == "table" then
      if step[1] == "member" then
        out[#out + 1] = v[step[2]]
      elseif step[1] == "index" then
        out[#out + 1] = v[step[2] < 0 and #v + 1 + step[2] or step[2] + 1]
      elseif step[1] == "all" then
        for i = 1, #v do out[#out + 1] = v[i] end
      else
        for i = 1, #v do
          if type(v[i]) == "table" and tostring(v[i][step[2]]) == step[3] then out[#out + 1] = v[i] end
        end
      end
    end
  end
  return out
end

--- The first value a path finds, or nil.
---@param object table
---@param path string
---@return any
function M.first(object, path)
  if path:sub(1, 1) ~= "." then path = "." .. path end
  path = path:gsub("\\%.", "\1")
  local steps = steps_of(path)
  local found = { object }
  for _, step in ipairs(steps or { { "none" } }) do
    if type(step[2]) == "string" then step[2] = step[2]:gsub("\1", ".") end
    found = take(found, step)
  end
  local v = found[1]
  if v == nil or v == require "ws.json".null then return nil end
  return values.is_array(v) and #v == 0 and "" or v
end

return M
