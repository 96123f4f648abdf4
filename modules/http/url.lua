--- URLs and query strings: RFC 3986 and application/x-www-form-urlencoded.
local M = {}

--- Escapes everything but unreserved characters (RFC 3986 section 2.3).
---
--- ```lua
--- assert(url.encode("a b/c") == "a%20b%2Fc")
--- assert(url.encode("a b/c", { keep = "/" }) == "a%20b/c")
--- ```
---@param text string
---@param opts? { keep?: string }  characters to leave as they are
---@return string
function M.encode(text, opts)
  local keep = opts and opts.keep or ""
  return (text:gsub("[^%w%-%._~]", function(c)
    if keep:find(c, 1, true) then return c end
    return ("%%%02X"):format(c:byte())
  end))
end

--- Replaces percent-escapes; a percent sign that begins none stays as it is.
---@param text string
---@return string
function M.decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function decode_form(text)
  return M.decode((text:gsub("+", " ")))
end

--- Decodes a query string; `+` is a space.
---@param query string  without the question mark
---@return table<string, string> values  of a repeated name the last one; "" for a name without value
---@return { [1]: string, [2]: string }[] list  name and value, in order
function M.parse_query(query)
  local values, list = {}, {}
  for pair in query:gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=?(.*)$")
    name, value = decode_form(name), decode_form(value)
    values[name] = value
    list[#list + 1] = { name, value }
  end
  return values, list
end

--- Makes a query string. Names are sorted so that the same table gives the same text; a list repeats its name.
---
--- ```lua
--- assert(url.query { prefix = "a/b", maxResults = 10 } == "maxResults=10&prefix=a%2Fb")
--- ```
---@param values table<string, string|number|boolean|string[]>
---@return string
function M.query(values)
  local names, parts = {}, {}
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local value = values[name]
    for _, one in ipairs(type(value) == "table" and value or { value }) do
      parts[#parts + 1] = M.encode(name) .. "=" .. M.encode(tostring(one))
    end
  end
  return table.concat(parts, "&")
end

---@class ws.http.Url
---@field scheme string  in lower case
---@field user? string  before the @, still escaped
---@field host string  in lower case; without the brackets of an IPv6 address
---@field port? integer
---@field path string  as written; "/" when empty
---@field query? string
---@field fragment? string

--- Takes an absolute URL apart. Parts stay escaped.
---@param text string
---@return ws.http.Url? url
---@return ws.Error? err  kind `invalid`
function M.parse(text)
  local function refuse(why)
    return nil, require "ws.error".new { kind = "invalid", message = ("%s is not a URL: %s"):format(text, why) }
  end
  local scheme, rest = text:match("^(%a[%w+.-]*)://(.*)$")
  if not scheme then return refuse("it begins with scheme://") end
  if rest:find("[%c%s]") then return refuse("spaces and control characters must be escaped") end
  local authority, tail = rest:match("^([^/?#]*)(.*)$")
  local path, query, fragment = tail:match("^([^?#]*)(%??[^#]*)(#?.*)$")
  local user, hostport = authority:match("^(.*)@(.*)$")
  hostport = hostport or authority
  local host, port = hostport:match("^%[([%x:.]+)%](.*)$")
  if not host then host, port = hostport:match("^([^:]*)(.*)$") end
  if host == "" and scheme ~= "file" then return refuse("it has no host") end
  if port ~= "" and not port:match("^:%d*$") then return refuse("the port is not a number") end
  local number = tonumber(port:sub(2))
  if number and number > 65535 then return refuse("the port is larger than 65535") end
  return {
    scheme = scheme:lower(), user = user, host = host:lower(), port = number, path = path == "" and "/" or path,
    query = query ~= "" and query:sub(2) or nil, fragment = fragment ~= "" and fragment:sub(2) or nil,
  }
end

--- The absolute URL of what a Location or Link header says (RFC 3986 section 5.2, without dot segments).
---
--- ```lua
--- assert(url.resolve("https://h/a/b?c", "/d") == "https://h/d")
--- ```
---@param base string      absolute: where the header came from
---@param location string  absolute or relative
---@return string
function M.resolve(base, location)
  if location:find("^%a[%w+.-]*://") then return location end
  local scheme, authority, path = base:match("^(%a[%w+.-]*)://([^/?#]*)([^?#]*)")
  authority = authority:match("@(.*)$") or authority
  local origin = scheme .. "://" .. authority
  if location:find("^//") then return scheme .. ":" .. location end
  if location:find("^/") then return origin .. location end
  if path == "" then path = "/" end
  if location:find("^%?") then return origin .. path .. location end
  return origin .. path:gsub("[^/]*$", "") .. location
end

return M
