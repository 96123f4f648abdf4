-- Scripts that try to leave their permissions through a program that they may start, or start one that they may not.
-- Each attack is harmless to the machine should it succeed: it is run by people who change the thing that stops it.
local cage = require "cage"
local fs = require "ws.fs"
local process = require "ws.process"

local SH = "--allow-run=sh"
local hello = "return process.run({ 'sh', '-c', 'echo hello' }).stdout == 'hello\\n'"

--- A shell command as the body of an attack.
local function sh(command, opts)
  return ("return out({ 'sh', '-c', %q, 'sh', O, P }%s)"):format(command, opts and ", " .. opts or "")
end

local function wants(t, ...)
  for _, name in ipairs { ... } do
    if not process.which(name) then t:skip(name .. " is not installed") end
  end
end

local cases = {
  { name = "a program that is not listed", policy = { SH }, attack = "return out { 'cat', O .. '/secret' }",
    control = hello },
  { name = "nothing listed: no program", policy = { "--allow-read=pub" }, attack = "return out { 'true' }",
    control = "return fs.read('pub/a.txt')" },
  { name = "a program by its path", policy = { SH }, attack = "return out { '/usr/bin/id' }", control = hello },
  { name = "a listed name in another folder", policy = { "--allow-run=sh,tool", "--allow-read=.", "--allow-write=out" },
    attack = [[
      fs.write("out/sh", "#!/bin/sh\necho pw" .. "ned", { mode = 493 })
      return out({ "sh" }, { env = { PATH = P .. "/out:/bin:/usr/bin" } })]], control = hello },
  { name = "a listed name by a link to another program",
    policy = { SH, "--allow-read=.", "--allow-read=/usr", "--allow-write=out" },
    attack = "assert(fs.symlink('/usr/bin/env', 'out/sh')) return out { P .. '/out/sh' }", control = hello },
  { name = "a listed program under another name",
    policy = { "--allow-run=sh", "--allow-read=/usr", "--allow-write=out" },
    attack = "try(fs.symlink(fs.realpath('/usr/bin/sh'), 'out/other')) return out { P .. '/out/other', '-c', "
      .. "'echo pw\"\"ned' }", control = hello },
  { name = "write over an allowed program", policy = { "--allow-run=$P/bin/tool", "--allow-read=.", "--allow-write=." },
    attack = "return fs.write('bin/tool', '#!/bin/sh\\necho changed', { mode = 493 })",
    control = "return process.run({ P .. '/bin/tool' }).stdout == 'genuine\\n'" },
  { name = "move over an allowed program", policy = { "--allow-run=$P/bin/tool", "--allow-read=.", "--allow-write=." },
    attack = "fs.write('evil', '#!/bin/sh', { mode = 493 }) return fs.rename('evil', 'bin/tool')",
    control = "return process.run({ P .. '/bin/tool' }).stdout == 'genuine\\n'" },
  { name = "move the folder of an allowed program",
    policy = { "--allow-run=$P/bin/tool", "--allow-read=.", "--allow-write=." },
    attack = "return fs.rename('bin', 'old')",
    control = "return process.run({ P .. '/bin/tool' }).stdout == 'genuine\\n'" },
  { name = "a child writes over an allowed program",
    policy = { SH, "--allow-run=$P/bin/tool", "--allow-read=.", "--allow-write=." },
    attack = sh "echo changed > $2/bin/tool",
    control = "return process.run({ P .. '/bin/tool' }).stdout == 'genuine\\n'" },
  { name = "a child moves an allowed program",
    policy = { "--allow-run=sh,mv,$P/bin/tool", "--allow-read=.", "--allow-write=." },
    attack = sh "mv $2/bin $2/old; mv $2/wsrun.yaml $2/w",
    control = "return process.run({ P .. '/bin/tool' }).stdout == 'genuine\\n'" },
  { name = "a program whose digest is another", policy = { "--allow-run=$P/bin/tool@sha256:" .. ("0"):rep(64) },
    attack = "return out { P .. '/bin/tool' }", control = "return true" },
  { name = "a denied program", policy = { "--allow-run=*", "--deny-run=cat", "--allow-read=." },
    attack = "return out { 'cat', 'pub/a.txt' }", control = hello },
  { name = "a denied program by its path and by a link",
    policy = { "--allow-run=*", "--deny-run=cat", "--allow-read=*", "--allow-write=out" },
    attack = "fs.symlink('/usr/bin/cat', 'out/c') return out { 'out/c', 'secret.txt' }", control = hello },
  { name = "a child reads outside", policy = { SH, "--allow-read=pub" }, attack = sh "read x < $1/secret; echo $x",
    control = "return process.run({ 'sh', '-c', 'read x < pub/a.txt; echo $x' }).stdout == 'public\\n'" },
  { name = "a child reads beside", policy = { SH, "--allow-read=pub" }, attack = sh "read x < $2/secret.txt; echo $x",
    control = hello },
  { name = "a child reads beside, when every program is allowed", policy = { "--allow-run=*", "--allow-read=pub" },
    attack = sh "cat $2/secret.txt $1/secret", control = hello },
  { name = "a child writes beside, when every program is allowed", policy = { "--allow-run=*", "--allow-write=out" },
    attack = sh "echo x > $1/victim", control = hello },
  { name = "a child lists outside", policy = { "--allow-run=sh,ls", "--allow-read=pub" }, attack = sh "ls $1",
    control = "return process.run({ 'ls', 'pub' }).stdout == 'a.txt\\nb\\n'" },
  { name = "a child writes outside", policy = { SH, "--allow-write=out" }, attack = sh "echo x > $1/victim",
    control = "return process.run({ 'sh', '-c', 'echo x > out/new' }).code == 0" },
  { name = "a child removes outside", policy = { "--allow-run=sh,rm", "--allow-write=out" },
    attack = sh "rm -rf $1/victim $1", control = "return process.run({ 'rm', 'out/mine' }).code == 0" },
  { name = "a child cuts a file outside", policy = { "--allow-run=sh,truncate" }, attack = sh "truncate -s0 $1/victim",
    control = hello },
  { name = "a child links a file in from outside",
    policy = { "--allow-run=sh,ln,cat", "--allow-read=out", "--allow-write=out" },
    attack = sh "ln $1/secret out/hard; read x < out/hard; echo $x", refused = "hard link",
    control = "return process.run({ 'ln', 'out/mine', 'out/two' }).code == 0" },
  { name = "a child links a file in by a symbolic link",
    policy = { "--allow-run=sh,ln,cat", "--allow-read=out", "--allow-write=out" },
    attack = sh "ln -s $1/secret out/soft; cat out/soft",
    control = "return process.run({ 'cat', 'out/mine' }).stdout == 'mine\\n'" },
  { name = "a child makes the link, the script follows it",
    policy = { "--allow-run=sh,ln", "--allow-read=out", "--allow-write=out" },
    attack = "out({ 'ln', '-s', O .. '/secret', 'out/soft' }) out({ 'ln', '-s', O .. '/victim', 'out/w' }) "
      .. "try(fs.write('out/w', 'x')) return fs.read('out/soft')", control = "return fs.read('out/mine')" },
  { name = "a child makes a hard link, the script writes through it",
    policy = { "--allow-run=sh,ln", "--allow-read=out", "--allow-write=out" },
    attack = "print(out({ 'ln', O .. '/victim', 'out/hard' })) return fs.write('out/hard', 'x', { how = 'append' })",
    refused = "ln: .*", control = "return fs.read('out/mine')" },
  { name = "a child renames into its folder", policy = { "--allow-run=sh,mv", "--allow-read=out", "--allow-write=out" },
    attack = sh "mv $1/secret out/; mv out/mine $1/",
    control = "return process.run({ 'mv', 'out/mine', 'out/m' }).code == 0" },
  { name = "a child's .. and cd", policy = { "--allow-run=sh", "--allow-read=pub" },
    attack = sh "cd pub; cd ../../outside; read x < secret; echo $x", control = hello },
  { name = "a working directory that may not be read", policy = { "--allow-run=sh", "--allow-read=pub" },
    attack = "return out({ 'sh', '-c', 'pwd' }, { cwd = O })",
    control = "return process.run({ 'sh', '-c', 'pwd' }, { cwd = 'pub' }).code == 0" },
  { name = "output to a file outside", policy = { SH, "--allow-write=out" },
    attack = "return out({ 'sh', '-c', 'echo x' }, { stdout = { file = O .. '/victim' } })",
    control = "return process.run({ 'sh', '-c', 'echo x' }, { stdout = { file = 'out/log' } })" },
  { name = "a child reads what is denied in an allowed folder",
    policy = { SH, "--allow-read=.", "--deny-read=secret.txt" }, attack = sh "read x < secret.txt; echo $x",
    control = "return process.run({ 'sh', '-c', 'read x < pub/a.txt; echo $x' }).stdout == 'public\\n'" },
  { name = "a child changes the policy", policy = { SH, "--allow-read=.", "--allow-write=." },
    attack = sh "echo 'permissions: {}' > wsrun.yaml",
    control = "return process.run({ 'sh', '-c', 'echo x > out/new' }).code == 0" },
  { name = "a child starts what is not listed", policy = { SH }, attack = sh "/usr/bin/id; id",
    refused = "ermission denied", control = hello },
  { name = "a child's child reads outside", policy = { "--allow-run=sh,cat", "--allow-read=pub" },
    attack = sh "sh -c 'cat $0' $1/secret",
    control = "return process.run({ 'sh', '-c', 'cat pub/a.txt' }).stdout == 'public\\n'" },
  { name = "through the dynamic linker", policy = { SH, "--allow-read=pub" },
    attack = sh "for l in /lib64/ld-linux*; do $l /usr/bin/cat $1/secret; done", control = hello },
  { name = "a detached child", policy = { "--allow-run=sh", "--allow-read=pub" },
    attack = "local c = process.start({ 'sh', '-c', 'read x < $0; echo $x > $1', O .. '/secret', O .. "
      .. "'/victim' }, { detached = true }) task.sleep(0.1) return nil, 'denied by Landlock'", control = hello },
  { name = "LD_PRELOAD", policy = { SH },
    attack = "return out({ 'sh', '-c', 'echo pw\"\"ned' }, { env = { LD_PRELOAD = P .. '/out/x.so' } })",
    control = hello },
  { name = "LD_LIBRARY_PATH laid over the environment", policy = { SH },
    attack = "require 'ws.environment'.set { LD_LIBRARY_PATH = P } return out { 'sh', '-c', 'echo pw\"\"ned' }",
    control = hello },
  { name = "BASH_ENV, ENV, GIT_SSH_COMMAND, TF_CLI_ARGS, PYTHONPATH", policy = { SH },
    attack = [[
      for _, name in ipairs { "BASH_ENV", "ENV", "GIT_SSH_COMMAND", "GIT_EXTERNAL_DIFF", "TF_CLI_ARGS_plan",
        "PYTHONPATH", "PERL5OPT", "NODE_OPTIONS", "DYLD_INSERT_LIBRARIES", "BASH_FUNC_ls%%", "GLIBC_TUNABLES" } do
        local r, err = process.run({ "sh", "-c", "true" }, { env = { [name] = "x" } })
        if r or err.kind ~= "denied" then return "pw" .. "ned by " .. name end
      end
      return nil, "all denied"]],
    control = "return process.run({ 'sh', '-c', 'echo $X' }, { env = { X = 'y' } }).stdout == 'y\\n'" },
  { name = "loaders of our own environment are not passed on", policy = { SH },
    env = { PERL5OPT = "-x", BASH_ENV = "/x", GIT_DIR = "pw" .. "ned" },
    attack = sh "echo denied $PERL5OPT$BASH_ENV$GIT_DIR", refused = "denied%s*\n", control = hello },
  { name = "secrets of our own environment are not passed on", policy = { SH }, env = { TOKEN = "TOP-" .. "SECRET" },
    attack = sh "echo denied $TOKEN", refused = "denied%s*\n",
    control = "return process.run({ 'sh', '-c', 'echo $PATH' }).stdout ~= '\\n'" },
  { name = "wsrun's environment in /proc", policy = { "--allow-run=sh,cat,tr" }, env = { TOKEN = "TOP-" .. "SECRET" },
    attack = sh "cat /proc/$PPID/environ | tr '\\\\0' ' '", refused = "ermission denied", control = hello },
  { name = "wsrun's root, memory and files in /proc", policy = { "--allow-run=sh,cat,ls" },
    attack = sh("cat /proc/$PPID/root$1/secret; ls /proc/$PPID/fd/; cat /proc/$PPID/mem; cat "
      .. "/proc/1/root$1/secret; cat /proc/1/cwd$1/secret"), refused = "ermission denied", control = hello },
  { name = "the machine's knobs", policy = { "--allow-run=sh", "--allow-write=/" },
    attack = sh([[read -r x < /proc/sys/kernel/core_pattern; echo "$x" > /proc/sys/kernel/core_pattern && echo ]]
      .. [[pw""ned]]), refused = "ermission denied",
    control = "return process.run({ 'sh', '-c', 'echo x > out/new' }).code == 0" },
  { name = "a device node", policy = { "--allow-run=sh,mknod", "--allow-read=out", "--allow-write=out" },
    attack = sh [[mknod out/zero c 1 5 && echo pw""ned]], refused = "ermi", control = hello },
  { name = "a mount", policy = { "--allow-run=sh,mount,unshare", "--allow-read=out", "--allow-write=out" },
    attack = sh "unshare -m sh -c 'mount --bind $0 out; read x < out/secret; echo $x' $1", refused = "ermi",
    control = hello },
  { name = "a fifo that somebody outside reads", policy = { "--allow-run=sh,mkfifo", "--allow-write=out" },
    attack = sh "mkfifo $1/pipe", control = "return process.run({ 'mkfifo', 'out/pipe' }).code == 0" },
  { name = "modes and owners of files outside", policy = { "--allow-run=sh,chmod,chown,perl", "--allow-read=pub" },
    attack = sh("chmod 777 $1/victim; chmod 777 $2/pub/a.txt; chown 1 $1/victim; perl -e 'open F, "
      .. "\"<pub/a.txt\"; chmod 0777, *F and print 0' "), refused = "ermitted", control = "return fs.read('pub/a.txt')",
    after = function(t, w) t:eq(fs.stat(w.project .. "/pub/a.txt").mode & 73, 0) end },
  { name = "our terminal's input", policy = { "--allow-run=perl" }, needs = { "perl", "script" },
    attack = [[return out { "perl", "-e", 'my $c = "x"; ioctl(STDOUT, 0x5412, $c) and print "pw"."ned"; print ]]
      .. [["denied $!"' }]], refused = "denied Operation not permitted",
    control = hello:gsub("sh', '%-c', 'echo hello'", "perl', '-e', 'print \"hello\\n\"'") },
  { name = "a program in the folder of terraform's plugins", needs = { "git" },
    policy = { "--allow-run=git", "--allow-read=/usr", "--allow-read=out", "--allow-write=out" }, attack = [[
      assert(fs.copy("/usr/bin/touch", ".wsrun/plugins/evil", { mode = 493 }))
      return out({ "git", "-c", "core.sshCommand=" .. P .. "/.wsrun/plugins/evil", "ls-remote", "ssh://pw" .. "ned/x" },
        { cwd = "out", env = { HOME = P .. "/out" } })]],
    refused = "fatal", control = "return process.run({ 'git', '--version' }).code == 0",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/pwned"), false) end },
  { name = "signals to others", policy = { SH }, attack = sh "kill -0 $PPID", refused = "ermitted", control = hello },
  { name = "a race between a link and its reader",
    policy = { "--allow-run=sh,ln", "--allow-read=pub,out", "--allow-write=out" },
    attack = [[
      local child = assert(process.start({ "sh", "-c",
        "while :; do ln -sfn $1/secret out/l; ln -sfn ../pub/a.txt out/l; done", "sh", O }))
      local seen, refused = 0, 0
      for i = 1, 3000 do
        local text, err = fs.read("out/l")
        if text == "public\n" then seen = seen + 1
        elseif text then return text
        elseif err.kind == "denied" then refused = refused + 1 end
        if seen > 20 and refused > 20 then break end
      end
      child:stop()
      return nil, ("denied %d"):format(refused)]], refused = "denied [1-9]", control = hello },
  { name = "a race between a link and its writer",
    policy = { "--allow-run=sh,ln", "--allow-read=out", "--allow-write=out" },
    attack = [[
      local child = assert(process.start({ "sh", "-c",
        "while :; do ln -sfn $1/victim out/l; ln -sfn mine out/l; done", "sh", O }))
      local refused = 0
      for i = 1, 1000 do
        local ok, err = fs.write("out/l", "x", { how = i % 2 == 0 and "append" or "replace", durable = false })
        if not ok and err.kind == "denied" then refused = refused + 1 end
      end
      child:stop()
      return nil, ("denied %d"):format(refused)]], control = hello },
  { name = "git's ext:: transport", needs = { "git" },
    policy = { "--allow-run=git", "--allow-read=.", "--allow-write=out" },
    attack = "return out({ 'git', '-c', 'protocol.ext.allow=always', 'clone', 'ext::sh -c touch% "
      .. "'..P..'/out/pw\"\"ned', 'out/c' }, { env = { HOME = P .. '/out' } })", refused = "fatal",
    control = "return process.run({ 'git', '--version' }).code == 0",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/pwned"), false) end },
  { name = "git's hooks and helpers", needs = { "git" },
    policy = { "--allow-run=git", "--allow-read=.", "--allow-write=out" },
    attack = "out({ 'git', 'init', 'out/r' }) return out({ 'git', '-C', 'out/r', '-c', 'core.fsmonitor=sh -c "
      .. "\"touch pw\"\"ned\"', '-c', 'alias.x=!sh -c \"touch pw\"\"ned\"', 'x' }, { env = { HOME = P .. "
      .. "'/out' } })", refused = "fatal", control = "return process.run({ 'git', '--version' }).code == 0",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/r/pwned"), false) end },
  { name = "git reads a repository outside", needs = { "git" },
    policy = { "--allow-run=git", "--allow-read=.", "--allow-write=out" },
    attack = "print(out({ 'git', 'hash-object', O .. '/secret' }, { env = { HOME = P .. '/out' } })) return "
      .. "out({ 'git', 'diff', '--no-index', '/dev/null', O .. '/secret' }, { env = { HOME = P .. '/out' "
      .. "} })", refused = "fatal",
    control = "return process.run({ 'git', 'hash-object', 'pub/a.txt' }, { env = { HOME = P .. '/out' } }).code == 0" },
  { name = "ssh's proxy command", needs = { "ssh" }, policy = { "--allow-run=ssh", "--allow-write=out" },
    attack = "return out({ 'ssh', '-oProxyCommand=touch ' .. P .. '/out/pw\"\"ned', "
      .. "'-oStrictHostKeyChecking=no', 'x' }, { env = { HOME = P .. '/out' } })", refused = "ATTACK",
    control = "return process.run({ 'ssh', '-V' }).code == 0",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/pwned"), false) end },
  { name = "kubeconfig's exec plugin", needs = { "kubectl" },
    policy = { "--allow-run=kubectl", "--allow-net=127.0.0.1:$N", "--allow-read=.", "--allow-write=out" },
    attack = [[
      assert(fs.write("out/kubeconfig", (([=[
        apiVersion: v1
        kind: Config
        current-context: c
        contexts: [{name: c, context: {cluster: c, user: u}}]
        clusters: [{name: c, cluster: {server: 'https://127.0.0.1:%s'}}]
        users:
          - name: u
            user:
              exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sh,
                args: [-c, 'touch out/pw""ned']}
      ]=]):format(PORT):gsub("\n        ", "\n"))))
      return out({ "kubectl", "--kubeconfig", "out/kubeconfig", "get", "pods", "--request-timeout=5s" },
        { env = { HOME = P .. "/out" } })]],
    refused = "permission denied",
    control = "return process.run({ 'kubectl', 'version', '--client' }, { env = { HOME = P .. '/out' } }).code == 0",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/pwned"), false) end },
  { name = "docker's credential helper", needs = { "docker" },
    policy = { "--allow-run=docker", "--allow-read=out", "--allow-write=out" },
    prepare = function(w)
      assert(fs.write(w.project .. "/out/config.json", '{"credsStore":"evil"}'))
      assert(fs.write(w.project .. "/out/docker-credential-evil", "#!/bin/sh\n: > ${0%/*}/pwned\n", { mode = 493 }))
    end,
    attack = "return out({ 'docker', '--config', 'out', 'pull', 'x.invalid/y' }, { env = { PATH = P .. "
      .. "'/out:/usr/bin:/usr/local/bin' } })", refused = "ATTACK", control = "return fs.read('out/mine')",
    after = function(t, w) t:eq(fs.exists(w.project .. "/out/pwned"), false) end },
  { name = "os.execute, io.popen, package.loadlib", policy = { SH },
    attack = "return nil, 'denied ' .. tostring(os.execute) .. tostring(io.popen) .. "
      .. "tostring(package.loadlib) .. tostring(package.cpath)", refused = "denied nilnilnilnil", control = hello },
}

return function(test)
  for _, case in ipairs(cases) do
    test(case.name, function(t)
      if case.needs then wants(t, table.unpack(case.needs)) end
      case.refused = case.refused or "[Dd]enied"
      cage.try(t, case, { env = case.env, port = 1 })
    end)
  end
end
