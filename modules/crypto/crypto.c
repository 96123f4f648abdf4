/* crypto.c - the module: OpenSSL at first use, random bytes, and the list of natives. */
#include "crypto.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct openssl_api openssl;

int crypto_load(struct ws_err *err)
{
	return WS_LAZY_LOAD(&openssl, OPENSSL_FUNCTIONS, "libcrypto.so.3", err);
}

void crypto_fail(struct ws_err *err, const char *kind, const char *what)
{
	char text[256] = "unknown reason";
	unsigned long code = openssl.ERR_get_error();
	if (code != 0)
		openssl.ERR_error_string_n(code, text, sizeof text);
	openssl.ERR_clear_error();
	ws_err_set(err, kind, "%s: %s", what, text);
}

/* For encrypted keys: OpenSSL's own way would be to ask on the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

EVP_PKEY *crypto_private_key(const char *pem, size_t len, struct ws_err *err)
{
	BIO *bio = openssl.BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *key = bio != NULL ? openssl.PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	openssl.BIO_free(bio);
	if (key == NULL) {
		crypto_fail(err, "parse", "this is no private key in PEM form");
		ws_err_hint(err, "it begins with -----BEGIN PRIVATE KEY----- and is not encrypted");
	}
	return key;
}

void crypto_random(void *data, size_t len)
{
	unsigned char *p = data;
	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno != EINTR)
			abort(); /* a kernel without getrandom: nothing that we could answer is safe */
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

static void add(lua_State *L, int idx, const struct ws_native *natives)
{
	ws_natives(L, "ws.crypto", natives);
	for (const struct ws_native *n = natives; n->name != NULL; n++) {
		lua_getfield(L, -1, n->name);
		lua_setfield(L, idx, n->name);
	}
	lua_pop(L, 1);
}

int luaopen_ws_crypto(lua_State *L)
{
	crypto_digest_open(L);
	lua_newtable(L);
	int module = lua_gettop(L);
	add(L, module, crypto_encode_natives);
	add(L, module, crypto_digest_natives);
	add(L, module, crypto_rsa_natives);
	ws_natives(L, "ws.crypto.x509", crypto_x509_natives);
	lua_setfield(L, module, "x509");
	return 1;
}
