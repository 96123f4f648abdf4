--- Pub/Sub over REST: topics, subscriptions, messages.
local crypto = require "ws.crypto"
local json = require "ws.json"
local task = require "ws.task"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local KEEP = 1000 -- messages that a subscription holds at most; the oldest go first
local PULL_WAIT = 2 -- seconds that a pull waits for a message

return function(cloud)
  local s = cloud:service("pubsub", { prefixes = { "pubsub", "v1" }, api = "pubsub.googleapis.com",
    anonymous = "emulator" })
  local topics, subscriptions = cloud.store:collection "pubsub.topics", cloud.store:collection "pubsub.subscriptions"
  local backlog = cloud.store:collection "pubsub.backlog" -- subscription -> list of messages

  local function topic_name(c) return ("projects/%s/topics/%s"):format(c.params.project, c.params.topic) end
  local function subscription_name(c)
    return ("projects/%s/subscriptions/%s"):format(c.params.project, c.params.subscription)
  end
  local function need(collection, name)
    return collection:get(name)
      or reply.fail(404, "notFound", ("Resource not found (resource=%s)."):format(values.last(name)))
  end
  local function check_name(name)
    local id = values.last(name)
    if #id < 3 or #id > 255 or not id:find("^%a[%w%-_.~+%%]*$") or id:find("^goog") then
      reply.fail(400, "badRequest", ("Invalid resource name given (name=%s)."):format(name))
    end
  end

  --- The project id instead of a number, in a topic's name in a body.
  local function with_id(name)
    return (name:gsub("^projects/([^/]+)", function(project)
      local known = cloud:project(project)
      return "projects/" .. (known and known.projectId or project)
    end))
  end

  local function push(subscription, message)
    local queue = values.copy(backlog:get(subscription) or json.array {})
    table.insert(queue, message)
    while #queue > KEEP do table.remove(queue, 1) end
    backlog:put(subscription, queue)
  end

  local function topic_routes(root)
    local ALL = root .. "/projects/{project}/topics"
    s:on("GET", ALL, function(c)
      local page, token = reply.page(topics:list(("projects/%s/topics/"):format(c.params.project)),
        function(t) return t.name end, c.query.pageToken, c.query.pageSize)
      return { topics = page, nextPageToken = token }
    end)
    s:on("PUT", ALL .. "/{topic}", function(c)
      local name = topic_name(c)
      check_name(name)
      if topics:get(name) then
        reply.fail(409, "alreadyExists",
          ("Resource already exists in the project (resource=%s)."):format(c.params.topic))
      end
      local topic = values.clean(c:json())
      topic.name, topic.state = name, "ACTIVE"
      return topics:put(name, topic)
    end)
    s:on("GET", ALL .. "/{topic}", function(c) return need(topics, topic_name(c)) end)
    s:on("PATCH", ALL .. "/{topic}", function(c)
      local name, body = topic_name(c), c:json()
      need(topics, name)
      return topics:update(name, function(topic)
        values.apply_mask(topic, body.topic or {}, body.updateMask or c.query.updateMask or "labels")
        topic.name = name
      end)
    end)
    s:on("DELETE", ALL .. "/{topic}", function(c)
      local name = topic_name(c)
      need(topics, name)
      topics:delete(name)
      cloud.policies:drop("pubsub/" .. name)
      for _, subscription in ipairs((subscriptions:list())) do
        if subscription.topic == name then
          subscriptions:update(subscription.name, function(other) other.topic = "_deleted-topic_" end)
        end
      end
      return {}
    end)
    s:on("GET", ALL .. "/{topic}/subscriptions", function(c)
      local name, found = topic_name(c), json.array {}
      need(topics, name)
      for _, subscription in ipairs((subscriptions:list())) do
        if subscription.topic == name then found[#found + 1] = subscription.name end
      end
      return { subscriptions = found }
    end)
    s:on("POST", ALL .. "/{topic}:publish", function(c)
      local name, ids = topic_name(c), json.array {}
      need(topics, name)
      for _, given in ipairs(c:json().messages or {}) do
        local message = { data = given.data, attributes = given.attributes, orderingKey = given.orderingKey,
          messageId = values.id(), publishTime = time.rfc3339(time.now(), 3) }
        ids[#ids + 1] = message.messageId
        for _, subscription in ipairs((subscriptions:list())) do
          if subscription.topic == name then push(subscription.name, { message = message }) end
        end
      end
      if #ids == 0 then reply.fail(400, "badRequest", "The value for message_count is too small.") end
      return { messageIds = ids }
    end)
    cloud.policies:routes(s, ALL .. "/{topic}", function(c) return "pubsub/" .. need(topics, topic_name(c)).name end)
  end

  --- Messages that nobody holds, at most `limit`; they are held until the deadline of the subscription.
  local function lease(subscription, limit)
    local queue = backlog:get(subscription.name)
    if not queue or #queue == 0 then return json.array {} end
    local now, taken = time.now(), json.array {}
    local changed = values.copy(queue)
    for _, entry in ipairs(changed) do
      if #taken < limit and (entry.held_until or 0) <= now then
        entry.held_until = now + (tonumber(subscription.ackDeadlineSeconds) or 10)
        entry.ack = crypto.random_hex(16)
        entry.attempts = (entry.attempts or 0) + 1
        taken[#taken + 1] = { ackId = entry.ack, message = entry.message,
          deliveryAttempt = subscription.deadLetterPolicy and entry.attempts or nil }
      end
    end
    if #taken > 0 then backlog:put(subscription.name, changed) end
    return taken
  end

  --- Changes the messages with these acknowledgement ids; `fn` returns false to remove one.
  local function settle(name, ids, fn)
    local wanted, kept = {}, json.array {}
    for _, id in ipairs(ids or {}) do wanted[id] = true end
    for _, entry in ipairs(values.copy(backlog:get(name) or json.array {})) do
      if not wanted[entry.ack or ""] or fn(entry) ~= false then kept[#kept + 1] = entry end
    end
    backlog:put(name, kept)
  end

  local function subscription_routes(root)
    local ALL = root .. "/projects/{project}/subscriptions"
    s:on("GET", ALL, function(c)
      local page, token = reply.page(subscriptions:list(("projects/%s/subscriptions/"):format(c.params.project)),
        function(t) return t.name end, c.query.pageToken, c.query.pageSize)
      return { subscriptions = page, nextPageToken = token }
    end)
    s:on("PUT", ALL .. "/{subscription}", function(c)
      local name = subscription_name(c)
      check_name(name)
      if subscriptions:get(name) then
        reply.fail(409, "alreadyExists", ("Resource already exists in the project (resource=%s)."):format(
          c.params.subscription))
      end
      local subscription = values.clean(c:json())
      if type(subscription.topic) ~= "string" then reply.fail(400, "badRequest", "The topic is missing.") end
      subscription.topic = with_id(subscription.topic)
      need(topics, subscription.topic)
      subscription.name, subscription.state = name, "ACTIVE"
      subscription.ackDeadlineSeconds = subscription.ackDeadlineSeconds or 10
      subscription.messageRetentionDuration = subscription.messageRetentionDuration or "604800s"
      subscription.pushConfig = subscription.pushConfig or {}
      return subscriptions:put(name, subscription)
    end)
    s:on("GET", ALL .. "/{subscription}", function(c) return need(subscriptions, subscription_name(c)) end)
    s:on("PATCH", ALL .. "/{subscription}", function(c)
      local name, body = subscription_name(c), c:json()
      need(subscriptions, name)
      return subscriptions:update(name, function(subscription)
        local topic = subscription.topic
        values.apply_mask(subscription, body.subscription or {}, body.updateMask or c.query.updateMask or "labels")
        subscription.name, subscription.topic = name, topic
      end)
    end)
    s:on("DELETE", ALL .. "/{subscription}", function(c)
      local name = subscription_name(c)
      need(subscriptions, name)
      subscriptions:delete(name)
      backlog:delete(name)
      cloud.policies:drop("pubsub/" .. name)
      return {}
    end)
    s:on("POST", ALL .. "/{subscription}:pull", function(c)
      local subscription, body = need(subscriptions, subscription_name(c)), c:json()
      local limit = math.tointeger(tonumber(body.maxMessages)) or 0
      if limit < 1 then reply.fail(400, "badRequest", "The value for max_messages must be positive.") end
      local deadline = time.monotonic() + (body.returnImmediately and 0 or PULL_WAIT)
      while true do
        local taken = lease(subscription, limit)
        if #taken > 0 then return { receivedMessages = taken } end
        if time.monotonic() >= deadline or not subscriptions:get(subscription.name) then return {} end
        task.sleep(0.05)
      end
    end)
    s:on("POST", ALL .. "/{subscription}:acknowledge", function(c)
      settle(need(subscriptions, subscription_name(c)).name, c:json().ackIds, function() return false end)
      return {}
    end)
    s:on("POST", ALL .. "/{subscription}:modifyAckDeadline", function(c)
      local name, body = need(subscriptions, subscription_name(c)).name, c:json()
      settle(name, body.ackIds, function(entry)
        entry.held_until = time.now() + (tonumber(body.ackDeadlineSeconds) or 0)
      end)
      return {}
    end)
    s:on("POST", ALL .. "/{subscription}:modifyPushConfig", function(c)
      local name, body = need(subscriptions, subscription_name(c)).name, c:json()
      subscriptions:update(name, function(subscription)
        subscription.pushConfig = values.clean(body.pushConfig or {})
      end)
      return {}
    end)
    cloud.policies:routes(s, ALL .. "/{subscription}", function(c)
      return "pubsub/" .. need(subscriptions, subscription_name(c)).name
    end)
  end

  -- Clients that follow PUBSUB_EMULATOR_HOST put nothing before the version.
  for _, root in ipairs { "/pubsub/v1", "/v1" } do
    topic_routes(root)
    subscription_routes(root)
  end

  cloud:on_inventory(function(add)
    for _, topic in ipairs((topics:list())) do add("pubsub#topic", topic.name, topic.labels) end
    for _, subscription in ipairs((subscriptions:list())) do
      add("pubsub#subscription", subscription.name, subscription.labels)
    end
  end)
end
