--- What a saved plan rests on: facts that are read again before it is applied.
---
--- A fact is a table with its `kind`, what is needed to read it, and the `value` that it had.
local crypto = require "ws.crypto"
local errors = require "ws.error"

local M = {}

local ABSENT = "absent"

--- The value of what could be read, "absent", or nil, err.
local function or_absent(value, err)
  if value then return value end
  if err.kind == "not_found" then return ABSENT end
  return nil, err
end

---@type table<string, { name: fun(fact: table): string, read: fun(fact: table): string?, ws.Error? }>
local kinds = {
  --- A state of Terraform: its serial number and lineage.
  state = {
    name = function(fact) return ("the state of layer %s"):format(fact.layer) end,
    read = function(fact)
      local state, err = require "ws.terraform.state".read(fact.backend, fact.workspace)
      return or_absent(state and ("serial %d, lineage %s"):format(state.serial, state.lineage), err)
    end,
  },
  --- A file of the project, by its bytes.
  file = {
    name = function(fact) return fact.path end,
    read = function(fact)
      return or_absent(crypto.sha256_file(require "ws.project".path(fact.path)))
    end,
  },
  --- A file, or every file of a folder.
  files = {
    name = function(fact) return fact.path end,
    read = function(fact)
      return or_absent(require "ws.helm".digest(require "ws.project".path(fact.path)))
    end,
  },
  --- An object in Cloud Storage, by its generation.
  object = {
    name = function(fact) return fact.url end,
    read = function(fact)
      local object, err = require "ws.gcs".stat(fact.url)
      return or_absent(object and ("generation %s"):format(object.generation), err)
    end,
  },
  --- The commit that a checkout is at.
  commit = {
    name = function(fact) return "the commit of " .. fact.dir end,
    read = function(fact)
      local commit, err = require "ws.git".commit(require "ws.project".path(fact.dir))
      return or_absent(commit and commit.commit, err)
    end,
  },
}

--- Reads a fact's value. Raises on an unknown kind.
---@async
---@param fact table
---@return string? value  "absent" when what it speaks of is not there
---@return ws.Error? err
function M.read(fact)
  local kind = kinds[fact.kind]
  if not kind then error(("a plan cannot rest on a %s"):format(tostring(fact.kind)), 2) end
  return kind.read(fact)
end

--- Reads facts again; an error of kind `conflict` says which have changed.
---@async
---@param facts table[]
---@return true? ok
---@return ws.Error? err
function M.check(facts)
  local moved = {}
  for _, fact in ipairs(facts) do
    local value, err = M.read(fact)
    if not value then return nil, err end
    if value ~= fact.value then
      moved[#moved + 1] = ("%s: %s when it was planned, %s now"):format(kinds[fact.kind].name(fact), fact.value, value)
    end
  end
  if #moved == 0 then return true end
  return nil, errors.new { kind = "conflict", op = "apply", message = "the plan does not hold any more: "
    .. moved[1] .. (#moved > 1 and (" (and %d more)"):format(#moved - 1) or ""), detail = table.concat(moved, "\n"),
    hint = "plan again, look at what would change now, and apply that" }
end

return M
