/* native.h - registration of native functions with their effect.
 *
 * The effect of every native is known to the host: a run that may only look (a plan) or that has fewer permissions
 * forbids effects, and the check stands where the native call is made, not in the scripts.
 */
#ifndef WS_NATIVE_H
#define WS_NATIVE_H

#include <lua.h>
#include <uv.h>

enum ws_effect {
	WS_PURE = 1,  /* depends on its arguments only */
	WS_READ = 2,  /* looks at the outside world */
	WS_WRITE = 4, /* changes the outside world */
	WS_EXEC = 8,  /* starts a program */
	WS_EFFECTS = 15,
	/* With WS_WRITE: what is changed is the file of that name only: argument 1, argument 2, or the option `dir` of the
	 * table at 1. A plan's functions may do it below the run's private folders. */
	WS_AT_1 = 16,
	WS_AT_2 = 32,
	WS_AT_DIR = 64,
};

struct ws_native {
	const char *name;
	lua_CFunction fn;
	enum ws_effect effect;
};

/* Pushes a table of the natives (a {NULL} entry ends them) and records their effects under "module.name". [-0, +1] Raises. */
int ws_natives(lua_State *L, const char *module, const struct ws_native *list);
/* Raises an error object of kind `denied` when this run forbids `effect`; for natives whose effect depends on arguments. */
void ws_need(lua_State *L, enum ws_effect effect, const char *what);
/* Likewise for a native that changes nothing but the file at `path`. */
void ws_need_path(lua_State *L, enum ws_effect effect, const char *what, const char *path);
/* Where a plan's temporary files go; NULL when there is no plan. Never raises. */
const char *ws_private_folder(lua_State *L);
/* The event loop of this host. Never raises. */
uv_loop_t *ws_loop(lua_State *L);
/* Registers a function that the host calls once when it shuts down, last registered first, before the loop is closed:
 * the place to close handles that outlive operations. Returns 0, or -1 without memory. Never raises. */
int ws_at_exit(lua_State *L, void (*fn)(void *), void *arg);

#endif
