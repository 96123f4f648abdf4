-- Chromium for the tests of reports: headless, without a profile of its own, no network but what a page asks for.
local fs = require "ws.fs"
local process = require "ws.process"

local M = {}

--- Runs Chromium on a file or URL and returns what it printed.
---@param t ws.test.T
---@param url string
---@param ... string  further options
---@return string stdout
function M.run(t, url, ...)
  local home = t:tmpdir()
  local argv = { "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--user-data-dir=" .. home .. "/profile", "--virtual-time-budget=2000", ... }
  argv[#argv + 1] = url:find("://", 1, true) and url or "file://" .. url
  local r = assert(process.run(argv, { timeout = 120, env = { HOME = home, XDG_RUNTIME_DIR = home } }))
  t:eq(r.code, 0, r.stderr)
  return r.stdout
end

--- The page's elements after everything in it that could run has run.
---@param t ws.test.T
---@param url string
---@param ... string
---@return string html
function M.dom(t, url, ...)
  return M.run(t, url, "--dump-dom", ...)
end

--- A picture of a page: its size in bytes, its width and height.
---@param t ws.test.T
---@param url string
---@param width integer
---@param height integer
---@param ... string
---@return { bytes: integer, width: integer, height: integer }
function M.picture(t, url, width, height, ...)
  local file = t:tmpdir() .. "/page.png"
  M.run(t, url, "--screenshot=" .. file, ("--window-size=%d,%d"):format(width, height), ...)
  local text = assert(fs.read(file))
  t:eq(text:sub(1, 8), "\137PNG\r\n\26\n")
  local w, h = (">I4I4"):unpack(text, 17)
  return { bytes = #text, width = w, height = h }
end

--- A copy of a page that allows a script, which leaves the value of `expression` in the title.
local function asking(file, expression)
  local html = assert(fs.read(file)):gsub('<meta content="default%-src[^>]*>', "", 1)
  return (html:gsub("</body>", function()
    return "<script>top.document.title = 'answer:' + (" .. expression .. ") + ':end'</script></body>"
  end))
end

local function answer_of(t, html, ...)
  local copy = t:tmpdir() .. "/copy.html"
  assert(fs.write(copy, html))
  return (assert(M.dom(t, copy, ...):match("answer:([^']-):end</title>")))
end

--- What a script sees in a page.
---@param t ws.test.T
---@param file string
---@param expression string  of JavaScript
---@param ... string
---@return string
function M.ask(t, file, expression, ...)
  return answer_of(t, asking(file, expression), ...)
end

--- What a script sees in a page that is so many pixels wide: a window of Chromium is never narrower than 500.
---@param t ws.test.T
---@param file string
---@param width integer
---@param expression string
---@return string
function M.ask_at(t, file, width, expression)
  local inner = asking(file, expression):gsub("&", "&amp;"):gsub('"', "&quot;")
  return answer_of(t, ('<title>x</title><iframe width="%d" height="800" srcdoc="%s"></iframe>'):format(width, inner))
end

return M
