/* file.c - reading, writing and copying contents, in the thread pool.
 *
 * A write replaces the whole file or nothing: the new content goes to an unnamed file (O_TMPFILE) in the target's
 * directory, is synced, gets a temporary name, and is renamed over the target; then the directory is synced. Whatever
 * fails before the rename leaves the old file as it was and no trace. A symbolic link is written through; a device or
 * pipe is written to directly.
 */
#include "fs.h"

#include <ws/args.h>
#include <ws/permit.h>
#include <ws/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40, NAMES_MAX = 100, CHUNK = 1 << 20 };
static const lua_Integer read_max = 256 << 20;

/* ---- read -------------------------------------------------------------------------------------------------------- */

struct read_op {
	struct fs_op fs;
	off_t offset;
	size_t length; /* SIZE_MAX: to the end */
	size_t max;
	char *data;
	size_t len;
	size_t cap;
};

/* Waits until a pipe or terminal has something, looking now and then whether the reader has given up. */
static int wait_readable(const struct read_op *r, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	for (;;) {
		if (__atomic_load_n(&r->fs.op.cancelling, __ATOMIC_RELAXED))
			return ECANCELED;
		int n = poll(&p, 1, 100);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return errno;
	}
}

static int grow(struct read_op *r, size_t cap)
{
	char *data = realloc(r->data, cap);
	if (data == NULL)
		return ENOMEM;
	r->data = data;
	r->cap = cap;
	return 0;
}

static int read_all(struct read_op *r, int fd, bool regular)
{
	int code = 0;
	while (r->len < r->length) {
		if (r->len == r->cap && (code = grow(r, r->cap * 2)) != 0)
			return code;
		if (!regular && (code = wait_readable(r, fd)) != 0)
			return code;
		size_t want = r->cap - r->len;
		if (want > r->length - r->len)
			want = r->length - r->len;
		ssize_t n = read(fd, r->data + r->len, want);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return errno;
		if (n == 0)
			return 0;
		r->len += (size_t)n;
		if (r->len > r->max)
			return EFBIG;
	}
	return 0;
}

static void too_large(struct read_op *r)
{
	ws_err_set(&r->fs.op.err, "too_large", "%s: larger than %zu bytes", r->fs.path, r->max);
	ws_err_hint(&r->fs.op.err, "read it in parts with `offset` and `length`, or raise `max`");
}

static void read_work(struct ws_op *op)
{
	struct read_op *r = (struct read_op *)op;
	int fd = ws_open(r->fs.path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0), code = 0;
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		code = errno;
	else if (S_ISDIR(st.st_mode))
		code = EISDIR;
	else if (r->offset > 0 && lseek(fd, r->offset, SEEK_SET) < 0)
		code = errno;
	if (code == 0) {
		bool regular = S_ISREG(st.st_mode);
		size_t left = regular && st.st_size > r->offset ? (size_t)(st.st_size - r->offset) : 0;
		size_t expected = left < r->length ? left : r->length;
		if (expected > r->max)
			code = EFBIG;
		else if ((code = grow(r, expected > 4000 ? expected + 1 : 4096)) == 0)
			code = read_all(r, fd, regular);
	}
	if (fd >= 0)
		close(fd);
	if (code == EFBIG)
		too_large(r);
	else if (code != 0)
		ws_err_errno(&op->err, r->fs.path, code);
}

static int read_push(lua_State *L, struct ws_op *op)
{
	struct read_op *r = (struct read_op *)op;
	lua_pushlstring(L, r->data, r->len);
	return 1;
}

static void read_fini(struct ws_op *op)
{
	free(((struct read_op *)op)->data);
	fs_op_fini(op);
}

static const struct ws_op_type read_type = {.name = "fs.read", .push = read_push, .fini = read_fini};

int fs_l_read(lua_State *L)
{
	fs_check_path(L, 1);
	ws_opts_check(L, 2, "offset", "length", "max", NULL);
	lua_Integer offset = ws_opt_integer(L, 2, "offset", 0);
	lua_Integer length = ws_opt_integer(L, 2, "length", -1);
	lua_Integer max = ws_opt_integer(L, 2, "max", read_max);
	luaL_argcheck(L, offset >= 0 && max >= 0, 2, "offset and max cannot be negative");
	struct read_op *r = fs_op_new(L, &read_type, sizeof *r, false);
	if (r == NULL)
		return ws_op_fail(L, lua_touserdata(L, -1));
	r->offset = (off_t)offset;
	r->length = length < 0 ? SIZE_MAX : (size_t)length;
	r->max = (size_t)max;
	return ws_op_work(L, &r->fs.op, read_work);
}

/* ---- replacing a file whole -------------------------------------------------------------------------------------- */

/* A file that is being made to take the place of `target`. */
struct replacement {
	char target[PATH_MAX]; /* links resolved */
	char temp[PATH_MAX];   /* its temporary name, "" while it has none */
	char dir[PATH_MAX];
	struct ws_pin pin;
	int fd;
	struct stat old; /* of the file to replace */
	bool existed;
	bool direct; /* a device or pipe: written to as it is */
};

/* Where a write to `path` ends when symbolic links are followed, also when the last one dangles. */
static int resolve(const char *path, char out[PATH_MAX])
{
	if (strlen(path) >= PATH_MAX)
		return ENAMETOOLONG;
	strcpy(out, path);
	for (int i = 0; i < LINKS_MAX; i++) {
		char link[PATH_MAX];
		ssize_t n = readlink(out, link, sizeof link - 1);
		if (n < 0)
			return errno == EINVAL || errno == ENOENT ? 0 : errno;
		link[n] = '\0';
		char *slash = strrchr(out, '/');
		size_t keep = link[0] == '/' || slash == NULL ? 0 : (size_t)(slash - out) + 1;
		if (keep + (size_t)n >= PATH_MAX)
			return ENAMETOOLONG;
		memcpy(out + keep, link, (size_t)n + 1);
	}
	return ELOOP;
}

/* A name next to the target that nobody has: .NAME.0123456789abcdef.tmp; long names are cut. */
static int temp_name(struct replacement *r)
{
	unsigned long long random;
	if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
		return errno;
	const char *slash = strrchr(r->target, '/'), *name = slash != NULL ? slash + 1 : r->target;
	int n = snprintf(r->temp, sizeof r->temp, "%s/.%.200s.%016llx.tmp", r->dir, name, random);
	return n < (int)sizeof r->temp ? 0 : ENAMETOOLONG;
}

static int open_named(struct replacement *r, mode_t mode)
{
	for (int i = 0; i < NAMES_MAX; i++) {
		int code = temp_name(r);
		if (code != 0)
			return code;
		r->fd = open(r->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (r->fd >= 0)
			return 0;
		code = errno;
		r->temp[0] = '\0';
		if (code != EEXIST)
			return code;
	}
	return EEXIST;
}

/* Opens the new file. `mode` < 0: as the old file's, or what the umask gives. Returns 0 or an errno value. */
static int replacement_open(struct replacement *r, const char *path, int mode)
{
	r->fd = r->pin.fd = -1;
	r->temp[0] = '\0';
	int code = resolve(path, r->target);
	if (code != 0 && ws_pin(&r->pin, path, WS_CHANGE | WS_NEW) != 0)
		return errno;
	if (code != 0)
		return code;
	if (ws_pin(&r->pin, r->target, WS_CHANGE | WS_NEW | WS_LINK) != 0)
		return errno;
	if (r->pin.path != r->target)
		strcpy(r->target, r->pin.path);
	const char *slash = strrchr(r->target, '/');
	snprintf(r->dir, sizeof r->dir, "%.*s", slash != NULL ? (int)(slash - r->target) + 1 : 1,
		slash != NULL ? r->target : ".");
	r->existed = stat(r->target, &r->old) == 0;
	if (!r->existed && errno != ENOENT)
		return errno;
	if (r->existed && S_ISDIR(r->old.st_mode))
		return EISDIR;
	r->direct = r->existed && !S_ISREG(r->old.st_mode);
	if (r->direct) {
		r->fd = open(r->target, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
		return r->fd < 0 ? errno : 0;
	}
	mode_t first = mode >= 0 ? (mode_t)mode & 0700 : r->existed ? 0600 : 0666; /* never wider than it will be */
	r->fd = open(r->dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, first);
	if (r->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
		code = open_named(r, first);
	else if (r->fd < 0)
		code = errno;
	if (code != 0)
		return code;
	/* Only root may give a file away; for others the file becomes theirs, as with any editor. */
	if (r->existed && (r->old.st_uid != geteuid() || r->old.st_gid != getegid()) &&
		fchown(r->fd, r->old.st_uid, r->old.st_gid) != 0 && errno != EPERM)
		return errno;
	if ((mode >= 0 && fchmod(r->fd, (mode_t)mode) != 0) ||
		(mode < 0 && r->existed && fchmod(r->fd, r->old.st_mode & 07777) != 0))
		return errno;
	return 0;
}

/* Gives an unnamed file the name r->temp. */
static int give_name(struct replacement *r)
{
	if (r->temp[0] != '\0')
		return 0;
	char self[64];
	snprintf(self, sizeof self, "/proc/self/fd/%d", r->fd);
	for (int i = 0; i < NAMES_MAX; i++) {
		int code = temp_name(r);
		if (code == 0 && linkat(AT_FDCWD, self, AT_FDCWD, r->temp, AT_SYMLINK_FOLLOW) == 0)
			return 0;
		code = code != 0 ? code : errno;
		r->temp[0] = '\0';
		if (code != EEXIST)
			return code;
	}
	return EEXIST;
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	/* Some file systems cannot sync a directory and say EINVAL; the rename is then as durable as they can make it. */
	int code = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
	close(fd);
	return code;
}

/* Puts the new file in the old one's place. `exclusive`: only where there is none. Returns 0 or an errno value. */
static int replacement_commit(struct replacement *r, bool exclusive, bool durable)
{
	int code = 0;
	if (durable && fsync(r->fd) != 0 && !(r->direct && (errno == EINVAL || errno == EROFS)))
		return errno;
	if (!r->direct && (code = give_name(r)) != 0)
		return code;
	if (close(r->fd) != 0)
		code = errno;
	r->fd = -1;
	if (code != 0 || r->direct)
		return code;
	if (exclusive) {
		if (link(r->temp, r->target) != 0)
			return errno;
		unlink(r->temp);
	} else if (rename(r->temp, r->target) != 0) {
		return errno;
	}
	r->temp[0] = '\0';
	return durable ? sync_dir(r->dir) : 0;
}

/* Closes and removes what is left of a replacement, made or not. */
static void replacement_end(struct replacement *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->temp[0] != '\0')
		unlink(r->temp);
	ws_unpin(&r->pin);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno != EINTR)
			return errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* ---- write ------------------------------------------------------------------------------------------------------- */

enum write_how { REPLACE, CREATE, APPEND };

struct write_op {
	struct fs_op fs;
	const char *data; /* of the string or secret that is the operation's user value */
	size_t len;
	int mode;
	enum write_how how;
	bool durable;
};

static int append(const struct write_op *w)
{
	int fd = ws_open(w->fs.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, w->mode >= 0 ? (mode_t)w->mode : 0666);
	if (fd < 0)
		return errno;
	int code = write_all(fd, w->data, w->len);
	if (code == 0 && w->durable && fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
		code = errno;
	if (close(fd) != 0 && code == 0)
		code = errno;
	return code;
}

static void write_work(struct ws_op *op)
{
	struct write_op *w = (struct write_op *)op;
	int code;
	if (w->how == APPEND) {
		code = append(w);
	} else {
		struct replacement r;
		code = replacement_open(&r, w->fs.path, w->mode);
		if (code == 0 && w->how == CREATE && r.existed)
			code = EEXIST;
		if (code == 0)
			code = write_all(r.fd, w->data, w->len);
		if (code == 0)
			code = replacement_commit(&r, w->how == CREATE, w->durable);
		replacement_end(&r);
	}
	if (code != 0)
		ws_err_errno(&op->err, w->fs.path, code);
}

static const struct ws_op_type write_type = {.name = "fs.write", .push = fs_push_true, .fini = fs_op_fini};

static int check_mode(lua_State *L, int idx, int def)
{
	lua_Integer mode = ws_opt_integer(L, idx, "mode", def);
	luaL_argcheck(L, mode >= -1 && mode <= 07777, idx, "option 'mode': between 0 and 07777 (octal)");
	return (int)mode;
}

int fs_l_write(lua_State *L)
{
	static const char *const hows[] = {"replace", "create", "append", NULL};
	size_t len;
	fs_check_path(L, 1);
	bool secret = ws_secret_open(L, 2, &len) != NULL;
	const char *data = ws_text_or_secret(L, 2, &len);
	ws_opts_check(L, 3, "mode", "how", "durable", NULL);
	int mode = check_mode(L, 3, secret ? 0600 : -1);
	bool durable = ws_opt_boolean(L, 3, "durable", true);
	lua_settop(L, 3);
	ws_opt_get(L, 3, "how");
	enum write_how how = (enum write_how)luaL_checkoption(L, 4, "replace", hows);
	struct write_op *w = fs_op_new(L, &write_type, sizeof *w, false);
	if (w == NULL)
		return ws_op_fail(L, lua_touserdata(L, -1));
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	w->data = data;
	w->len = len;
	w->mode = mode;
	w->durable = durable;
	w->how = how;
	return ws_op_work(L, &w->fs.op, write_work);
}

/* ---- copy -------------------------------------------------------------------------------------------------------- */

struct copy_op {
	struct fs_op fs;
	int mode;
	bool durable;
};

/* Copies what is left of `from`; the kernel does it where the file systems allow. */
static int copy_rest(int from, int to)
{
	for (;;) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)1 << 30, 0);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR) {
			if (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP ||
				errno == EBADF)
				break;
			return errno;
		}
	}
	char *chunk = malloc(CHUNK); /* also the end of files whose size the kernel says is 0, as in /proc */
	int code = chunk == NULL ? ENOMEM : 0;
	while (code == 0) {
		ssize_t n = read(from, chunk, CHUNK);
		if (n == 0)
			break;
		if (n > 0)
			code = write_all(to, chunk, (size_t)n);
		else if (errno != EINTR)
			code = errno;
	}
	free(chunk);
	return code;
}

static void copy_work(struct ws_op *op)
{
	struct copy_op *c = (struct copy_op *)op;
	struct replacement r = {.fd = -1, .pin.fd = -1};
	struct stat st;
	int from = ws_open(c->fs.path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0), code = 0;
	if (from < 0 || fstat(from, &st) != 0)
		code = errno;
	else if (S_ISDIR(st.st_mode))
		code = EISDIR;
	if (code != 0) {
		ws_err_errno(&op->err, c->fs.path, code);
	} else {
		code = replacement_open(&r, c->fs.other, c->mode >= 0 ? c->mode : (int)(st.st_mode & 0777));
		if (code == 0 && r.existed && r.old.st_dev == st.st_dev && r.old.st_ino == st.st_ino)
			ws_err_set(&op->err, "invalid", "%s and %s are the same file", c->fs.path, c->fs.other);
		if (code == 0 && op->err.kind == NULL)
			code = copy_rest(from, r.fd);
		if (code == 0 && op->err.kind == NULL)
			code = replacement_commit(&r, false, c->durable);
		if (code != 0)
			ws_err_errno(&op->err, c->fs.other, code);
		replacement_end(&r);
	}
	if (from >= 0)
		close(from);
}

static const struct ws_op_type copy_type = {.name = "fs.copy", .push = fs_push_true, .fini = fs_op_fini};

int fs_l_copy(lua_State *L)
{
	fs_check_path(L, 1);
	fs_check_path(L, 2);
	ws_opts_check(L, 3, "mode", "durable", NULL);
	int mode = check_mode(L, 3, -1);
	bool durable = ws_opt_boolean(L, 3, "durable", true);
	struct copy_op *c = fs_op_new(L, &copy_type, sizeof *c, true);
	if (c == NULL)
		return ws_op_fail(L, lua_touserdata(L, -1));
	c->mode = mode;
	c->durable = durable;
	return ws_op_work(L, &c->fs.op, copy_work);
}
