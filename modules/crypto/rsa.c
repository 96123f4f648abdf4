/* rsa.c - RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017; RS256 of RFC 7518), and ECDSA for keys of that kind. */
#include "crypto.h"

#include <ws/secret.h>

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* crypto.rsa_sign(key, data) → signature | nil, err */
static int l_rsa_sign(lua_State *L)
{
	size_t pem_len, len, sig_len = 0;
	const char *pem = ws_text_or_secret(L, 1, &pem_len);
	const unsigned char *data = (const unsigned char *)ws_text_or_secret(L, 2, &len);
	struct ws_err err = {.op = "crypto.rsa_sign"};
	if (crypto_load(&err) != 0)
		return ws_fail(L, &err);
	EVP_PKEY *key = crypto_private_key(pem, pem_len, &err);
	EVP_MD_CTX *ctx = key != NULL ? openssl.EVP_MD_CTX_new() : NULL;
	unsigned char *sig = NULL;
	if (ctx != NULL && openssl.EVP_DigestSignInit(ctx, NULL, openssl.EVP_sha256(), NULL, key) == 1 &&
		openssl.EVP_DigestSign(ctx, NULL, &sig_len, data, len) == 1 && (sig = malloc(sig_len)) != NULL &&
		openssl.EVP_DigestSign(ctx, sig, &sig_len, data, len) == 1) {
		lua_pushlstring(
			L, (const char *)sig, sig_len); /* may raise without memory; then the process is lost anyway */
	} else if (key != NULL) {
		crypto_fail(&err, "invalid", "this key cannot sign");
	}
	free(sig);
	openssl.EVP_MD_CTX_free(ctx);
	openssl.EVP_PKEY_free(key);
	return err.kind != NULL ? ws_fail(L, &err) : 1;
}

/* The public key in a PEM text: a public key, a certificate or a private key; NULL with err. */
static EVP_PKEY *public_key(const char *pem, size_t len, struct ws_err *err)
{
	EVP_PKEY *key = NULL;
	if (memmem(pem, len, "PRIVATE KEY-----", 16) != NULL)
		return crypto_private_key(pem, len, err);
	BIO *bio = openssl.BIO_new_mem_buf(pem, (int)len);
	if (bio != NULL && memmem(pem, len, "BEGIN CERTIFICATE-----", 22) != NULL) {
		X509 *cert = openssl.PEM_read_bio_X509(bio, NULL, NULL, NULL);
		key = cert != NULL ? openssl.X509_get_pubkey(cert) : NULL;
		openssl.X509_free(cert);
	} else if (bio != NULL) {
		key = openssl.PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
	}
	openssl.BIO_free(bio);
	if (key == NULL)
		crypto_fail(err, "parse", "this is no public key or certificate in PEM form");
	return key;
}

/* crypto.rsa_verify(key, data, signature) → boolean | nil, err */
static int l_rsa_verify(lua_State *L)
{
	size_t pem_len, len, sig_len;
	const char *pem = ws_text_or_secret(L, 1, &pem_len);
	const unsigned char *data = (const unsigned char *)ws_text_or_secret(L, 2, &len);
	const unsigned char *sig = (const unsigned char *)luaL_checklstring(L, 3, &sig_len);
	struct ws_err err = {.op = "crypto.rsa_verify"};
	if (crypto_load(&err) != 0)
		return ws_fail(L, &err);
	EVP_PKEY *key = public_key(pem, pem_len, &err);
	if (key == NULL)
		return ws_fail(L, &err);
	EVP_MD_CTX *ctx = openssl.EVP_MD_CTX_new();
	int ok = ctx != NULL && openssl.EVP_DigestVerifyInit(ctx, NULL, openssl.EVP_sha256(), NULL, key) == 1 &&
		 openssl.EVP_DigestVerify(ctx, sig, sig_len, data, len) == 1;
	openssl.ERR_clear_error();
	openssl.EVP_MD_CTX_free(ctx);
	openssl.EVP_PKEY_free(key);
	lua_pushboolean(L, ok);
	return 1;
}

const struct ws_native crypto_rsa_natives[] = {
	{"rsa_sign", l_rsa_sign, WS_PURE}, {"rsa_verify", l_rsa_verify, WS_PURE}, {NULL, NULL, 0}};
