/* read.c - taking archives apart.
 *
 * All work is done on a thread of the pool; what it reads is kept alive by the operation's user value. An archive from
 * elsewhere is not trusted: nothing is written outside the target folder, no existing file or link is written through,
 * and entries, bytes and depth are bounded.
 */
#include "archive.h"

#include <ws/args.h>
#include <ws/buf.h>
#include <ws/op.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024, MAX_ENTRIES = 100000, MAX_DEPTH = 64 };
#define MAX_MEMORY ((size_t)1 << 30) /* bytes of a result in memory */

struct job {
	struct ws_op op;
	const char *data; /* archive to read, or NULL: the file */
	size_t len;
	const char *file;
	const char *dir; /* where to extract */
	long long max_bytes;
	size_t count; /* of the records in `out` */
	bool raw;     /* no tar: only the compression */
	struct ws_buf out;
	int fd;
};

static void job_fini(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	ws_buf_free(&j->out);
	if (j->fd > 0)
		close(j->fd);
}

static int push_bytes(lua_State *L, struct ws_op *op)
{
	struct job *j = (struct job *)op;
	lua_pushlstring(L, j->out.data ? j->out.data : "", j->out.len);
	return 1;
}

static int push_true(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

/* What a listing keeps of an entry in `out`; the name and the link's target follow, each with its NUL. */
struct record {
	long long size;
	long long offset; /* of the content in the file; -1: compressed */
	int mode;
};

static int push_list(lua_State *L, struct ws_op *op)
{
	struct job *j = (struct job *)op;
	lua_createtable(L, (int)j->count, 0);
	const char *at = j->out.data;
	for (size_t i = 0; i < j->count; i++) {
		struct record r;
		memcpy(&r, at, sizeof r);
		at += sizeof r;
		lua_createtable(L, 0, 6);
		lua_pushstring(L, at);
		lua_setfield(L, -2, "name");
		at += strlen(at) + 1;
		lua_pushinteger(L, r.size);
		lua_setfield(L, -2, "size");
		lua_pushinteger(L, r.mode & 07777);
		lua_setfield(L, -2, "mode");
		lua_pushstring(L, S_ISREG(r.mode)   ? "file"
				  : S_ISDIR(r.mode) ? "directory"
				  : S_ISLNK(r.mode) ? "link"
						    : "other");
		lua_setfield(L, -2, "type");
		if (r.offset >= 0 && S_ISREG(r.mode)) {
			lua_pushinteger(L, r.offset);
			lua_setfield(L, -2, "offset");
		}
		if (*at != '\0') {
			lua_pushstring(L, at);
			lua_setfield(L, -2, "target");
		}
		lua_rawseti(L, -2, (lua_Integer)i + 1);
		at += strlen(at) + 1;
	}
	return 1;
}

static const struct ws_op_type gunzip_type = {.name = "archive.gunzip", .push = push_bytes, .fini = job_fini};
static const struct ws_op_type extract_type = {.name = "archive.extract", .push = push_true, .fini = job_fini};
static const struct ws_op_type list_type = {.name = "archive.list", .push = push_list, .fini = job_fini};

/* ---- on the thread ----------------------------------------------------------------------------------------------- */

static struct archive *open_reader(struct job *j)
{
	struct ws_pin pin = {.fd = -1};
	if (j->file != NULL && ws_pin(&pin, j->file, WS_LOOK) != 0) {
		ws_err_errno(&j->op.err, j->file, errno);
		return NULL;
	}
	struct archive *a = ws_archive.archive_read_new();
	if (a == NULL) {
		ws_unpin(&pin);
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
	int rc = j->file != NULL ? ws_archive.archive_read_open_filename(a, pin.path, PIECE)
				 : ws_archive.archive_read_open_memory(a, j->data, j->len);
	ws_unpin(&pin);
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

/* The name as bytes; one that came as UTF-8 (pax) has no other form in the C locale. */
static const char *name_of(struct archive_entry *entry)
{
	const char *name = ws_archive.archive_entry_pathname(entry);
	return name ? name : ws_archive.archive_entry_pathname_utf8(entry);
}

static int extract_entry(struct job *j, struct archive *a, struct archive_entry *entry)
{
	const char *name = name_of(entry);
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
	const char *name = name_of(entry), *hard = ws_archive.archive_entry_hardlink(entry);
	const char *target = hard ? hard : ws_archive.archive_entry_symlink(entry);
	bool plain = ws_archive.archive_filter_code(a, 0) == ARCHIVE_FILTER_NONE;
	struct record r = {
		.size = ws_archive.archive_entry_size(entry),
		.offset = plain ? ws_archive.archive_filter_bytes(a, 0) : -1,
		.mode = (int)((hard ? 0 : ws_archive.archive_entry_filetype(entry)) |
			      ws_archive.archive_entry_perm(entry)),
	};
	if (target == NULL)
		target = "";
	if (name == NULL || ws_buf_add(&j->out, &r, sizeof r) != 0 ||
		ws_buf_add(&j->out, name, strlen(name) + 1) != 0 ||
		ws_buf_add(&j->out, target, strlen(target) + 1) != 0) {
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
	/* a warning: a name has no form in this locale, see name_of */
	for (int n = 0; (rc = ws_archive.archive_read_next_header(a, &entry)) == ARCHIVE_OK || rc == ARCHIVE_WARN;
		n++) {
		if (n == MAX_ENTRIES) {
			ws_err_set(&j->op.err, "too_large", "the archive has more than %d entries", MAX_ENTRIES);
			break;
		}
		if (visit(j, a, entry) != 0)
			break;
	}
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN && rc != ARCHIVE_EOF && j->op.err.kind == NULL)
		ws_err_set(&j->op.err, "parse", "%s: %s", j->file ? j->file : "archive",
			ws_archive.archive_error_string(a));
	ws_archive.archive_read_free(a);
}

static void extract_work(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	struct ws_pin pin;
	j->fd = -1;
	if (ws_pin(&pin, j->dir, WS_CHANGE | WS_TREE) == 0) {
		j->fd = open(pin.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ws_unpin(&pin);
	}
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

static struct job *new_job(lua_State *L, const struct ws_op_type *type)
{
	struct job *j = ws_op_new(L, type, sizeof *j);
	ws_buf_init(&j->out, MAX_MEMORY);
	return j;
}

/* The archive to read is the table { data= | file= } at index 1. Raises. */
static void check_source(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	ws_opts_check(L, 1, "data", "file", NULL);
	if ((archive_field(L, 1, "data", NULL) == NULL) == (archive_field(L, 1, "file", NULL) == NULL))
		luaL_argerror(L, 1, "either data or file expected");
}

static void parse_source(lua_State *L, struct job *j)
{
	j->data = archive_field(L, 1, "data", &j->len);
	j->file = archive_field(L, 1, "file", NULL);
}

/* native.extract({ data= | file= }, dir, max_bytes) → true | nil, err. Yields. */
int archive_extract(lua_State *L)
{
	check_source(L);
	const char *dir = luaL_checkstring(L, 2);
	lua_Integer max = luaL_checkinteger(L, 3);
	struct ws_err err = {.op = "archive"};
	if (archive_load(&err) != 0)
		return ws_fail(L, &err);
	struct job *j = new_job(L, &extract_type);
	parse_source(L, j);
	j->dir = dir;
	j->max_bytes = max;
	archive_keep_both(L);
	return ws_op_work(L, &j->op, extract_work);
}

/* native.list({ data= | file= }) → list of { name=, size=, mode=, type=, offset=, target= } | nil, err. Yields. */
int archive_list(lua_State *L)
{
	check_source(L);
	struct ws_err err = {.op = "archive"};
	if (archive_load(&err) != 0)
		return ws_fail(L, &err);
	lua_settop(L, 2);
	struct job *j = new_job(L, &list_type);
	parse_source(L, j);
	archive_keep_both(L);
	return ws_op_work(L, &j->op, list_work);
}

/* native.gunzip(bytes, max_bytes) → bytes | nil, err. Yields. */
int archive_gunzip(lua_State *L)
{
	size_t len;
	const char *bytes = luaL_checklstring(L, 1, &len);
	lua_Integer max = luaL_checkinteger(L, 2);
	struct ws_err err = {.op = "archive"};
	if (archive_load(&err) != 0)
		return ws_fail(L, &err);
	struct job *j = new_job(L, &gunzip_type);
	j->data = bytes;
	j->len = len;
	j->raw = true;
	j->max_bytes = max;
	archive_keep_both(L);
	return ws_op_work(L, &j->op, gunzip_work);
}
