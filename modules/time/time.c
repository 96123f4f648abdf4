/* time.c - the clocks. */
#include <ws/native.h>

#include <time.h>

static int push_clock(lua_State *L, clockid_t clock)
{
	struct timespec ts;
	clock_gettime(clock, &ts);
	lua_pushnumber(L, (double)ts.tv_sec + (double)ts.tv_nsec / 1e9);
	return 1;
}

static int l_now(lua_State *L)
{
	return push_clock(L, CLOCK_REALTIME);
}

static int l_monotonic(lua_State *L)
{
	return push_clock(L, CLOCK_MONOTONIC);
}

static int l_boottime(lua_State *L)
{
	return push_clock(L, CLOCK_BOOTTIME);
}

int luaopen_ws_time(lua_State *L)
{
	static const struct ws_native natives[] = {{"now", l_now, WS_READ}, {"monotonic", l_monotonic, WS_READ},
		{"boottime", l_boottime, WS_READ}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.time.native", natives);
}
