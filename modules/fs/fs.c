/* fs.c - the natives that look at or change one name: stat, mkdir, rename and their kin.
 *
 * These are single system calls on metadata and run on the loop's thread; whatever reads or writes contents or whole
 * directories runs in the thread pool (file.c, tree.c).
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
#include <sys/stat.h>
#include <unistd.h>

const char *fs_check_path(lua_State *L, int idx)
{
	size_t len;
	const char *path = luaL_checklstring(L, idx, &len);
	luaL_argcheck(L, len > 0, idx, "a path cannot be empty");
	luaL_argcheck(L, strlen(path) == len, idx, "a path cannot contain a NUL byte");
	return path;
}

void *fs_op_new(lua_State *L, const struct ws_op_type *type, size_t size, bool two)
{
	const char *path = fs_check_path(L, 1), *other = two ? fs_check_path(L, 2) : NULL;
	struct fs_op *o = ws_op_new(L, type, size);
	o->path = strdup(path);
	if (two)
		o->other = strdup(other);
	if (o->path == NULL || (two && o->other == NULL)) {
		ws_err_errno(&o->op.err, path, ENOMEM);
		return NULL;
	}
	return o;
}

void fs_op_fini(struct ws_op *op)
{
	struct fs_op *o = (struct fs_op *)op;
	free(o->path);
	free(o->other);
}

int fs_push_true(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

int fs_fail(lua_State *L, const char *op, const char *path, int code)
{
	struct ws_err err = {.op = op};
	ws_err_errno(&err, path, code);
	return ws_fail(L, &err);
}

static int done(lua_State *L, int rc, const char *op, const char *path)
{
	if (rc != 0)
		return fs_fail(L, op, path, errno);
	lua_pushboolean(L, 1);
	return 1;
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "link";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "char";
	default:
		return "block";
	}
}

static int l_stat(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	ws_opts_check(L, 2, "follow", NULL);
	bool follow = ws_opt_boolean(L, 2, "follow", true);
	struct ws_pin pin;
	struct stat st;
	if (ws_pin(&pin, path, follow ? WS_LOOK : WS_LOOK | WS_LINK) != 0)
		return fs_fail(L, "fs.stat", path, errno);
	int rc = fstatat(AT_FDCWD, pin.path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW);
	ws_unpin(&pin);
	if (rc != 0)
		return fs_fail(L, "fs.stat", path, errno);
	const struct {
		const char *name;
		lua_Integer value;
	} numbers[] = {{"size", st.st_size}, {"mode", st.st_mode & 07777}, {"uid", st.st_uid}, {"gid", st.st_gid},
		{"inode", (lua_Integer)st.st_ino}, {"device", (lua_Integer)st.st_dev},
		{"links", (lua_Integer)st.st_nlink}};
	lua_createtable(L, 0, 9);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		lua_pushinteger(L, numbers[i].value);
		lua_setfield(L, -2, numbers[i].name);
	}
	lua_pushstring(L, type_name(st.st_mode));
	lua_setfield(L, -2, "type");
	lua_pushnumber(L, (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec / 1e9);
	lua_setfield(L, -2, "mtime");
	return 1;
}

static int l_exists(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	struct ws_pin pin;
	struct stat st;
	int rc = ws_pin(&pin, path, WS_LOOK);
	if (rc == 0) {
		rc = stat(pin.path, &st);
		ws_unpin(&pin);
	}
	if (rc != 0 && errno != ENOENT && errno != ENOTDIR)
		return fs_fail(L, "fs.exists", path, errno);
	lua_pushboolean(L, rc == 0);
	return 1;
}

/* Makes one directory; an existing one is fine unless `exclusive`. Returns 0 or -1 with errno. */
static int make_one(const char *path, mode_t mode, bool exclusive)
{
	struct ws_pin pin;
	struct stat st;
	if (ws_pin(&pin, path, WS_CHANGE | WS_NEW | WS_LINK) != 0)
		return -1;
	int rc = mkdir(pin.path, mode), code = errno;
	if (rc != 0 && !exclusive && stat(pin.path, &st) == 0 && S_ISDIR(st.st_mode))
		rc = 0;
	ws_unpin(&pin);
	errno = code;
	return rc;
}

/* A folder on the way: one that exists is passed through, whether or not it may be changed. */
static int make_parent(const char *path)
{
	if (ws_permit_watching() && ws_permit_way(path))
		return 0;
	return make_one(path, 0777, false);
}

static int l_mkdir(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	ws_opts_check(L, 2, "mode", "parents", "exclusive", NULL);
	mode_t mode = (mode_t)ws_opt_integer(L, 2, "mode", 0777);
	bool exclusive = ws_opt_boolean(L, 2, "exclusive", false);
	if (ws_opt_boolean(L, 2, "parents", true)) {
		size_t len = strlen(path);
		char *part = lua_newuserdatauv(L, len + 1, 0); /* a copy that may be cut */
		memcpy(part, path, len + 1);
		for (char *slash = part + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
			*slash = '\0';
			if (make_parent(part) != 0)
				return fs_fail(L, "fs.mkdir", part, errno == EEXIST ? ENOTDIR : errno);
			*slash = '/';
		}
	}
	return done(L, make_one(path, mode, exclusive), "fs.mkdir", path);
}

static int l_rename(lua_State *L)
{
	const char *from = fs_check_path(L, 1), *to = fs_check_path(L, 2);
	if (ws_rename(from, to) == 0) {
		fs_temp_forget(L, from);
		return done(L, 0, NULL, NULL);
	}
	int code = errno;
	lua_pushfstring(L, "%s -> %s", from, to);
	return fs_fail(L, "fs.rename", lua_tostring(L, -1), code);
}

static int l_chmod(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	lua_Integer mode = luaL_checkinteger(L, 2);
	luaL_argcheck(L, mode >= 0 && mode <= 07777, 2, "a mode is between 0 and 07777 (octal)");
	struct ws_pin pin;
	int rc = ws_pin(&pin, path, WS_CHANGE);
	if (rc == 0) {
		rc = chmod(pin.path, (mode_t)mode);
		ws_unpin(&pin);
	}
	return done(L, rc, "fs.chmod", path);
}

static int l_touch(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	struct ws_pin pin;
	int rc = ws_pin(&pin, path, WS_CHANGE);
	if (rc == 0) {
		rc = utimensat(AT_FDCWD, pin.path, NULL, 0);
		ws_unpin(&pin);
	}
	return done(L, rc, "fs.touch", path);
}

static int l_symlink(lua_State *L)
{
	const char *target = fs_check_path(L, 1), *path = fs_check_path(L, 2);
	return done(L, ws_symlink(target, path), "fs.symlink", path);
}

static int l_readlink(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	char target[PATH_MAX];
	struct ws_pin pin;
	if (ws_pin(&pin, path, WS_LOOK | WS_LINK) != 0)
		return fs_fail(L, "fs.readlink", path, errno);
	ssize_t n = readlink(pin.path, target, sizeof target);
	ws_unpin(&pin);
	if (n < 0)
		return fs_fail(L, "fs.readlink", path, errno);
	lua_pushlstring(L, target, (size_t)n);
	return 1;
}

static int l_realpath(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	char resolved[PATH_MAX];
	struct ws_pin pin;
	if (ws_pin(&pin, path, WS_LOOK) != 0)
		return fs_fail(L, "fs.realpath", path, errno);
	const char *real = realpath(pin.path, resolved);
	ws_unpin(&pin);
	if (real == NULL)
		return fs_fail(L, "fs.realpath", path, errno);
	lua_pushstring(L, resolved);
	return 1;
}

static int l_cwd(lua_State *L)
{
	char path[PATH_MAX];
	if (getcwd(path, sizeof path) == NULL)
		return fs_fail(L, "fs.cwd", "working directory", errno);
	lua_pushstring(L, path);
	return 1;
}

int luaopen_ws_fs(lua_State *L)
{
	static const struct ws_native natives[] = {{"read", fs_l_read, WS_READ},
		{"write", fs_l_write, WS_WRITE | WS_AT_1}, {"copy", fs_l_copy, WS_WRITE | WS_AT_2},
		{"list", fs_l_list, WS_READ}, {"remove", fs_l_remove, WS_WRITE | WS_AT_1},
		{"temp_dir", fs_l_temp_dir, WS_WRITE | WS_AT_DIR}, {"temp_file", fs_l_temp_file, WS_WRITE | WS_AT_DIR},
		{"temp_left", fs_l_temp_left, WS_READ}, {"watch", fs_l_watch, WS_READ},
		{"lock", fs_l_lock, WS_WRITE | WS_AT_1}, {"stat", l_stat, WS_READ}, {"exists", l_exists, WS_READ},
		{"mkdir", l_mkdir, WS_WRITE | WS_AT_1}, {"rename", l_rename, WS_WRITE | WS_AT_1 | WS_AT_2},
		{"chmod", l_chmod, WS_WRITE | WS_AT_1}, {"touch", l_touch, WS_WRITE | WS_AT_1},
		{"symlink", l_symlink, WS_WRITE | WS_AT_2}, {"readlink", l_readlink, WS_READ},
		{"realpath", l_realpath, WS_READ}, {"cwd", l_cwd, WS_READ}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.fs.native", natives);
}
