/* engine.c - one host: a Lua state, an event loop, and the order in which they begin and end.
 *
 * End of a run: the main task has ended → the others are cancelled → their operations end → exit hooks → the loop runs
 * empty → the Lua state closes → uv_loop_close() must say 0. A handle that is left is a bug of ours: abort.
 */
#include "engine.h"
#include "permit.h"
#include "redact.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct ws_engine *ws_engine(lua_State *L)
{
	return *(struct ws_engine **)lua_getextraspace(L); /* copied to every new coroutine by Lua */
}

uv_loop_t *ws_loop(lua_State *L)
{
	return &ws_engine(L)->loop;
}

int ws_at_exit(lua_State *L, void (*fn)(void *), void *arg)
{
	struct ws_engine *e = ws_engine(L);
	struct ws_exit_hook *hook = malloc(sizeof *hook);
	if (hook == NULL)
		return -1;
	*hook = (struct ws_exit_hook){fn, arg, e->exit_hooks};
	e->exit_hooks = hook;
	return 0;
}

static const struct ws_embedded *find_embedded(const char *path)
{
	size_t low = 0, high = ws_embedded_count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		int order = strcmp(path, ws_embedded_files[mid].path);
		if (order == 0)
			return &ws_embedded_files[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

/* native.source(path) → text | nil: an embedded file of the program. */
static int l_source(lua_State *L)
{
	const struct ws_embedded *file = find_embedded(luaL_checkstring(L, 1));
	if (file == NULL)
		return 0;
	lua_pushlstring(L, file->begin, (size_t)(file->end - file->begin));
	return 1;
}

/* native.chunk(path) → function | nil: an embedded Lua file. Its text is for another Lua than the one it was compiled by. */
static int l_chunk(lua_State *L)
{
	const struct ws_embedded *file = find_embedded(luaL_checkstring(L, 1));
	if (file == NULL)
		return 0;
	const char *name = lua_pushfstring(L, "@%s", file->path);
	if (luaL_loadbufferx(L, file->code, file->code_len, name, "b") == LUA_OK)
		return 1;
	if (luaL_loadbufferx(L, file->begin, (size_t)(file->end - file->begin), name, "t") != LUA_OK)
		return lua_error(L);
	return 1;
}

/* native.sources(prefix) → list of embedded paths that begin with it. */
static int l_sources(lua_State *L)
{
	size_t len;
	const char *prefix = luaL_optlstring(L, 1, "", &len);
	lua_newtable(L);
	lua_Integer n = 0;
	for (size_t i = 0; i < ws_embedded_count; i++) {
		if (strncmp(ws_embedded_files[i].path, prefix, len) == 0) {
			lua_pushstring(L, ws_embedded_files[i].path);
			lua_rawseti(L, -2, ++n);
		}
	}
	return 1;
}

/* native.effects() → table "module.name" → effect, of the natives opened so far. */
static int l_effects(lua_State *L)
{
	ws_push_effects(L);
	return 1;
}

/* native.forbid(effect…): this run may not have these effects from now on. */
static int l_forbid(lua_State *L)
{
	static const char *const names[] = {"write", "exec", NULL};
	static const unsigned values[] = {WS_WRITE, WS_EXEC};
	for (int i = 1; i <= lua_gettop(L); i++)
		ws_engine(L)->forbidden |= values[luaL_checkoption(L, i, NULL, names)];
	return 0;
}

static void count_handle(uv_handle_t *handle, void *arg)
{
	if (uv_has_ref(handle) && !uv_is_closing(handle))
		++*(lua_Integer *)arg;
}

/* native.open() → number of open handles and of operations in flight; for the test harness. */
static int l_open(lua_State *L)
{
	struct ws_engine *e = ws_engine(L);
	lua_Integer handles = 0;
	uv_walk(&e->loop, count_handle, &handles);
	lua_pushinteger(L, handles);
	lua_pushinteger(L, e->operations);
	return 2;
}

/* native.cwd() → path */
static int l_cwd(lua_State *L)
{
	char path[4096];
	size_t len = sizeof path;
	int rc = uv_cwd(path, &len);
	if (rc != 0)
		return luaL_error(L, "the working directory is gone: %s", uv_strerror(rc));
	lua_pushlstring(L, path, len);
	return 1;
}

/* native.pid() → integer */
static int l_pid(lua_State *L)
{
	lua_pushinteger(L, uv_os_getpid());
	return 1;
}

/* native.executable() → path of this program */
static int l_executable(lua_State *L)
{
	char path[4096];
	size_t len = sizeof path;
	int rc = uv_exepath(path, &len);
	if (rc != 0)
		return luaL_error(L, "cannot find this program's own path: %s", uv_strerror(rc));
	lua_pushlstring(L, path, len);
	return 1;
}

/* native.is_tty(fd) → boolean, and the width of the terminal in columns */
static int l_is_tty(lua_State *L)
{
	int fd = (int)luaL_checkinteger(L, 1);
	struct winsize size = {0};
	bool tty = isatty(fd) == 1;
	if (tty)
		ioctl(fd, TIOCGWINSZ, &size);
	lua_pushboolean(L, tty);
	lua_pushinteger(L, size.ws_col ? size.ws_col : 80);
	return 2;
}

/* native.monotonic() → seconds of a clock that only goes forward */
static int l_monotonic(lua_State *L)
{
	lua_pushnumber(L, (double)uv_hrtime() / 1e9);
	return 1;
}

static void open_libraries(lua_State *L)
{
	static const luaL_Reg libraries[] = {{LUA_GNAME, luaopen_base}, {LUA_LOADLIBNAME, luaopen_package},
		{LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table}, {LUA_IOLIBNAME, luaopen_io},
		{LUA_OSLIBNAME, luaopen_os}, {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
		{LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_DBLIBNAME, luaopen_debug}, {NULL, NULL}};
	for (const luaL_Reg *l = libraries; l->name != NULL; l++) {
		luaL_requiref(L, l->name, l->func, 1);
		lua_pop(L, 1);
	}
	ws_coroutine_install(L);
	ws_io_install(L);
}

static int boot(lua_State *L)
{
	static const struct ws_native natives[] = {{"source", l_source, WS_PURE}, {"chunk", l_chunk, WS_PURE},
		{"sources", l_sources, WS_PURE}, {"effects", l_effects, WS_PURE}, {"forbid", l_forbid, WS_PURE},
		{"guard", ws_l_guard, WS_PURE}, {"open", l_open, WS_PURE}, {"monotonic", l_monotonic, WS_PURE},
		{"cwd", l_cwd, WS_READ}, {"pid", l_pid, WS_PURE}, {"executable", l_executable, WS_READ},
		{"is_tty", l_is_tty, WS_READ}, {NULL, NULL, 0}};
	open_libraries(L);
	luaopen_ws_error(L); /* these two make the metatables that C code needs from the start */
	luaopen_ws_task(L);
	lua_settop(L, 0);
	ws_natives(L, "ws.engine.native", natives);
	permit_open(L, lua_gettop(L));
	lua_pushliteral(L, WSRUN_VERSION);
	lua_setfield(L, -2, "version");
	ws_push_openers(L);
	lua_pushcfunction(L, l_chunk);
	lua_pushliteral(L, "host/lua/ws/boot.lua");
	lua_call(L, 1, 1); /* natives, openers, chunk */
	lua_insert(L, -3);
	lua_call(L, 2, 0);
	return 0;
}

struct ws_engine *ws_engine_new(void)
{
	struct ws_engine *e = calloc(1, sizeof *e);
	if (e == NULL)
		return NULL;
	e->signal_handler = LUA_NOREF;
	e->L = luaL_newstate();
	if (e->L == NULL || uv_loop_init(&e->loop) != 0) {
		if (e->L != NULL)
			lua_close(e->L);
		free(e);
		return NULL;
	}
	*(struct ws_engine **)lua_getextraspace(e->L) = e;
	if (getenv("WSRUN_TEST_GC") != NULL) /* the tests' most aggressive collector */
		lua_gc(e->L, LUA_GCINC, 100, 1000, 2);
	else
		lua_gc(e->L, LUA_GCGEN, 0, 0);
	return e;
}

static void run_until(struct ws_engine *e, struct ws_task *until)
{
	for (;;) {
		ws_task_run_ready(e);
		if (until != NULL ? ws_task_ended(until) : e->tasks == NULL)
			return;
		e->in_loop = true;
		uv_run(&e->loop, e->ready_first != NULL ? UV_RUN_NOWAIT : UV_RUN_ONCE);
		e->in_loop = false;
	}
}

/* Pushes the main task: host/lua/ws/main.lua's function with the arguments. */
static int start_main(lua_State *L)
{
	int argc = (int)lua_tointeger(L, 1);
	char *const *argv = lua_touserdata(L, 2);
	lua_settop(L, 0);
	lua_pushcfunction(L, boot);
	lua_call(L, 0, 0);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "ws.main");
	lua_call(L, 1, 1);
	luaL_checkstack(L, argc, "arguments");
	for (int i = 1; i < argc; i++)
		lua_pushstring(L, argv[i]);
	ws_task_new(L, argc - 1);
	return 1;
}

/* Whether the error at the top is what os.exit raises (boot.lua); then *code is what it was given. */
static bool asked_to_exit(lua_State *L, int *code)
{
	int top = lua_gettop(L);
	bool exited = lua_istable(L, top) && lua_getfield(L, top, "exited") == LUA_TBOOLEAN;
	if (exited) {
		lua_getfield(L, top, "exit");
		*code = (int)lua_tointeger(L, -1);
	}
	lua_settop(L, top);
	return exited;
}

int ws_engine_run(struct ws_engine *e, int argc, char *const argv[])
{
	lua_State *L = e->L;
	lua_pushcfunction(L, start_main);
	lua_pushinteger(L, argc);
	lua_pushlightuserdata(L, (void *)(uintptr_t)argv);
	if (lua_pcall(L, 2, 1, 0) != LUA_OK) {
		fprintf(stderr, "wsrun: %s\n", luaL_tolstring(L, -1, NULL));
		return 1;
	}
	struct ws_task *main_task = lua_touserdata(L, -1);
	run_until(e, main_task);
	int code = 1;
	int n = ws_task_push_result(L, main_task);
	if (lua_toboolean(L, -n)) {
		code = n > 1 ? (int)lua_tointeger(L, -n + 1) : 0;
	} else if (!asked_to_exit(L, &code)) {
		fprintf(stderr, "wsrun: %s\n", luaL_tolstring(L, -1, NULL));
		if (lua_istable(L, -2) && lua_getfield(L, -2, "traceback") == LUA_TSTRING)
			fprintf(stderr, "%s\n", lua_tostring(L, -1));
	}
	lua_settop(L, 0);
	ws_task_cancel_all(e);
	run_until(e, NULL);
	return code;
}

static void report_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	fprintf(stderr, "wsrun: left open: %s%s\n", uv_handle_type_name(handle->type),
		uv_is_closing(handle) ? " (closing)" : "");
}

/* What a script still holds must not keep the loop running: its finalizer closes it a moment later. */
static void let_go(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_unref(handle);
}

void ws_engine_free(struct ws_engine *e)
{
	ws_signals_close(e);
	while (e->exit_hooks != NULL) {
		struct ws_exit_hook *hook = e->exit_hooks;
		e->exit_hooks = hook->next;
		hook->fn(hook->arg);
		free(hook);
	}
	uv_walk(&e->loop, let_go, NULL);
	uv_run(&e->loop, UV_RUN_DEFAULT); /* what the hooks close */
	lua_close(e->L);                  /* finalizers of handles that scripts forgot close them here */
	uv_run(&e->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&e->loop) != 0) {
		uv_walk(&e->loop, report_handle, NULL);
		abort();
	}
	ws_redactor_free(e->redactor);
	ws_guard_free(e->guard);
	permit_free();
	free(e);
}
