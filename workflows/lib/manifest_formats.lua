-- What the texts of a manifest look like: each as a Lua pattern or function, as a regular expression for JSON Schema,
-- and in words.

-- "lp-nodes-<name>" is the account with the longest name, and Google allows 30 characters.
local LONGEST_NAME = 30 - #"lp-nodes-"

return {
  platform = {
    match = function(text)
      if #text > LONGEST_NAME then return false, ("%d characters"):format(#text) end
      return text:find("^%l[%l%d-]*$") and not text:find("-$")
    end,
    regex = ("^[a-z]([a-z0-9-]{0,%d}[a-z0-9])?$"):format(LONGEST_NAME - 2),
    allowed = ("name of at most %d lower case letters, digits and dashes, a letter first, no dash at the end")
      :format(LONGEST_NAME),
  },
  label = {
    match = "^[%l%d][%l%d_-]*$", regex = "^[a-z0-9][a-z0-9_-]*$",
    allowed = "lower case letters, digits, dashes and underscores, such as dev",
  },
  project = {
    match = function(text)
      local id = text:match("^[%l%d.-]+:(.+)$") or text
      return #id >= 6 and #id <= 30 and id:find("^%l[%l%d-]*[%l%d]$")
    end,
    regex = "^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$",
    allowed = "id of a Google Cloud project: 6 to 30 lower case letters, digits and dashes",
  },
  region = {
    match = "^%l+%-%l+%d+$", regex = "^[a-z]+-[a-z]+[0-9]+$", allowed = "region such as europe-west1",
  },
  zone = {
    match = "^%l+%-%l+%d+%-%l$", regex = "^[a-z]+-[a-z]+[0-9]+-[a-z]$", allowed = "zone such as europe-west1-b",
  },
  bucket = {
    match = function(text)
      return #text >= 3 and #text <= 222 and text:find("^[%l%d][%l%d._-]*[%l%d]$") and not text:find("..", 1, true)
    end,
    regex = "^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
    allowed = "name of a bucket: lower case letters, digits, dashes, dots, without gs://",
  },
  folder = {
    match = "^[%w._/-]*$", regex = "^[A-Za-z0-9._/-]*$", allowed = "folder: letters, digits, dots, dashes and slashes",
  },
  kubernetes = {
    match = function(text) return #text <= 63 and text:find("^[%l%d][%l%d-]*$") and not text:find("-$") end,
    regex = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    allowed = "Kubernetes name: lower case letters, digits and dashes, at most 63",
  },
  release = {
    match = function(text) return #text <= 53 and text:find("^[%l%d][%l%d-]*$") and not text:find("-$") end,
    regex = "^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$",
    allowed = "name: lower case letters, digits and dashes, at most 53",
  },
  secret_name = {
    match = function(text) return #text <= 253 and text:find("^[%l%d][%l%d.-]*$") and text:find("[%l%d]$") end,
    regex = "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
    allowed = "name of a Kubernetes secret: lower case letters, digits, dashes and dots",
  },
  sql_name = {
    match = function(text) return #text <= 63 and text:find("^[%l_][%l%d_-]*$") end,
    regex = "^[a-z_][a-z0-9_-]{0,62}$",
    allowed = "name: lower case letters, digits, underscores and dashes, at most 63",
  },
  gke_version = {
    match = function(text)
      return text == "latest" or text:find("^1%.%d+$") or text:find("^1%.%d+%.%d+$")
        or text:find("^1%.%d+%.%d+%-gke%.%d+$")
    end,
    regex = "^(latest|1\\.[0-9]+(\\.[0-9]+(-gke\\.[0-9]+)?)?)$",
    allowed = 'version such as "1.33", "1.33.4" or "1.33.4-gke.1134000", or latest',
  },
  layers_version = {
    match = "^[%l%d][%l%d._-]*$", regex = "^[a-z0-9][a-z0-9._-]*$",
    allowed = 'version such as "1.0": lower case letters, digits, dots and dashes',
  },
  chart_version = {
    match = function(text) return text:find("^v?%d+%.%d+%.%d+$") or text:find("^v?%d+%.%d+%.%d+[-+][%w.+-]+$") end,
    regex = "^v?[0-9]+\\.[0-9]+\\.[0-9]+([-+][A-Za-z0-9.+-]+)?$",
    allowed = "version of three numbers such as 1.4.2 or v1.18.2",
  },
  sql_version = {
    match = function(text) return text:find("^POSTGRES_[%d_]+$") or text:find("^MYSQL_[%d_]+$") end,
    regex = "^(POSTGRES|MYSQL)_[0-9]+(_[0-9]+)*$", allowed = "version as Google names it: POSTGRES_16, MYSQL_8_0",
  },
  sql_tier = {
    match = "^db%-[%l%d-]+$", regex = "^db-[a-z0-9-]+$",
    allowed = "instance type such as db-f1-micro or db-custom-4-15360",
  },
  machine = {
    match = "^%l[%l%d]*%-[%l%d-]+$", regex = "^[a-z][a-z0-9]*-[a-z0-9-]+$",
    allowed = "machine type such as e2-standard-2",
  },
  image = {
    match = "^[^/ ]+/?[^ ]*$", regex = "^[^/ ]+(/[^/ ]+)*$", allowed = "image such as debian-cloud/debian-12",
  },
  time = {
    match = function(text)
      local hour, minute = text:match("^(%d%d):(%d%d)$")
      return hour and tonumber(hour) < 24 and tonumber(minute) < 60
    end,
    regex = "^([01][0-9]|2[0-3]):[0-5][0-9]$", allowed = 'time in UTC such as "02:00"',
  },
  domain = {
    match = function(text) return text:find("^[%l%d][%l%d.-]*%.%l%l+$") and not text:find("..", 1, true) end,
    regex = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$",
    allowed = "domain such as app.example.com, without wildcard",
  },
  email = { match = "^[^@%s]+@[^@%s]+%.[^@%s]+$", regex = "^[^@ ]+@[^@ ]+\\.[^@ ]+$", allowed = "e-mail address" },
  member = {
    match = function(text)
      local kind = text:match("^(%a+):.+@.")
      return kind == "user" or kind == "group" or kind == "serviceAccount"
    end,
    regex = "^(user|group|serviceAccount):.+@.+$",
    allowed = "user:ADDRESS, group:ADDRESS or serviceAccount:ADDRESS",
  },
  path = { match = "^/", regex = "^/", allowed = "path that begins with a slash" },
  url = {
    match = function(text) return text:find("^https?://") or text:find("^oci://") or text:find("^gs://") end,
    regex = "^(https?|oci|gs)://", allowed = "address that begins with https://, oci:// or gs://",
  },
  file = {
    match = function(text)
      return text ~= "" and not text:find("^/") and not ("/" .. text .. "/"):find("/../", 1, true)
    end,
    regex = "^[^/].*$", allowed = "path in the project, without .. and not absolute",
  },
  registry = {
    match = "^[%l%d][%l%d.:-]*%.[%l%d.:-]+/?[%w._/-]*$",
    regex = "^[a-z0-9][a-z0-9.:-]*\\.[a-z0-9.:-]+(/[A-Za-z0-9._-]+)*$",
    allowed = "registry with its folder, such as eu.gcr.io/livingpackets-sandbox",
  },
}
