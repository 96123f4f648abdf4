/* coroutine.c - coroutine.resume and coroutine.wrap through which a wait passes outwards.
 *
 * An operation that starts in a coroutine of a script yields a mark. These two functions see the mark, yield it
 * themselves, and when the task is resumed they resume the inner coroutine again: to the script nothing has happened but
 * time. Any other yield behaves as Lua's manual says.
 */
#include "engine.h"

#include <lauxlib.h>

static const char wait_mark; /* its address is the mark */

void ws_push_wait_mark(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)&wait_mark);
}

bool ws_is_wait_mark(lua_State *L, int idx)
{
	return lua_islightuserdata(L, idx) && lua_touserdata(L, idx) == &wait_mark;
}

static int resume_k(lua_State *L, int status, lua_KContext wrap);

/* Moves the inner coroutine's results to L and returns their number, or -1 with its error at the top. */
static int deliver(lua_State *L, lua_State *co, int nresults)
{
	if (!lua_checkstack(L, nresults + 1)) {
		lua_pop(co, nresults);
		lua_pushliteral(L, "too many results to resume");
		return -1;
	}
	lua_xmove(co, L, nresults);
	return nresults;
}

/* Resumes the coroutine at index 1 with the nargs values on its own stack. */
static int resume(lua_State *L, lua_State *co, int nargs, lua_KContext wrap)
{
	struct ws_engine *e = ws_engine(L);
	bool blocked = !lua_isyieldable(L);
	int nresults = 0;
	e->no_yield += blocked;
	e->running = co;
	int status = lua_resume(co, L, nargs, &nresults);
	e->running = L;
	e->no_yield -= blocked;
	if (status == LUA_YIELD && nresults == 1 && ws_is_wait_mark(co, -1)) {
		lua_pop(co, 1);
		ws_push_wait_mark(L);
		return lua_yieldk(L, 1, wrap, resume_k);
	}
	if (status != LUA_OK && status != LUA_YIELD) {
		lua_xmove(co, L, 1); /* the error */
		nresults = -1;
	} else {
		nresults = deliver(L, co, nresults);
	}
	if (wrap) {
		if (nresults >= 0)
			return nresults;
		lua_resetthread(co);
		if (lua_type(L, -1) == LUA_TSTRING) { /* as Lua's own wrap: say where */
			luaL_where(L, 1);
			lua_insert(L, -2);
			lua_concat(L, 2);
		}
		return lua_error(L);
	}
	lua_pushboolean(L, nresults >= 0);
	lua_insert(L, nresults >= 0 ? -(nresults + 1) : -2);
	return nresults >= 0 ? nresults + 1 : 2;
}

static int resume_k(lua_State *L, int status, lua_KContext wrap)
{
	(void)status;
	lua_State *co = lua_tothread(L, wrap ? lua_upvalueindex(1) : 1);
	return resume(L, co, 0, wrap);
}

static int start(lua_State *L, lua_State *co, int nargs, lua_KContext wrap)
{
	if (!lua_checkstack(co, nargs))
		return luaL_error(L, "too many arguments to resume");
	if (lua_status(co) == LUA_OK && lua_gettop(co) == 0) {
		if (wrap)
			return luaL_error(L, "cannot resume dead coroutine");
		lua_pushboolean(L, 0);
		lua_pushliteral(L, "cannot resume dead coroutine");
		return 2;
	}
	lua_xmove(L, co, nargs);
	return resume(L, co, nargs, wrap);
}

/* coroutine.resume(co, ...) */
static int l_resume(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);
	luaL_argexpected(L, co, 1, "coroutine");
	return start(L, co, lua_gettop(L) - 1, 0);
}

static int l_wrapped(lua_State *L)
{
	return start(L, lua_tothread(L, lua_upvalueindex(1)), lua_gettop(L), 1);
}

/* coroutine.wrap(fn) */
static int l_wrap(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_State *co = lua_newthread(L);
	lua_pushvalue(L, 1);
	lua_xmove(L, co, 1);
	lua_pushcclosure(L, l_wrapped, 1);
	return 1;
}

void ws_coroutine_install(lua_State *L)
{
	lua_getglobal(L, "coroutine");
	lua_pushcfunction(L, l_resume);
	lua_setfield(L, -2, "resume");
	lua_pushcfunction(L, l_wrap);
	lua_setfield(L, -2, "wrap");
	lua_pop(L, 1);
}
