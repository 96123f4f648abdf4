local selectors = require "sandbox.kubernetes.selectors"

local function labelled(labels)
  return { metadata = { name = "n", namespace = "ns", labels = labels } }
end

return function(test)
  test("label selectors", function(t)
    local object = labelled { app = "web", tier = "front", ["example.dev/rank"] = "7" }
    for text, expected in pairs {
      [""] = true, ["app=web"] = true, ["app==web"] = true, ["app!=web"] = false, ["app = web , tier"] = true,
        ["!app"] = false,
      ["missing!=x"] = true, ["app in (web, api)"] = true, ["app notin (web)"] = false, ["missing notin (web)"] = true,
      ["app in (api),tier=front"] = false, ["example.dev/rank"] = true, ["example.dev/rank>6"] = true,
        ["example.dev/rank<7"] = false,
      ["!missing"] = true, ["app="] = false,
    } do
      t:eq(selectors.labels(text)(object), expected, text)
    end
    t:eq(t:raises("unable to parse requirement", selectors.labels, "a b c").code, 400)
    t:eq(selectors.labels("app!=x")(labelled(nil)), true)
  end)

  test("selector objects", function(t)
    local matches = selectors.of_object { matchLabels = { a = "1" }, matchExpressions = {
      { key = "b", operator = "In", values = { "x", "y" } }, { key = "c", operator = "DoesNotExist" } } }
    t:eq({ matches { a = "1", b = "x" }, matches { a = "1", b = "z" }, matches { a = "1", b = "x", c = "" },
      matches(nil) },
      { true, false, false, false })
    t:eq({ selectors.of_object {} {}, selectors.of_object(nil) {} }, { true, false })
    t:eq(selectors.to_text { matchLabels = { b = "2", a = "1" }, matchExpressions = { { key = "c", operator = "NotIn",
      values = { "x", "y" } } } },
      "a=1,b=2,c notin (x,y)")
  end)

  test("field selectors", function(t)
    local pods = { id = "/pods" }
    local pod = { metadata = { name = "p", namespace = "ns" }, spec = { nodeName = "n1" },
      status = { phase = "Running" } }
    for text, expected in pairs {
      ["metadata.name=p"] = true, ["metadata.name=q"] = false, ["status.phase!=Failed"] = true,
        ["spec.nodeName=n1,status.phase=Running"] = true,
      ["status.podIP="] = true,
    } do
      t:eq(selectors.fields(text, pods)(pod), expected, text)
    end
    t:eq(select(2, selectors.fields("metadata.name=p", pods)), "p")
    t:eq(t:raises("field label not supported: spec.secret", selectors.fields, "spec.secret=1", pods).code, 400)
    t:eq(t:raises("invalid selector", selectors.fields, "nonsense", pods).code, 400)
  end)
end
