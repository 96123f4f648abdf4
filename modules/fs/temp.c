/* temp.c - temporary files and folders.
 *
 * Each is private to the user (0600, 0700) and known to the host until it is removed or renamed away; what is left when
 * the run ends is removed then.
 */
#include "fs.h"

#include <ws/args.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIVE "ws.fs.temp"

struct temp {
	char *path;
	struct temp *next;
};

/* The list's head lives in a userdata of the registry; at exit the paths are removed before the state is closed. */
struct temps {
	struct temp *first;
};

static void temps_remove(void *arg)
{
	struct temps *all = arg;
	while (all->first != NULL) {
		struct temp *t = all->first;
		all->first = t->next;
		fs_remove_tree(t->path, true);
		free(t->path);
		free(t);
	}
}

static struct temps *temps(lua_State *L)
{
	if (lua_getfield(L, LUA_REGISTRYINDEX, LIVE) != LUA_TUSERDATA) {
		lua_pop(L, 1);
		struct temps *all = lua_newuserdatauv(L, sizeof *all, 0);
		all->first = NULL;
		lua_pushvalue(L, -1);
		lua_setfield(L, LUA_REGISTRYINDEX, LIVE);
		if (ws_at_exit(L, temps_remove, all) != 0)
			luaL_error(L, "out of memory");
	}
	struct temps *all = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return all;
}

void fs_temp_forget(lua_State *L, const char *path)
{
	if (lua_getfield(L, LUA_REGISTRYINDEX, LIVE) == LUA_TUSERDATA) {
		struct temps *all = lua_touserdata(L, -1);
		for (struct temp **link = &all->first; *link != NULL; link = &(*link)->next) {
			struct temp *t = *link;
			if (strcmp(t->path, path) == 0) {
				*link = t->next;
				free(t->path);
				free(t);
				break;
			}
		}
	}
	lua_pop(L, 1);
}

/* Fills in `name`, a file or folder to make in `dir`. Returns 0 or an errno value. */
static int make_pinned(char *name, const char *dir, int suffix_len, int (*make)(char *name, int suffix_len))
{
	struct ws_pin pin;
	char *pinned = NULL;
	if (ws_pin(&pin, dir, WS_CHANGE) != 0)
		return errno;
	if (pin.path == dir)
		return make(name, suffix_len);
	char *last = name + strlen(dir);
	if (asprintf(&pinned, "%s%s", pin.path, last) < 0)
		pinned = NULL;
	int code = pinned == NULL ? ENOMEM : make(pinned, suffix_len);
	if (code == 0)
		memcpy(last, pinned + strlen(pin.path), strlen(last));
	free(pinned);
	ws_unpin(&pin);
	return code;
}

/* Makes a name from the options (dir, prefix, suffix) at 1, calls `make`, registers and pushes the path. */
static int make_temp(lua_State *L, const char *op, int (*make)(char *name, int suffix_len))
{
	ws_opts_check(L, 1, "dir", "prefix", "suffix", NULL);
	/* A plan's own folder is the narrowest, then the folder that a run with permissions has for itself. */
	const char *env = getenv("TMPDIR"), *own = ws_private_folder(L);
	if (own == NULL)
		own = ws_permit_temp();
	if (own == NULL)
		own = env != NULL && env[0] == '/' ? env : "/tmp";
	const char *dir = ws_opt_string(L, 1, "dir", own, NULL);
	const char *prefix = ws_opt_string(L, 1, "prefix", "wsrun-", NULL);
	const char *suffix = ws_opt_string(L, 1, "suffix", "", NULL);
	luaL_argcheck(
		L, strchr(prefix, '/') == NULL && strchr(suffix, '/') == NULL, 1, "prefix and suffix have no '/'");
	struct temps *all = temps(L);
	lua_pushfstring(L, "%s/%sXXXXXX%s", dir, prefix, suffix);
	struct temp *t = malloc(sizeof *t);
	char *name = t != NULL ? strdup(lua_tostring(L, -1)) : NULL;
	int code = name == NULL ? ENOMEM : make_pinned(name, dir, (int)strlen(suffix), make);
	if (code != 0) {
		free(name);
		free(t);
		return fs_fail(L, op, dir, code);
	}
	*t = (struct temp){name, all->first}; /* known before anything can raise */
	all->first = t;
	lua_pushstring(L, name);
	return 1;
}

static int make_dir(char *name, int suffix_len)
{
	(void)suffix_len;
	return mkdtemp(name) != NULL ? 0 : errno;
}

static int make_file(char *name, int suffix_len)
{
	int fd = mkostemps(name, suffix_len, O_CLOEXEC);
	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

int fs_l_temp_dir(lua_State *L)
{
	ws_opts_check(L, 1, "dir", "prefix", NULL);
	return make_temp(L, "fs.temp_dir", make_dir);
}

int fs_l_temp_file(lua_State *L)
{
	return make_temp(L, "fs.temp_file", make_file);
}

int fs_l_temp_left(lua_State *L)
{
	struct temps *all = temps(L);
	lua_newtable(L);
	lua_Integer n = 0;
	for (const struct temp *t = all->first; t != NULL; t = t->next) {
		lua_pushstring(L, t->path);
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}
