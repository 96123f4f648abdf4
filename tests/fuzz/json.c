/* json.c - what is read as JSON is written as a text that is read as the same value. */
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int luaopen_ws_json(lua_State *L);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Calls the module's function with the value at `idx`; its first result is at the top then. */
static void call(lua_State *L, const char *name, int idx)
{
	idx = lua_absindex(L, idx);
	lua_getfield(L, 1, name);
	lua_pushvalue(L, idx);
	lua_call(L, 1, 1);
}

static int round_trip(lua_State *L)
{
	luaopen_ws_json(L);
	lua_insert(L, 1); /* module, text */
	call(L, "decode", 2);
	if (lua_isnil(L, 3))
		return 0;
	call(L, "encode", 3); /* 4 */
	call(L, "decode", 4); /* 5 */
	call(L, "encode", 5); /* 6 */
	if (lua_rawequal(L, 4, 6) == 0)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lua_State *L = luaL_newstate();
	if (L == NULL)
		return 0;
	lua_pushcfunction(L, round_trip);
	lua_pushlstring(L, (const char *)data, size);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK && strstr(lua_tostring(L, -1), "not enough memory") == NULL)
		abort();
	lua_close(L);
	return 0;
}
