--- Who is asking, and may they: reviews and tokens. Everybody who is authenticated may do everything.
local body = require "sandbox.kubernetes.body"
local crypto = require "ws.crypto"
local json = require "ws.json"
local respond = require "sandbox.kubernetes.respond"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local AUDIENCE = "https://kubernetes.default.svc"

local function user_object(user)
  return values.object { username = user.name, uid = user.uid, groups = values.array(user.groups), extra = user.extra }
end

local ANSWERS = {}

function ANSWERS.selfsubjectreviews(_, user)
  return { userInfo = user_object(user) }
end

local function allowed()
  return { allowed = true, reason = "every authenticated user of the sandbox may do everything" }
end
ANSWERS.selfsubjectaccessreviews = allowed
ANSWERS.subjectaccessreviews = allowed
ANSWERS.localsubjectaccessreviews = allowed

function ANSWERS.selfsubjectrulesreviews()
  local all = values.array { "*" }
  return { incomplete = false, resourceRules = values.array { { verbs = all, apiGroups = all, resources = all } },
    nonResourceRules = values.array { { verbs = all, nonResourceURLs = all } } }
end

function ANSWERS.tokenreviews(api, _, review)
  local user = api:user_of(values.get(review, "spec", "token") or "")
  if not user then return { user = values.object(), error = "invalid bearer token" } end
  return { authenticated = true, user = user_object(user), audiences = values.get(review, "spec", "audiences") }
end

--- POST of a review: the request's object with its answer as status.
---@param api kubernetes.Api
---@param req table
---@param ctx kubernetes.Context
---@param user table
---@return table res
function M.create(api, req, ctx, user)
  local review = body.read(req)
  review.apiVersion = ctx.resource.group .. "/" .. ctx.version
  review.kind = ctx.resource.kind
  values.sub(review, "metadata")
  if ctx.resource.plural ~= "selfsubjectreviews" then values.sub(review, "spec") end
  review.status = ANSWERS[ctx.resource.plural](api, user, review)
  return respond.json(201, review)
end

local function sign(api, claims)
  local head = crypto.base64url_encode(json.encode { alg = "HS256", typ = "JWT" })
  local text = head .. "." .. crypto.base64url_encode(json.encode(claims))
  return text .. "." .. crypto.base64url_encode(crypto.hmac_sha256(api.signing_key, text, { raw = true }))
end

--- A signed token for a ServiceAccount.
---@param api kubernetes.Api
---@param account table
---@param expires? integer  unix seconds; without one it lasts ten years
---@param audiences? string[]
---@return string token
function M.token_for(api, account, expires, audiences)
  local meta, now = account.metadata, math.floor(time.now())
  return sign(api, {
    iss = AUDIENCE, sub = ("system:serviceaccount:%s:%s"):format(meta.namespace, meta.name),
    aud = audiences or values.array { AUDIENCE }, exp = expires or now + 315360000, iat = now,
    ["kubernetes.io"] = { namespace = meta.namespace, serviceaccount = { name = meta.name, uid = meta.uid } },
  })
end

--- POST of a TokenRequest.
---@param api kubernetes.Api
---@param req table
---@param account table
---@return table res
function M.token_request(api, req, account)
  local request = body.read(req)
  local seconds = values.get(request, "spec", "expirationSeconds") or 3600
  local expires = math.floor(time.now()) + seconds
  local meta = account.metadata
  local audiences = values.get(request, "spec", "audiences") or values.array { AUDIENCE }
  return respond.json(201, {
    kind = "TokenRequest", apiVersion = "authentication.k8s.io/v1",
    metadata = { name = meta.name, namespace = meta.namespace, creationTimestamp = api:now() },
    spec = values.object { audiences = audiences, expirationSeconds = seconds,
      boundObjectRef = values.get(request, "spec", "boundObjectRef") },
    status = { token = M.token_for(api, account, expires, audiences), expirationTimestamp = time.rfc3339(expires) },
  })
end

--- The user of a token that `token_request` made, nil when it is none or has expired.
---@param api kubernetes.Api
---@param token string
---@return table? user
function M.account_of(api, token)
  local text, signature = token:match "^([^.]+%.[^.]+)%.([^.]+)$"
  if not text or signature ~= crypto.base64url_encode(crypto.hmac_sha256(api.signing_key, text,
    { raw = true })) then return nil end
  local claims = json.decode(crypto.base64url_decode(text:match "%.(.*)$"))
  if not claims or claims.exp < time.now() then return nil end
  local bound = claims["kubernetes.io"]
  local account = api.store:get("/serviceaccounts", bound.namespace, bound.serviceaccount.name)
  if not account or account.metadata.uid ~= bound.serviceaccount.uid then return nil end
  return { name = claims.sub, uid = bound.serviceaccount.uid, groups = { "system:serviceaccounts",
    "system:serviceaccounts:" .. bound.namespace, "system:authenticated" } }
end

return M
