/* codec.c - what the two codecs share; see codec.h. */
#include "codec.h"

#include <lauxlib.h>
#include <ws/error.h>

#define SCRATCH "ws.provider.Scratch"

static int scratch_gc(lua_State *L)
{
	ws_buf_free(lua_touserdata(L, 1));
	return 0;
}

/* Pushes a buffer that Lua owns, so that an error raised on the way frees it. */
struct ws_buf *provider_push_scratch(lua_State *L)
{
	struct ws_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
	ws_buf_init(b, PROVIDER_MAX_BYTES);
	if (luaL_newmetatable(L, SCRATCH)) {
		lua_pushcfunction(L, scratch_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	return b;
}

void provider_check_room(lua_State *L, int rc)
{
	if (rc != 0)
		luaL_error(L, "a message of the plugin protocol would be larger than %d bytes", PROVIDER_MAX_BYTES);
}

/* Pushes the buffer's bytes and frees it. */
int provider_finish_scratch(lua_State *L, struct ws_buf *b)
{
	lua_pushlstring(L, b->data ? b->data : "", b->len);
	ws_buf_free(b);
	return 1;
}

int provider_malformed(lua_State *L, const char *format)
{
	struct ws_err err = {.op = "provider.decode"};
	ws_err_set(&err, "protocol", "malformed %s", format);
	return ws_fail(L, &err);
}
