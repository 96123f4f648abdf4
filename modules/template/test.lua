local template = require "ws.template"
local json = require "ws.json"
local secret = require "ws.secret"

return function(test)
  test("the README's example is true", function(t) t:examples "modules/template/README.md" end)

  test("values", function(t)
    local vars = { a = "x", n = 1.5, b = true, m = { ["key-1"] = { "p", "q" } }, list = {}, e = "" }
    for text, result in pairs {
      ["{{ a }}{{a}}{{  a  }}"] = "xxx", ["{{ n }} {{ b }}"] = "1.5 true", ["{{ m.key-1.2 }}"] = "q",
      ['{{ "{{" }}x{{ "}}" }}'] = "{{x}}", ["{{ m | json }}"] = '{"key-1":["p","q"]}', [""] = "",
      ["no { braces }"] = "no { braces }",
      ["{{ a|html }}"] = "x", ["[{{ e }}]"] = "[]", ["%1 {{ a }} %d"] = "%1 x %d",
    } do
      t:eq(t:ok(template.render(text, vars)), result, text)
    end
    t:eq(template.render("{{ x | html }}", { x = "<a href=\"'&'\">" }), "&lt;a href=&quot;&#39;&amp;&#39;&quot;&gt;")
  end)

  test("if and for, nested, leave no empty lines", function(t)
    local text = "{{ for i, a in list }}\n{{ i }}\n  {{ if a.x }}\nX {{ a.x }} {{ top }}\n{{ else }}\r\nno\n"
      .. "  {{ end }}  \n{{ end }}\nend{{ if none }}!{{ else }}.{{ end }}"
    t:eq(template.render(text, { list = { { x = "1" }, { x = false } }, top = "T" }), "1\nX 1 T\n2\nno\nend.")
    t:eq(template.render("{{ for a in l }}{{ for b in a }}{{ b }},{{ end }};{{ end }}", { l = { { 1, 2 }, { 3 } } }),
      "1,2,;3,;")
    for _, no in ipairs { false, json.null, json.array(), json.object(), {} } do
      t:eq(template.render("{{ if v }}yes{{ else }}no{{ end }}", { v = no }), "no")
    end
    for _, yes in ipairs { true, 0, "", { 1 }, { a = 1 } } do
      t:eq(template.render("{{ if v }}yes{{ end }}", { v = yes }), "yes")
    end
    t:eq(template.render("{{ for a in l }}x{{ end }}", { l = json.array() }), "")
    t:eq(template.render("{{ for a in l }}x{{ end }}", { l = json.null }), "")
  end)

  test("a wrong template is an error with its line", function(t)
    for text, where in pairs {
      ["a\n{{ b"] = "f.txt:2: {{ without }}", ["{{ a b }}"] = 'f.txt:1: "a b" is not a name',
      ["{{ }}"] = "is not a name", ["{{ a..b }}"] = "is not a name", ["{{ a | upper }}"] = 'there is no filter "upper"',
      ["\n\n{{ if a }}"] = "f.txt:3: if without end", ["{{ for a in b }}"] = "for without end",
      ["{{ end }}"] = "end without",
      ["{{ else }}"] = "else without if", ["{{ for a in b }}{{ else }}{{ end }}"] = "else without if",
      ["{{ if a }}{{ else }}{{ else }}{{ end }}"] = "else without if", ["{{ for a of b }}"] = "is not a name",
      ["{{ for 1 in b }}"] = "for is written", ["{{ if a == b }}"] = "if takes one", ['{{ "x }}'] = "does not end",
      ["{{ a {{ b }}"] = "is not a name",
    } do
      t:has(t:err("parse", template.render(text, {}, { filename = "f.txt" })).message, where)
    end
  end)

  test("missing values and values that are no text are errors", function(t)
    local vars = { m = {}, l = { 1 }, f = print, s = secret.new "hunter22", text = "x" }
    for text, where in pairs {
      ["\n{{ nope }}"] = "template:2: there is no nope", ["{{ m.a.b }}"] = "there is no m.a.b",
      ["{{ l }}"] = "l is a list, not text",
      ["{{ f }}"] = "f is a function", ["{{ s }}"] = "s is a userdata", ["{{ s | html }}"] = "s is a userdata",
      ["{{ for a in nope }}{{ end }}"] = "there is no nope", ["{{ for a in text }}{{ end }}"] = "text is no list",
      ["{{ text.x }}"] = "there is no text.x",
    } do
      t:has(t:err("invalid", template.render(text, vars)).message, where)
    end
    t:raises("a secret", template.render, "{{ s | json }}", vars)
    t:raises("table of values", template.render, "x")
    t:raises("a text expected", template.render, nil, {})
    t:raises("unknown option", template.render, "", {}, { file = "x" })
  end)
end
