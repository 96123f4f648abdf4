/* digest.c - hashes of strings, of files (in the thread pool) and piece by piece; HMAC. */
#include "crc32c.h"
#include "crypto.h"

#include <ws/args.h>
#include <ws/op.h>
#include <ws/permit.h>
#include <ws/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METATABLE "ws.crypto.Hash"

enum { BLOCK = 1 << 18 };

enum algorithm { HASH_SHA256, HASH_SHA512, HASH_SHA1, HASH_MD5, HASH_CRC32C };
static const char *const algorithms[] = {"sha256", "sha512", "sha1", "md5", "crc32c", NULL};

/* One hash under way. CRC32C needs no OpenSSL: ctx is NULL then. */
struct hash {
	enum algorithm algorithm;
	EVP_MD_CTX *ctx;
	uint32_t crc;
	unsigned char value[EVP_MAX_MD_SIZE];
	unsigned len;
};

static const EVP_MD *md_of(enum algorithm a)
{
	switch (a) {
	case HASH_SHA256:
		return openssl.EVP_sha256();
	case HASH_SHA512:
		return openssl.EVP_sha512();
	case HASH_SHA1:
		return openssl.EVP_sha1();
	default:
		return openssl.EVP_md5();
	}
}

static int hash_begin(struct hash *h, enum algorithm a, struct ws_err *err)
{
	*h = (struct hash){.algorithm = a};
	if (a == HASH_CRC32C)
		return 0;
	if (crypto_load(err) != 0)
		return -1;
	h->ctx = openssl.EVP_MD_CTX_new();
	if (h->ctx != NULL && openssl.EVP_DigestInit_ex(h->ctx, md_of(a), NULL) == 1)
		return 0;
	crypto_fail(err, "unsupported", algorithms[a]); /* MD5 under a FIPS policy */
	openssl.EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
	return -1;
}

static void hash_update(struct hash *h, const void *data, size_t len)
{
	if (h->ctx != NULL)
		openssl.EVP_DigestUpdate(h->ctx, data, len);
	else
		h->crc = crc32c(h->crc, data, len);
}

static void hash_end(struct hash *h)
{
	if (h->ctx == NULL)
		return;
	openssl.EVP_DigestFinal_ex(h->ctx, h->value, &h->len);
	openssl.EVP_MD_CTX_free(h->ctx);
	h->ctx = NULL;
}

static void push_hex(lua_State *L, const unsigned char *s, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * EVP_MAX_MD_SIZE];
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[s[i] >> 4];
		text[2 * i + 1] = digits[s[i] & 15];
	}
	lua_pushlstring(L, text, 2 * len);
}

static void push_value(lua_State *L, const struct hash *h, bool raw)
{
	if (h->algorithm == HASH_CRC32C)
		lua_pushinteger(L, h->crc);
	else if (raw)
		lua_pushlstring(L, (const char *)h->value, h->len);
	else
		push_hex(L, h->value, h->len);
}

static bool opt_raw(lua_State *L, int idx)
{
	ws_opts_check(L, idx, "raw", NULL);
	return ws_opt_boolean(L, idx, "raw", false);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static int hash_string(lua_State *L, enum algorithm a)
{
	size_t len;
	const char *s = ws_text_or_secret(L, 1, &len);
	bool raw = opt_raw(L, 2);
	struct ws_err err = {0};
	struct hash h;
	if (hash_begin(&h, a, &err) != 0)
		return ws_err_raise(L, &err);
	hash_update(&h, s, len);
	hash_end(&h);
	push_value(L, &h, raw);
	return 1;
}

/* crypto.sha256(data, { raw = true }?) → text; likewise the others */
static int l_sha256(lua_State *L)
{
	return hash_string(L, HASH_SHA256);
}

static int l_sha512(lua_State *L)
{
	return hash_string(L, HASH_SHA512);
}

static int l_sha1(lua_State *L)
{
	return hash_string(L, HASH_SHA1);
}

static int l_md5(lua_State *L)
{
	return hash_string(L, HASH_MD5);
}

/* crypto.crc32c(data, crc?) → integer */
static int l_crc32c(lua_State *L)
{
	size_t len;
	const char *s = ws_text_or_secret(L, 1, &len);
	lua_Integer crc = luaL_optinteger(L, 2, 0);
	luaL_argcheck(L, crc >= 0 && crc <= UINT32_MAX, 2, "a checksum of 32 bits expected");
	lua_pushinteger(L, crc32c((uint32_t)crc, s, len));
	return 1;
}

/* crypto.hmac_sha256(key, data, { raw = true }?) → text */
static int l_hmac_sha256(lua_State *L)
{
	size_t key_len, len;
	const char *key = ws_text_or_secret(L, 1, &key_len);
	const char *s = ws_text_or_secret(L, 2, &len);
	bool raw = opt_raw(L, 3);
	struct ws_err err = {0};
	struct hash h = {.algorithm = HASH_SHA256};
	if (crypto_load(&err) != 0)
		return ws_err_raise(L, &err);
	openssl.HMAC(openssl.EVP_sha256(), key, (int)key_len, (const unsigned char *)s, len, h.value, &h.len);
	push_value(L, &h, raw);
	return 1;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

struct file_op {
	struct ws_op op;
	struct hash hash;
	char *path; /* owned */
	bool raw;
};

static void hash_file(struct ws_op *base)
{
	struct file_op *o = (struct file_op *)base;
	int fd = ws_open(o->path, O_RDONLY | O_CLOEXEC, 0);
	char *block = malloc(BLOCK);
	ssize_t n = -1;
	if (fd >= 0 && block != NULL) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		while ((n = read(fd, block, BLOCK)) > 0 || (n < 0 && errno == EINTR))
			if (n > 0)
				hash_update(&o->hash, block, (size_t)n);
	}
	if (n < 0)
		ws_err_errno(&base->err, o->path, block == NULL ? ENOMEM : errno);
	if (fd >= 0)
		close(fd);
	free(block);
	hash_end(&o->hash);
}

static int file_push(lua_State *L, struct ws_op *base)
{
	struct file_op *o = (struct file_op *)base;
	push_value(L, &o->hash, o->raw);
	return 1;
}

static void file_fini(struct ws_op *base)
{
	struct file_op *o = (struct file_op *)base;
	hash_end(&o->hash);
	free(o->path);
}

static int hash_file_op(lua_State *L, enum algorithm a, const struct ws_op_type *type)
{
	const char *path = luaL_checkstring(L, 1);
	bool raw = opt_raw(L, 2);
	struct file_op *o = ws_op_new(L, type, sizeof *o);
	o->raw = raw;
	o->path = strdup(path);
	if (o->path == NULL)
		return luaL_error(L, "out of memory");
	if (hash_begin(&o->hash, a, &o->op.err) != 0)
		return ws_op_fail(L, &o->op);
	return ws_op_work(L, &o->op, hash_file);
}

/* crypto.sha256_file(path, { raw = true }?) → text | nil, err. Yields. */
static int l_sha256_file(lua_State *L)
{
	static const struct ws_op_type type = {.name = "crypto.sha256_file", .push = file_push, .fini = file_fini};
	return hash_file_op(L, HASH_SHA256, &type);
}

/* crypto.md5_file(path, { raw = true }?) → text | nil, err. Yields. */
static int l_md5_file(lua_State *L)
{
	static const struct ws_op_type type = {.name = "crypto.md5_file", .push = file_push, .fini = file_fini};
	return hash_file_op(L, HASH_MD5, &type);
}

/* crypto.crc32c_file(path) → integer | nil, err. Yields. */
static int l_crc32c_file(lua_State *L)
{
	static const struct ws_op_type type = {.name = "crypto.crc32c_file", .push = file_push, .fini = file_fini};
	return hash_file_op(L, HASH_CRC32C, &type);
}

/* ---- piece by piece ---------------------------------------------------------------------------------------------- */

/* crypto.hash(name) → hash */
static int l_hash(lua_State *L)
{
	enum algorithm a = (enum algorithm)luaL_checkoption(L, 1, NULL, algorithms);
	struct ws_err err = {0};
	struct hash *h = lua_newuserdatauv(L, sizeof *h, 0);
	*h = (struct hash){.algorithm = HASH_CRC32C};
	luaL_setmetatable(L, METATABLE);
	if (hash_begin(h, a, &err) != 0)
		return ws_err_raise(L, &err);
	return 1;
}

/* hash:update(data) → hash */
static int l_update(lua_State *L)
{
	struct hash *h = luaL_checkudata(L, 1, METATABLE);
	size_t len;
	const char *s = ws_text_or_secret(L, 2, &len);
	if (h->algorithm != HASH_CRC32C && h->ctx == NULL)
		return luaL_error(L, "this hash has ended");
	hash_update(h, s, len);
	lua_settop(L, 1);
	return 1;
}

/* hash:digest({ raw = true }?) → text, or an integer for crc32c; ends the hash */
static int l_digest(lua_State *L)
{
	struct hash *h = luaL_checkudata(L, 1, METATABLE);
	bool raw = opt_raw(L, 2);
	hash_end(h);
	push_value(L, h, raw);
	return 1;
}

static int l_hash_gc(lua_State *L)
{
	hash_end(luaL_checkudata(L, 1, METATABLE));
	return 0;
}

void crypto_digest_open(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{"update", l_update}, {"digest", l_digest}, {"__gc", l_hash_gc}, {NULL, NULL}};
	if (luaL_newmetatable(L, METATABLE)) {
		luaL_setfuncs(L, methods, 0);
		lua_pushvalue(L, -1);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
}

const struct ws_native crypto_digest_natives[] = {{"sha256", l_sha256, WS_PURE}, {"sha512", l_sha512, WS_PURE},
	{"sha1", l_sha1, WS_PURE}, {"md5", l_md5, WS_PURE}, {"crc32c", l_crc32c, WS_PURE},
	{"hmac_sha256", l_hmac_sha256, WS_PURE}, {"sha256_file", l_sha256_file, WS_READ},
	{"md5_file", l_md5_file, WS_READ}, {"crc32c_file", l_crc32c_file, WS_READ}, {"hash", l_hash, WS_PURE},
	{NULL, NULL, 0}};
