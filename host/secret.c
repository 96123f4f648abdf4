/* secret.c - opaque values, and the redactor that knows them, as Lua sees them; see ws/secret.h and redact.h. */
#include "engine.h"
#include "redact.h"

#include <ws/scratch.h>
#include <ws/secret.h>

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define METATABLE "ws.Secret"
#define STREAM "ws.secret.Stream"

enum { STREAM_MAX = 1 << 30 };

const char *ws_secret_open(lua_State *L, int idx, size_t *len)
{
	if (luaL_testudata(L, idx, METATABLE) == NULL)
		return NULL;
	lua_getiuservalue(L, idx, 1);
	const char *s = lua_tolstring(L, -1, len); /* the uservalue keeps the string alive */
	lua_pop(L, 1);
	return s;
}

const char *ws_text_or_secret(lua_State *L, int idx, size_t *len)
{
	const char *s = ws_secret_open(L, idx, len);
	return s != NULL ? s : luaL_checklstring(L, idx, len);
}

static void remember(lua_State *L, int idx)
{
	struct ws_engine *e = ws_engine(L);
	size_t len;
	const char *s = lua_tolstring(L, idx, &len);
	if (e->redactor == NULL)
		e->redactor = ws_redactor_new();
	if (e->redactor == NULL || ws_redactor_add(e->redactor, s, len) != 0)
		luaL_error(L, "out of memory: a secret could not be made known to the redactor");
}

/* Pushes what may leave. Raises without memory. */
static void feed(lua_State *L, struct ws_redact_stream *stream, const char *text, size_t len, bool last)
{
	struct ws_buf *out = ws_scratch(L, STREAM_MAX);
	if (ws_redact_feed(stream, text, len, last, out) != 0)
		luaL_error(L, "out of memory: a text could not be masked");
	lua_pushlstring(L, out->data != NULL ? out->data : "", out->len);
	ws_buf_free(out);
	lua_remove(L, -2);
}

void ws_redact(lua_State *L, const char *text, size_t len)
{
	const struct ws_redactor *known = ws_engine(L)->redactor;
	if (known == NULL || !ws_redactor_finds(known, text, len)) {
		lua_pushlstring(L, text, len);
		return;
	}
	struct ws_redact_stream stream;
	ws_redact_begin(&stream, known);
	feed(L, &stream, text, len, true);
}

void ws_secret_wrap(lua_State *L)
{
	lua_newuserdatauv(L, 0, 1);
	lua_pushvalue(L, -2);
	lua_setiuservalue(L, -2, 1);
	luaL_setmetatable(L, METATABLE);
	remember(L, lua_absindex(L, -2));
	lua_remove(L, -2);
}

/* secret.new(string) → secret */
static int l_new(lua_State *L)
{
	lua_settop(L, 1);
	if (luaL_testudata(L, 1, METATABLE) != NULL)
		return 1;
	luaL_checktype(L, 1, LUA_TSTRING);
	ws_secret_wrap(L);
	return 1;
}

/* secret.join(part…) → secret: strings and secrets one after the other */
static int l_join(lua_State *L)
{
	luaL_Buffer b;
	int n = lua_gettop(L);
	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		size_t len;
		const char *part = ws_text_or_secret(L, i, &len);
		luaL_addlstring(&b, part, len);
	}
	luaL_pushresult(&b);
	ws_secret_wrap(L);
	return 1;
}

/* secret.is(value) → boolean */
static int l_is(lua_State *L)
{
	lua_pushboolean(L, luaL_testudata(L, 1, METATABLE) != NULL);
	return 1;
}

/* secret.redact(text) → text */
static int l_redact(lua_State *L)
{
	size_t len;
	const char *text = luaL_checklstring(L, 1, &len);
	ws_redact(L, text, len);
	return 1;
}

/* secret.stream() → stream */
static int l_stream(lua_State *L)
{
	struct ws_redact_stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
	ws_redact_begin(stream, NULL);
	luaL_setmetatable(L, STREAM);
	return 1;
}

/* stream:feed(text) → text that may leave */
static int l_feed(lua_State *L)
{
	struct ws_redact_stream *stream = luaL_checkudata(L, 1, STREAM);
	size_t len;
	const char *text = luaL_checklstring(L, 2, &len);
	stream->redactor = ws_engine(L)->redactor;
	feed(L, stream, text, len, false);
	return 1;
}

/* stream:finish() → the rest */
static int l_finish(lua_State *L)
{
	struct ws_redact_stream *stream = luaL_checkudata(L, 1, STREAM);
	stream->redactor = ws_engine(L)->redactor;
	feed(L, stream, "", 0, true);
	return 1;
}

static int stream_gc(lua_State *L)
{
	struct ws_redact_stream *stream = luaL_checkudata(L, 1, STREAM);
	ws_buf_free(&stream->held);
	return 0;
}

/* secret.write_stdout(secret): the sink of credential plugins, whose answer on stdout is the credential. */
static int l_write_stdout(lua_State *L)
{
	size_t len;
	const char *bytes = ws_secret_open(L, 1, &len);
	luaL_argexpected(L, bytes != NULL, 1, "secret");
	fflush(stdout);
	lua_pushboolean(L, fwrite(bytes, 1, len, stdout) == len && fflush(stdout) == 0);
	return 1;
}

static int l_tostring(lua_State *L)
{
	lua_pushliteral(L, "***");
	return 1;
}

static int l_concat(lua_State *L)
{
	return luaL_error(L, "a secret cannot become part of a string: give it to a sink "
			     "(stdin or environment of a child, a file of mode 0600, an HTTP header or body)");
}

static int l_equal(lua_State *L)
{
	size_t a_len = 0, b_len = 0;
	const char *a = ws_secret_open(L, 1, &a_len), *b = ws_secret_open(L, 2, &b_len);
	unsigned char differs = !a || !b || a_len != b_len;
	for (size_t i = 0; !differs && i < a_len; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	lua_pushboolean(L, !differs);
	return 1;
}

int luaopen_ws_secret(lua_State *L)
{
	static const struct ws_native natives[] = {{"new", l_new, WS_PURE}, {"is", l_is, WS_PURE},
		{"redact", l_redact, WS_PURE}, {"join", l_join, WS_PURE}, {"stream", l_stream, WS_PURE},
		{"write_stdout", l_write_stdout, WS_WRITE}, {NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		static const luaL_Reg meta[] = {
			{"__tostring", l_tostring}, {"__concat", l_concat}, {"__eq", l_equal}, {NULL, NULL}};
		luaL_setfuncs(L, meta, 0);
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
	}
	if (luaL_newmetatable(L, STREAM)) {
		static const luaL_Reg methods[] = {{"feed", l_feed}, {"finish", l_finish}, {NULL, NULL}};
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
		lua_pushcfunction(L, stream_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 2);
	return ws_natives(L, "ws.secret.native", natives);
}
