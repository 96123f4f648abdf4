--- What Compute Engine has by itself: regions, zones, machine types, disk types, public images.
local json = require "ws.json"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- Regions with the letters of their zones.
local REGIONS = {
  ["europe-west1"] = "bcd", ["europe-west2"] = "abc", ["europe-west3"] = "abc", ["europe-west4"] = "abc",
  ["europe-west6"] = "abc", ["europe-west8"] = "abc", ["europe-west9"] = "abc", ["europe-west12"] = "abc",
  ["europe-north1"] = "abc", ["europe-central2"] = "abc", ["europe-southwest1"] = "abc",
  ["us-central1"] = "abcf", ["us-east1"] = "bcd", ["us-east4"] = "abc", ["us-west1"] = "abc", ["us-west2"] = "abc",
  ["northamerica-northeast1"] = "abc", ["southamerica-east1"] = "abc",
  ["asia-east1"] = "abc", ["asia-northeast1"] = "abc", ["asia-south1"] = "abc", ["asia-southeast1"] = "abc",
  ["australia-southeast1"] = "abc", ["me-west1"] = "abc", ["africa-south1"] = "abc",
}

--- Image families of the public projects: the image they stand for now, and its size in GB.
local FAMILIES = {
  ["debian-cloud"] = { ["debian-11"] = { "debian-11-bullseye-v20261110", 10 },
    ["debian-12"] = { "debian-12-bookworm-v20261110", 10 }, ["debian-13"] = { "debian-13-trixie-v20261110", 10 } },
  ["ubuntu-os-cloud"] = { ["ubuntu-2204-lts"] = { "ubuntu-2204-jammy-v20261105", 10 },
    ["ubuntu-2404-lts-amd64"] = { "ubuntu-2404-noble-amd64-v20261105", 10 } },
  ["cos-cloud"] = { ["cos-stable"] = { "cos-stable-125-19216-0-60", 10 } },
  ["rocky-linux-cloud"] = { ["rocky-linux-9"] = { "rocky-linux-9-v20261112", 20 } },
  ["centos-cloud"] = { ["centos-stream-9"] = { "centos-stream-9-v20261112", 20 } },
  ["rhel-cloud"] = { ["rhel-9"] = { "rhel-9-v20261112", 20 } },
  ["fedora-coreos-cloud"] = { ["fedora-coreos-stable"] = { "fedora-coreos-43-20261101-3-0-gcp-x86-64", 10 } },
}

local CREATED = "2024-01-01T00:00:00.000-08:00"

--- A stable number for a name: catalogue entries have ids, too.
local function number(name)
  return ("%d"):format(1000000000000000 + require "ws.crypto".crc32c(name))
end

--- The zones of a region, sorted.
---@param region string
---@return string[]
function M.zones_of(region)
  local zones = {}
  for letter in (REGIONS[region] or ""):gmatch(".") do zones[#zones + 1] = region .. "-" .. letter end
  return zones
end

--- The region of a zone; nil when there is no such zone.
---@param zone string
---@return string?
function M.region_of(zone)
  local region, letter = zone:match("^(.+)%-(%l)$")
  if region and REGIONS[region] and REGIONS[region]:find(letter, 1, true) then return region end
end

--- Whether there is a region of that name.
---@param region string
---@return boolean
function M.is_region(region) return REGIONS[region] ~= nil end

--- The resource of a region, or 404.
---@param project string
---@param name string
---@return table
function M.region(project, name)
  if not REGIONS[name] then reply.not_found(("projects/%s/regions/%s"):format(project, name)) end
  local base = links.PREFIX .. "projects/" .. project
  return { kind = "compute#region", id = number(name), name = name, description = name, status = "UP",
    creationTimestamp = CREATED, selfLink = base .. "/regions/" .. name, quotas = json.array {},
    zones = values.map(M.zones_of(name), function(zone) return base .. "/zones/" .. zone end) }
end

--- The resource of a zone, or 404.
---@param project string
---@param name string
---@return table
function M.zone(project, name)
  local region = M.region_of(name)
  if not region then reply.not_found(("projects/%s/zones/%s"):format(project, name)) end
  local base = links.PREFIX .. "projects/" .. project
  return { kind = "compute#zone", id = number(name), name = name, description = name, status = "UP",
    creationTimestamp = CREATED, selfLink = base .. "/zones/" .. name, region = base .. "/regions/" .. region }
end

--- All regions, or all zones, sorted by name.
---@param project string
---@param what "regions"|"zones"
---@return table[]
function M.list(project, what)
  local list = {}
  for _, region in ipairs(values.keys(REGIONS)) do
    if what == "regions" then
      list[#list + 1] = M.region(project, region)
    else
      for _, zone in ipairs(M.zones_of(region)) do list[#list + 1] = M.zone(project, zone) end
    end
  end
  return list
end

--- The locations of other APIs: google.cloud.location.Location for each region.
---@param project string
---@return table
function M.locations(project)
  return { locations = values.map(values.keys(REGIONS), function(region)
    return { name = ("projects/%s/locations/%s"):format(project, region), locationId = region }
  end) }
end

local SHARED_CORE = { ["e2-micro"] = { 2, 1024 }, ["e2-small"] = { 2, 2048 }, ["e2-medium"] = { 2, 4096 },
  ["f1-micro"] = { 1, 614 }, ["g1-small"] = { 1, 1740 } }
local MEMORY = { standard = 4096, highmem = 8192, highcpu = 1024 } -- MiB for each CPU
local LISTED = { "e2-micro", "e2-small", "e2-medium", "e2-standard-2", "e2-standard-4", "e2-standard-8", "e2-highmem-4",
  "n1-standard-1", "n1-standard-2", "n1-standard-4", "n2-standard-2", "n2-standard-4", "n2-standard-8",
  "n2d-standard-4", "c3-standard-4", "t2d-standard-2" }

--- The machine type of that name, nil when no such type can exist.
---@param project string
---@param zone string
---@param name string
---@return table?
function M.machine_type(project, zone, name)
  local cpus, memory
  if SHARED_CORE[name] then
    cpus, memory = SHARED_CORE[name][1], SHARED_CORE[name][2]
  else
    local class, count = name:match("^[a-z]%d+[a-z]?%-(%a+)%-(%d+)$")
    local custom_cpus, custom_memory = name:match("custom%-(%d+)%-(%d+)$")
    if class and MEMORY[class] then
      cpus, memory = tonumber(count), tonumber(count) * MEMORY[class]
    elseif custom_cpus then
      cpus, memory = tonumber(custom_cpus), tonumber(custom_memory)
    else
      return nil
    end
  end
  return { kind = "compute#machineType", id = number(name), name = name, description = ("%d vCPU"):format(cpus),
    guestCpus = cpus, memoryMb = memory, zone = zone, isSharedCpu = SHARED_CORE[name] ~= nil,
    creationTimestamp = CREATED,
    selfLink = ("%sprojects/%s/zones/%s/machineTypes/%s"):format(links.PREFIX, project, zone, name) }
end

--- The machine types that a list shows.
---@param project string
---@param zone string
---@return table[]
function M.machine_types(project, zone)
  return values.map(LISTED, function(name) return M.machine_type(project, zone, name) end)
end

--- A public image by family or by name; nil when there is none.
---@param project string
---@param name string
---@param by_family boolean
---@return table?
function M.image(project, name, by_family)
  for family, entry in pairs(FAMILIES[project] or {}) do
    if (by_family and family or entry[1]) == name then
      return { kind = "compute#image", id = number(entry[1]), name = entry[1], family = family, status = "READY",
        diskSizeGb = tostring(entry[2]), archiveSizeBytes = "800000000", creationTimestamp = CREATED,
        selfLink = ("%sprojects/%s/global/images/%s"):format(links.PREFIX, project, entry[1]), sourceType = "RAW",
        architecture = "X86_64", labelFingerprint = "42WmSpB8rSM=" }
    end
  end
end

--- The public images of a project, sorted.
---@param project string
---@return table[]
function M.images(project)
  local list = json.array {}
  for _, family in ipairs(values.keys(FAMILIES[project] or {})) do list[#list + 1] = M.image(project, family, true) end
  return list
end

return M
