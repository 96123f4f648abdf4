/* error.c - the error object, in C and in Lua; see ws/error.h. */
#include "engine.h"
#include "permit.h"

#include <ws/error.h>

#include <errno.h>
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define METATABLE "ws.Error"

static const struct {
	const char *name;
	bool retryable;
} kinds[] = {
#define KIND(name, retryable) {#name, retryable},
	WS_ERROR_KINDS(KIND)
#undef KIND
};

static int find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return (int)i;
	return -1;
}

void ws_err_clear(struct ws_err *e)
{
	free(e->message);
	free(e->hint);
	*e = (struct ws_err){0};
}

void ws_err_set(struct ws_err *e, const char *kind, const char *fmt, ...)
{
	const char *op = e->op;
	char *message = NULL;
	va_list ap;
	va_start(ap, fmt);
	if (vasprintf(&message, fmt, ap) < 0)
		message = NULL;
	va_end(ap);
	ws_err_clear(e);
	e->kind = kind;
	e->op = op;
	e->message = message;
}

void ws_err_hint(struct ws_err *e, const char *hint)
{
	free(e->hint);
	e->hint = strdup(hint);
}

static const char *kind_of_errno(int code)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		return "not_found";
	case EEXIST:
	case ENOTEMPTY:
		return "exists";
	case EACCES:
	case EPERM:
	case EROFS:
		return "denied";
	case ENOSPC:
	case EDQUOT:
		return "no_space";
	case ETIMEDOUT:
		return "timeout";
	case ECANCELED:
		return "cancelled";
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "connection";
	case EINVAL:
	case ENAMETOOLONG:
	case EISDIR:
	case ELOOP:
		return "invalid";
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
		return "exhausted";
	default:
		return "io";
	}
}

void ws_err_errno(struct ws_err *e, const char *what, int code)
{
	if (code == WS_EDENIED)
		permit_explain(e);
	else
		ws_err_set(e, kind_of_errno(code), "%s: %s", what, strerror(code));
}

void ws_err_uv(struct ws_err *e, const char *what, int code)
{
	int known = code > -4000 ? -code : EIO; /* libuv's own codes start at -4000 where the system has no errno */
	ws_err_set(e, kind_of_errno(known), "%s: %s", what, uv_strerror(code));
}

static void set_string(lua_State *L, const char *key, const char *value)
{
	if (value != NULL) {
		lua_pushstring(L, value);
		lua_setfield(L, -2, key);
	}
}

/* object(light userdata of the struct ws_err) → error object */
static int make_object(lua_State *L)
{
	const struct ws_err *e = lua_touserdata(L, 1);
	lua_createtable(L, 0, 6);
	const char *kind = e->kind ? e->kind : "internal";
	set_string(L, "kind", kind);
	set_string(L, "message", e->message ? e->message : "out of memory");
	set_string(L, "op", e->op);
	set_string(L, "hint", e->hint);
	if (e->status != 0) {
		lua_pushinteger(L, e->status);
		lua_setfield(L, -2, "status");
	}
	int i = find_kind(kind);
	lua_pushboolean(L, i >= 0 && kinds[i].retryable);
	lua_setfield(L, -2, "retryable");
	luaL_setmetatable(L, METATABLE);
	return 1;
}

void ws_err_push(lua_State *L, struct ws_err *e)
{
	lua_pushcfunction(L, make_object);
	lua_pushlightuserdata(L, e);
	int status =
		lua_pcall(L, 1, 1, 0); /* what the C error owns is freed also when there is no memory for the other */
	ws_err_clear(e);
	if (status != LUA_OK)
		lua_error(L);
}

int ws_fail(lua_State *L, struct ws_err *e)
{
	lua_pushnil(L);
	ws_err_push(L, e);
	return 2;
}

int ws_err_raise(lua_State *L, struct ws_err *e)
{
	ws_err_push(L, e);
	return lua_error(L);
}

bool ws_is_error(lua_State *L, int idx)
{
	if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
		return false;
	luaL_getmetatable(L, METATABLE);
	bool same = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return same;
}

void ws_err_wrap(lua_State *L)
{
	if (ws_is_error(L, -1))
		return;
	const char *text = luaL_tolstring(L, -1, NULL); /* value, text */
	lua_createtable(L, 0, 4);
	set_string(L, "kind", "internal");
	set_string(L, "message", text);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "retryable");
	luaL_setmetatable(L, METATABLE);
	lua_replace(L, -3);
	lua_pop(L, 1);
}

/* error.new(fields) → error. Raises on an unknown kind or a missing message. */
static int l_new(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "kind") != LUA_TSTRING)
		return luaL_argerror(L, 1, "an error needs a kind");
	int i = find_kind(lua_tostring(L, -1));
	if (i < 0)
		return luaL_error(L, "unknown kind of error '%s'", lua_tostring(L, -1));
	if (lua_getfield(L, 1, "message") != LUA_TSTRING)
		return luaL_argerror(L, 1, "an error needs a message");
	if (lua_getfield(L, 1, "retryable") == LUA_TNIL) {
		lua_pushboolean(L, kinds[i].retryable);
		lua_setfield(L, 1, "retryable");
	}
	lua_settop(L, 1);
	luaL_setmetatable(L, METATABLE);
	return 1;
}

/* error.is(value) → boolean */
static int l_is(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, ws_is_error(L, 1));
	return 1;
}

/* error.kinds() → list of names */
static int l_kinds(lua_State *L)
{
	lua_newtable(L);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		lua_pushstring(L, kinds[i].name);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static int l_tostring(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_getfield(L, 1, "op") == LUA_TSTRING)
		lua_pushliteral(L, ": ");
	else
		lua_pushliteral(L, "");
	if (lua_isnil(L, 2)) {
		lua_pushliteral(L, "");
		lua_replace(L, 2);
	}
	lua_getfield(L, 1, "message");
	luaL_tolstring(L, -1, NULL);
	lua_remove(L, -2);
	lua_concat(L, 3);
	luaL_gsub(L, lua_tostring(L, -1), "\n", " ");
	return 1;
}

int luaopen_ws_error(lua_State *L)
{
	static const struct ws_native natives[] = {
		{"new", l_new, WS_PURE}, {"is", l_is, WS_PURE}, {"kinds", l_kinds, WS_PURE}, {NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, l_tostring);
		lua_setfield(L, -2, "__tostring");
	}
	lua_pop(L, 1);
	return ws_natives(L, "ws.error", natives);
}
