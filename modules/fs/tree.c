/* tree.c - directories: listing one, removing a tree.
 *
 * Removal works on directory descriptors and never follows a symbolic link: a link that appears in the middle of a
 * removal is removed itself.
 */
#include "fs.h"

#include <ws/args.h>
#include <ws/permit.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- list -------------------------------------------------------------------------------------------------------- */

struct entry {
	char *name;
	unsigned char type; /* DT_… */
};

struct list_op {
	struct fs_op fs;
	struct entry *entries;
	size_t count;
	size_t cap;
	bool types;
};

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int list_add(struct list_op *l, const struct dirent *d, int dir)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct entry *entries = realloc(l->entries, cap * sizeof *entries);
		if (entries == NULL)
			return ENOMEM;
		l->entries = entries;
		l->cap = cap;
	}
	struct entry *e = &l->entries[l->count];
	struct stat st;
	e->type = d->d_type;
	if (e->type == DT_UNKNOWN && fstatat(dir, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		e->type = (unsigned char)IFTODT(st.st_mode);
	e->name = strdup(d->d_name);
	if (e->name == NULL)
		return ENOMEM;
	l->count++;
	return 0;
}

static void list_work(struct ws_op *op)
{
	struct list_op *l = (struct list_op *)op;
	struct ws_pin pin;
	if (ws_pin(&pin, l->fs.path, WS_LOOK) != 0) {
		ws_err_errno(&op->err, l->fs.path, errno);
		return;
	}
	DIR *dir = opendir(pin.path);
	int code = dir == NULL ? errno : 0;
	ws_unpin(&pin);
	while (code == 0) {
		errno = 0;
		struct dirent *d = readdir(dir);
		if (d == NULL) {
			code = errno;
			break;
		}
		if (!is_dots(d->d_name))
			code = list_add(l, d, dirfd(dir));
	}
	if (dir != NULL)
		closedir(dir);
	if (code != 0)
		ws_err_errno(&op->err, l->fs.path, code);
	else if (l->count > 1)
		qsort(l->entries, l->count, sizeof *l->entries, by_name);
}

static const char *type_name(unsigned char type)
{
	static const struct {
		unsigned char type;
		const char *name;
	} names[] = {{DT_REG, "file"}, {DT_DIR, "directory"}, {DT_LNK, "link"}, {DT_FIFO, "fifo"}, {DT_SOCK, "socket"},
		{DT_CHR, "char"}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].type == type)
			return names[i].name;
	return "block";
}

static int list_push(lua_State *L, struct ws_op *op)
{
	struct list_op *l = (struct list_op *)op;
	lua_createtable(L, l->count < INT_MAX ? (int)l->count : 0, 0);
	for (size_t i = 0; i < l->count; i++) {
		if (l->types) {
			lua_createtable(L, 0, 2);
			lua_pushstring(L, l->entries[i].name);
			lua_setfield(L, -2, "name");
			lua_pushstring(L, type_name(l->entries[i].type));
			lua_setfield(L, -2, "type");
		} else {
			lua_pushstring(L, l->entries[i].name);
		}
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static void list_fini(struct ws_op *op)
{
	struct list_op *l = (struct list_op *)op;
	for (size_t i = 0; i < l->count; i++)
		free(l->entries[i].name);
	free(l->entries);
	fs_op_fini(op);
}

static const struct ws_op_type list_type = {.name = "fs.list", .push = list_push, .fini = list_fini};

int fs_l_list(lua_State *L)
{
	fs_check_path(L, 1);
	ws_opts_check(L, 2, "types", NULL);
	bool types = ws_opt_boolean(L, 2, "types", false);
	struct list_op *l = fs_op_new(L, &list_type, sizeof *l, false);
	if (l == NULL)
		return ws_op_fail(L, lua_touserdata(L, -1));
	l->types = types;
	return ws_op_work(L, &l->fs.op, list_work);
}

/* ---- remove ------------------------------------------------------------------------------------------------------ */

static int remove_children(int fd);

/* Removes `name` in the directory `at`, whatever it is. Returns 0 or an errno value. */
static int remove_at(int at, const char *name)
{
	if (unlinkat(at, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return errno;
	int unlinked = errno;
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? unlinked : errno;
	int code = remove_children(fd); /* closes fd */
	if (code == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0)
		code = errno;
	return code;
}

/* Removes what is in the directory and closes it; goes on after a failure and returns the first. */
static int remove_children(int fd)
{
	DIR *dir = fdopendir(fd);
	if (dir == NULL) {
		int code = errno;
		close(fd);
		return code;
	}
	int first = 0;
	for (;;) {
		errno = 0;
		struct dirent *d = readdir(dir);
		if (d == NULL) {
			first = first != 0 ? first : errno;
			break;
		}
		if (is_dots(d->d_name))
			continue;
		int code = remove_at(dirfd(dir), d->d_name);
		if (code != ENOENT && first == 0)
			first = code;
	}
	closedir(dir);
	return first;
}

int fs_remove_tree(const char *path, bool recursive)
{
	if (recursive)
		return remove_at(AT_FDCWD, path);
	if (unlink(path) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return errno;
	return rmdir(path) == 0 ? 0 : errno;
}

struct remove_op {
	struct fs_op fs;
	bool recursive;
	bool missing_ok;
};

static void remove_work(struct ws_op *op)
{
	struct remove_op *r = (struct remove_op *)op;
	struct ws_pin pin;
	int code = ws_pin(&pin, r->fs.path, WS_CHANGE | WS_LINK | WS_TREE) != 0 ? errno : 0;
	if (code == 0) {
		code = fs_remove_tree(pin.path, r->recursive);
		ws_unpin(&pin);
	}
	if (code == 0 || (code == ENOENT && r->missing_ok))
		return;
	ws_err_errno(&op->err, r->fs.path, code);
	if (code == ENOTEMPTY && !r->recursive)
		ws_err_hint(&op->err, "pass { recursive = true } to remove a directory with its content");
}

static int remove_push(lua_State *L, struct ws_op *op)
{
	fs_temp_forget(L, ((struct remove_op *)op)->fs.path);
	return fs_push_true(L, op);
}

static const struct ws_op_type remove_type = {.name = "fs.remove", .push = remove_push, .fini = fs_op_fini};

int fs_l_remove(lua_State *L)
{
	fs_check_path(L, 1);
	ws_opts_check(L, 2, "recursive", "missing_ok", NULL);
	bool recursive = ws_opt_boolean(L, 2, "recursive", false);
	bool missing_ok = ws_opt_boolean(L, 2, "missing_ok", false);
	struct remove_op *r = fs_op_new(L, &remove_type, sizeof *r, false);
	if (r == NULL)
		return ws_op_fail(L, lua_touserdata(L, -1));
	r->recursive = recursive;
	r->missing_ok = missing_ok;
	return ws_op_work(L, &r->fs.op, remove_work);
}
