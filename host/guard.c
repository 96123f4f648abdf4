/* guard.c - what a plan may not do; see ws/native.h.
 *
 * Invariants
 * - native.guard() is called once, before the workflow's first line; from then on write and exec are forbidden to every
 *   task but those that were granted something. Nothing lifts it.
 * - What was granted belongs to a task and to those that it starts. Only the function that native.guard() returned
 *   grants: the host keeps it, scripts never get hold of it.
 * - "plan" may start programs, and write files below the run's private folders: where a path leads is found out by the
 *   kernel (symbolic links and ".." included), not by its text.
 */
#include "engine.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FOLDERS 8

struct ws_guard {
	size_t count;
	char *folders[MAX_FOLDERS]; /* real paths, without a slash at the end; the first is for temporary files */
};

static enum ws_grant granted(struct ws_engine *e)
{
	return e->current != NULL ? ws_task_grant(e->current) : WS_GRANT_NOTHING;
}

/* The real path of what is there, followed by what is not there yet. Returns 0, or -1 when it cannot be told. */
static int real_path(const char *path, char out[PATH_MAX])
{
	char head[PATH_MAX];
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof head)
		return -1;
	memcpy(head, path, len + 1);
	while (realpath(len > 0 ? head : ".", out) == NULL) {
		if (errno != ENOENT || len == 0)
			return -1;
		while (len > 0 && head[len - 1] == '/')
			head[--len] = '\0';
		while (len > 0 && head[len - 1] != '/')
			head[--len] = '\0';
		const char *name = path + len; /* of the first that is not there */
		if (strncmp(name, "..", 2) == 0 && (name[2] == '/' || name[2] == '\0'))
			return -1;
	}
	const char *rest = path + len;
	for (const char *at = rest; (at = strstr(at, "..")) != NULL; at += 2)
		if ((at == rest || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return -1;
	size_t used = strlen(out);
	if (used + 1 + strlen(rest) >= PATH_MAX)
		return -1;
	if (*rest != '\0') {
		if (used > 0 && out[used - 1] != '/')
			out[used++] = '/';
		memcpy(out + used, rest, strlen(rest) + 1);
	}
	return 0;
}

/* A link that leads nowhere yet would be followed by what is written through it. */
static bool is_private(const struct ws_guard *g, const char *path)
{
	char real[PATH_MAX], target[PATH_MAX];
	if (real_path(path, real) != 0 || readlink(path, target, sizeof target) >= 0)
		return false;
	for (size_t i = 0; i < g->count; i++) {
		size_t len = strlen(g->folders[i]);
		if (strncmp(real, g->folders[i], len) == 0 && (real[len] == '/' || real[len] == '\0'))
			return true;
	}
	return false;
}

bool ws_guard_allows(lua_State *L, unsigned effect, const char *path)
{
	struct ws_engine *e = ws_engine(L);
	if (e->guard == NULL)
		return false;
	switch (granted(e)) {
	case WS_GRANT_EVERYTHING:
		return true;
	case WS_GRANT_PLAN:
		return effect == WS_EXEC || (path != NULL && is_private(e->guard, path));
	default:
		return false;
	}
}

const char *ws_private_folder(lua_State *L)
{
	struct ws_engine *e = ws_engine(L);
	return e->guard != NULL && granted(e) != WS_GRANT_EVERYTHING ? e->guard->folders[0] : NULL;
}

void ws_guard_free(struct ws_guard *g)
{
	for (size_t i = 0; g != NULL && i < g->count; i++)
		free(g->folders[i]);
	free(g);
}

/* grant(what) → what this task had before: "nothing", "plan" or "everything". */
static int l_grant(lua_State *L)
{
	static const char *const names[] = {"nothing", "plan", "everything", NULL};
	int what = luaL_checkoption(L, 1, NULL, names);
	struct ws_task *t = ws_engine(L)->current;
	lua_pushstring(L, names[ws_task_grant(t)]);
	ws_task_set_grant(t, (enum ws_grant)what);
	return 1;
}

/* native.guard(folder…) → grant: from now on write and exec are forbidden, but to tasks that were granted something;
 * the folders must exist. */
int ws_l_guard(lua_State *L)
{
	struct ws_engine *e = ws_engine(L);
	int n = lua_gettop(L);
	luaL_argcheck(L, n >= 1 && n <= MAX_FOLDERS, 1, "one to eight folders expected");
	for (int i = 1; i <= n; i++)
		luaL_checkstring(L, i);
	if (e->guard != NULL)
		return luaL_error(L, "this run is guarded already");
	lua_pushcfunction(L, l_grant);
	e->guard = calloc(1, sizeof *e->guard);
	if (e->guard == NULL)
		return luaL_error(L, "out of memory");
	e->forbidden |= WS_WRITE | WS_EXEC;
	for (int i = 1; i <= n; i++) {
		char *real = realpath(lua_tostring(L, i), NULL);
		if (real == NULL)
			return luaL_error(L, "%s: %s", lua_tostring(L, i), strerror(errno));
		e->guard->folders[e->guard->count++] = real;
	}
	return 1;
}
