/* native.c - registration of natives and the guard on their effects; see ws/native.h. */
#include "engine.h"

#include <lauxlib.h>

#define EFFECTS "ws.effects"

static const char *effect_name(enum ws_effect effect)
{
	switch ((unsigned)effect & WS_EFFECTS) {
	case WS_PURE:
		return "pure";
	case WS_READ:
		return "read";
	case WS_WRITE:
		return "write";
	default:
		return "exec";
	}
}

void ws_need(lua_State *L, enum ws_effect effect, const char *what)
{
	ws_need_path(L, effect, what, NULL);
}

void ws_need_path(lua_State *L, enum ws_effect effect, const char *what, const char *path)
{
	unsigned wanted = (unsigned)effect & WS_EFFECTS;
	if ((ws_engine(L)->forbidden & wanted) == 0 || ws_guard_allows(L, wanted, path))
		return;
	struct ws_err err = {0};
	ws_err_set(&err, "denied", "%s would %s, and this run may not", what,
		effect == WS_EXEC ? "start a program" : "change something");
	ws_err_raise(L, &err);
}

/* Asks for a native's effect on the paths that its arguments name. */
static void check_effect(lua_State *L, const struct ws_native *native)
{
	unsigned where = (unsigned)native->effect & (WS_AT_1 | WS_AT_2 | WS_AT_DIR);
	if (where == 0)
		ws_need(L, native->effect, native->name);
	for (int i = 1; i <= 2; i++)
		if (where & (i == 1 ? WS_AT_1 : WS_AT_2))
			ws_need_path(L, native->effect, native->name,
				lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : NULL);
	if (where & WS_AT_DIR) {
		int top = lua_gettop(L);
		bool named = lua_istable(L, 1) && lua_getfield(L, 1, "dir") == LUA_TSTRING;
		ws_need_path(L, native->effect, native->name, named ? lua_tostring(L, -1) : ws_private_folder(L));
		lua_settop(L, top);
	}
}

/* Stands in front of every native that writes or executes; upvalue 1 is its entry in the module's list. */
static int guarded(lua_State *L)
{
	const struct ws_native *native = lua_touserdata(L, lua_upvalueindex(1));
	if ((ws_engine(L)->forbidden & (unsigned)native->effect) != 0)
		check_effect(L, native);
	return native->fn(L);
}

int ws_natives(lua_State *L, const char *module, const struct ws_native *list)
{
	lua_newtable(L);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, EFFECTS);
	for (const struct ws_native *n = list; n->name != NULL; n++) {
		if (n->effect & (WS_WRITE | WS_EXEC)) {
			lua_pushlightuserdata(L, (void *)(uintptr_t)n);
			lua_pushcclosure(L, guarded, 1);
		} else {
			lua_pushcfunction(L, n->fn);
		}
		lua_setfield(L, -3, n->name);
		lua_pushfstring(L, "%s.%s", module, n->name);
		lua_pushstring(L, effect_name(n->effect));
		lua_rawset(L, -3);
	}
	lua_pop(L, 1);
	return 1;
}

/* Pushes the table "module.name" → effect of all natives opened so far. */
void ws_push_effects(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, EFFECTS);
}
