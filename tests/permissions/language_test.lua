-- Scripts that try to leave their permissions by way of the language: other modules, the debug library, metamethods,
-- the program's own tables, the environment.
local cage = require "cage"
local fs = require "ws.fs"

local READ = "--allow-read=pub"
local reads = "return fs.read('pub/a.txt')"

local cases = {
  { name = "loadfile outside", policy = { READ }, attack = "return loadfile(O .. '/module.lua')",
    refused = "may not be read", control = "return require 'lib.mine' == 'mine'" },
  { name = "dofile outside", policy = { READ }, attack = "return dofile(O .. '/module.lua')",
    refused = "may not be read", control = "return require 'lib.mine'" },
  { name = "loadfile of what is no Lua tells nothing of it", policy = { READ },
    attack = "return loadfile(P .. '/secret.txt')", refused = "may not be read",
    control = "return loadfile('workflows/attack.lua')" },
  { name = "require by a path", policy = { READ }, attack = "return require '......outside.module'",
    refused = "not found", control = "return require 'lib.mine'" },
  { name = "require from a folder of the script's choice", policy = { READ },
    attack = "table.insert(require 'ws.engine'.script_folders, O) return require 'module'", refused = "not found",
    control = "return require 'lib.mine'" },
  { name = "require of a link that leads out", policy = { READ },
    prepare = function(w)
      assert(fs.mkdir(w.project .. "/workflows"))
      assert(fs.symlink(w.outside .. "/module.lua", w.project .. "/workflows/linked.lua"))
    end, attack = "return require 'linked'", refused = "not found", control = "return require 'lib.mine'" },
  { name = "a file beside the script that is not Lua", policy = { READ },
    prepare = function(w)
      assert(fs.mkdir(w.project .. "/workflows"))
      assert(fs.write(w.project .. "/workflows/key.txt", "TOP-" .. "SECRET"))
    end, attack = "return fs.read('workflows/key.txt')", control = "return fs.read('workflows/attack.lua')" },
  { name = "the program's files by WSRUN_SOURCE", policy = { READ },
    attack = "require 'ws.environment'.set { WSRUN_SOURCE = O } require 'ws.engine'.source_tree = O return "
      .. "require 'ws.engine'.program_file('secret')", refused = "ATTACK nil",
    control = "return require 'ws.engine'.program_file('host/lua/ws/boot.lua')" },
  { name = "a binary chunk", policy = { READ }, refused = "attempt to load a binary chunk",
    attack = "return load(string.dump(function() return 1 end), 'x', 'b')",
    control = "return load('return 1', 'x', 'bt')()" },
  { name = "the natives themselves", policy = { READ }, attack = "return require 'ws.fs.native'.read(O .. '/secret')",
    control = "return require 'ws.fs.native'.read('pub/a.txt')" },
  { name = "natives opened anew", policy = { READ },
    attack = "return require 'ws.engine'.openers['ws.fs.native']().read(O .. '/secret')",
    control = "return require 'ws.engine'.openers['ws.fs.native']().read('pub/a.txt')" },
  { name = "process natives", policy = { READ },
    attack = "return require 'ws.process.native'.start({ 'cat', O .. '/secret' }, {}, {})", control = reads },
  { name = "a second policy", policy = { READ },
    attack = "local any = { enforced = false } return require 'ws.engine'.native.permit { run = any, net = "
      .. "any, read = any, write = any, env = any }", refused = "nothing changes them", control = reads },
  { name = "the policy's module again", policy = { READ },
    attack = "package.loaded['ws.permissions.policy'] = nil return require 'ws.permissions.policy'.begin({ "
      .. "['allow-read'] = { '/' } }, 'x.lua', function() return 'id' end)", refused = "denied", control = reads },
  { name = "the lists of the policy's module", policy = { READ },
    attack = "local p = require 'ws.permissions' p.lists[3] = 'x' p.begin = print return fs.read(O .. '/secret')",
    control = reads },
  { name = "other functions in the program's tables", policy = { READ },
    attack = "fs.exists = function() return true end table.concat = nil io.open = nil return require "
      .. "'ws.fs'.read(O .. '/secret')", control = reads },
  { name = "the debug library's way to functions", policy = { READ },
    attack = "return nil, 'denied ' .. tostring(debug.getregistry) .. tostring(debug.getupvalue) .. "
      .. "tostring(debug.setupvalue) .. tostring(debug.upvaluejoin) .. tostring(debug.setmetatable) .. "
      .. "tostring(debug.getlocal) .. tostring(debug.sethook) .. tostring(debug.getuservalue) .. "
      .. "tostring(debug.debug)", refused = "denied nilnilnilnilnilnilnilnilnil",
    control = "return debug.traceback('x') and debug.getinfo(1, 'l').currentline > 0 and "
      .. "debug.getinfo(string.rep).what == 'C'" },
  { name = "functions by debug.getinfo", policy = { READ },
    attack = "for level = 1, 20 do local i = debug.getinfo(level, 'f') if i and i.func then return 'pw' .. "
      .. "'ned' end end return nil, 'denied'",
    control = "return debug.getinfo(1, 'S').short_src == 'workflows/attack.lua'" },
  { name = "the debug library by require and by other tables", policy = { READ },
    attack = "local d = package.loaded.debug return nil, 'denied ' .. tostring(d.getregistry) .. "
      .. "tostring(require 'debug'.getupvalue)", refused = "denied nilnil", control = reads },
  { name = "in a coroutine", policy = { READ },
    attack = "return coroutine.wrap(function() return fs.read(O .. '/secret') end)()",
    control = "return coroutine.wrap(function() return fs.read('pub/a.txt') end)()" },
  { name = "in a task and in its close handler", policy = { READ },
    attack = "local got local t = task.spawn(function() local c <close> = setmetatable({}, { __close = "
      .. "function() got = table.pack(io.open(O .. '/secret')) end }) task.sleep(10) end) "
      .. "task.sleep(0.01) t:cancel() t:join() return got[1], got[2]", refused = "may not be read", control = reads },
  { name = "in a finalizer", policy = { READ },
    attack = "local got setmetatable({}, { __gc = function() got = table.pack(pcall(io.open, O .. "
      .. "'/secret')) end }) collectgarbage() collectgarbage() return got[2], got[3]", refused = "may not be read",
    control = reads },
  { name = "an object in place of a path", policy = { READ },
    attack = "local n = 0 return fs.read(setmetatable({}, { __tostring = function() n = n + 1 return n == 1 "
      .. "and 'pub/a.txt' or O .. '/secret' end, __name = 'string' }))", refused = "string expected", control = reads },
  { name = "options that change between two looks", policy = { READ, "--allow-write=out", "--allow-net=127.0.0.1" },
    attack = "return require 'ws.http.native'.start(setmetatable({ url = 'http://127.0.0.1/' }, { __index = "
      .. "function(_, k) if k == 'unix' then return O .. '/s' end end }), false)", refused = "denied",
    control = reads },
  { name = "entries that change between two looks", policy = { READ, "--allow-write=out" },
    attack = "local n = 0 return archive.tar_create { entries = { setmetatable({ name = 'a' }, { __index = "
      .. "function(_, k) if k == 'file' then n = n + 1 return n % 2 == 1 and 'pub/a.txt' or O .. "
      .. "'/secret' end end }) } }",
    control = "return archive.tar_create { entries = { { name = 'a', file = 'pub/a.txt' } } } ~= nil" },
  { name = "a path of a number", policy = { READ },
    prepare = function(w) assert(fs.write(w.project .. "/1", "TOP-" .. "SECRET")) end, attack = "return fs.read(1)",
    control = reads },
  { name = "a path longer than any", policy = { READ }, attack = "return fs.read(('./'):rep(3000) .. 'secret.txt')",
    refused = "ATTACK nil", control = "return fs.read(('./'):rep(1000) .. 'pub/a.txt')" },
  { name = "a variable that is not listed", policy = { READ, "--allow-env=FINE" },
    env = { TOKEN = "TOP-" .. "SECRET", FINE = "fine" }, attack = "return os.getenv 'TOKEN'",
    control = "return os.getenv 'FINE' == 'fine' and os.getenv 'PATH'" },
  { name = "a variable by the environment's module", policy = { READ, "--allow-env=FINE*" },
    env = { TOKEN = "TOP-" .. "SECRET", FINE_1 = "fine" }, attack = "return require 'ws.environment'.get 'TOKEN'",
    control = "return require 'ws.environment'.get 'FINE_1' == 'fine'" },
  { name = "a denied variable", policy = { "--allow-env=*", "--deny-env=TOKEN" },
    env = { TOKEN = "TOP-" .. "SECRET", FINE = "fine" }, attack = "return os.getenv 'TOKEN'",
    control = "return os.getenv 'FINE' == 'fine'" },
  { name = "what the audit log says", policy = { READ, "--allow-write=.wsrun", "--allow-read=.wsrun" },
    attack = "local log = fs.glob('.wsrun/runs/*/permissions.ndjson')[1] try(fs.read(O .. '/secret')) return "
      .. "fs.remove(log) and nil, 'gone'", refused = "denied", control = reads,
    after = function(t, w)
      local found = false
      for _,
    file in ipairs(fs.glob(w.project .. "/.wsrun/runs/*/permissions.ndjson")) do
        found = found or fs.read(file):find(w.outside .. '/secret","allowed":false', 1, true) ~= nil
      end
      t:ok(found, "the refusal is in the log")
    end },
  { name = "the journal", policy = { READ, "--allow-write=." }, attack = "return fs.write('.wsrun/journal.db', 'x')",
    control = "return fs.write('.wsrun/other', 'x')" },
}

return function(test)
  for _, case in ipairs(cases) do
    test(case.name, function(t)
      case.refused = case.refused or "denied"
      cage.try(t, case, { env = case.env })
    end)
  end
end
