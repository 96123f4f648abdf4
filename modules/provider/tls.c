/* tls.c - see tls.h. */
#include "tls.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <ws/lazy.h>

#define SSL_FUNCTIONS(F) \
	F(TLS_server_method) \
	F(SSL_CTX_new) \
	F(SSL_CTX_free) \
	F(SSL_CTX_ctrl) \
	F(SSL_CTX_use_PrivateKey) \
	F(SSL_CTX_use_certificate) \
	F(SSL_CTX_set_verify) \
	F(SSL_CTX_get_cert_store) \
	F(SSL_CTX_get0_param) \
	F(SSL_CTX_set_alpn_select_cb) \
	F(SSL_select_next_proto) \
	F(SSL_new) \
	F(SSL_free) \
	F(SSL_set_bio) \
	F(SSL_set_accept_state) \
	F(SSL_do_handshake) \
	F(SSL_is_init_finished) \
	F(SSL_get_error) \
	F(SSL_read) \
	F(SSL_write)

#define CRYPTO_FUNCTIONS(F) \
	F(BIO_new) \
	F(BIO_s_mem) \
	F(BIO_new_mem_buf) \
	F(BIO_free) \
	F(BIO_read) \
	F(BIO_write) \
	F(EVP_PKEY_Q_keygen) \
	F(EVP_PKEY_free) \
	F(EVP_sha256) \
	F(X509_new) \
	F(X509_free) \
	F(X509_set_version) \
	F(X509_get_serialNumber) \
	F(ASN1_INTEGER_set) \
	F(X509_getm_notBefore) \
	F(X509_getm_notAfter) \
	F(X509_gmtime_adj) \
	F(X509_get_subject_name) \
	F(X509_NAME_add_entry_by_txt) \
	F(X509_set_issuer_name) \
	F(X509_set_pubkey) \
	F(X509V3_EXT_conf_nid) \
	F(X509_add_ext) \
	F(X509_EXTENSION_free) \
	F(X509_sign) \
	F(i2d_X509) \
	F(CRYPTO_free) \
	F(PEM_read_bio_X509) \
	F(X509_STORE_add_cert) \
	F(X509_VERIFY_PARAM_set_flags) \
	F(ERR_clear_error) \
	F(ERR_get_error) \
	F(ERR_error_string_n)

WS_LAZY_TABLE(ssl, SSL_FUNCTIONS);
WS_LAZY_TABLE(crypto, CRYPTO_FUNCTIONS);
static struct ssl_api ssl;
static struct crypto_api crypto;

struct tls_identity {
	SSL_CTX *ctx;
	unsigned char *der;
	size_t der_len;
};

struct tls_session {
	SSL *ssl;
	BIO *in; /* both belong to ssl */
	BIO *out;
};

static void say_why(struct ws_err *err, const char *what)
{
	char text[160] = "unknown reason";
	unsigned long code = crypto.ERR_get_error();
	if (code != 0)
		crypto.ERR_error_string_n(code, text, sizeof text);
	ws_err_set(err, "tls", "%s: %s", what, text);
}

static int add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension = crypto.X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	int ok = extension != NULL && crypto.X509_add_ext(cert, extension, -1);
	crypto.X509_EXTENSION_free(extension);
	return ok;
}

/* A certificate that lives as long as a plugin process may: ten years, as its key never leaves the process. */
static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *cert = crypto.X509_new();
	if (cert == NULL)
		return NULL;
	X509_NAME *name = crypto.X509_get_subject_name(cert);
	if (crypto.X509_set_version(cert, X509_VERSION_3) &&
		crypto.ASN1_INTEGER_set(crypto.X509_get_serialNumber(cert), 1) &&
		crypto.X509_gmtime_adj(crypto.X509_getm_notBefore(cert), -300) != NULL &&
		crypto.X509_gmtime_adj(crypto.X509_getm_notAfter(cert), 10L * 365 * 86400) != NULL &&
		crypto.X509_NAME_add_entry_by_txt(
			name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0) &&
		crypto.X509_set_issuer_name(cert, name) && crypto.X509_set_pubkey(cert, key) &&
		add_extension(cert, NID_subject_alt_name, "DNS:localhost") &&
		add_extension(cert, NID_ext_key_usage, "serverAuth,clientAuth") &&
		add_extension(cert, NID_key_usage, "critical,digitalSignature,keyCertSign") &&
		add_extension(cert, NID_basic_constraints, "critical,CA:TRUE") &&
		crypto.X509_sign(cert, key, crypto.EVP_sha256()))
		return cert;
	crypto.X509_free(cert);
	return NULL;
}

/* HTTP/2 or nothing. */
static int choose_protocol(
	SSL *s, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
	static const unsigned char protocols[] = {2, 'h', '2'};
	(void)s;
	(void)arg;
	return ssl.SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, protocols, sizeof protocols, in,
		       in_len) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Only the holder of this certificate may connect; it is trusted as it is, whoever signed it. */
static int require_client(SSL_CTX *ctx, const char *pem, size_t len)
{
	BIO *bio = crypto.BIO_new_mem_buf(pem, (int)len);
	X509 *client = bio != NULL ? crypto.PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int ok = client != NULL && crypto.X509_STORE_add_cert(ssl.SSL_CTX_get_cert_store(ctx), client) &&
		 crypto.X509_VERIFY_PARAM_set_flags(ssl.SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	ssl.SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	crypto.X509_free(client);
	crypto.BIO_free(bio);
	return ok;
}

struct tls_identity *tls_identity_new(const char *client_pem, size_t len, struct ws_err *err)
{
	if (WS_LAZY_LOAD(&crypto, CRYPTO_FUNCTIONS, "libcrypto.so.3", err) != 0 ||
		WS_LAZY_LOAD(&ssl, SSL_FUNCTIONS, "libssl.so.3", err) != 0)
		return NULL;
	crypto.ERR_clear_error();
	struct tls_identity *identity = calloc(1, sizeof *identity);
	EVP_PKEY *key = crypto.EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *cert = key != NULL ? make_certificate(key) : NULL;
	SSL_CTX *ctx = ssl.SSL_CTX_new(ssl.TLS_server_method());
	int der_len = -1;
	if (identity == NULL || cert == NULL || ctx == NULL) {
		say_why(err, "cannot make a certificate");
	} else if (!require_client(ctx, client_pem, len)) {
		say_why(err, "PLUGIN_CLIENT_CERT holds no usable certificate");
	} else if (!ssl.SSL_CTX_use_PrivateKey(ctx, key) || !ssl.SSL_CTX_use_certificate(ctx, cert) ||
		   !ssl.SSL_CTX_ctrl(ctx, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL) ||
		   (der_len = crypto.i2d_X509(cert, &identity->der)) < 0) {
		say_why(err, "cannot set up TLS");
	} else {
		ssl.SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
		identity->ctx = ctx;
		identity->der_len = (size_t)der_len;
	}
	crypto.X509_free(cert);
	crypto.EVP_PKEY_free(key);
	if (der_len >= 0)
		return identity;
	ssl.SSL_CTX_free(ctx);
	free(identity);
	return NULL;
}

const unsigned char *tls_identity_certificate(const struct tls_identity *identity, size_t *len)
{
	*len = identity->der_len;
	return identity->der;
}

void tls_identity_free(struct tls_identity *identity)
{
	if (identity == NULL)
		return;
	ssl.SSL_CTX_free(identity->ctx);
	crypto.CRYPTO_free(identity->der, __FILE__, __LINE__);
	free(identity);
}

struct tls_session *tls_session_new(struct tls_identity *identity)
{
	struct tls_session *session = calloc(1, sizeof *session);
	if (session == NULL)
		return NULL;
	session->ssl = ssl.SSL_new(identity->ctx);
	session->in = crypto.BIO_new(crypto.BIO_s_mem());
	session->out = crypto.BIO_new(crypto.BIO_s_mem());
	if (session->ssl == NULL || session->in == NULL || session->out == NULL) {
		crypto.BIO_free(session->in);
		crypto.BIO_free(session->out);
		ssl.SSL_free(session->ssl);
		free(session);
		return NULL;
	}
	ssl.SSL_set_bio(session->ssl, session->in, session->out);
	ssl.SSL_set_accept_state(session->ssl);
	return session;
}

/* -1 unless the result only means that more bytes are needed. */
static int wants_more(struct tls_session *session, int result)
{
	return ssl.SSL_get_error(session->ssl, result) == SSL_ERROR_WANT_READ ? 0 : -1;
}

int tls_read(struct tls_session *session, const char *data, size_t len, struct ws_buf *plain)
{
	crypto.ERR_clear_error();
	if (crypto.BIO_write(session->in, data, (int)len) != (int)len)
		return -1;
	if (!tls_ready(session)) {
		int rc = ssl.SSL_do_handshake(session->ssl);
		if (rc != 1)
			return wants_more(session, rc);
	}
	for (;;) {
		char *room = ws_buf_room(plain, 16 << 10); /* a TLS record */
		if (room == NULL)
			return -1;
		int n = ssl.SSL_read(session->ssl, room, 16 << 10);
		if (n <= 0)
			return wants_more(session, n);
		plain->len += (size_t)n;
	}
}

int tls_write(struct tls_session *session, const char *data, size_t len)
{
	crypto.ERR_clear_error();
	return ssl.SSL_write(session->ssl, data, (int)len) == (int)len ? 0 : -1;
}

int tls_output(struct tls_session *session, struct ws_buf *out)
{
	for (;;) {
		char *room = ws_buf_room(out, 16 << 10);
		if (room == NULL)
			return -1;
		int n = crypto.BIO_read(session->out, room, 16 << 10);
		if (n <= 0)
			return 0;
		out->len += (size_t)n;
	}
}

bool tls_ready(const struct tls_session *session)
{
	return ssl.SSL_is_init_finished(session->ssl);
}

void tls_session_free(struct tls_session *session)
{
	if (session == NULL)
		return;
	ssl.SSL_free(session->ssl);
	free(session);
}
