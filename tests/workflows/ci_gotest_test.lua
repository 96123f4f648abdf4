-- go test's events as test cases, and those as JUnit.
local fs = require "ws.fs"
local gotest = require "lib.ci.gotest"
local json = require "ws.json"
local junit = require "lib.ci.junit"
local process = require "ws.process"

--- Reads events: { action, package, test, output or seconds }.
local function read(events)
  local tests = gotest.new { module = "example.com/x", dir = "/src/x" }
  for _, e in ipairs(events) do
    tests:take(json.encode { Action = e[1], Package = e[2], Test = e[3], Output = e[1] == "output" and e[4] or nil,
      Elapsed = e[1] ~= "output" and e[4] or nil, ImportPath = e.build, FailedBuild = e.failed_build })
  end
  return tests:results()
end

local function names(results)
  local list = {}
  for i, case in ipairs(results.cases) do
    list[i] = ("%s %s %s:%s %s"):format(case.status, case.name, case.file or "-", case.line or "-", case.message or "")
  end
  return list
end

local P = "example.com/x"

return function(test)
  test("passed, failed in a helper's line, skipped", function(t)
    local results = read {
      { "run", P, "TestOk" }, { "output", P, "TestOk", "=== RUN   TestOk\n" }, { "pass", P, "TestOk", 0.25 },
      { "run", P, "TestBad" }, { "run", P, "TestBad/sub" },
      { "output", P, "TestBad/sub", "    a_test.go:5: got <1>\n" },
      { "output", P, "TestBad/sub", "        expected 2\n" },
      { "fail", P, "TestBad/sub", 0 }, { "output", P, "TestBad", "--- FAIL: TestBad (0.00s)\n" },
      { "fail", P, "TestBad", 0 },
      { "run", P .. "/deep", "TestSkip" }, { "output", P .. "/deep", "TestSkip", "    b_test.go:8: not here\n" },
      { "skip", P .. "/deep", "TestSkip", 0 }, { "fail", P, nil, 1.5 }, { "pass", P .. "/deep", nil, 0.5 },
    }
    t:eq({ results.passed, results.failed, results.skipped, results.seconds }, { 1, 2, 1, 2.0 })
    t:eq(names(results), { "passed TestOk -:- ", "failed TestBad/sub a_test.go:5 got <1>",
      "failed TestBad -:- failed", "skipped TestSkip -:- " })
    t:eq(gotest.first_failure(results).name, "TestBad/sub")
  end)

  test("what does not compile is told at its line", function(t)
    local q = P .. "/q [" .. P .. "/q.test]"
    local results = read {
      { "build-output", build = q }, -- without output: an older go
      { "start", P .. "/q" },
      { "output", P .. "/q", nil, "q/q_test.go:3:28: undefined: f\n" },
      { "fail", P .. "/q", nil, 0, failed_build = "other" },
    }
    t:eq(names(results), { "failed (build) q/q_test.go:3 undefined: f" })
  end)

  test("a panic is told at our first line of the stack; tests that never ended have failed", function(t)
    local results = read {
      { "run", P .. "/p", "TestPanic" },
      { "output", P .. "/p", "TestPanic", "panic: assignment to entry in nil map\n" },
      { "output", P .. "/p", "TestPanic", "\t/usr/local/go/src/testing/testing.go:1974 +0x232\n" },
      { "output", P .. "/p", "TestPanic", "\t/src/x/p/p_test.go:3 +0x28\n" },
      { "fail", P .. "/p", "TestPanic", 0 }, { "fail", P .. "/p", nil, 0 },
      { "run", P .. "/v", "TestExit" }, { "output", P .. "/v", nil, "exit status 3\n" }, { "fail", P .. "/v", nil, 2 },
    }
    t:eq(names(results), { "failed TestPanic p/p_test.go:3 panic: assignment to entry in nil map",
      "failed TestExit -:- failed" })
  end)

  test("what is no event is passed on, and lines that are too long are cut", function(t)
    local tests = gotest.new { module = P, dir = "/src/x" }
    t:eq(tests:take "go: downloading something", "go: downloading something\n")
    t:eq(tests:take '{"half', '{"half\n')
    t:eq(tests:take '{"Action":"start","Package":"a"}', nil)
    t:eq(tests:take(json.encode { Action = "output", Package = P, Test = "T", Output = ("x"):rep(200000) }),
      ("x"):rep(200000))
    tests:take(json.encode { Action = "fail", Package = P, Test = "T" })
    t:eq(#tests:results().cases[1].output, 64 * 1024)
  end)

  test("the module of a go.mod", function(t)
    t:eq(gotest.module "// x\nmodule example.com/a\n\ngo 1.25\n", "example.com/a")
    t:eq(gotest.module 'module "quoted"\n', "quoted")
    t:eq(gotest.module "go 1.25\n", nil)
  end)

  test("JUnit: counts, places, and every byte legal", function(t)
    local results = read {
      { "run", P, "TestBad" }, { "output", P, "TestBad", "    a_test.go:5: <&\"\1\u{FFFF}]]>\n" },
      { "fail", P, "TestBad", 0.1 }, { "pass", P, "TestOk", 0.2 }, { "skip", P .. "/b", "TestSkip", 0 },
    }
    results.cases[1].output = results.cases[1].output .. "\255cut: \xC3"
    local xml = junit.write(results, { name = "app", file_prefix = "app/src/" })
    t:has(xml, '<testsuites name="app" tests="3" failures="1" errors="0" skipped="1" time="0.300">')
    t:has(xml, '<testsuite name="example.com/x" tests="2" failures="1" errors="0" skipped="0" time="0.300">')
    t:has(xml, 'name="TestBad" time="0.100" file="app/src/a_test.go" line="5">')
    t:has(xml, 'message="&lt;&amp;&quot;\u{FFFD}\u{FFFD}]]&gt;"')
    t:ok(utf8.len(xml))
    if not process.which "python3" then t:skip("no XML parser to ask") end
    local path = t:tmpdir() .. "/junit.xml"
    assert(fs.write(path, xml))
    assert(process.check { "python3", "-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])", path })
  end)
end
