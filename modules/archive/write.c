/* write.c - making archives: tar, gzip, both or neither, hashed on their way, to memory, to a file or to nowhere.
 *
 * All work is done on a thread of the pool. The Lua values that it reads (names, contents) are kept alive by the
 * operation's user value. Content is read in pieces, so memory stays flat however large a file is. An output file that
 * could not be finished is removed.
 */
#include "archive.h"
#include "tar.h"

#include <ws/args.h>
#include <ws/buf.h>
#include <ws/native.h>
#include <ws/op.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 256 * 1024 };
#define MAX_MEMORY ((size_t)1 << 30) /* bytes of a result in memory */

#define HASH_FUNCTIONS(F) \
	F(EVP_DigestFinal_ex) \
	F(EVP_DigestInit_ex) \
	F(EVP_DigestUpdate) \
	F(EVP_MD_CTX_free) \
	F(EVP_MD_CTX_new) \
	F(EVP_sha256)
WS_LAZY_TABLE(hash, HASH_FUNCTIONS);
static struct hash_api hash;

struct item {
	const char *name; /* of a Lua string that the operation keeps */
	const char *data; /* content, or NULL */
	const char *file; /* has the content, or NULL */
	const char *link; /* target, or NULL */
	size_t len;       /* of data */
	long long offset; /* in the file */
	long long length; /* of the content in the file; -1: to its end */
	int mode;         /* -1: as the file's */
};

/* SHA-256 of what passes; ctx is NULL when it is not asked for, or the same as the other one's. */
struct sum {
	EVP_MD_CTX *ctx;
	long long size;
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned len;
};

struct job {
	struct ws_op op;
	struct item *items;
	size_t count;
	const char *file; /* to write, or NULL */
	long long mtime;
	int level; /* of gzip; 0: none */
	bool tar;  /* else the contents only */
	bool keep; /* the result in `out` */
	bool hashed;
	int fd;
	atomic_bool stop;
	struct archive *gzip;
	struct ws_buf out;
	struct ws_buf header;
	struct sum raw;    /* before compression */
	struct sum packed; /* what is written */
	char *piece;
};

static void job_cancel(struct ws_op *op)
{
	((struct job *)op)->stop = true;
}

static void job_fini(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	free(j->items);
	free(j->piece);
	ws_buf_free(&j->out);
	ws_buf_free(&j->header);
	if (j->raw.ctx != NULL)
		hash.EVP_MD_CTX_free(j->raw.ctx);
	if (j->packed.ctx != NULL)
		hash.EVP_MD_CTX_free(j->packed.ctx);
}

static void push_sum(lua_State *L, const struct sum *s, const char *size_key, const char *digest_key)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * EVP_MAX_MD_SIZE];
	lua_pushinteger(L, s->size);
	lua_setfield(L, -2, size_key);
	if (s->len == 0)
		return;
	for (unsigned i = 0; i < s->len; i++) {
		text[2 * i] = digits[s->value[i] >> 4];
		text[2 * i + 1] = digits[s->value[i] & 15];
	}
	lua_pushlstring(L, text, (size_t)2 * s->len);
	lua_setfield(L, -2, digest_key);
}

static int job_push(lua_State *L, struct ws_op *op)
{
	struct job *j = (struct job *)op;
	lua_createtable(L, 0, 5);
	push_sum(L, &j->packed, "size", "sha256");
	push_sum(L, &j->raw, "raw_size", "raw_sha256");
	if (j->keep) {
		lua_pushlstring(L, j->out.data ? j->out.data : "", j->out.len);
		lua_setfield(L, -2, "data");
	}
	return 1;
}

static const struct ws_op_type create_type = {
	.name = "archive.create", .push = job_push, .cancel = job_cancel, .fini = job_fini};

/* ---- the way of the bytes: content → put → (gzip →) sink --------------------------------------------------------- */

static int sum_add(struct sum *s, const void *bytes, size_t len)
{
	s->size += (long long)len;
	return s->ctx == NULL || hash.EVP_DigestUpdate(s->ctx, bytes, len) == 1 ? 0 : -1;
}

static int sink(struct job *j, const char *bytes, size_t len)
{
	sum_add(&j->packed, bytes, len);
	if (j->keep && ws_buf_add(&j->out, bytes, len) != 0) {
		ws_err_set(&j->op.err, "too_large", "the archive does not fit into memory: write it to a file");
		return -1;
	}
	while (j->file != NULL && len > 0) {
		ssize_t n = write(j->fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ws_err_errno(&j->op.err, j->file, errno);
			return -1;
		}
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static la_ssize_t gzip_cb(struct archive *a, void *arg, const void *bytes, size_t len)
{
	(void)a;
	return sink(arg, bytes, len) == 0 ? (la_ssize_t)len : -1;
}

static int gzip_error(struct job *j)
{
	if (j->op.err.kind == NULL) {
		const char *text = ws_archive.archive_error_string(j->gzip);
		ws_err_set(&j->op.err, "io", "gzip: %s", text ? text : "unknown error");
	}
	return -1;
}

static int put(struct job *j, const char *bytes, size_t len)
{
	sum_add(&j->raw, bytes, len);
	if (j->gzip == NULL)
		return sink(j, bytes, len);
	while (len > 0) {
		la_ssize_t n = ws_archive.archive_write_data(j->gzip, bytes, len);
		if (n <= 0)
			return gzip_error(j);
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

/* Opens the item's file and completes what the item does not say. Returns the descriptor, or -1. */
static int open_item(struct job *j, struct item *item)
{
	struct stat st;
	int fd = ws_open(item->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0); /* a FIFO must not hold the thread */
	if (fd < 0 || fstat(fd, &st) != 0) {
		ws_err_errno(&j->op.err, item->file, errno);
	} else if (!S_ISREG(st.st_mode)) {
		ws_err_set(&j->op.err, "invalid", "%s is not a file", item->file);
	} else if (item->offset > st.st_size || item->length > st.st_size - item->offset) {
		ws_err_set(&j->op.err, "invalid", "%s ends before the content does", item->file);
	} else {
		if (item->length < 0)
			item->length = st.st_size - item->offset;
		if (item->mode < 0)
			item->mode = st.st_mode & 0111 ? 0755 : 0644;
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int put_file(struct job *j, const struct item *item, int fd)
{
	long long at = item->offset, end = item->offset + item->length;
	posix_fadvise(fd, at, item->length, POSIX_FADV_SEQUENTIAL);
	while (at < end) {
		if (j->stop) {
			ws_err_set(&j->op.err, "cancelled", "the task was cancelled");
			return -1;
		}
		ssize_t n = pread(fd, j->piece, end - at < PIECE ? (size_t)(end - at) : PIECE, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ws_err_errno(&j->op.err, item->file, errno);
			return -1;
		}
		if (n == 0) {
			ws_err_set(&j->op.err, "io", "%s became shorter while it was read", item->file);
			return -1;
		}
		if (put(j, j->piece, (size_t)n) != 0)
			return -1;
		at += n;
	}
	return 0;
}

static int put_header(struct job *j, const struct item *item)
{
	size_t len = strlen(item->name);
	bool folder = item->name[len - 1] == '/';
	struct tar_entry entry = {
		.name = item->name,
		.link = item->link,
		.size = folder || item->link ? 0
			: item->data         ? (long long)item->len
					     : item->length,
		.mtime = j->mtime,
		.mode = item->mode >= 0 ? item->mode
			: item->link    ? 0777
			: folder        ? 0755
					: 0644,
		.type = folder       ? '5'
			: item->link ? '2'
				     : '0',
	};
	ws_buf_free(&j->header);
	if (tar_header(&j->header, &entry) != 0) {
		ws_err_set(&j->op.err, "exhausted", "out of memory");
		return -1;
	}
	return put(j, j->header.data, j->header.len);
}

static int put_item(struct job *j, struct item *item)
{
	static const char zeros[TAR_BLOCK];
	int fd = -1, rc = 0;
	if (item->file != NULL && (fd = open_item(j, item)) < 0)
		return -1;
	if (j->tar)
		rc = put_header(j, item);
	if (rc == 0 && fd >= 0)
		rc = put_file(j, item, fd);
	else if (rc == 0 && item->data != NULL)
		rc = put(j, item->data, item->len);
	if (fd >= 0)
		close(fd);
	size_t over = (size_t)(j->raw.size % TAR_BLOCK);
	return rc == 0 && j->tar && over > 0 ? put(j, zeros, TAR_BLOCK - over) : rc;
}

static int put_all(struct job *j)
{
	static const char end[2 * TAR_BLOCK];
	for (size_t i = 0; i < j->count; i++)
		if (put_item(j, &j->items[i]) != 0)
			return -1;
	return j->tar ? put(j, end, sizeof end) : 0;
}

/* Only libarchive's gzip is used: its format "raw" is one entry without a header. */
static int put_compressed(struct job *j)
{
	char option[32];
	struct archive *a = j->gzip = ws_archive.archive_write_new();
	struct archive_entry *entry = ws_archive.archive_entry_new();
	int rc = -1;
	if (a == NULL || entry == NULL) {
		ws_err_set(&j->op.err, "exhausted", "out of memory");
		goto out;
	}
	snprintf(option, sizeof option, "gzip:compression-level=%d", j->level);
	ws_archive.archive_entry_set_filetype(entry, S_IFREG);
	ws_archive.archive_write_set_format_raw(a);
	ws_archive.archive_write_add_filter_gzip(a);
	ws_archive.archive_write_set_bytes_per_block(a, 0);
	if (ws_archive.archive_write_set_options(a, "gzip:!timestamp") != ARCHIVE_OK ||
		ws_archive.archive_write_set_options(a, option) != ARCHIVE_OK ||
		ws_archive.archive_write_open(a, j, NULL, gzip_cb, NULL) != ARCHIVE_OK ||
		ws_archive.archive_write_header(a, entry) != ARCHIVE_OK) {
		gzip_error(j);
		goto out;
	}
	rc = put_all(j);
	if (rc == 0 && ws_archive.archive_write_close(a) != ARCHIVE_OK)
		rc = gzip_error(j);
out:
	j->gzip = NULL;
	if (entry != NULL)
		ws_archive.archive_entry_free(entry);
	if (a != NULL)
		ws_archive.archive_write_free(a);
	return rc;
}

static int sum_begin(struct job *j, struct sum *s)
{
	s->ctx = j->hashed ? hash.EVP_MD_CTX_new() : NULL;
	if (!j->hashed || (s->ctx != NULL && hash.EVP_DigestInit_ex(s->ctx, hash.EVP_sha256(), NULL) == 1))
		return 0;
	ws_err_set(&j->op.err, "unsupported", "SHA-256 is not available");
	return -1;
}

static void sum_end(struct sum *s)
{
	if (s->ctx != NULL)
		hash.EVP_DigestFinal_ex(s->ctx, s->value, &s->len);
}

static void create_work(struct ws_op *op)
{
	struct job *j = (struct job *)op;
	j->piece = malloc(PIECE);
	if (j->piece == NULL) {
		ws_err_set(&op->err, "exhausted", "out of memory");
		return;
	}
	if (sum_begin(j, &j->packed) != 0 || (j->level > 0 && sum_begin(j, &j->raw) != 0))
		return;
	if (j->file != NULL && (j->fd = ws_open(j->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) < 0) {
		ws_err_errno(&op->err, j->file, errno);
		return;
	}
	int rc = j->level > 0 ? put_compressed(j) : put_all(j);
	if (j->file != NULL) {
		struct stat st;
		bool regular = fstat(j->fd, &st) == 0 && S_ISREG(st.st_mode); /* a device stays */
		if (close(j->fd) != 0 && rc == 0) {
			ws_err_errno(&op->err, j->file, errno);
			rc = -1;
		}
		if (rc != 0 && regular)
			ws_remove(j->file);
	}
	sum_end(&j->packed);
	if (j->level > 0)
		sum_end(&j->raw);
	else
		memcpy(j->raw.value, j->packed.value, j->raw.len = j->packed.len);
}

/* ---- entry ------------------------------------------------------------------------------------------------------- */

static void parse_item(lua_State *L, struct item *item)
{
	size_t len;
	int idx = lua_gettop(L);
	luaL_checktype(L, idx, LUA_TTABLE);
	item->name = archive_field(L, idx, "name", &len);
	if (item->name == NULL || len == 0 || strlen(item->name) != len)
		luaL_error(L, "an entry needs a name");
	item->data = archive_field(L, idx, "data", &item->len);
	item->file = archive_field(L, idx, "file", NULL);
	item->link = archive_field(L, idx, "link", NULL);
	int contents = (item->data != NULL) + (item->file != NULL) + (item->link != NULL);
	if (item->name[len - 1] == '/' ? contents > 0 : contents != 1)
		luaL_error(L, "entry %s needs either data, file or link; a folder, whose name ends with a slash, none",
			item->name);
	item->mode = (int)ws_opt_integer(L, idx, "mode", -1);
	item->offset = ws_opt_integer(L, idx, "offset", 0);
	item->length = ws_opt_integer(L, idx, "length", -1);
	if (item->offset < 0)
		luaL_error(L, "entry %s has a negative offset", item->name);
}

/* native.create({ { name=, data= | file=, offset=, length= | link=, mode= }… },
 *   { file=, memory=, tar=, level=, mtime=, hash= })
 *   → { size=, raw_size=, sha256=, raw_sha256=, data= } | nil, err. Yields.
 * Without `file` and `memory` the result is only measured. */
int archive_create(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	ws_opts_check(L, 2, "file", "memory", "tar", "level", "mtime", "hash", NULL);
	size_t count = (size_t)luaL_len(L, 1);
	struct item probe;
	for (size_t i = 1; i <= count; i++) { /* everything that may raise, before anything is allocated */
		lua_geti(L, 1, (lua_Integer)i);
		parse_item(L, &probe);
		lua_pop(L, 1);
	}
	lua_Integer mtime = ws_opt_integer(L, 2, "mtime", 0);
	lua_Integer level = ws_opt_integer(L, 2, "level", 0);
	bool hashed = ws_opt_boolean(L, 2, "hash", false);
	luaL_argcheck(L, mtime >= 0 && mtime <= TAR_MAX_TIME, 2, "mtime is out of range");
	luaL_argcheck(L, level >= 0 && level <= 9, 2, "level is out of range");
	struct ws_err err = {.op = "archive"};
	if ((level > 0 && archive_load(&err) != 0) ||
		(hashed && WS_LAZY_LOAD(&hash, HASH_FUNCTIONS, "libcrypto.so.3", &err) != 0))
		return ws_fail(L, &err);
	const char *file = ws_opt_string(L, 2, "file", NULL, NULL);
	if (file != NULL)
		ws_need_path(L, WS_WRITE, "archive.create", file);
	lua_settop(L, 2);
	struct job *j = ws_op_new(L, &create_type, sizeof *j);
	ws_buf_init(&j->out, MAX_MEMORY);
	ws_buf_init(&j->header, 1 << 21);
	j->file = ws_opt_string(L, 2, "file", NULL, NULL);
	j->keep = ws_opt_boolean(L, 2, "memory", false);
	j->tar = ws_opt_boolean(L, 2, "tar", true);
	j->level = (int)level;
	j->mtime = mtime;
	j->hashed = hashed;
	archive_keep_both(L);
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
