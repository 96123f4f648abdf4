--- The nearest word of a list, for "did you mean".

--- Damerau-Levenshtein distance (adjacent letters may be swapped), given up above `bound`.
local function distance(a, b, bound)
  if math.abs(#a - #b) > bound then return bound + 1 end
  local before, previous, current = {}, {}, {}
  for j = 0, #b do previous[j] = j end
  for i = 1, #a do
    current[0] = i
    local least = i
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      local d = math.min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        d = math.min(d, before[j - 2] + 1)
      end
      current[j] = d
      least = math.min(least, d)
    end
    if least > bound then return bound + 1 end
    before, previous, current = previous, current, before
  end
  return previous[#b]
end

--- The candidate that `word` was probably meant to be, or nil when none is near: at most a third of its letters differ.
---
--- ```lua
--- assert(require "ws.nearest" ("aply", { "plan", "apply" }) == "apply")
--- ```
---@param word string
---@param candidates string[]
---@return string?
return function(word, candidates)
  local bound = math.max(1, #word // 3)
  local best, best_distance = nil, bound + 1
  for _, candidate in ipairs(candidates) do
    local d = distance(word:lower(), candidate:lower(), bound)
    if d < best_distance then best, best_distance = candidate, d end
  end
  return best
end
