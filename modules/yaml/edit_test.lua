local yaml = require "ws.yaml"
local fs = require "ws.fs"

local random
do
  local seed = 99
  function random(n)
    seed = seed * 6364136223846793005 + 1442695040888963407
    return (seed >> 33) % n
  end
end

local scalars = { "1", "true", "x y", "'it''s'", '"q\\n"', "é😀", "10.0.0.0/8", "~", '"#"', "a#b", "'# no comment'",
  "1.50" }
local comments = { "", "", "", " # c1", "  # é: [x", " # '" }

--- A text with every style that people use: comments, blank lines, indentation, brackets, blocks, quotes.
local Writer = {}
Writer.__index = Writer

function Writer:line(text)
  self.lines[#self.lines + 1] = text
end

function Writer:noise(indent)
  if random(6) == 0 then self:line("") end
  if random(6) == 0 then self:line((" "):rep(indent) .. "# note " .. random(1000)) end
end

function Writer.flow(depth)
  local kind = random(depth > 1 and 1 or 3)
  if kind == 0 then return scalars[random(#scalars) + 1]:gsub("^~$", "x") end
  local parts = {}
  for i = 1, random(3) do parts[i] = (kind == 1 and "" or "f" .. i .. ": ") .. Writer.flow(depth + 1) end
  return (kind == 1 and "[%s]" or "{%s}"):format(table.concat(parts, ", "))
end

function Writer:value(prefix, indent, depth)
  local kind = random(depth > 2 and 6 or 10)
  local comment = comments[random(#comments) + 1]
  if kind <= 3 then
    self:line(prefix .. " " .. scalars[random(#scalars) + 1] .. comment)
  elseif kind == 4 then
    self:line(prefix .. " " .. Writer.flow(0) .. comment)
  elseif kind == 5 then
    self:line(prefix .. ({ " |", " >-", " |+", "" })[random(4) + 1] .. comment)
    if self.lines[#self.lines]:find("^[^#]*[|>]") then
      for _ = 1, random(3) + 1 do self:line((" "):rep(indent + 2) .. "text # " .. random(100)) end
    end
  elseif kind <= 7 then
    self:line(prefix .. comment)
    self:map(indent + 1 + random(4), depth + 1)
  else
    self:line(prefix .. comment)
    self:list(indent + (prefix:find("%-$") and 1 or 0) + random(3), depth + 1)
  end
end

function Writer:map(indent, depth, first_prefix)
  for i = 1, random(4) + 1 do
    if not (i == 1 and first_prefix) then self:noise(indent) end
    local key = ({ "k%d", "'k %d'", "é%d", '"k%d"' })[random(4) + 1]:format(i)
    local prefix = i == 1 and first_prefix or (" "):rep(indent)
    self:value(prefix .. key .. ":", indent, depth)
  end
end

function Writer:list(indent, depth)
  for _ = 1, random(3) + 1 do
    self:noise(indent)
    local dash = (" "):rep(indent) .. "-"
    if random(3) == 0 and depth < 3 then
      self:map(indent + 2, depth + 1, dash .. " ")
    else
      self:value(dash, indent, depth)
    end
  end
end

local function text_of(eol)
  local w = setmetatable({ lines = {} }, Writer)
  w:map(0, 0)
  local last = random(3) == 0 and "" or eol
  return table.concat(w.lines, eol) .. last
end

--- All paths of a value.
local function paths(value, path, list)
  if type(value) ~= "table" then return list end
  for k, v in pairs(value) do
    local longer = table.move(path, 1, #path, 1, {})
    longer[#longer + 1] = k
    list[#list + 1] = longer
    paths(v, longer, list)
  end
  return list
end

--- Length of the common beginning and, behind that, of the common end.
local function common(a, b)
  local n, m = 0, 0
  while n < #a and n < #b and a:byte(n + 1) == b:byte(n + 1) do n = n + 1 end
  while m < #a - n and m < #b - n and a:byte(#a - m) == b:byte(#b - m) do m = m + 1 end
  return n, m
end

local function comments_of(text)
  local list = {}
  for line in text:gmatch("[^\r\n]+") do
    local note = line:match("^%s*# note %d+")
    if note then list[#list + 1] = note end
  end
  return table.concat(list, "\n")
end

return function(test)
  test("a scalar is replaced in its place", function(t)
    for _, case in ipairs {
      { "a: 1   # one\n", 2, "a: 2   # one\n" },
      { "a: 'x' # c\n", "it's", "a: 'it''s' # c\n" },
      { 'a: "x"\n', "plain", 'a: "plain"\n' },
      { 'a: "x"\n', 'q"\\', 'a: "q\\"\\\\"\n' },
      { "a: 'x'\n", 5, "a: 5\n" },
      { "a: 'x'\n", "l\n", 'a: "l\\n"\n' },
      { "a: x\n", "yes", 'a: "yes"\n' },
      { "a: x\n", yaml.null, "a: null\n" },
      { "a:\n", 1, "a: 1\n" },
      { "a:   # c\n", 1, "a: 1   # c\n" },
      { "a: x\n  y\nb: 1\n", "z", "a: z\nb: 1\n" },
      { "a: é # ü\n", "ä", "a: ä # ü\n" },
      { "\xef\xbb\xbfa: é\n", "ä", "\xef\xbb\xbfa: ä\n" },
      { "a: |\n  x\n  y\n\nb: 1\n", "new\ntext\n", "a: |\n  new\n  text\n\nb: 1\n" },
      { "a: |\n  x # y\n\nb: 1\n", "new", "a: new\n\nb: 1\n" },
      { "a: 1", 2, "a: 2" },
      { "--- # d\na: 1\n...\n", 2, "--- # d\na: 2\n...\n" },
      { "a: 1.50\n", 1.5, "a: 1.50\n" },
      { "a: 1\r\nb: 2\r\n", "x\ny\n", "a: |\r\n  x\r\n  y\r\nb: 2\r\n" },
      { "{a: 1, b: 2}\n", "x, y", '{a: "x, y", b: 2}\n' },
      { "{a: , b: 2}\n", 1, "{a: 1, b: 2}\n" },
    } do
      t:eq(t:ok(yaml.edit(case[1], { "a" }, case[2])), case[3], case[1])
    end
  end)

  test("collections are changed by as little as possible", function(t)
    for _, case in ipairs {
      { "a: 1 # c\nb: 2\n", { b = 1, c = { 1 } }, "a: # c\n  b: 1\n  c:\n    - 1\nb: 2\n" },
      { "a:\n  b: 1 # k\n  d: 2\n", { b = 1, e = 4 }, "a:\n  b: 1 # k\n  e: 4\n" },
      { "a:\n  b: 1\n  d: 2\n", 5, "a: 5\n" },
      { "a:\n  - 1 # x\n  - 2 # y\n  - 3 # z\n", { 1, 3 }, "a:\n  - 1 # x\n  - 3 # z\n" },
      { "a:\n- 1 # x\n- 2\n", { 1, 4, 5 }, "a:\n- 1 # x\n- 4\n- 5\n" },
      { "a: [1, 2]\n", { 2 }, "a: [2]\n" },
      { "a: [1, 2]\n", { 1, 2, "a,b" }, 'a: [1, 2, "a,b"]\n' },
      { "a: [1, 2,]\n", { 1, 2, 3 }, "a: [1, 2, 3]\n" },
      { "a: []\n", { 1 }, "a: [1]\n" },
      { "a:\n  - 1\n", yaml.array(), "a: []\n" },
      { "a: x\n", {}, "a: {}\n" },
      { "a: {b: 1}\n", { 1 }, "a: [1]\n" },
      { "a:\n  b: 1\n", { "x" }, "a:\n  - x\n" },
      { "a:\n  - k: 1\n    l: 2\n  - k: 3\n", { { k = 1, l = 5 }, { k = 3, m = 6 } },
        "a:\n  - k: 1\n    l: 5\n  - k: 3\n    m: 6\n" },
    } do
      t:eq(t:ok(yaml.edit(case[1], { "a" }, case[2])), case[3], case[1])
    end
  end)

  test("what is missing gets a line, indented as its neighbours", function(t)
    for _, case in ipairs {
      { "a: 1\n", { "b", "c" }, "x", "a: 1\nb:\n  c: x\n" },
      { "a: 1", { "b" }, 2, "a: 1\nb: 2" },
      { "", { "a" }, 1, "a: 1\n" },
      { "# c\n", { "a", "b" }, 1, "# c\na:\n  b: 1\n" },
      { "# c", { "a" }, 1, "# c\na: 1\n" },
      { "a:\n    b: 1 # x\n\n# d\nd: 1\n", { "a", "c" }, 2, "a:\n    b: 1 # x\n    c: 2\n\n# d\nd: 1\n" },
      { "a:\n  b: 1\n  # c: 2\n\nd: 1\n", { "a", "c" }, 2, "a:\n  b: 1\n  # c: 2\n  c: 2\n\nd: 1\n" },
      { "a:\n- 1\n# of b\nb: 1\n", { "a", 2 }, 2, "a:\n- 1\n- 2\n# of b\nb: 1\n" },
      { "a:\n  # inside\n  b: |\n    x\n\nd: 1\n", { "a", "c" }, 2, "a:\n  # inside\n  b: |\n    x\n  c: 2\n\nd: 1\n" },
      { "l:\n  - n: 1\n  - n: 2\n", { "l", 1, "v" }, "x", "l:\n  - n: 1\n    v: x\n  - n: 2\n" },
      { "a: 1\r\n", { "b" }, { 1 }, "a: 1\r\nb:\r\n  - 1\r\n" },
      { "a: {}\n", { "a", "b", "c" }, 1, "a: {b: {c: 1}}\n" },
      { "a:\nb: 1\n", { "a", "c" }, 1, "a:\n  c: 1\nb: 1\n" },
      { "a: {x: 1}\n", { "a", "y z" }, true, "a: {x: 1, y z: true}\n" },
      { "b: &b {x: 1}\na:\n  <<: *b\n  y: 2\n", { "a", "x" }, 3, "b: &b {x: 1}\na:\n  <<: *b\n  y: 2\n  x: 3\n" },
      { "a: 1", { "b" }, { "x\ny\n" }, "a: 1\nb:\n  - |\n    x\n    y\n" },
    } do
      t:eq(t:ok(yaml.edit(case[1], case[2], case[3])), case[4], case[1])
    end
  end)

  test("removing takes the lines of the key", function(t)
    for _, case in ipairs {
      { "a: 1\nb: 2\nc: 3", { "c" }, "a: 1\nb: 2" },
      { "a: 1\r\nb: 2", { "b" }, "a: 1" },
      { "x:\n  a: 1 # k\n  b: 2\n", { "x", "a" }, "x:\n  b: 2\n" },
      { "x:\n  a: 1\ny: 1\n", { "x", "a" }, "x: {}\ny: 1\n" },
      { "x: # c\n  - a\ny: 1\n", { "y" }, "x: # c\n  - a\n" },
      { "x:\n  - a\ny: 1\n", { "x", 1 }, "x: []\ny: 1\n" },
      { "l:\n  - n: a\n    v: 1\n  - b\n", { "l", 1, "n" }, "l:\n  - v: 1\n  - b\n" },
      { "l:\n  - n: a\n    v: 1\n  - b\n", { "l", 1 }, "l:\n  - b\n" },
      { "l:\n  - n: a\n    v: 1\n  - b\n", { "l", 2 }, "l:\n  - n: a\n    v: 1\n" },
      { "l: [1, 2, 3]\n", { "l", 2 }, "l: [1, 3]\n" },
      { "l: [1, 2, 3]\n", { "l", 3 }, "l: [1, 2]\n" },
      { "l: {a: 1}\n", { "l", "a" }, "l: {}\n" },
      { "a: |\n  x\n  y\n\n# c\nb: 1\n", { "a" }, "\n# c\nb: 1\n" },
      { "l:\n  - - 1\n    - 2\n", { "l", 1, 1 }, "l:\n  - - 2\n" },
    } do
      t:eq(t:ok(yaml.remove(case[1], case[2])), case[3], case[1])
    end
  end)

  test("what cannot be done alone is refused, saying why and where", function(t)
    for _, case in ipairs {
      { "a: &x 1\nb: *x\n", { "a" }, "f.yaml:1:4: a: it has an anchor" },
      { "a: &x 1\nb: *x\n", { "b" }, "2:4: b: it is an alias" },
      { "a: &x {q: 1}\nb: *x\n", { "a", "q" }, "without changing other values" },
      { "a: &x\n  q: 1\nb: *x\n", { "a", "z" }, "1:4: a.z: the map or list around it has an anchor" },
      { "a: &x {q: 1}\nb: *x\n", { "b", "q" }, "2:4: b: it is an alias" },
      { "a: !!str 1\n", { "a" }, "it has a tag" },
      { "a: [1,\n 2]\n", { "a", 3 }, "brackets around it span several lines" },
      { "a: [1,\n 2]\n", { "a" }, "brackets span several lines" },
      { "a:\n  b: 1\n  # c\n  d: 2\n", { "a" }, "comments inside" },
      { "? a\n: 1\n", { "b" }, "written with '?'" },
      { "a: 1\rb: 2\r", { "a" }, "neither LF nor CRLF" },
      { "x\n", { "a" }, "not a map or list" },
      { "a: 1\n", {}, "write a new one" },
      { "a:\n  <<: {x: 1}\n", { "a", "y" }, "nothing but <<" },
    } do
      local err = t:err("unsupported", yaml.edit(case[1], case[2], 7, { filename = "f.yaml" }))
      t:has(err.message, case[3])
    end
    t:err("parse", yaml.edit("a: [", { "a" }, 1))
    t:has(t:err("parse", yaml.edit("a: 1\n---\nb: 1\n", { "a" }, 1)).message, "a second document")
    t:has(t:err("not_found", yaml.edit("a: 1\n", { "a", "b" }, 1)).message, "1:4: a.b: a is neither map nor list")
    t:has(t:err("not_found", yaml.edit("a: [1]\n", { "a", 3 }, 1)).message, "the list has 1 entries")
    t:err("not_found", yaml.remove("a: 1\n", { "b" }))
    t:has(t:err("unsupported", yaml.remove("a: 1\n", { "a" })).message, "nothing would remain")
    t:err("unsupported", yaml.remove("b: &b {x: 1}\na:\n  <<: *b\n", { "a", "x" }))
    t:err("unsupported", yaml.remove("b: &b 1\na: *b\n", { "b" }))
    t:raises("no value", yaml.edit, "a: 1\n", { "a" }, nil)
    t:raises("a path expected", yaml.edit, "a: 1\n", "a", 1)
    t:raises("keys and indices", yaml.edit, "a: 1\n", { 1.5 }, 1)
  end)

  test("the manifests keep every other byte", function(t)
    for _, file in ipairs { "manifests/dev-seb.yaml", "manifests/prod-eu.yaml" } do
      local text = assert(fs.read(file))
      local path = { "infrastructure", "cloudsql", "instance-num" }
      local set = t:ok(yaml.edit(text, path, 4711))
      t:eq(#set, #text + #"    instance-num: 4711\n")
      t:has(set, "\n    instance-num: 4711\n")
      t:eq(yaml.remove(set, path), text)
      local value = assert(yaml.decode(text))
      for _, at in ipairs(paths(value, {}, {})) do
        local changed, err = yaml.edit(text, at, "new value")
        if changed then
          t:eq(comments_of(changed), comments_of(text))
        else
          t:eq(err.kind, "unsupported")
        end
      end
    end
  end)

  test("whatever a text is, an edit is right, refused, or the text is bad", function(t)
    local bytes = "#:-|>&*!%@`'\"[]{},?~ \n\t\r \\<=0a"
    for round = 1, 1500 do
      local text = text_of(round % 4 == 0 and "\r\n" or "\n")
      for _ = 1, 1 + random(3) do
        local at, byte = random(#text) + 1, random(#bytes) + 1
        text = text:sub(1, at - 1) .. bytes:sub(byte, byte) .. text:sub(at + random(2))
      end
      local value = yaml.decode(text)
      local all = value ~= nil and paths(value, {}, {}) or { { "a" } }
      local path = #all > 0 and all[random(#all) + 1] or { "a" }
      local changed, err = yaml.edit(text, path, ({ 7, "x\ny\n", { 1, a = nil }, { k = "v" } })[random(4) + 1])
      if changed then
        t:ok(yaml.decode(changed) ~= nil)
      else
        t:ok(err.kind == "unsupported" or value == nil and err.kind == "parse", ("%s\n%s"):format(tostring(err), text))
      end
      changed, err = yaml.remove(text, path)
      t:ok(changed or err.kind ~= "internal", tostring(err))
    end
  end, { timeout = 120 })

  test("in texts of every style: other bytes stay, and adding then removing gives the same text", function(t)
    local done, refused = 0, 0
    local news = { 1, "new", "yes", "a\nb\n", true, yaml.null, "it's", { x = 1 }, { 1, 2 }, yaml.array() }
    for round = 1, 400 do
      local eol = round % 3 == 0 and "\r\n" or "\n"
      local text = text_of(eol)
      local value, bad = yaml.decode(text)
      if value == nil then error(tostring(bad) .. "\n" .. text) end
      local all = paths(value, {}, {})
      for _ = 1, 6 do
        local path = all[random(#all) + 1]
        local new = news[random(#news) + 1]
        local changed, err = yaml.edit(text, path, new)
        local old = value
        for _, part in ipairs(path) do old = old[part] end
        if changed then
          done = done + 1
          if type(old) ~= "table" and type(new) ~= "table" then
            t:eq(comments_of(changed), comments_of(text), text)
            -- a scalar for a scalar: what differs is not longer than its lines
            local first, last = common(text, changed)
            local gone = text:sub(first + 1, #text - last)
            t:ok(not gone:find("# note"), gone)
          end
          t:ok(not text:find("\r\n") or not changed:find("[^\r]\n"), changed)
        else
          refused = refused + 1
          t:ok(err.message:find("comments? .* would be lost"), ("%s\n%s\n%s"):format(err.message, yaml.encode(new),
            text))
          t:ok(type(new) == "table" or type(old) == "table" or err.message:find("comments inside"), err.message .. "\n"
            .. text)
        end
        -- a new key beside it, and away again
        local added_path = table.move(path, 1, #path - 1, 1, {})
        local parent = value
        for _, part in ipairs(added_path) do parent = parent[part] end
        added_path[#path] = yaml.kind(parent) == "array" and #parent + 1 or "added"
        local added = yaml.edit(text, added_path, new)
        if added then
          local back = t:ok(yaml.remove(added, added_path))
          -- a block at the end needs the line break that the text's last line had not
          if back ~= text then t:eq({ new, back }, { "a\nb\n", text .. (text:find("\r\n") and eol or "\n") }) end
        end
        local gone, remove_err = yaml.remove(text, path)
        t:ok(gone or remove_err.kind == "unsupported", tostring(remove_err))
      end
    end
    t:ok(done > 2 * refused, ("%d changes, %d refused"):format(done, refused))
  end, { timeout = 120 })
end
