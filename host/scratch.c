/* scratch.c - see ws/scratch.h. */
#include <ws/scratch.h>

#include <lauxlib.h>

#define METATABLE "ws.scratch"

static int l_gc(lua_State *L)
{
	ws_buf_free(lua_touserdata(L, 1));
	return 0;
}

struct ws_buf *ws_scratch(lua_State *L, size_t max)
{
	struct ws_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
	ws_buf_init(b, max);
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, l_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	return b;
}
