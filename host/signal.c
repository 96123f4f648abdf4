/* signal.c - SIGINT and SIGTERM become calls of one Lua function, each in a task of its own. */
#include "engine.h"

#include <lauxlib.h>
#include <signal.h>

static void on_signal(uv_signal_t *handle, int signum)
{
	struct ws_engine *e = handle->data;
	if (e->signal_handler == LUA_NOREF)
		return;
	lua_rawgeti(e->L, LUA_REGISTRYINDEX, e->signal_handler);
	lua_pushstring(e->L, signum == SIGINT ? "INT" : "TERM");
	ws_task_spawn(e->L, 1);
}

/* signal.native.handle(fn): fn("INT" | "TERM") is called for each such signal instead of ending the process. */
static int l_handle(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	struct ws_engine *e = ws_engine(L);
	lua_settop(L, 1);
	luaL_unref(L, LUA_REGISTRYINDEX, e->signal_handler);
	e->signal_handler = luaL_ref(L, LUA_REGISTRYINDEX);
	if (e->signals_open)
		return 0;
	static const int numbers[] = {SIGINT, SIGTERM};
	e->signals_open = true;
	for (int i = 0; i < 2; i++) {
		uv_signal_init(&e->loop, &e->signals[i]);
		e->signals[i].data = e;
		uv_signal_start(&e->signals[i], on_signal, numbers[i]);
		uv_unref((uv_handle_t *)&e->signals[i]);
	}
	return 0;
}

void ws_signals_close(struct ws_engine *e)
{
	if (!e->signals_open)
		return;
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&e->signals[i], NULL);
}

int luaopen_ws_signal(lua_State *L)
{
	static const struct ws_native natives[] = {{"handle", l_handle, WS_PURE}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.signal.native", natives);
}
