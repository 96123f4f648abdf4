--- A binary heap of work by its due time; pieces due at the same time come out in the order they went in.
local M = {}

local Heap = {}
Heap.__index = Heap

--- An empty heap.
function M.new()
  return setmetatable({ n = 0, sequence = 0 }, Heap)
end

local function before(a, b)
  if a.due ~= b.due then return a.due < b.due end
  return a.sequence < b.sequence
end

--- Adds an item, which has a number `due`.
function Heap:push(item)
  self.sequence = self.sequence + 1
  item.sequence = self.sequence
  self.n = self.n + 1
  local i = self.n
  self[i] = item
  while i > 1 and before(self[i], self[i // 2]) do
    self[i], self[i // 2] = self[i // 2], self[i]
    i = i // 2
  end
end

--- The earliest item, or nil.
function Heap:peek()
  return self[1]
end

--- Takes the earliest item out.
function Heap:pop()
  local top = self[1]
  if not top then return nil end
  self[1] = self[self.n]
  self[self.n] = nil
  self.n = self.n - 1
  local i = 1
  while true do
    local least = i
    for child = 2 * i, 2 * i + 1 do
      if child <= self.n and before(self[child], self[least]) then least = child end
    end
    if least == i then return top end
    self[i], self[least] = self[least], self[i]
    i = least
  end
end

return M
