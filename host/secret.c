/* secret.c - opaque values and the redactor that knows them; see ws/secret.h.
 *
 * The redactor is a registry table from a secret's bytes to true. Values shorter than SHORTEST are not masked:
 * replacing them would garble ordinary words and prove nothing.
 */
#include "engine.h"

#include <ws/secret.h>

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define METATABLE "ws.Secret"
#define KNOWN "ws.secrets"

enum { SHORTEST = 6 };

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
	size_t len;
	const char *s = lua_tolstring(L, idx, &len);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, KNOWN);
	const char *line = s;
	while (line < s + len) { /* a child may print a secret line by line: each line is masked as well */
		const char *end = memchr(line, '\n', (size_t)(s + len - line));
		if (end == NULL)
			end = s + len;
		if (end - line >= SHORTEST) {
			lua_pushlstring(L, line, (size_t)(end - line));
			lua_pushboolean(L, 1);
			lua_rawset(L, -3);
		}
		line = end + 1;
	}
	lua_pop(L, 1);
}

static void replace_all(lua_State *L, const char *text, size_t len, const char *needle, size_t needle_len)
{
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	const char *end = text + len;
	for (const char *hit; (hit = memmem(text, (size_t)(end - text), needle, needle_len)) != NULL;
		text = hit + needle_len) {
		luaL_addlstring(&b, text, (size_t)(hit - text));
		luaL_addstring(&b, "***");
	}
	luaL_addlstring(&b, text, (size_t)(end - text));
	luaL_pushresult(&b);
}

void ws_redact(lua_State *L, const char *text, size_t len)
{
	lua_pushlstring(L, text, len);
	if (lua_getfield(L, LUA_REGISTRYINDEX, KNOWN) != LUA_TTABLE) {
		lua_pop(L, 1);
		return;
	}
	int known = lua_gettop(L), result = known - 1;
	for (lua_pushnil(L); lua_next(L, known) != 0; lua_pop(L, 1)) {
		size_t needle_len, text_len;
		const char *needle = lua_tolstring(L, -2, &needle_len);
		text = lua_tolstring(L, result, &text_len);
		if (memmem(text, text_len, needle, needle_len) != NULL) {
			replace_all(L, text, text_len, needle, needle_len);
			lua_replace(L, result);
		}
	}
	lua_pop(L, 1);
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
		{"redact", l_redact, WS_PURE}, {"join", l_join, WS_PURE}, {"write_stdout", l_write_stdout, WS_WRITE},
		{NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		static const luaL_Reg meta[] = {
			{"__tostring", l_tostring}, {"__concat", l_concat}, {"__eq", l_equal}, {NULL, NULL}};
		luaL_setfuncs(L, meta, 0);
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
	}
	lua_pop(L, 1);
	return ws_natives(L, "ws.secret", natives);
}
