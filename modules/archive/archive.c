/* archive.c - tar and gzip: making them byte for byte the same from the same input, and taking them apart safely.
 *
 * All work is done on a thread of the pool. The Lua values that it reads (names, contents) are kept alive by the
 * operation's user value. An archive from elsewhere is not trusted: nothing is written outside the target folder, no
 * existing file or link is written through, and entries, bytes and depth are bounded.
 */
#include "api.h"

#include <ws/args.h>
#include <ws/buf.h>
#include <ws/native.h>
#include <ws/op.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, MAX_ENTRIES = 100000, MAX_DEPTH = 64 };
#define MAX_MEMORY ((size_t)1 << 30) /* bytes of a result in memory */

struct archive_api ws_archive;

struct item {
	const char *name; /* of a Lua string that the operation keeps */
	const char *data; /* content, or NULL: read the file */
	const char *file;
	size_t len;
	int mode;
};

struct job {
	struct ws_op op;
	struct item *items; /* to write */
	size_t count;
	const char *data; /* archive to read, or NULL: the file */
	size_t len;
	const char *file; /* archive to read or write */
	const char *dir;  /* where to extract */
	long long mtime;
	long long max_bytes;
	bool gzip;
	bool raw; /* no tar: only the compression */
	struct ws_buf out;
	int fd;
};

static void job_fini(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	free(j->items);
	ws_buf_free(&j->out);
	if (j->fd > 0)
		close(j->fd);
}

static int push_bytes(lua_State *L, struct ws_op *op)
{
	struct job *j = (struct job *)op;
	if (j->file != NULL && j->fd > 0)
		lua_pushboolean(L, 1);
	else
		lua_pushlstring(L, j->out.data ? j->out.data : "", j->out.len);
	return 1;
}

static int push_true(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

/* A listing is kept in `out` as records: size, mode, name, NUL. */
static int push_list(lua_State *L, struct ws_op *op)
{
	struct job *j = (struct job *)op;
	lua_createtable(L, (int)j->count, 0);
	const char *at = j->out.data;
	for (size_t i = 0; i < j->count; i++) {
		long long size;
		int mode;
		memcpy(&size, at, sizeof size);
		memcpy(&mode, at + sizeof size, sizeof mode);
		at += sizeof size + sizeof mode;
		lua_createtable(L, 0, 4);
		lua_pushstring(L, at);
		lua_setfield(L, -2, "name");
		lua_pushinteger(L, size);
		lua_setfield(L, -2, "size");
		lua_pushinteger(L, mode & 07777);
		lua_setfield(L, -2, "mode");
		lua_pushstring(L, S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "link" : "file");
		lua_setfield(L, -2, "type");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
		at += strlen(at) + 1;
	}
	return 1;
}

static const struct ws_op_type create_type = {.name = "archive.create", .push = push_bytes, .fini = job_fini};
static const struct ws_op_type gunzip_type = {.name = "archive.gunzip", .push = push_bytes, .fini = job_fini};
static const struct ws_op_type extract_type = {.name = "archive.extract", .push = push_true, .fini = job_fini};
static const struct ws_op_type list_type = {.name = "archive.list", .push = push_list, .fini = job_fini};

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static la_ssize_t write_cb(struct archive *a, void *arg, const void *bytes, size_t len)
{
	struct job *j = arg;
	(void)a;
	if (j->fd > 0) {
		ssize_t n;
		do
			n = write(j->fd, bytes, len);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			ws_err_errno(&j->op.err, j->file, errno);
		return n;
	}
	if (ws_buf_add(&j->out, bytes, len) != 0) {
		ws_err_set(&j->op.err, "too_large", "the archive does not fit into memory: write it to a file");
		return -1;
	}
	return (la_ssize_t)len;
}

static void library_error(struct job *j, struct archive *a, const char *what)
{
	if (j->op.err.kind != NULL)
		return;
	const char *text = ws_archive.archive_error_string(a);
	ws_err_set(&j->op.err, "io", "%s: %s", what, text ? text : "unknown error");
}

static int write_bytes(struct job *j, struct archive *a, const char *bytes, size_t len, const char *name)
{
	while (len > 0) {
		la_ssize_t n = ws_archive.archive_write_data(a, bytes, len);
		if (n <= 0) {
			library_error(j, a, name);
			return -1;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_file(struct job *j, struct archive *a, const struct item *item, int fd)
{
	char piece[PIECE];
	size_t left = item->len;
	while (left > 0) {
		ssize_t n = read(fd, piece, left < sizeof piece ? left : sizeof piece);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ws_err_set(&j->op.err, "io", "%s became shorter while it was read", item->file);
			return -1;
		}
		if (write_bytes(j, a, piece, (size_t)n, item->name) != 0)
			return -1;
		left -= (size_t)n;
	}
	return 0;
}

static int write_item(struct job *j, struct archive *a, struct archive_entry *entry, struct item *item)
{
	int fd = -1;
	if (item->data == NULL) {
		struct stat st;
		fd = open(item->file, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) != 0) {
			ws_err_errno(&j->op.err, item->file, errno);
			if (fd >= 0)
				close(fd);
			return -1;
		}
		item->len = (size_t)st.st_size;
		if (item->mode < 0)
			item->mode = st.st_mode & 0111 ? 0755 : 0644;
	}
	ws_archive.archive_entry_set_pathname_utf8(entry, item->name);
	ws_archive.archive_entry_set_filetype(entry, S_IFREG);
	ws_archive.archive_entry_set_perm(entry, (unsigned)(item->mode < 0 ? 0644 : item->mode));
	ws_archive.archive_entry_set_size(entry, (la_int64_t)item->len);
	ws_archive.archive_entry_set_mtime(entry, (time_t)j->mtime, 0);
	ws_archive.archive_entry_set_uid(entry, 0);
	ws_archive.archive_entry_set_gid(entry, 0);
	int rc = 0;
	if (ws_archive.archive_write_header(a, entry) != ARCHIVE_OK) {
		library_error(j, a, item->name);
		rc = -1;
	} else if (fd >= 0) {
		rc = write_file(j, a, item, fd);
	} else {
		rc = write_bytes(j, a, item->data, item->len, item->name);
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

static void create_work(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	if (j->file != NULL) {
		j->fd = open(j->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (j->fd < 0) {
			ws_err_errno(&op->err, j->file, errno);
			return;
		}
	}
	struct archive *a = ws_archive.archive_write_new();
	if (a == NULL) {
		ws_err_set(&op->err, "exhausted", "out of memory");
		return;
	}
	if (j->raw)
		ws_archive.archive_write_set_format_raw(a);
	else
		ws_archive.archive_write_set_format_pax_restricted(a);
	if (j->gzip) {
		ws_archive.archive_write_add_filter_gzip(a);
		ws_archive.archive_write_set_options(a, "gzip:!timestamp");
	}
	ws_archive.archive_write_set_bytes_in_last_block(a, 1);
	int rc = ws_archive.archive_write_open(a, j, NULL, write_cb, NULL);
	for (size_t i = 0; rc == ARCHIVE_OK && i < j->count; i++) {
		struct archive_entry *entry = ws_archive.archive_entry_new();
		if (entry == NULL)
			rc = ARCHIVE_FATAL;
		else if (write_item(j, a, entry, &j->items[i]) != 0)
			rc = ARCHIVE_WARN; /* the error is set */
		if (entry != NULL)
			ws_archive.archive_entry_free(entry);
	}
	if (rc == ARCHIVE_OK)
		rc = ws_archive.archive_write_close(a);
	if (rc != ARCHIVE_OK)
		library_error(j, a, "writing the archive");
	ws_archive.archive_write_free(a);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static struct archive *open_reader(struct job *j)
{
	struct archive *a = ws_archive.archive_read_new();
	if (a == NULL) {
		ws_err_set(&j->op.err, "exhausted", "out of memory");
		return NULL;
	}
	ws_archive.archive_read_support_filter_gzip(a);
	ws_archive.archive_read_support_filter_zstd(a);
	if (j->raw) {
		ws_archive.archive_read_support_format_raw(a);
		ws_archive.archive_read_support_format_empty(a);
	} else {
		ws_archive.archive_read_support_format_tar(a);
	}
	int rc = j->file != NULL ? ws_archive.archive_read_open_filename(a, j->file, PIECE)
				 : ws_archive.archive_read_open_memory(a, j->data, j->len);
	if (rc == ARCHIVE_OK)
		return a;
	if (ws_archive.archive_errno(a) > 0 && j->file != NULL && access(j->file, R_OK) != 0)
		ws_err_errno(&j->op.err, j->file, errno);
	else
		ws_err_set(&j->op.err, "parse", "%s: %s", j->file ? j->file : "archive",
			ws_archive.archive_error_string(a));
	ws_archive.archive_read_free(a);
	return NULL;
}

/* Whether a name stays below the folder that it is extracted to. */
static bool is_inside(const char *name)
{
	if (name == NULL || name[0] == '/' || name[0] == '\0')
		return false;
	int depth = 0;
	for (const char *part = name; part != NULL;) {
		const char *end = strchr(part, '/');
		size_t len = end ? (size_t)(end - part) : strlen(part);
		if ((len == 2 && memcmp(part, "..", 2) == 0) || ++depth > MAX_DEPTH)
			return false;
		part = end ? end + 1 : NULL;
	}
	return true;
}

/* Opens the folder that holds the last part of `name`, making those in between; no link is followed. */
static int open_parent(int dirfd, const char *name, const char **last)
{
	char part[256];
	int fd = dup(dirfd);
	while (fd >= 0) {
		const char *slash = strchr(name, '/');
		if (slash == NULL || slash[1] == '\0') {
			*last = name;
			return fd;
		}
		size_t len = (size_t)(slash - name);
		if (len > 0 && !(len == 1 && name[0] == '.')) {
			if (len >= sizeof part) {
				errno = ENAMETOOLONG;
				break;
			}
			memcpy(part, name, len);
			part[len] = '\0';
			if (mkdirat(fd, part, 0755) != 0 && errno != EEXIST)
				break;
			int next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			int problem = errno;
			close(fd);
			fd = next;
			errno = problem;
			if (fd < 0)
				return -1;
		}
		name = slash + 1;
	}
	if (fd >= 0) {
		int problem = errno;
		close(fd);
		errno = problem;
	}
	return -1;
}

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads the current entry's content into a file (fd >= 0) or into j->out. */
static int read_content(struct job *j, struct archive *a, int fd, const char *name)
{
	char piece[PIECE];
	for (;;) {
		la_ssize_t n = ws_archive.archive_read_data(a, piece, sizeof piece);
		if (n == 0)
			return 0;
		if (n < 0) {
			ws_err_set(&j->op.err, "parse", "%s: %s", name, ws_archive.archive_error_string(a));
			return -1;
		}
		j->max_bytes -= n;
		if (j->max_bytes < 0 || (fd < 0 && ws_buf_add(&j->out, piece, (size_t)n) != 0)) {
			ws_err_set(&j->op.err, "too_large", "%s: the content is larger than allowed", name);
			return -1;
		}
		if (fd >= 0 && write_all(fd, piece, (size_t)n) != 0) {
			ws_err_errno(&j->op.err, name, errno);
			return -1;
		}
	}
}

static int extract_entry(struct job *j, struct archive *a, struct archive_entry *entry)
{
	const char *name = ws_archive.archive_entry_pathname(entry);
	unsigned type = ws_archive.archive_entry_filetype(entry);
	if (!is_inside(name)) {
		ws_err_set(&j->op.err, "denied", "the archive has an entry that leads outside: %s",
			name ? name : "(none)");
		return -1;
	}
	if ((type != S_IFREG && type != S_IFDIR) || ws_archive.archive_entry_hardlink(entry) != NULL) {
		ws_err_set(&j->op.err, "denied", "%s: only files and folders are extracted, this is a link or a device",
			name);
		return -1;
	}
	const char *last;
	int parent = open_parent(j->fd, name, &last), rc = 0, fd = -1;
	if (parent < 0) {
		ws_err_errno(&j->op.err, name, errno);
		return -1;
	}
	if (type == S_IFDIR) {
		char folder[256];
		size_t len = strcspn(last, "/");
		if (len >= sizeof folder) {
			errno = ENAMETOOLONG;
			rc = -1;
		} else if (len > 0 && !(len == 1 && last[0] == '.')) {
			memcpy(folder, last, len);
			folder[len] = '\0';
			rc = mkdirat(parent, folder, 0755) != 0 && errno != EEXIST ? -1 : 0;
		}
		if (rc != 0)
			ws_err_errno(&j->op.err, name, errno);
	} else {
		unsigned mode = ws_archive.archive_entry_perm(entry) & 0111 ? 0755 : 0644;
		fd = openat(parent, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd < 0) {
			ws_err_errno(&j->op.err, name, errno);
			rc = -1;
		} else {
			rc = read_content(j, a, fd, name);
			if (close(fd) != 0 && rc == 0) {
				ws_err_errno(&j->op.err, name, errno);
				rc = -1;
			}
		}
	}
	close(parent);
	return rc;
}

static int list_entry(struct job *j, struct archive *a, struct archive_entry *entry)
{
	(void)a;
	const char *name = ws_archive.archive_entry_pathname(entry);
	long long size = ws_archive.archive_entry_size(entry);
	int mode = (int)(ws_archive.archive_entry_filetype(entry) | ws_archive.archive_entry_perm(entry));
	if (name == NULL || ws_buf_add(&j->out, &size, sizeof size) != 0 ||
		ws_buf_add(&j->out, &mode, sizeof mode) != 0 || ws_buf_add(&j->out, name, strlen(name) + 1) != 0) {
		ws_err_set(&j->op.err, "parse", "an entry has no name that can be read");
		return -1;
	}
	j->count++;
	return 0;
}

static int raw_entry(struct job *j, struct archive *a, struct archive_entry *entry)
{
	(void)entry;
	return read_content(j, a, -1, "gzip");
}

static void read_entries(struct job *j, int (*visit)(struct job *, struct archive *, struct archive_entry *))
{
	struct archive *a = open_reader(j);
	if (a == NULL)
		return;
	struct archive_entry *entry;
	int rc;
	for (int n = 0; (rc = ws_archive.archive_read_next_header(a, &entry)) == ARCHIVE_OK; n++) {
		if (n == MAX_ENTRIES) {
			ws_err_set(&j->op.err, "too_large", "the archive has more than %d entries", MAX_ENTRIES);
			break;
		}
		if (visit(j, a, entry) != 0)
			break;
	}
	if (rc != ARCHIVE_OK && rc != ARCHIVE_EOF && j->op.err.kind == NULL)
		ws_err_set(&j->op.err, "parse", "%s: %s", j->file ? j->file : "archive",
			ws_archive.archive_error_string(a));
	ws_archive.archive_read_free(a);
}

static void extract_work(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	j->fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->fd < 0) {
		ws_err_errno(&op->err, j->dir, errno);
		return;
	}
	read_entries(j, extract_entry);
}

static void list_work(struct ws_op *op)
{
	read_entries((struct job *)op, list_entry);
}

static void gunzip_work(struct ws_op *op)
{
	read_entries((struct job *)op, raw_entry);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static int load(lua_State *L)
{
	struct ws_err err = {.op = "archive"};
	return WS_LAZY_LOAD(&ws_archive, ARCHIVE_FUNCTIONS, "libarchive.so.13", &err) == 0 ? 0 : ws_fail(L, &err);
}

static struct job *new_job(lua_State *L, const struct ws_op_type *type)
{
	struct job *j = ws_op_new(L, type, sizeof *j);
	ws_buf_init(&j->out, MAX_MEMORY);
	return j;
}

/* Keeps the value at idx alive as long as the operation, which is at the top. */
static void keep(lua_State *L, int idx)
{
	lua_pushvalue(L, idx);
	lua_setiuservalue(L, -2, 1);
}

/* Likewise for the first two arguments. */
static void keep_both(lua_State *L)
{
	lua_createtable(L, 2, 0);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, 1);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, 2);
	lua_setiuservalue(L, -2, 1);
}

static const char *field(lua_State *L, int idx, const char *key, size_t *len)
{
	const char *s = NULL;
	if (lua_getfield(L, idx, key) == LUA_TSTRING)
		s = lua_tolstring(L, -1, len);
	else if (!lua_isnil(L, -1))
		luaL_error(L, "%s must be a string", key);
	lua_pop(L, 1); /* the table keeps it */
	return s;
}

static void parse_item(lua_State *L, struct item *item)
{
	size_t len;
	int idx = lua_gettop(L);
	luaL_checktype(L, idx, LUA_TTABLE);
	item->name = field(L, idx, "name", &len);
	if (item->name == NULL || len == 0 || strlen(item->name) != len)
		luaL_error(L, "an entry needs a name");
	item->data = field(L, idx, "data", &item->len);
	item->file = field(L, idx, "file", NULL);
	if ((item->data == NULL) == (item->file == NULL))
		luaL_error(L, "entry %s needs either data or file", item->name);
	item->mode = (int)ws_opt_integer(L, idx, "mode", -1);
}

/* native.create({ { name=, data= | file=, mode= }… }, { file=, gzip=, mtime= }) → bytes | true | nil, err. Yields. */
static int l_create(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	ws_opts_check(L, 2, "file", "gzip", "mtime", NULL);
	size_t count = (size_t)luaL_len(L, 1);
	struct item probe;
	for (size_t i = 1; i <= count; i++) { /* everything that may raise, before anything is allocated */
		lua_geti(L, 1, (lua_Integer)i);
		parse_item(L, &probe);
		lua_pop(L, 1);
	}
	int n = load(L);
	if (n != 0)
		return n;
	lua_settop(L, 2);
	struct job *j = new_job(L, &create_type);
	j->gzip = ws_opt_boolean(L, 2, "gzip", true);
	j->mtime = ws_opt_integer(L, 2, "mtime", 0);
	j->file = ws_opt_string(L, 2, "file", NULL, NULL);
	keep_both(L);
	j->items = calloc(count ? count : 1, sizeof *j->items);
	if (j->items == NULL) {
		ws_err_set(&j->op.err, "exhausted", "out of memory");
		return ws_op_fail(L, &j->op);
	}
	for (; j->count < count; j->count++) {
		lua_geti(L, 1, (lua_Integer)j->count + 1);
		parse_item(L, &j->items[j->count]);
		lua_pop(L, 1);
	}
	return ws_op_work(L, &j->op, create_work);
}

/* Sets the archive to read from the table { data= | file= } at index 1. */
static void parse_source(lua_State *L, struct job *j)
{
	j->data = field(L, 1, "data", &j->len);
	j->file = field(L, 1, "file", NULL);
	keep(L, 1);
}

static void check_source(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	ws_opts_check(L, 1, "data", "file", NULL);
	if ((field(L, 1, "data", NULL) == NULL) == (field(L, 1, "file", NULL) == NULL))
		luaL_argerror(L, 1, "either data or file expected");
}

/* native.extract({ data= | file= }, dir, max_bytes) → true | nil, err. Yields. */
static int l_extract(lua_State *L)
{
	check_source(L);
	const char *dir = luaL_checkstring(L, 2);
	lua_Integer max = luaL_checkinteger(L, 3);
	int n = load(L);
	if (n != 0)
		return n;
	struct job *j = new_job(L, &extract_type);
	j->data = field(L, 1, "data", &j->len);
	j->file = field(L, 1, "file", NULL);
	j->dir = dir;
	j->max_bytes = max;
	keep_both(L);
	return ws_op_work(L, &j->op, extract_work);
}

/* native.list({ data= | file= }) → list of { name=, size=, mode=, type= } | nil, err. Yields. */
static int l_list(lua_State *L)
{
	check_source(L);
	int n = load(L);
	if (n != 0)
		return n;
	struct job *j = new_job(L, &list_type);
	parse_source(L, j);
	return ws_op_work(L, &j->op, list_work);
}

/* native.gzip(bytes) → bytes. Yields. */
static int l_gzip(lua_State *L)
{
	size_t len;
	const char *bytes = luaL_checklstring(L, 1, &len);
	int n = load(L);
	if (n != 0)
		return n;
	struct job *j = new_job(L, &create_type);
	keep(L, 1);
	j->raw = j->gzip = true;
	j->items = calloc(1, sizeof *j->items);
	if (j->items == NULL) {
		ws_err_set(&j->op.err, "exhausted", "out of memory");
		return ws_op_fail(L, &j->op);
	}
	j->items[0] = (struct item){.name = "data", .data = bytes, .len = len, .mode = 0644};
	j->count = 1;
	return ws_op_work(L, &j->op, create_work);
}

/* native.gunzip(bytes, max_bytes) → bytes | nil, err. Yields. */
static int l_gunzip(lua_State *L)
{
	size_t len;
	const char *bytes = luaL_checklstring(L, 1, &len);
	lua_Integer max = luaL_checkinteger(L, 2);
	int n = load(L);
	if (n != 0)
		return n;
	struct job *j = new_job(L, &gunzip_type);
	keep(L, 1);
	j->data = bytes;
	j->len = len;
	j->raw = true;
	j->max_bytes = max;
	return ws_op_work(L, &j->op, gunzip_work);
}

int luaopen_ws_archive(lua_State *L)
{
	static const struct ws_native natives[] = {{"create", l_create, WS_WRITE}, {"extract", l_extract, WS_WRITE},
		{"list", l_list, WS_READ}, {"gzip", l_gzip, WS_PURE}, {"gunzip", l_gunzip, WS_PURE}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.archive.native", natives);
}
