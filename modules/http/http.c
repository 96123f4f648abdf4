/* http.c - what Lua sees of a request: start, step, feed, close.
 *
 * step() waits until something happens: a piece of the body for a sink, a wish for a piece from a producer, or the end.
 */
#include "request.h"

#include <ws/args.h>
#include <ws/native.h>
#include <ws/op.h>
#include <ws/secret.h>

#include <lauxlib.h>
#include <string.h>

#define METATABLE "ws.http.Request"

struct step_op {
	struct ws_op op;
	struct http_request *request; /* NULL once it has ended or was given up */
};

static struct http_request **check_box(lua_State *L)
{
	return luaL_checkudata(L, 1, METATABLE);
}

static struct http_request *check_request(lua_State *L)
{
	struct http_request *r = *check_box(L);
	if (r == NULL)
		luaL_error(L, "this request has ended");
	return r;
}

static void on_notify(struct http_request *r)
{
	struct step_op *op = r->owner;
	r->owner = NULL;
	if (op != NULL)
		ws_op_done(&op->op);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static void refuse_control(lua_State *L, const char *what, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] == '\r' || s[i] == '\n' || s[i] == '\0')
			luaL_error(L, "http.request: %s contains a line end or NUL", what);
}

static void add_headers(lua_State *L, int idx, struct http_request *r)
{
	lua_Integer n = luaL_len(L, idx);
	for (lua_Integer i = 1; i < n; i += 2) {
		lua_rawgeti(L, idx, i);
		lua_rawgeti(L, idx, i + 1);
		size_t name_len, value_len;
		const char *name = luaL_checklstring(L, -2, &name_len);
		const char *value = ws_text_or_secret(L, -1, &value_len);
		refuse_control(L, "a header's name", name, name_len);
		refuse_control(L, name, value, value_len);
		if (http_request_header(r, name, value) != 0)
			luaL_error(L, "out of memory");
		lua_pop(L, 2);
	}
}

/* The string or secret under `key`; it stays valid because the options do. */
static const char *opt_text(lua_State *L, const char *key, size_t *len)
{
	const char *s = NULL;
	*len = 0;
	if (ws_opt_get(L, 1, key) != LUA_TNIL)
		s = ws_text_or_secret(L, -1, len);
	lua_pop(L, 1);
	return s;
}

static long opt_ms(lua_State *L, const char *key, double def)
{
	double seconds = ws_opt_number(L, 1, key, def);
	luaL_argcheck(L, seconds < 1e6, 1, "a timeout is less than a million seconds");
	long ms = (long)(seconds * 1000 + 0.999);
	return ms;
}

static const char *const sources[] = {"none", "memory", "file", "owner", NULL};
static const char *const sinks[] = {"memory", "file", "owner", NULL};

static void parse(lua_State *L, struct http_options *o)
{
	ws_opts_check(L, 1, "method", "url", "what", "headers", "source", "body", "body_file", "body_offset",
		"body_length", "body_sha256", "sink", "sink_file", "sink_max", "append", "max_body", "timeout",
		"connect_timeout", "stall_timeout", "ca", "cert", "key", "unix", "no_proxy", NULL);
	*o = (struct http_options){0};
	o->method = ws_opt_string(L, 1, "method", "GET", NULL);
	o->url = ws_opt_string(L, 1, "url", "", NULL);
	o->what = ws_opt_string(L, 1, "what", "", NULL);
	lua_pushstring(L, ws_opt_string(L, 1, "source", "none", NULL));
	o->source = (enum http_source)luaL_checkoption(L, -1, NULL, sources);
	lua_pushstring(L, ws_opt_string(L, 1, "sink", "memory", NULL));
	o->sink = (enum http_sink)luaL_checkoption(L, -1, NULL, sinks);
	lua_pop(L, 2);
	o->body = opt_text(L, "body", &o->body_len);
	o->body_file = ws_opt_string(L, 1, "body_file", NULL, NULL);
	o->body_offset = ws_opt_integer(L, 1, "body_offset", 0);
	o->body_length = ws_opt_integer(L, 1, "body_length", -1);
	o->body_sha256 = ws_opt_string(L, 1, "body_sha256", NULL, NULL);
	o->sink_file = ws_opt_string(L, 1, "sink_file", NULL, NULL);
	o->append = ws_opt_boolean(L, 1, "append", false);
	o->sink_max = ws_opt_integer(L, 1, "sink_max", -1);
	o->max_body = (size_t)ws_opt_integer(L, 1, "max_body", 64 << 20);
	o->timeout_ms = opt_ms(L, "timeout", 0);
	o->connect_timeout_ms = opt_ms(L, "connect_timeout", 10);
	o->stall_s = (opt_ms(L, "stall_timeout", 120) + 999) / 1000;
	o->ca = opt_text(L, "ca", &o->ca_len);
	o->cert = opt_text(L, "cert", &o->cert_len);
	o->key = opt_text(L, "key", &o->key_len);
	o->unix_path = ws_opt_string(L, 1, "unix", NULL, NULL);
	o->no_proxy = ws_opt_boolean(L, 1, "no_proxy", false);
}

/* http.native.start(opts, writes) → request | nil, err. Raises when this run may not write and the request does. */
static int l_start(lua_State *L)
{
	struct ws_err err = {.op = "http.request"};
	struct http_options o;
	luaL_checktype(L, 1, LUA_TTABLE);
	bool writes = lua_toboolean(L, 2);
	lua_settop(L, 1);
	parse(L, &o);
	if (writes)
		ws_need(L, WS_WRITE, o.what);
	if (o.sink_file != NULL)
		ws_need_path(L, WS_WRITE, o.what, o.sink_file);
	struct http_loop *loop = http_loop_get(L, &err);
	if (loop == NULL)
		return ws_fail(L, &err);
	struct http_request **box = lua_newuserdatauv(L, sizeof *box, 1);
	*box = NULL;
	luaL_setmetatable(L, METATABLE);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1); /* the body is sent straight from the options' string */
	struct http_request *r = http_request_new();
	if (r == NULL)
		return luaL_error(L, "out of memory");
	*box = r;
	r->err.op = "http.request";
	r->notify = on_notify;
	if (ws_opt_get(L, 1, "headers") != LUA_TNIL)
		add_headers(L, lua_gettop(L), r);
	lua_pop(L, 1);
	if (http_request_start(r, loop, &o) != 0)
		return ws_fail(L, &r->err);
	return 1;
}

/* ---- step -------------------------------------------------------------------------------------------------------- */

static int push_end(lua_State *L, struct http_request *r)
{
	if (r->err.kind != NULL)
		return ws_fail(L, &r->err);
	lua_pushliteral(L, "done");
	lua_pushinteger(L, r->status);
	lua_pushlstring(L, r->head.data != NULL ? r->head.data : "", r->head.len);
	lua_pushlstring(L, r->in.data != NULL ? r->in.data : "", r->in.len);
	http_request_stop(r);
	return 4;
}

static bool has_event(const struct http_request *r)
{
	return r->done || r->wants_body || (r->sink == HTTP_TO_OWNER && r->in.len > 0);
}

static int step_push(lua_State *L, struct ws_op *base)
{
	struct http_request *r = ((struct step_op *)base)->request;
	if (r->sink == HTTP_TO_OWNER && r->in.len > 0) {
		lua_pushliteral(L, "data");
		lua_pushlstring(L, r->in.data, r->in.len);
		http_request_taken(r);
		return 2;
	}
	if (r->done)
		return push_end(L, r);
	lua_pushliteral(L, "body");
	return 1;
}

static void step_cancel(struct ws_op *base)
{
	struct step_op *op = (struct step_op *)base;
	op->request->owner = NULL;
	http_request_stop(op->request);
	ws_op_done(base);
}

static const struct ws_op_type step_type = {.name = "http.request", .push = step_push, .cancel = step_cancel};

/* http.native.step(request) → "data", chunk | "body" | "done", status, head, body | nil, err. Yields. */
static int l_step(lua_State *L)
{
	struct http_request *r = check_request(L);
	if (r->owner != NULL)
		return luaL_error(L, "another task waits for this request");
	struct step_op *op = ws_op_new(L, &step_type, sizeof *op);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	op->request = r;
	if (has_event(r))
		ws_op_done(&op->op);
	else
		r->owner = op;
	return ws_op_start(L, &op->op);
}

/* http.native.feed(request, chunk | nil): the next piece of the body, or its end. */
static int l_feed(lua_State *L)
{
	struct http_request *r = check_request(L);
	size_t len = 0;
	const char *data = lua_isnoneornil(L, 2) ? NULL : ws_text_or_secret(L, 2, &len);
	if (http_request_feed(r, data, len) != 0)
		return luaL_error(L, "out of memory");
	return 0;
}

/* http.native.close(request): gives it up if it has not ended. */
static int l_close(lua_State *L)
{
	struct http_request **box = check_box(L);
	struct http_request *r = *box;
	if (r == NULL)
		return 0;
	if (r->owner != NULL)
		return luaL_error(L, "another task waits for this request");
	*box = NULL;
	http_request_free(r);
	return 0;
}

/* http.native.preload(): loads libcurl while this thread does something else. */
static int l_preload(lua_State *L)
{
	http_preload(L);
	return 0;
}

int luaopen_ws_http(lua_State *L)
{
	static const struct ws_native natives[] = {{"start", l_start, WS_READ}, {"step", l_step, WS_READ},
		{"feed", l_feed, WS_READ}, {"close", l_close, WS_READ}, {"preload", l_preload, WS_READ},
		{NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, l_close);
		lua_setfield(L, -2, "__gc");
		lua_pushcfunction(L, l_close);
		lua_setfield(L, -2, "__close");
	}
	lua_pop(L, 1);
	return ws_natives(L, "ws.http.native", natives);
}
