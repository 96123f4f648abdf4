/* file.c - see file.h.
 *
 * Invariants
 * - While `busy` the pool's thread owns `back`, `next` and the hash; the loop's thread owns everything else.
 * - What happens meanwhile (close, rewind) is remembered and done in after_fill().
 */
#include "file.h"

#include <ws/lazy.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, DIGEST = 32 };

#define SHA_FUNCTIONS(F) \
	F(EVP_DigestFinal_ex) \
	F(EVP_DigestInit_ex) \
	F(EVP_DigestUpdate) \
	F(EVP_MD_CTX_free) \
	F(EVP_MD_CTX_new) \
	F(EVP_sha256)
WS_LAZY_TABLE(sha, SHA_FUNCTIONS);
static struct sha_api sha;

struct block {
	char *data; /* owned */
	size_t len;
	bool ready;
};

struct http_file {
	uv_work_t work;
	uv_loop_t *loop;
	int fd;
	int64_t begin, end, next; /* bytes of the file; next: not read yet */
	char *path;               /* owned */
	struct block front, back; /* being taken; being read, or read */
	size_t taken;             /* bytes of front */
	EVP_MD_CTX *hash;         /* NULL: no digest is promised */
	unsigned char digest[DIGEST];
	struct ws_err err; /* of the reading */
	bool busy, closed, rewound, waiting;
	void (*ready)(void *arg);
	void *arg;
};

static void fill(struct http_file *s);

static void file_free(struct http_file *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->hash != NULL)
		sha.EVP_MD_CTX_free(s->hash);
	ws_err_clear(&s->err);
	free(s->front.data);
	free(s->back.data);
	free(s->path);
	free(s);
}

/* ---- the pool's thread ------------------------------------------------------------------------------------------- */

static int read_block(struct http_file *s)
{
	struct block *b = &s->back;
	size_t want = s->end - s->next < BLOCK ? (size_t)(s->end - s->next) : BLOCK;
	b->len = 0;
	while (b->len < want) {
		ssize_t n = pread(s->fd, b->data + b->len, want - b->len, (off_t)(s->next + (int64_t)b->len));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ws_err_errno(&s->err, s->path, errno);
			return -1;
		}
		if (n == 0) {
			ws_err_set(&s->err, "io", "%s became shorter while it was sent", s->path);
			return -1;
		}
		b->len += (size_t)n;
	}
	s->next += (int64_t)want;
	return 0;
}

static void check_digest(struct http_file *s)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;
	sha.EVP_DigestFinal_ex(s->hash, digest, &len);
	if (memcmp(digest, s->digest, DIGEST) != 0)
		ws_err_set(
			&s->err, "invalid", "%s: the bytes to send do not have the digest that was promised", s->path);
}

static void on_fill(uv_work_t *work)
{
	struct http_file *s = work->data;
	if (read_block(s) != 0 || s->hash == NULL)
		return;
	sha.EVP_DigestUpdate(s->hash, s->back.data, s->back.len);
	if (s->next == s->end)
		check_digest(s);
}

/* ---- the loop's thread ------------------------------------------------------------------------------------------- */

static void begin(struct http_file *s)
{
	s->rewound = false;
	s->next = s->begin;
	s->front.len = s->taken = 0;
	s->back.ready = false;
	ws_err_clear(&s->err);
	if (s->hash != NULL)
		sha.EVP_DigestInit_ex(s->hash, sha.EVP_sha256(), NULL);
	if (s->next < s->end)
		fill(s);
	else if (s->hash != NULL)
		check_digest(s);
}

static void after_fill(uv_work_t *work, int status)
{
	(void)status;
	struct http_file *s = work->data;
	s->busy = false;
	if (s->closed) {
		file_free(s);
		return;
	}
	if (s->rewound) {
		begin(s);
		return;
	}
	s->back.ready = true;
	if (s->waiting) {
		s->waiting = false;
		s->ready(s->arg);
	}
}

static void fill(struct http_file *s)
{
	s->busy = true;
	s->work.data = s;
	uv_queue_work(s->loop, &s->work, on_fill, after_fill); /* fails only without a function */
}

ssize_t http_file_read(struct http_file *s, char *data, size_t max, struct ws_err *err)
{
	if (s->rewound || s->taken == s->front.len) {
		if (s->rewound || !s->back.ready) {
			s->waiting = s->busy;
			return s->busy ? HTTP_FILE_WAIT : 0;
		}
		if (s->err.kind != NULL) {
			ws_err_set(err, s->err.kind, "%s", s->err.message);
			return HTTP_FILE_FAILED;
		}
		struct block empty = s->front;
		s->front = s->back;
		s->taken = 0;
		s->back = (struct block){.data = empty.data};
		if (s->next < s->end)
			fill(s);
	}
	size_t n = s->front.len - s->taken;
	if (n > max)
		n = max;
	memcpy(data, s->front.data + s->taken, n);
	s->taken += n;
	return (ssize_t)n;
}

void http_file_rewind(struct http_file *s)
{
	if (s->busy)
		s->rewound = true;
	else
		begin(s);
}

void http_file_close(struct http_file *s)
{
	if (s == NULL)
		return;
	if (s->busy)
		s->closed = true;
	else
		file_free(s);
}

int64_t http_file_size(const struct http_file *s)
{
	return s->end - s->begin;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int open_file(struct http_file *s, const struct http_file_options *o, struct ws_err *err)
{
	struct stat st;
	s->fd = ws_open(o->path, O_RDONLY | O_CLOEXEC, 0);
	if (s->fd < 0 || fstat(s->fd, &st) != 0) {
		ws_err_errno(err, o->path, errno);
		return -1;
	}
	int64_t length = o->length < 0 ? st.st_size - o->offset : o->length;
	if (!S_ISREG(st.st_mode) || o->offset < 0 || length < 0 || o->offset > st.st_size ||
		length > st.st_size - o->offset) {
		ws_err_set(err, "invalid", "%s is not a file with the bytes asked for", o->path);
		return -1;
	}
	s->begin = o->offset;
	s->end = o->offset + length;
	return 0;
}

static int open_hash(struct http_file *s, const char *hex, struct ws_err *err)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < 2 * DIGEST; i++) {
		const char *digit = hex[i] != '\0' ? strchr(digits, hex[i]) : NULL;
		if (digit == NULL || (i == 2 * DIGEST - 1 && hex[i + 1] != '\0')) {
			ws_err_set(err, "invalid", "a SHA-256 is written as 64 hexadecimal digits in lower case");
			return -1;
		}
		s->digest[i / 2] = (unsigned char)(s->digest[i / 2] << 4 | (digit - digits));
	}
	if (WS_LAZY_LOAD(&sha, SHA_FUNCTIONS, "libcrypto.so.3", err) != 0)
		return -1;
	s->hash = sha.EVP_MD_CTX_new();
	if (s->hash == NULL)
		ws_err_set(err, "exhausted", "out of memory");
	return s->hash != NULL ? 0 : -1;
}

struct http_file *http_file_open(uv_loop_t *loop, const struct http_file_options *o, struct ws_err *err)
{
	struct http_file *s = calloc(1, sizeof *s);
	if (s == NULL) {
		ws_err_set(err, "exhausted", "out of memory");
		return NULL;
	}
	s->fd = -1;
	s->loop = loop;
	s->ready = o->ready;
	s->arg = o->arg;
	if (open_file(s, o, err) != 0 || (o->sha256 != NULL && open_hash(s, o->sha256, err) != 0)) {
		file_free(s);
		return NULL;
	}
	size_t size = s->end - s->begin < BLOCK ? (size_t)(s->end - s->begin) + 1 : BLOCK;
	s->path = strdup(o->path);
	s->front.data = malloc(size);
	s->back.data = malloc(size);
	if (s->path == NULL || s->front.data == NULL || s->back.data == NULL) {
		ws_err_set(err, "exhausted", "out of memory");
		file_free(s);
		return NULL;
	}
	begin(s);
	if (s->begin == s->end && s->err.kind != NULL) { /* nobody would read an empty body */
		ws_err_set(err, s->err.kind, "%s", s->err.message);
		file_free(s);
		return NULL;
	}
	return s;
}
