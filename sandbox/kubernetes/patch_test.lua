local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"
local patch = require "sandbox.kubernetes.patch"
local schema = require "sandbox.kubernetes.schema"
local strategic = require "sandbox.kubernetes.strategic"

local function decode(text)
  return assert(json.decode(text))
end

local function strategic_merge(target, change)
  return strategic.merge(decode(target), decode(change), schema.kind("apps", "v1", "Deployment"))
end

local function pod_spec(text)
  return '{"spec":{"template":{"spec":' .. text .. "}}}"
end

return function(test)
  test("merge patches follow RFC 7386", function(t)
    for _, case in ipairs {
      { '{"a":"b"}', '{"a":"c"}', '{"a":"c"}' }, { '{"a":"b"}', '{"a":null}', "{}" },
      { '{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}' }, { '{"a":["b"]}', '{"a":"c"}', '{"a":"c"}' },
      { '{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}' },
        { '{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}' },
      { '["a","b"]', '["c","d"]', '["c","d"]' }, { '{"e":null}', '{"a":1}', '{"a":1,"e":null}' },
      { "[1,2]", '{"a":"b","c":null}', '{"a":"b"}' }, { "{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}' },
    } do
      t:eq(patch.merge(decode(case[1]), decode(case[2])), decode(case[3]), case[2])
    end
  end)

  test("JSON patches follow RFC 6902", function(t)
    for _, case in ipairs {
      { '{"foo":"bar"}', '[{"op":"add","path":"/baz","value":"qux"}]', '{"baz":"qux","foo":"bar"}' },
      { '{"foo":["bar","baz"]}', '[{"op":"add","path":"/foo/1","value":"qux"}]', '{"foo":["bar","qux","baz"]}' },
      { '{"foo":["bar"]}', '[{"op":"add","path":"/foo/-","value":["abc"]}]', '{"foo":["bar",["abc"]]}' },
      { '{"foo":["bar","qux"]}', '[{"op":"remove","path":"/foo/1"}]', '{"foo":["bar"]}' },
      { '{"a":{"b":1}}', '[{"op":"move","from":"/a/b","path":"/c"}]', '{"a":{},"c":1}' },
      { '{"a":{"b":1}}', '[{"op":"copy","from":"/a","path":"/c"}]', '{"a":{"b":1},"c":{"b":1}}' },
      { '{"a/b":1,"m~n":2}', '[{"op":"replace","path":"/a~1b","value":3},{"op":"remove","path":"/m~0n"}]',
        '{"a/b":3}' },
      { '{"a":1}', '[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/a","value":2}]', '{"a":2}' },
    } do
      t:eq(patch.json(decode(case[1]), decode(case[2])), decode(case[3]), case[2])
    end
  end)

  test("JSON patches that do not apply are refused", function(t)
    for _, operations in ipairs {
      '[{"op":"test","path":"/a","value":2}]', '[{"op":"remove","path":"/x"}]',
        '[{"op":"replace","path":"/x","value":1}]',
      '[{"op":"add","path":"/l/5","value":1}]', '[{"op":"add","path":"/x/y","value":1}]',
    } do
      local err = t:raises(".", patch.json, decode '{"a":1,"l":[1]}', decode(operations))
      t:eq({ err.code, operations }, { 422, operations })
    end
    t:eq(t:raises(".", patch.json, {}, decode '{"op":"add"}').code, 400)
    t:eq(t:raises(".", patch.json, {}, decode '[{"op":"jump","path":"/a"}]').code, 400)
  end)

  test("strategic patches merge lists by their keys", function(t)
    local before = pod_spec '{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:1"}]}'
    t:eq(strategic_merge(before, pod_spec '{"containers":[{"name":"b","image":"b:2"}]}'),
      decode(pod_spec '{"containers":[{"name":"a","image":"a:1"},{"name":"b","image":"b:2"}]}'))
    t:eq(strategic_merge(before,
      pod_spec '{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[]}'),
      decode(pod_spec '{"containers":[{"name":"b","image":"b:1"},{"name":"a","image":"a:1"}]}'))
    t:eq(strategic_merge(before, pod_spec '{"containers":[{"$patch":"delete","name":"a"}]}'),
      decode(pod_spec '{"containers":[{"name":"b","image":"b:1"}]}'))
    t:eq(strategic_merge(before, pod_spec '{"containers":[{"$patch":"replace"},{"name":"c","image":"c:1"}]}'),
      decode(pod_spec '{"containers":[{"name":"c","image":"c:1"}]}'))
    t:eq(strategic_merge(pod_spec '{"containers":[{"name":"a","args":["1","2"]}]}',
      pod_spec '{"containers":[{"name":"a","args":["3"]}]}'),
        decode(pod_spec '{"containers":[{"name":"a","args":["3"]}]}'))
  end)

  test("items that the order does not name keep their place before their neighbours", function(t)
    local before = pod_spec '{"containers":[{"name":"a"},{"name":"injected"},{"name":"b"}]}'
    t:eq(strategic_merge(before, pod_spec('{"$setElementOrder/containers":[{"name":"b"},{"name":"a"},{"name":"c"}],'
      .. '"containers":[{"name":"c"}]}')),
      decode(pod_spec '{"containers":[{"name":"injected"},{"name":"b"},{"name":"a"},{"name":"c"}]}'))
  end)

  test("strategic patches know retainKeys, primitive lists and null", function(t)
    t:eq(strategic_merge('{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}',
      '{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}'),
        decode '{"spec":{"strategy":{"type":"Recreate"}}}')
    t:eq(strategic_merge('{"metadata":{"finalizers":["a","b"]}}', '{"metadata":{"finalizers":["c","a"]}}'),
      decode '{"metadata":{"finalizers":["c","a","b"]}}')
    t:eq(strategic_merge('{"metadata":{"finalizers":["a","b"]}}',
      '{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}'),
      decode '{"metadata":{"finalizers":["b"]}}')
    t:eq(strategic_merge('{"metadata":{"labels":{"a":"1","b":"2"}}}', '{"metadata":{"labels":{"a":null}}}'),
      decode '{"metadata":{"labels":{"b":"2"}}}')
    t:eq(strategic_merge('{"metadata":{"labels":{"a":"1"}}}', '{"metadata":{"labels":{"$patch":"replace","c":"3"}}}'),
      decode '{"metadata":{"labels":{"c":"3"}}}')
  end)

  test("an item without its merge key is refused", function(t)
    local err = t:raises("does not contain declared merge key: name", strategic_merge,
      pod_spec '{"containers":[{"name":"a"}]}', pod_spec '{"containers":[{"image":"x"}]}')
    t:eq(err.code, 500)
  end)

  test("the API takes each kind of patch and refuses what it cannot read", function(t)
    local c = client.new(kubernetes.new { name = "t", token = "x", ca = { cert = "", key = "" } }, "x")
    local path = "/api/v1/namespaces/default/configmaps"
    c:call("POST", path, { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "a" },
      data = { x = "1", y = "2" } })
    local _, o = c:call("PATCH", path .. "/a", '[{"op":"remove","path":"/data/x"}]', "application/json-patch+json")
    t:eq({ o.data.x, o.data.y }, { nil, "2" })
    _, o = c:call("PATCH", path .. "/a", '{"data":{"z":"3"}}', "application/merge-patch+json")
    t:eq({ o.data.y, o.data.z }, { "2", "3" })
    _, o = c:call("PATCH", path .. "/a", '{"data":{"y":null}}', "application/strategic-merge-patch+json")
    t:eq({ o.data.y, o.data.z }, { nil, "3" })
    local status, answer = c:call("PATCH", path .. "/a", '{"metadata":{"resourceVersion":"1"}}',
      "application/merge-patch+json")
    t:eq({ status, answer.reason }, { 409, "Conflict" })
    t:eq((c:call("PATCH", path .. "/a", "{}", "application/json")), 415)
    t:eq((c:call("PATCH", path .. "/a", "[1]", "application/merge-patch+json")), 400)
    t:eq((c:call("PATCH", path .. "/none", "{}", "application/merge-patch+json")), 404)
    t:eq((c:call("PATCH", path .. "/a", '{"data":{"y":3}}', "application/merge-patch+json")), 422)
  end)
end
