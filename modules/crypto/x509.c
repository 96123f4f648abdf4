/* x509.c - certificates: a self-signed authority, or one that such an authority signs (RFC 5280). Made in the thread
 * pool: an RSA key takes a while. */
#include "crypto.h"

#include <ws/args.h>
#include <ws/buf.h>
#include <ws/op.h>
#include <ws/secret.h>

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { RSA_BITS = 2048, MAX_PEM = 1 << 20, CLOCK_SKEW = 300 };

struct create_op {
	struct ws_op op;
	struct ws_buf names;                   /* "DNS:a,IP:b", as OpenSSL's configuration writes it */
	struct ws_buf issuer_cert, issuer_key; /* PEM; empty: self-signed */
	char *subject, *organization;          /* owned */
	bool authority, rsa;
	int days;
	struct ws_buf cert, key; /* the result, PEM */
};

static void create_fini(struct ws_op *base)
{
	struct create_op *o = (struct create_op *)base;
	struct ws_buf *buffers[] = {&o->names, &o->issuer_cert, &o->issuer_key, &o->cert, &o->key};
	if (o->issuer_key.data != NULL)
		explicit_bzero(o->issuer_key.data, o->issuer_key.len);
	if (o->key.data != NULL)
		explicit_bzero(o->key.data, o->key.len);
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		ws_buf_free(buffers[i]);
	free(o->subject);
	free(o->organization);
}

/* ---- off the loop ------------------------------------------------------------------------------------------------ */

static int extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	openssl.X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *e = openssl.X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	int ok = e != NULL && openssl.X509_add_ext(cert, e, -1) == 1;
	openssl.X509_EXTENSION_free(e);
	return ok;
}

static int name(X509 *cert, const char *field, const char *value)
{
	return value == NULL || openssl.X509_NAME_add_entry_by_txt(openssl.X509_get_subject_name(cert), field,
					MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0) == 1;
}

static int fill(struct create_op *o, X509 *cert, X509 *issuer, EVP_PKEY *key)
{
	uint64_t serial;
	crypto_random(&serial, sizeof serial);
	return openssl.X509_set_version(cert, 2) == 1 &&
	       openssl.ASN1_INTEGER_set_uint64(openssl.X509_get_serialNumber(cert), serial >> 1 | 1) == 1 &&
	       openssl.X509_gmtime_adj(openssl.X509_getm_notBefore(cert), -CLOCK_SKEW) != NULL &&
	       openssl.X509_time_adj_ex(openssl.X509_getm_notAfter(cert), o->days, 0, NULL) != NULL &&
	       openssl.X509_set_pubkey(cert, key) == 1 && name(cert, "O", o->organization) &&
	       name(cert, "CN", o->subject) &&
	       openssl.X509_set_issuer_name(cert, openssl.X509_get_subject_name(issuer)) == 1 &&
	       extend(cert, issuer, NID_basic_constraints, o->authority ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
	       extend(cert, issuer, NID_key_usage,
		       o->authority ? "critical,keyCertSign,cRLSign,digitalSignature"
				    : "critical,digitalSignature,keyEncipherment") &&
	       (o->authority || extend(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth")) &&
	       extend(cert, issuer, NID_subject_key_identifier, "hash") &&
	       (issuer == cert || extend(cert, issuer, NID_authority_key_identifier, "keyid")) &&
	       (o->names.len == 0 || extend(cert, issuer, NID_subject_alt_name, o->names.data));
}

static int write_pem(struct create_op *o, X509 *cert, EVP_PKEY *key)
{
	char *data;
	BIO *cert_bio = openssl.BIO_new(openssl.BIO_s_mem()), *key_bio = openssl.BIO_new(openssl.BIO_s_mem());
	int ok = cert_bio != NULL && key_bio != NULL && openssl.PEM_write_bio_X509(cert_bio, cert) == 1 &&
		 openssl.PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) == 1;
	if (ok) {
		long len = openssl.BIO_ctrl(cert_bio, BIO_CTRL_INFO, 0, &data);
		ok = ws_buf_add(&o->cert, data, (size_t)len) == 0;
		len = openssl.BIO_ctrl(key_bio, BIO_CTRL_INFO, 0, &data);
		ok = ok && ws_buf_add(&o->key, data, (size_t)len) == 0;
	}
	openssl.BIO_free(cert_bio);
	openssl.BIO_free(key_bio);
	return ok;
}

/* The issuer's certificate and key; they must belong together. */
static int read_issuer(struct create_op *o, X509 **cert, EVP_PKEY **key)
{
	BIO *bio = openssl.BIO_new_mem_buf(o->issuer_cert.data, (int)o->issuer_cert.len);
	*cert = bio != NULL ? openssl.PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	openssl.BIO_free(bio);
	if (*cert == NULL) {
		crypto_fail(&o->op.err, "parse", "the issuer's certificate is not PEM");
		return -1;
	}
	*key = crypto_private_key(o->issuer_key.data, o->issuer_key.len, &o->op.err);
	if (*key == NULL)
		return -1;
	if (openssl.X509_check_private_key(*cert, *key) != 1) {
		crypto_fail(&o->op.err, "invalid", "the issuer's certificate and key do not belong together");
		return -1;
	}
	return 0;
}

static void create(struct ws_op *base)
{
	struct create_op *o = (struct create_op *)base;
	X509 *issuer = NULL, *cert = NULL;
	EVP_PKEY *issuer_key = NULL, *key = NULL;
	if (o->issuer_cert.len > 0 && read_issuer(o, &issuer, &issuer_key) != 0)
		goto out;
	key = o->rsa ? openssl.EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS)
		     : openssl.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	cert = openssl.X509_new();
	if (key == NULL || cert == NULL || !fill(o, cert, issuer != NULL ? issuer : cert, key) ||
		openssl.X509_sign(cert, issuer_key != NULL ? issuer_key : key, openssl.EVP_sha256()) == 0 ||
		!write_pem(o, cert, key))
		crypto_fail(&base->err, "invalid", "the certificate cannot be made");
out:
	openssl.X509_free(cert);
	openssl.X509_free(issuer);
	openssl.EVP_PKEY_free(key);
	openssl.EVP_PKEY_free(issuer_key);
}

/* ---- entry ------------------------------------------------------------------------------------------------------- */

static int create_push(lua_State *L, struct ws_op *base)
{
	struct create_op *o = (struct create_op *)base;
	lua_createtable(L, 0, 2);
	lua_pushlstring(L, o->cert.data, o->cert.len);
	lua_setfield(L, -2, "cert");
	lua_pushlstring(L, o->key.data, o->key.len);
	ws_secret_wrap(L);
	lua_setfield(L, -2, "key");
	return 1;
}

static const struct ws_op_type create_type = {.name = "crypto.x509.create", .push = create_push, .fini = create_fini};

/* Adds the list under `key` as alternative names of one kind. */
static void add_names(lua_State *L, struct create_op *o, const char *key, const char *prefix, const char *allowed)
{
	if (ws_opt_get(L, 1, key) == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	luaL_checktype(L, -1, LUA_TTABLE);
	lua_Integer n = luaL_len(L, -1);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		size_t len;
		const char *s = luaL_checklstring(L, -1, &len);
		if (len == 0 || strspn(s, allowed) != len)
			luaL_error(L, "crypto.x509.create: '%s' cannot be in %s", s, key);
		if ((o->names.len > 0 && ws_buf_adds(&o->names, ",") != 0) || ws_buf_adds(&o->names, prefix) != 0 ||
			ws_buf_add(&o->names, s, len) != 0)
			luaL_error(L, "crypto.x509.create: too many names");
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void copy_issuer(lua_State *L, struct create_op *o)
{
	if (ws_opt_get(L, 1, "issuer") != LUA_TNIL) {
		luaL_checktype(L, -1, LUA_TTABLE);
		size_t len;
		lua_getfield(L, -1, "cert");
		const char *s = luaL_checklstring(L, -1, &len);
		if (ws_buf_add(&o->issuer_cert, s, len) != 0)
			luaL_error(L, "crypto.x509.create: the issuer's certificate is too large");
		lua_getfield(L, -2, "key");
		s = ws_text_or_secret(L, -1, &len);
		if (ws_buf_add(&o->issuer_key, s, len) != 0)
			luaL_error(L, "crypto.x509.create: the issuer's key is too large");
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*"
#define ADDRESS_CHARACTERS "0123456789abcdefABCDEF.:"

/* crypto.x509.create(opts) → { cert, key } | nil, err. Yields. */
static int l_create(lua_State *L)
{
	static const char *const keys[] = {"ec", "rsa", NULL};
	luaL_checktype(L, 1, LUA_TTABLE);
	ws_opts_check(L, 1, "subject", "organization", "names", "ips", "ca", "issuer", "days", "key", NULL);
	const char *subject = ws_opt_string(L, 1, "subject", NULL, NULL);
	const char *organization = ws_opt_string(L, 1, "organization", NULL, NULL);
	luaL_argcheck(L, subject != NULL, 1, "option 'subject' expected: the common name");
	bool authority = ws_opt_boolean(L, 1, "ca", false);
	lua_Integer days = ws_opt_integer(L, 1, "days", 365);
	luaL_argcheck(L, days > 0 && days <= 36500, 1, "option 'days' must be between 1 and 36500");
	lua_pushstring(L, ws_opt_string(L, 1, "key", "ec", NULL));
	bool rsa = luaL_checkoption(L, -1, NULL, keys) == 1;
	lua_settop(L, 1);
	struct create_op *o = ws_op_new(L, &create_type, sizeof *o);
	struct ws_buf *buffers[] = {&o->names, &o->issuer_cert, &o->issuer_key, &o->cert, &o->key};
	for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
		ws_buf_init(buffers[i], MAX_PEM);
	o->authority = authority;
	o->days = (int)days;
	o->rsa = rsa;
	o->subject = strdup(subject);
	o->organization = organization != NULL ? strdup(organization) : NULL;
	add_names(L, o, "names", "DNS:", NAME_CHARACTERS);
	add_names(L, o, "ips", "IP:", ADDRESS_CHARACTERS);
	copy_issuer(L, o);
	if (crypto_load(&o->op.err) != 0)
		return ws_op_fail(L, &o->op);
	return ws_op_work(L, &o->op, create);
}

const struct ws_native crypto_x509_natives[] = {{"create", l_create, WS_PURE}, {NULL, NULL, 0}};
