local changes = require "lib.plan.changes"
local json = require "ws.json"
local objects = require "lib.plan.objects"

--- A plan with one resource, from JSON text.
local function document(change, mode)
  return { resource_changes = { { address = "a.b", mode = mode or "managed", change = assert(json.decode(change)) } } }
end

return function(test)
  test("actions, and attributes that differ by their paths", function(t)
    local list = changes.of(document [[{ "actions": ["update"],
      "before": { "name": "x", "size": 1, "tags": ["a", "b"], "block": [{ "max": 3, "min": 1 }], "gone": "g",
        "n": null },
      "after": { "name": "x", "size": 2, "tags": ["a", "c", "d"], "block": [{ "max": 5, "min": 1 }], "gone": null,
        "n": null }, "after_unknown": { "id": true, "tags": [false, false, false] },
      "before_sensitive": false, "after_sensitive": {} }]])
    t:eq(list, { { what = "terraform", action = "change", name = "a.b", attributes = {
      { name = "block[0].max", before = "3", after = "5" }, { name = "gone", before = '"g"' },
      { name = "id", after = "(known when it is made)" }, { name = "size", before = "1", after = "2" },
      { name = "tags[1]", before = '"b"', after = '"c"' }, { name = "tags[2]", after = '"d"' } } } })
    for actions, action in pairs { ['"create"'] = "add", ['"delete"'] = "remove", ['"delete","create"'] = "replace",
      ['"create","delete"'] = "replace" } do
      t:eq(changes.of(document(('{ "actions": [%s] }'):format(actions)))[1].action, action)
    end
    for _, actions in ipairs { '"no-op"', '"read"' } do
      t:eq(changes.of(document(('{ "actions": [%s] }'):format(actions))), {})
    end
    t:eq(changes.of(document('{ "actions": ["create"] }', "data")), {})
  end)

  test("what Terraform calls sensitive is never among the texts", function(t)
    local text = json.encode(changes.of(document [[{ "actions": ["update"],
      "before": { "password": "hunter2-old", "users": [{ "name": "u", "key": "hunter2-key" }], "same": "hunter2-same",
        "all": { "a": "hunter2-a" } },
      "after": { "password": "hunter2-new", "users": [{ "name": "v", "key": "hunter2-other" }], "same": "hunter2-same",
        "all": { "a": "hunter2-b" } },
      "after_unknown": {},
      "before_sensitive": { "password": true, "users": [{ "key": true }], "same": true, "all": true },
      "after_sensitive": { "password": true, "users": [{ "key": true }], "same": true, "all": true } }]]))
    t:eq(text:find("hunter2", 1, true), nil, text)
    t:has(text, "users[0].key")
    t:has(text, '"v')
    t:eq(text:find('"same"', 1, true), nil, "it does not differ")
    -- An attribute that becomes known only later may have been a secret before.
    text = json.encode(changes.of(document [[{ "actions": ["update"], "before": { "k": "hunter2" }, "after": {},
      "after_unknown": { "k": true }, "before_sensitive": { "k": true }, "after_sensitive": {} }]]))
    t:eq(text:find("hunter2", 1, true), nil, text)
  end)

  test("fingerprints tell changes apart, and do not depend on what is sensitive or unknown", function(t)
    local function sum(after, actions)
      return changes.fingerprint(document(('{ "actions": [%s], "before": null, "after": %s }'):format(
        actions or '"create"', after)))["a.b"]
    end
    t:eq(sum '{ "a": 1, "b": [2] }', sum '{ "b": [2], "a": 1 }')
    t:eq(sum '{ "a": 1 }'.sum == sum '{ "a": 2 }'.sum, false)
    t:eq(sum('{}', '"delete","create"').action, "delete,create")
    t:eq(changes.fingerprint(document '{ "actions": ["no-op"] }'), {})
    t:eq(changes.outputs { output_changes = { b = { actions = { "create" } }, a = { actions = { "update" } },
      c = { actions = { "no-op" } } } }, { "a", "b" })
  end)

  test("objects: what the server keeps for itself does not count, contents of secrets are not shown", function(t)
    local function deployment(image, version)
      return { kind = "Deployment", metadata = { name = "web", namespace = "apps", resourceVersion = version,
        managedFields = { { manager = version } } }, status = { replicas = version },
        spec = { template = { spec = { containers = { { name = "web", image = image } } } } } }
    end
    t:eq(objects.differences(deployment("a:1", "1"), deployment("a:1", "2")), {})
    t:eq(objects.differences(deployment("a:1", "1"), deployment("a:2", "2")), { {
      name = "spec.template.spec.containers[0].image", before = '"a:1"', after = '"a:2"' } })
    t:eq(objects.images(deployment("a:1"), deployment("a:2")), { { what = "image", action = "change",
      name = "Deployment apps/web, container web",
      attributes = { { name = "image", before = "a:1", after = "a:2" } } } })
    t:eq(objects.images(nil, deployment("a:2"))[1].action, "add")
    local function secret(value) return { kind = "Secret", metadata = { name = "s" }, data = { k = value } } end
    t:eq(objects.differences(secret "aHVudGVyMg==", secret "b3RoZXI="), { { name = "data", before = "(sensitive)",
      after = "(sensitive)" } })
  end)
end
