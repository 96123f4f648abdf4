--- GitHub Actions: groups, annotations, the job's summary page.
---
--- Its runner takes a line that begins with `::`, after white space, for a command, and `##[` anywhere in a line.
--- https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
local ci = require "ws.ci"
local secret = require "ws.secret"

local M = { name = "github" }

local SUMMARY_ROWS = 500       -- the page holds 1 MiB; what is longer is dropped as a whole
local SUMMARY_TEXT = 16 * 1024 -- bytes of one text

--- The text with nothing in it that the runner would execute. A line ends at \r as well.
---@param text string
---@return string
function M.harmless(text)
  text = text:gsub("##%[", "## [")
  if not text:find("::", 1, true) then return text end
  -- what the runner trims as white space may be any Unicode blank: only a visible ASCII character counts as text
  text = ("\n" .. text):gsub("([\r\n][^\r\n%w%p]*):(:+)", "%1: %2")
  return text:sub(2)
end

local function data(text)
  return (secret.redact(text):gsub("[%%\r\n]", { ["%"] = "%25", ["\r"] = "%0D", ["\n"] = "%0A" }))
end

local function property(text)
  return (data(tostring(text)):gsub("[:,]", { [":"] = "%3A", [","] = "%2C" }))
end

--- Folded lines under a title; the failed step's stay open, as GitHub folds every group.
---@param title string
---@param lines string[]
---@param step ws.Step
---@return string
function M.group(title, lines, step)
  local body = M.harmless(secret.redact(table.concat(lines, "\n")))
  if step.status == "failed" then return ("%s\n%s\n"):format(M.harmless(secret.redact(title)), body) end
  return ("::group::%s\n%s\n::endgroup::\n"):format(data(M.harmless(title)), body)
end

--- A mark on a file and line, which GitHub shows on the run's page and in the pull request's files.
---@param a ws.ci.Place
---@return string
function M.annotation(a)
  local properties = {}
  local function add(name, value)
    if value then properties[#properties + 1] = name .. "=" .. property(value) end
  end
  if a.file then
    add("file", ci.in_workspace(a.file, os.getenv("GITHUB_WORKSPACE")))
    add("line", a.line)
    add("col", a.col)
  end
  add("title", a.title)
  return ("::%s%s::%s\n"):format(a.level or "error",
    #properties > 0 and " " .. table.concat(properties, ",") or "", data(a.text))
end

--- Text for a cell of a Markdown table: one line, shown as it is.
local function cell(text)
  text = secret.redact(text):sub(1, SUMMARY_TEXT):gsub("%s+", " ")
  return (text:gsub("&", "&amp;"):gsub("[\\`*_{}%[%]<>#|~!@]", "\\%0"))
end

local function row(step, marks)
  local display = require "ws.display"
  local text = step.status == "failed" and (step.inherited and "" or tostring(step.err))
    or step.status == "skipped" and tostring(step.err.message) or step.summary or ""
  return ("| %s %s | %s | %s |"):format(marks[step.status] or marks.note, cell(step.path),
    step.seconds and step.started and display.duration(step.seconds) or "", cell(text))
end

--- The summary page's part for a run: its outcome, a row for each step, the failure's words.
---@param run ws.Run
---@param card? string  the failure card, without colours
---@return string markdown
function M.page(run, card)
  local display = require "ws.display"
  local marks = { done = "✔", failed = "✖", skipped = "○", note = "·" }
  local outcome = run.interrupted and "interrupted" or card and "failed"
    or run.change_count == 0 and "nothing changed"
    or run.change_count == 1 and "1 change" or run.change_count .. " changes"
  local lines = { ("### %s %s: %s, %s"):format(card and marks.failed or marks.done, cell(run.title), outcome,
    display.duration(run:tally().seconds)), "" }
  if #run.steps > 0 then
    lines[#lines + 1] = "| step | time | |\n| --- | ---: | --- |"
    for i, step in ipairs(run.steps) do
      if i > SUMMARY_ROWS then
        lines[#lines + 1] = ("| and %d more | | |"):format(#run.steps - SUMMARY_ROWS)
        break
      end
      lines[#lines + 1] = row(step, marks)
    end
    lines[#lines + 1] = ""
  end
  if card then
    local text = secret.redact(card):sub(1, SUMMARY_TEXT):gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;",
      [">"] = "&gt;" })
    lines[#lines + 1] = "<pre>\n" .. text .. "\n</pre>\n"
  end
  return table.concat(lines, "\n") .. "\n"
end

--- Appends the run to the job's summary page.
---@param run ws.Run
---@param card? string
---@return boolean? written  false: GitHub gave no file for it
---@return string? problem
function M.summary(run, card)
  local path = os.getenv("GITHUB_STEP_SUMMARY")
  if not path or path == "" then return false end
  local file, problem = io.open(path, "ab")
  if not file then return nil, problem end
  local ok, failure = file:write(M.page(run, card))
  local closed, why = file:close()
  if ok and closed then return true end
  return nil, failure or why
end

return M
