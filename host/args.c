/* args.c - see ws/args.h. */
#include <ws/args.h>

#include <lauxlib.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

static bool absent(lua_State *L, int idx)
{
	if (lua_isnoneornil(L, idx))
		return true;
	luaL_checktype(L, idx, LUA_TTABLE);
	return false;
}

static bool in_list(const char *key, va_list names)
{
	for (const char *name = va_arg(names, const char *); name != NULL; name = va_arg(names, const char *))
		if (strcmp(name, key) == 0)
			return true;
	return false;
}

void ws_opts_check(lua_State *L, int idx, ...)
{
	if (absent(L, idx))
		return;
	idx = lua_absindex(L, idx);
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			luaL_argerror(L, idx, "options have names, not numbers");
		va_list names;
		va_start(names, idx);
		bool known = in_list(lua_tostring(L, -2), names);
		va_end(names);
		if (!known)
			luaL_argerror(L, idx, lua_pushfstring(L, "unknown option '%s'", lua_tostring(L, -2)));
	}
}

int ws_opt_get(lua_State *L, int idx, const char *key)
{
	if (absent(L, idx)) {
		lua_pushnil(L);
		return LUA_TNIL;
	}
	return lua_getfield(L, idx, key);
}

static int wrong_type(lua_State *L, int idx, const char *key, const char *wanted)
{
	return luaL_argerror(
		L, idx, lua_pushfstring(L, "option '%s': %s expected, got %s", key, wanted, luaL_typename(L, -1)));
}

const char *ws_opt_string(lua_State *L, int idx, const char *key, const char *def, size_t *len)
{
	int type = ws_opt_get(L, idx, key);
	if (type != LUA_TNIL && type != LUA_TSTRING)
		wrong_type(L, idx, key, "string");
	size_t n = def ? strlen(def) : 0;
	const char *s = type == LUA_TNIL ? def : lua_tolstring(L, -1, &n);
	if (len != NULL)
		*len = n;
	lua_pop(L, 1);
	return s;
}

double ws_opt_number(lua_State *L, int idx, const char *key, double def)
{
	int type = ws_opt_get(L, idx, key);
	if (type != LUA_TNIL && type != LUA_TNUMBER)
		wrong_type(L, idx, key, "number");
	double n = type == LUA_TNIL ? def : lua_tonumber(L, -1);
	if (type != LUA_TNIL && (!isfinite(n) || n < 0))
		luaL_argerror(L, idx, lua_pushfstring(L, "option '%s' must be a finite number >= 0", key));
	lua_pop(L, 1);
	return n;
}

lua_Integer ws_opt_integer(lua_State *L, int idx, const char *key, lua_Integer def)
{
	int type = ws_opt_get(L, idx, key);
	if (type != LUA_TNIL && !lua_isinteger(L, -1))
		wrong_type(L, idx, key, "integer");
	lua_Integer n = type == LUA_TNIL ? def : lua_tointeger(L, -1);
	lua_pop(L, 1);
	return n;
}

bool ws_opt_boolean(lua_State *L, int idx, const char *key, bool def)
{
	int type = ws_opt_get(L, idx, key);
	if (type != LUA_TNIL && type != LUA_TBOOLEAN)
		wrong_type(L, idx, key, "boolean");
	bool b = type == LUA_TNIL ? def : lua_toboolean(L, -1);
	lua_pop(L, 1);
	return b;
}
