-- `wsrun report`: what the page says, how Chromium shows it, and that nothing in it ever runs.
local fs = require "ws.fs"
local process = require "ws.process"

local browser = require "browser"
local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")

local function project(t, script)
  local dir = fs.realpath(t:tmpdir())
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.write(dir .. "/workflows/s.lua", script))
  return dir
end

local function run(dir, words, env)
  local all = { WSRUN_STATE_DIR = dir .. "/state", LC_ALL = "C.UTF-8", TERM = "dumb" }
  for name, value in pairs(env or {}) do all[name] = value end
  return assert(process.run({ wsrun, table.unpack(words) }, { cwd = dir, timeout = 60, env = all }))
end

--- Runs workflows/s.lua and returns its report's file and text.
local function report(t, dir, env)
  run(dir, { "workflows/s.lua" }, env)
  local r = run(dir, { "report" })
  t:eq(r.code, 0, r.stderr)
  local file = r.stdout:match("^([^\n]+)\n$")
  return file, assert(fs.read(file))
end

--- A page's text as a reader has it.
local function text_of(html)
  local text = html:gsub("<style>.-</style>", ""):gsub("<[^>]*>", " ")
    :gsub("&lt;", "<"):gsub("&gt;", ">"):gsub("&#39;", "'"):gsub("&quot;", '"'):gsub("&amp;", "&")
  return (text:gsub("%s+", " "))
end

-- Parallel steps, sub-steps, a failure that is resumed, logs, results, notes.
local SCRIPT = [[
local ws, task = require "ws", require "ws.task"
local function log(w, text)
  local file = assert(io.open(w:log_file(), "w"))
  file:write(text)
  file:close()
end
return ws.workflow { summary = "t", run = function(w)
  w:step("check", { always = true }, function() w:summary("bucket is there") end)
  w:together {
    function()
      w:step("base", function()
        w:progress("creating network") w:progress("creating network (10s)")
        task.sleep(0.3)
        local lines = {}
        for i = 1, 40 do lines[i] = ("base line %d"):format(i) end
        log(w, table.concat(lines, "\n"))
        w:changed("5 added")
        return { network = "lp-vpc", ids = { 1, 2 } }
      end)
      w:step("apps", { needs = { "base", "data" } }, function()
        w:step("web", function()
          log(w, ("pulling\n"):rep(20) .. "pulling image\n" .. '{"@level":"error","@message":"Error: quota",'
            .. '"@timestamp":"2026-11-26T10:11:12.5Z","diagnostic":{"detail":"12 CPUs"}}\n{"@level":1}\n')
          w:note("0 of 2 pods ready")
          if not os.getenv("FINE") then
            ws.fail("the rollout did not finish", { kind = "timeout", where = "manifests/dev.yaml:9:5",
              detail = "ImagePullBackOff", hint = "look at the pods" })
          end
          w:changed("web 1.4.2 installed")
        end)
      end)
    end,
    function()
      w:step("data", { needs = { "check" } }, function()
        task.sleep(0.05)
        return ws.secret "hunter2-hunter2"
      end)
    end,
    function() w:step("after", { needs = { "apps" } }, function() end) end,
  }
end }
]]

return function(test)
  test("a failed run: what, where, why, what to do; times, logs, results, what was not started", function(t)
    local dir = project(t, SCRIPT)
    local file, html = report(t, dir)
    t:eq(fs.basename(file), "report.html")
    t:eq(fs.stat(file).mode & 511, 384)
    local text = text_of(html)
    for _, part in ipairs { "✖ failed", "Exit code 1", "wsrun workflows/s.lua", "3 done, 1 failed, 1 not started",
      "Error the rollout did not finish", "Kind timeout", "Where manifests/dev.yaml:9:5 ← workflows/s.lua:21",
      "Why ImagePullBackOff", "Hint look at the pods", "Next wsrun resume 2", "Step apps/web",
      "0 of 2 pods ready", "pulling image 10:11:12 Error: quota 12 CPUs {",
      "base line 1 ", "base line 40", '"network": "lp-vpc"',
      "Not stored: it held a secret", "Not stored: the step runs on every resume", "not started: it needs apps",
      "Needed base , data", "5 added" } do
      t:has(text, part)
    end
    t:ok(not html:find("hunter2", 1, true))
    t:eq(select(2, text:gsub("creating network", "")), 1, "progress that only counts on is told once")
    t:has(html, '<details class="step" open><summary><span aria-hidden="true" class="mark failed">')
    local ids = {}
    for id in html:gmatch(' id="([^"]+)"') do
      t:ok(not ids[id], id)
      ids[id] = true
    end
    for target in html:gmatch('href="#([^"]*)"') do t:ok(ids[target], target) end
  end)

  test("a resumed run: both attempts, and the time between them is left out", function(t)
    local dir = project(t, SCRIPT)
    run(dir, { "workflows/s.lua" })
    require "ws.task".sleep(1.5)
    t:eq(run(dir, { "resume" }, { FINE = "1" }).code, 0)
    local html = run(dir, { "report", "--output", "-" }).stdout
    local text = text_of(html)
    t:has(text, "✔ done")
    t:has(text, "Attempts 2")
    t:has(text, "Steps 6 done Changes 2")
    t:has(text, "attempt 1: failed after")
    t:has(text, "attempt 2: done after")
    t:ok(text:find("No%. Began Lasted Steps that ran 1 [^U]+UTC 0%.%ds 3 done, 2 failed 2 "), text)
    t:has(html, 'class="resume"')
    local widest = 0 -- base ran for most of the time: 0.3 s, and not of the 1.8 s that went by
    for width in html:gmatch('<rect class="bar on%-path"[^>]*width="([%d.]+)%%"') do
      widest = math.max(widest, tonumber(width))
    end
    t:ok(widest > 50, widest)
  end)

  test("the critical path: what is needed and what follows, not what runs beside", function(t)
    local _, html = report(t, project(t, SCRIPT))
    local path = text_of(html:match('<ol class="path"[^>]*>(.-)</ol>')):gsub("%d+%.%ds", "")
    t:eq(path:gsub("%s+", " "), " check base apps ")
    t:has(html, 'lane d1 on-path"')
  end)

  test("plan and permissions are shown when the run's folder has them", function(t)
    local dir = project(t, 'return require "ws".workflow { summary = "t", run = function(w) w:step("a", function() '
      .. "end) end }")
    run(dir, { "workflows/s.lua" })
    local folder = assert(fs.glob(dir .. "/state/runs/*"))[1]
    assert(fs.write(folder .. "/plan.json", [[{"schema_version":1,"created":"2026-11-26T10:00:00Z","report":{"steps":[
      {"step":"base","status":"planned","changes":[
        {"what":"terraform","action":"add","name":"google_compute_network.vpc","detail":"in europe-west1"},
        {"what":"terraform","action":"change","name":"dns","unknown":true,
          "attributes":[{"name":"ttl","before":"60","after":"<b>300</b>"}]}]},
      {"step":"cluster","deferred":"kubernetes does not exist yet","changes":[]},
      {"step":"check","status":"would_run","changes":[]}]}}]]))
    assert(fs.mkdir(folder .. "/evidence/web-1.4.2/logs", { parents = true }))
    assert(fs.write(folder .. "/evidence/web-1.4.2/summary.txt", "web 1.4.2: not ready\n"))
    assert(fs.write(folder .. "/evidence/web-1.4.2/logs/web-1.txt", "panic: <b>\n"))
    assert(fs.write(folder .. "/permissions.ndjson", [[
{"time":"2026-11-26T10:00:00.000Z","list":"net","value":"storage.googleapis.com:443","allowed":true,"own":false}
{"time":"2026-11-26T10:00:01.000Z","list":"net","value":"storage.googleapis.com:443","allowed":true,"own":false}
{"time":"2026-11-26T10:00:01.000Z","list":"read","value":"/etc/ssl","allowed":true,"own":true}
not JSON
{"time":"2026-11-26T10:00:01.000Z","list":"run","value":"<b>rm</b>","allowed":false,"own":false}
]]))
    local text = text_of(run(dir, { "report", "--output=-" }).stdout)
    t:has(text, "Planned at 2026-11-26T10:00:00Z. Step")
    t:has(text, "web-1.4.2/logs/web-1.txt 11 bytes panic: <b>")
    t:has(text, "web-1.4.2/summary.txt 21 bytes web 1.4.2: not ready")
    t:has(text, "base + add terraform google_compute_network.vpc in europe-west1")
    t:has(text, "base ~ change terraform dns ttl : 60 → <b>300</b> more is known when it is made")
    t:has(text, "cluster ? deferred kubernetes does not exist yet")
    t:has(text, "check › run it has no plan of its own")
    t:has(text, "List What Answer run <b>rm</b> ✖ denied net storage.googleapis.com:443 allowed wsrun")
    assert(fs.write(folder .. "/plan.json", "[1, {]"))
    t:eq(run(dir, { "report", "--output=-" }).code, 0)
  end)

  test("a secret is nowhere: not in the page, not in what it is made of", function(t)
    local dir = project(t, [[
      local ws, json = require "ws", require "ws.json"
      return ws.workflow { summary = "t", args = { { "word", doc = "" } }, run = function(w, args)
        local value = "hunter2" .. "&<hunter2>"
        ws.secret(value)
        w:note("it is " .. value)
        w:step("one", { inputs = { "a " .. value } }, function()
          w:progress(value) w:summary("s " .. value)
          w:annotate { file = value, text = value }
          return { text = "the password is " .. value, json = json.encode { value } }
        end)
        w:step("two", function()
          w:changed("c " .. value)
          ws.fail("no " .. value, { hint = value, detail = value, where = value })
        end)
      end }]])
    run(dir, { "workflows/s.lua", "x" })
    local html = run(dir, { "report", "--output", "-" }).stdout
    t:has(html, "***")
    t:has(html, "Not stored: it held a secret.")
    t:ok(not html:find("hunter2", 1, true))
    for _, file in ipairs(assert(fs.glob("state/**/*", { dir = dir }))) do
      local stat = assert(fs.stat(dir .. "/" .. file))
      if stat.type == "file" then t:ok(not assert(fs.read(dir .. "/" .. file)):find("hunter2", 1, true), file) end
    end
  end)

  test("a run that goes on, one that was killed, one that waits for approval, one that was interrupted", function(t)
    local dir = project(t, [[
      local ws, process, task = require "ws", require "ws.process", require "ws.task"
      return ws.workflow { summary = "t", args = { { "how", doc = "" } }, run = function(w, args)
        w:step("first", function() w:changed("1 added") end)
        w:step("second", function()
          task.sleep(0.2) -- by then its beginning is written
          assert(process.check({ os.getenv("WSRUN_TEST"), "report", "--output", "running.html" }))
          if args.how == "kill" then require "ws.signal.native".raise("KILL") end
          if args.how == "interrupt" then require "ws.signal.native".raise("INT") task.sleep(20) end
        end)
        w:approve { text = "deploy <1.4.2>" }
      end }]])
    local function page_of(how)
      run(dir, { "workflows/s.lua", how, "--no-input" }, { WSRUN_TEST = wsrun })
      return text_of(run(dir, { "report", "--output", "-" }).stdout)
    end
    local killed = page_of("kill")
    t:has(killed, "✖ killed s wsrun workflows/s.lua kill")
    t:ok(killed:find("Lasted [%d.]+s Steps"), killed)
    t:has(killed, "Steps 1 done, 1 killed Changes 1 Exit code –")
    local running = text_of(assert(fs.read(dir .. "/running.html")))
    t:has(running, "… running s ")
    t:has(running, "Steps 1 done, 1 running Changes 1 Exit code – ")
    t:ok(not running:find("wsrun resume", 1, true), running)
    local interrupted = page_of("interrupt")
    t:has(interrupted, "✖ interrupted s")
    t:has(interrupted, "Exit code 130")
    t:has(interrupted, "Next wsrun resume 2")
    local parked = page_of("park")
    t:has(parked, "… parked s")
    t:has(parked, "Waits for approval")
    t:has(parked, "Next wsrun approve 2")
    t:has(parked, "deploy <1.4.2>")
  end)

  test("bad words: one clear error", function(t)
    local dir = project(t, SCRIPT)
    local r = run(dir, { "report" })
    t:eq(r.code, 64)
    t:has(r.stderr, "this project has no runs yet")
    run(dir, { "workflows/s.lua" })
    r = run(dir, { "report", "19990101" })
    t:eq(r.code, 64)
    t:has(r.stderr, "no run '19990101'")
    t:has(run(dir, { "report", "a", "b" }).stderr, "takes one run")
    t:has(run(dir, { "report", "--open=maybe" }).stderr, "--open takes auto, yes, no")
    t:eq(run(dir, { "report", "--output", "/proc/none/x.html" }).code, 1)
    local named = run(dir, { "report", "2", "--output", "out.html", "--json" })
    t:eq(require "ws.json".decode(named.stdout).file, dir .. "/out.html")
  end)

  test("hostile words are text: nothing runs, nothing is asked for, in Chromium", function(t)
    local asked = {}
    local server = assert(require "ws.server".listen { handler = function(req)
      asked[#asked + 1] = req.path
      return { body = "document.title = 'owned'", headers = { ["Content-Type"] = "text/javascript" } }
    end })
    t:defer(function() server:close() end)
    local evil = ([[</pre></details></style></title></script><script>document.title = 'owned'</script>]]
      .. [[<script src="URL/src.js"></script><img src="URL/img" onerror="document.title='owned'">]]
      .. [[<style>@import "URL/css";</style><link rel=stylesheet href="URL/link"><iframe src="URL/frame"></iframe>]]
      .. [[<meta http-equiv=refresh content="0;url=URL/refresh"><svg onload="document.title='owned'">]]
      .. [[" onmouseover="document.title='owned'" x='javascript:document.title=1' <!-- {{ x }} ]])
      :gsub("URL", (server.url:gsub("%%", "%%%%")))
    local control = t:tmpdir() .. "/control.html"
    assert(fs.write(control, "<title>x</title><pre>" .. evil:gsub("<meta.->", "")))
    t:has(browser.dom(t, control), "<title>owned</title>") -- that it would run, were it not escaped
    t:ok(#asked >= 3, "the control page asked for too little")
    asked = {}

    local dir = project(t, ([[
      local ws = require "ws"
      local evil = %q
      return ws.workflow { summary = "t", run = function(w)
        w:note(evil)
        w:step("<img src=x onerror=document.title='owned'>", function()
          w:progress(evil) w:summary(evil) w:note(evil)
          w:annotate { file = evil, line = 1, text = evil }
          return { [evil] = evil }
        end)
        w:step("binary", function()
          local file = assert(io.open(w:log_file(), "wb"))
          local bytes = {}
          for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
          local block = evil .. "\27[31mred\27[0m\27]0;title\7" .. table.concat(bytes) .. "\r\n"
          file:write(block:rep((5 << 20) // #block), "the end\n")
          file:close()
        end)
        w:step("fails", function()
          w:changed(evil)
          ws.fail(evil, { hint = evil, where = "javascript:document.title='owned'", detail = evil })
        end)
      end }]]):format(evil))
    local file, html = report(t, dir)
    t:ok(#html < 12 << 20, #html)
    t:ok(utf8.len(html), "the page is UTF-8")
    t:ok(not html:find("[\0-\8\11-\31]"), "no control character")
    local dom = browser.dom(t, file)
    t:has(dom, "<title>s: failed</title>")
    t:has(dom, "the end\n")
    t:has(dom, "red")
    for _, tag in ipairs { "script", "img", "iframe", "link" } do t:ok(not dom:find("<" .. tag .. "[ >]"), tag) end
    t:eq(browser.ask(t, file, "[...document.querySelectorAll('*')].filter(e => [...e.attributes].some(a => "
      .. "a.name.startsWith('on') || (a.name === 'href' && !a.value.startsWith('#')))).length"), "0")
    t:eq(asked, {})
  end)

  test("phone and desktop, light and dark: it is drawn, fits, and follows the reader's choice", function(t)
    local file = report(t, project(t, SCRIPT))
    for _, width in ipairs { 500, 1280 } do
      local picture = browser.picture(t, file, width, 1600)
      t:eq(picture.width, width)
      t:ok(picture.bytes > 25000, picture.bytes) -- an empty page of that size has about 6,000
    end
    for _, width in ipairs { 320, 390 } do
      t:eq(browser.ask_at(t, file, width, "[innerWidth <= " .. width .. ", document.documentElement.scrollWidth "
        .. "<= innerWidth, getComputedStyle(document.querySelector('.facts')).display].join()"), "true,true,grid")
    end
    local colour = "getComputedStyle(document.body).backgroundColor"
    t:eq(browser.ask(t, file, colour), "rgb(245, 246, 248)")
    t:eq(browser.ask(t, file, colour, "--blink-settings=preferredColorScheme=0"), "rgb(14, 18, 23)")
    t:ok(browser.picture(t, file, 1280, 1600, "--blink-settings=preferredColorScheme=0").bytes > 25000)
  end)

  test("by keyboard and by ear: landmarks, names, order of focus, folded parts that links open", function(t)
    local file, html = report(t, project(t, SCRIPT))
    for _, part in ipairs { '<html lang="en">', '<a class="skip" href="#main">', '<main id="main">', "<nav aria-label=",
      "<h1>" } do t:has(html, part) end
    t:eq(browser.ask(t, file, [[[
      document.querySelectorAll('[tabindex]:not([tabindex="0"])').length === 0,
      [...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby'))),
      [...document.querySelectorAll('pre')].every(p => p.tabIndex === 0 && p.getAttribute('aria-label')),
      [...document.querySelectorAll('svg')].every(s => s.closest('[aria-hidden=true]')),
      [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])
        .every((n, i, all) => i === 0 ? n === 1 : n <= all[i - 1] + 1),
      [...document.querySelectorAll('a')].every(a => a.textContent.trim() !== ''),
    ].join()]]), "true,true,true,true,true,true")
    local id = html:match('<div class="inside" id="(step%-%d+)"')
    t:has(browser.dom(t, "file://" .. file .. "#" .. id), '<details class="step" open=""><summary>')
  end)

  test("colours can be told from what is behind them (WCAG 2.2: text 4.5, graphics 3)", function(t)
    local function luminance(hex)
      local sum = 0
      for i, weight in ipairs { 0.2126, 0.7152, 0.0722 } do
        local c = tonumber(hex:sub(2 * i, 2 * i + 1), 16) / 255
        sum = sum + weight * (c <= 0.04045 and c / 12.92 or ((c + 0.055) / 1.055) ^ 2.4)
      end
      return sum
    end
    local palettes = {}
    for block in require "ws.report.style":gmatch(":root {(.-)}") do
      local colours = {}
      for name, hex in block:gmatch("%-%-([%w-]+): (#%x+)") do
        colours[name] = #hex == 4 and hex:gsub("%x", "%0%0") or hex
      end
      palettes[#palettes + 1] = colours
    end
    t:eq(#palettes, 3) -- light, dark, paper
    for i, p in ipairs(palettes) do
      local function at_least(least, front, behind)
        local a, b = luminance(p[front]), luminance(p[behind])
        local ratio = (math.max(a, b) + 0.05) / (math.min(a, b) + 0.05)
        t:ok(ratio >= least, ("palette %d: %s on %s is %.2f"):format(i, front, behind, ratio))
      end
      for _, front in ipairs { "text", "soft", "accent", "done", "failed", "warn" } do
        for _, behind in ipairs { "page", "card", "code" } do at_least(4.5, front, behind) end
      end
      for _, front in ipairs { "text", "soft" } do at_least(4.5, front, "failed-soft") end
      for _, front in ipairs { "bar", "accent", "failed" } do at_least(3, front, "card") end
    end
  end)

  test("a run of 3,000 steps is one page that says what it leaves out; the failed and the long ones stay", function(t)
    local dir = project(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        for i = 1, 2999 do w:step("s" .. i, function() end) end
        w:step("last", function() ws.fail("boom") end)
      end }]])
    local _, html = report(t, dir)
    t:ok(#html < 3 << 20, #html)
    t:has(html, "2000 more steps are not shown: wsrun show")
    t:has(html, "boom")
  end)
end
