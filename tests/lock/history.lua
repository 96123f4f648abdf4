-- Whether the history of a trial is one that a lock may have.
--
-- `linearizable` asks it of a model, knowing only what the contenders saw: a register that holds nobody or one holder.
-- An operation takes effect at one moment between its call and its return:
--   take(h)    nobody holds it; then h does
--   guard(h)   h holds it                            (a guard that agreed)
--   give(h)    if h holds it, nobody does
--   expire(h)  if h holds it, nobody does            (any time after h's last guard that agreed; or never)
-- The search is Wing and Gong's with the memory of Lowe: what was tried is a set of operations done and a state.
--
-- `agrees_with_server` compares with the storage server's own order, which is sharper: no guard that was asked after
-- somebody else's lease was written agrees; no write of an older holder is accepted after a newer holder's; a lease is
-- taken from nobody who still had time, unless he was dead.
local M = {}

---@class lock.Operation
---@field kind "take"|"guard"|"give"|"expire"
---@field holder string
---@field call number
---@field ret number        math.huge: it never returned
---@field optional boolean  it may never have taken effect

--- The operations of what contenders noted (see contender.lua), each `events` list in its own order.
---@param logs table[][]
---@return lock.Operation[]
function M.operations(logs)
  local list = {}
  local function add(kind, holder, call, ret, optional)
    list[#list + 1] = { kind = kind, holder = holder, call = call, ret = ret, optional = optional or false }
  end
  for i, events in ipairs(logs) do
    local who, asked, taken, believed, given, giving = ("%d"):format(i)
    for _, e in ipairs(events) do
      if e.what == "call" then asked = e.t
      elseif e.what == "return" then
        if e.token then
          add("take", who, e.began, e.t)
          taken, believed = true, e.began
        end
        asked = nil
      elseif e.what == "guard" and e.ok then
        add("guard", who, e.t, e.ended)
        believed = e.t
      elseif e.what == "release" then giving = e.t
      elseif e.what == "released" then
        add("give", who, e.began, e.t)
        given = true
      end
    end
    if asked then -- it ended in the middle: the lease may have been written
      add("take", who, asked, math.huge, true)
      believed, taken = asked, true
    end
    if giving and not given then add("give", who, giving, math.huge, true) end
    if taken then add("expire", who, believed, math.huge, true) end
  end
  table.sort(list, function(a, b) return a.call < b.call end)
  return list
end

--- The state after an operation, or nil when it cannot happen now. The state is a holder, or "".
local function apply(op, state)
  if op.kind == "take" then return state == "" and op.holder or nil end
  if op.kind == "guard" then return state == op.holder and state or nil end
  return state == op.holder and "" or state
end

--- Whether the operations can be put into an order that the model allows.
---@param list lock.Operation[]
---@return boolean ok
---@return string? why  the operation that stood last in the way
function M.linearizable(list)
  local done, tried, left = {}, {}, 0
  for i, op in ipairs(list) do
    done[i] = false
    if not op.optional then left = left + 1 end
  end
  local deepest, obstacle = math.huge, nil

  local function key(state)
    local bits = {}
    for i = 1, #list do bits[i] = done[i] and "1" or "0" end
    return table.concat(bits) .. state
  end

  --- The first return among what must still happen: nothing that was called after it can come next.
  local function horizon()
    local first, which = math.huge, nil
    for i, op in ipairs(list) do
      if not done[i] and not op.optional and op.ret < first then first, which = op.ret, op end
    end
    return first, which
  end

  local function search(state)
    if left == 0 then return true end
    local first, which = horizon()
    if left < deepest then deepest, obstacle = left, which end
    local at = key(state)
    if tried[at] then return false end
    tried[at] = true
    for i, op in ipairs(list) do
      if op.call > first then break end
      local after = not done[i] and apply(op, state)
      if after then
        done[i] = true
        if not op.optional then left = left - 1 end
        if search(after) then return true end
        done[i] = false
        if not op.optional then left = left + 1 end
      end
    end
    return false
  end

  if search("") then return true end
  return false, ("%s of contender %s, called %.4f, returned %.4f"):format(obstacle.kind, obstacle.holder, obstacle.call,
    obstacle.ret)
end

--- Compares what contenders noted with what the server did.
---@param logs table[][]
---@param server table[]  in its order: { t, what = "take"|"renew"|"release", nonce, over?, idle? } and
---  { t, what = "write", nonce }; over: the nonce that a lease was taken from, idle: seconds since its last renewal
---@param facts { ttl: number, dead: table<string, number> }  dead: when the process of a nonce was killed
---@return string[] problems
function M.agrees_with_server(logs, server, facts)
  local problems, order, writers = {}, {}, {}
  for _, e in ipairs(server) do
    if e.what == "take" then
      order[#order + 1] = e
      order[e.nonce] = #order
      local killed = facts.dead[e.over or ""]
      if e.over and e.idle < facts.ttl and not (killed and killed <= e.t) then
        problems[#problems + 1] = ("a lease was taken %.3f s after its last renewal, its holder alive"):format(e.idle)
      end
    elseif e.what == "write" then
      local mine = order[e.nonce] or 0
      if mine < (writers.newest or 0) then
        problems[#problems + 1] = ("a write of holder %d was accepted after one of holder %d"):format(mine,
          writers.newest)
      end
      writers.newest = math.max(mine, writers.newest or 0)
    end
  end
  for i, events in ipairs(logs) do
    local nonce
    for _, e in ipairs(events) do
      if e.what == "return" then nonce = e.nonce end
      local next_one = nonce and order[(order[nonce] or 0) + 1]
      if e.what == "guard" and e.ok and next_one and e.t >= next_one.t then
        problems[#problems + 1] = ("contender %d believed in its lock %.3f s after it was taken over"):format(i,
          e.t - next_one.t)
      end
    end
  end
  return problems
end

return M
