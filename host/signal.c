/* signal.c - SIGINT, SIGTERM and SIGHUP become calls of one Lua function, each in a task of its own.
 *
 * The loop takes a signal only when no Lua code runs. Code that never waits is stopped: it gets an error of kind
 * `interrupted` STUCK_SECONDS after the first signal that the loop has not taken, or at once at the second; the third
 * ends the process as if nobody handled it. Only on_arrival() runs in signal context: it touches volatile flags and
 * calls lua_sethook(), which Lua offers for that.
 */
#include "engine.h"

#include <lauxlib.h>
#include <signal.h>

enum { STUCK_SECONDS = 2, HOOK_INSTRUCTIONS = 1000 };

static struct ws_engine *the_engine;   /* the one that has a handler */
static volatile sig_atomic_t untaken;  /* signals that came and that the loop has not taken */
static struct sigaction of_loop[NSIG]; /* what libuv installed */
static uint64_t first_seen;            /* when the hook first ran for the signals that are untaken; 0: not yet */

/* Runs inside Lua code between a signal and the loop's taking it. */
static void stop_hook(lua_State *L, lua_Debug *ar)
{
	(void)ar;
	if (untaken == 0) {
		lua_sethook(L, NULL, 0, 0);
		first_seen = 0;
		return;
	}
	uint64_t now = uv_hrtime();
	if (first_seen == 0)
		first_seen = now;
	if (untaken < 2 && now - first_seen < STUCK_SECONDS * UINT64_C(1000000000))
		return;
	lua_sethook(L, NULL, 0, 0);
	first_seen = 0;
	struct ws_err err = {0};
	ws_err_set(&err, "interrupted", "the script was stopped by a signal: it computed without ever waiting");
	ws_err_raise(L, &err);
}

static void on_arrival(int signum, siginfo_t *info, void *context)
{
	struct sigaction *next = &of_loop[signum];
	untaken++;
	lua_State *L = the_engine != NULL ? the_engine->running : NULL;
	if (untaken >= 3 && L != NULL) {
		signal(signum, SIG_DFL);
		raise(signum); /* delivered when this function returns */
		return;
	}
	if (L != NULL)
		lua_sethook(L, stop_hook, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
	if (next->sa_flags & SA_SIGINFO)
		next->sa_sigaction(signum, info, context);
	else
		next->sa_handler(signum);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct ws_engine *e = handle->data;
	untaken = 0;
	if (e->signal_handler == LUA_NOREF)
		return;
	lua_rawgeti(e->L, LUA_REGISTRYINDEX, e->signal_handler);
	lua_pushstring(e->L, signum == SIGINT ? "INT" : signum == SIGTERM ? "TERM" : "HUP");
	ws_task_spawn(e->L, 1);
}

static void listen_for(struct ws_engine *e, uv_signal_t *handle, int signum)
{
	struct sigaction before, mine = {.sa_sigaction = on_arrival, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(signum, NULL, &before);
	uv_signal_init(&e->loop, handle);
	handle->data = e;
	uv_unref((uv_handle_t *)handle);
	if (signum == SIGHUP && before.sa_handler == SIG_IGN) /* nohup */
		return;
	uv_signal_start(handle, on_signal, signum);
	sigaction(signum, NULL, &of_loop[signum]);
	sigfillset(&mine.sa_mask);
	sigaction(signum, &mine, NULL);
}

/* signal.native.handle(fn): fn("INT" | "TERM" | "HUP") is called for each such signal instead of ending the process. */
static int l_handle(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	struct ws_engine *e = ws_engine(L);
	lua_settop(L, 1);
	luaL_unref(L, LUA_REGISTRYINDEX, e->signal_handler);
	e->signal_handler = luaL_ref(L, LUA_REGISTRYINDEX);
	if (e->signals_open)
		return 0;
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	e->signals_open = true;
	the_engine = e;
	for (int i = 0; i < 3; i++)
		listen_for(e, &e->signals[i], numbers[i]);
	return 0;
}

void ws_signals_close(struct ws_engine *e)
{
	if (!e->signals_open)
		return;
	the_engine = NULL;
	for (int i = 0; i < 3; i++)
		uv_close((uv_handle_t *)&e->signals[i], NULL);
}

/* signal.raise("KILL" | "STOP" | "TERM" | "INT"): to this very process */
static int l_raise(lua_State *L)
{
	static const char *const names[] = {"KILL", "STOP", "TERM", "INT", NULL};
	static const int numbers[] = {SIGKILL, SIGSTOP, SIGTERM, SIGINT};
	raise(numbers[luaL_checkoption(L, 1, NULL, names)]);
	return 0;
}

int luaopen_ws_signal(lua_State *L)
{
	static const struct ws_native natives[] = {
		{"handle", l_handle, WS_PURE}, {"raise", l_raise, WS_EXEC}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.signal.native", natives);
}
