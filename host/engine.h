/* engine.h - what the host's own files share. Modules include <ws/...> only. */
#ifndef WS_ENGINE_H
#define WS_ENGINE_H

#include <ws/error.h>
#include <ws/native.h>
#include <ws/op.h>

#include <lua.h>
#include <stdbool.h>
#include <uv.h>

struct ws_guard;
struct ws_task;
struct ws_redactor;

struct ws_exit_hook {
	void (*fn)(void *);
	void *arg;
	struct ws_exit_hook *next;
};

struct ws_engine {
	lua_State *L;
	uv_loop_t loop;
	struct ws_task *ready_first; /* tasks to resume, oldest first */
	struct ws_task *ready_last;
	struct ws_task *tasks;   /* all tasks that have not ended */
	struct ws_task *current; /* the task that runs; NULL while the loop does */
	bool in_loop;            /* uv_run() is running */
	unsigned operations;     /* started and not yet ended */
	unsigned no_yield;       /* > 0: a coroutine was resumed from where Lua cannot yield */
	unsigned forbidden;      /* effects that this run may not have, or-ed */
	struct ws_guard *guard;  /* of a plan: what is allowed all the same; else NULL */
	struct ws_exit_hook *exit_hooks;
	struct ws_redactor *redactor; /* knows every secret; NULL before the first */
	uv_signal_t signals[3];       /* SIGINT, SIGTERM, SIGHUP; see signal.c */
	lua_State *volatile running;  /* the innermost coroutine that runs; NULL while the loop does */
	bool signals_open;
	int signal_handler; /* registry reference of the Lua function, or LUA_NOREF */
};

/* One file of the program's Lua half or data, by its path in the source tree. */
struct ws_embedded {
	const char *path;
	const char *begin;
	const char *end;
	const char *code; /* compiled, when it is Lua */
	size_t code_len;
};
extern const struct ws_embedded ws_embedded_files[]; /* sorted by path; made by cmake/embed.c */
extern const size_t ws_embedded_count;

/* engine.c */
struct ws_engine *ws_engine_new(void);                                /* NULL without memory. Never raises. */
int ws_engine_run(struct ws_engine *e, int argc, char *const argv[]); /* runs host/lua/ws/main.lua; exit code. */
void ws_engine_free(struct ws_engine *e);  /* closes everything; aborts on a leaked handle. */
struct ws_engine *ws_engine(lua_State *L); /* Never raises. */

/* task.c */
struct ws_task *ws_task_new(lua_State *L, int nargs); /* [-(nargs+1), +1 task] Raises (memory). */
bool ws_task_ended(const struct ws_task *t);
void ws_task_run_ready(struct ws_engine *e);
void ws_task_cancel(struct ws_task *t);
int ws_task_push_result(lua_State *L, struct ws_task *t); /* true, results… | nil, err. Raises (memory). */
void ws_task_cancel_all(struct ws_engine *e);
int luaopen_ws_task(lua_State *L);

/* coroutine.c: replaces coroutine.resume and coroutine.wrap so that waits pass through. Raises (memory). */
void ws_coroutine_install(lua_State *L);
/* True when the value at idx is the mark with which a wait travels outwards. Never raises. */
bool ws_is_wait_mark(lua_State *L, int idx);
void ws_push_wait_mark(lua_State *L);

/* What a task of a plan may do; see guard.c. */
enum ws_grant { WS_GRANT_NOTHING, WS_GRANT_PLAN, WS_GRANT_EVERYTHING };
enum ws_grant ws_task_grant(const struct ws_task *t);
void ws_task_set_grant(struct ws_task *t, enum ws_grant grant);
/* io.c: replaces what of Lua's own libraries opens, moves or removes files. Raises (memory). */
void ws_io_install(lua_State *L);

/* native.c */
void ws_push_effects(lua_State *L);

/* guard.c: whether the task that runs may have a forbidden effect all the same, `path` being all that it changes (or
 * NULL). Never raises. */
bool ws_guard_allows(lua_State *L, unsigned effect, const char *path);
int ws_l_guard(lua_State *L);
void ws_guard_free(struct ws_guard *g);

/* modules.c: the one list of native modules; pushes the table of "ws.NAME.native" → opener. */
void ws_push_openers(lua_State *L);

/* signal.c */
int luaopen_ws_signal(lua_State *L);
void ws_signals_close(struct ws_engine *e);

int luaopen_ws_error(lua_State *L);
int luaopen_ws_secret(lua_State *L);

#endif
