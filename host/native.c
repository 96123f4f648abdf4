/* native.c - registration of natives and the guard on their effects; see ws/native.h. */
#include "engine.h"

#include <lauxlib.h>

#define EFFECTS "ws.effects"

static const char *effect_name(enum ws_effect effect)
{
	switch (effect) {
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
	if ((ws_engine(L)->forbidden & (unsigned)effect) == 0)
		return;
	struct ws_err err = {0};
	ws_err_set(&err, "denied", "%s would %s, and this run may not", what,
		effect == WS_EXEC ? "start a program" : "change something");
	ws_err_raise(L, &err);
}

/* Stands in front of every native that writes or executes; upvalue 1 is its entry in the module's list. */
static int guarded(lua_State *L)
{
	const struct ws_native *native = lua_touserdata(L, lua_upvalueindex(1));
	ws_need(L, native->effect, native->name);
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
