/* crypto.h - what the files of this module share: the functions of OpenSSL, and their natives. */
#ifndef WS_CRYPTO_H
#define WS_CRYPTO_H

#include <ws/error.h>
#include <ws/lazy.h>
#include <ws/native.h>

#include <lua.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#define OPENSSL_FUNCTIONS(F) \
	F(ASN1_INTEGER_set_uint64) \
	F(BIO_ctrl) \
	F(BIO_free) \
	F(BIO_new) \
	F(BIO_new_mem_buf) \
	F(BIO_s_mem) \
	F(ERR_clear_error) \
	F(ERR_error_string_n) \
	F(ERR_get_error) \
	F(EVP_DigestFinal_ex) \
	F(EVP_DigestInit_ex) \
	F(EVP_DigestSign) \
	F(EVP_DigestSignInit) \
	F(EVP_DigestUpdate) \
	F(EVP_DigestVerify) \
	F(EVP_DigestVerifyInit) \
	F(EVP_MD_CTX_free) \
	F(EVP_MD_CTX_new) \
	F(EVP_PKEY_Q_keygen) \
	F(EVP_PKEY_free) \
	F(EVP_PKEY_is_a) \
	F(EVP_md5) \
	F(EVP_sha1) \
	F(EVP_sha256) \
	F(EVP_sha512) \
	F(HMAC) \
	F(PEM_read_bio_PUBKEY) \
	F(PEM_read_bio_PrivateKey) \
	F(PEM_read_bio_X509) \
	F(PEM_write_bio_PrivateKey) \
	F(PEM_write_bio_X509) \
	F(X509V3_EXT_conf_nid) \
	F(X509V3_set_ctx) \
	F(X509_EXTENSION_free) \
	F(X509_NAME_add_entry_by_txt) \
	F(X509_add_ext) \
	F(X509_check_private_key) \
	F(X509_free) \
	F(X509_get_pubkey) \
	F(X509_get_serialNumber) \
	F(X509_get_subject_name) \
	F(X509_getm_notAfter) \
	F(X509_getm_notBefore) \
	F(X509_gmtime_adj) \
	F(X509_new) \
	F(X509_set_issuer_name) \
	F(X509_set_pubkey) \
	F(X509_set_version) \
	F(X509_sign) \
	F(X509_time_adj_ex)
WS_LAZY_TABLE(openssl, OPENSSL_FUNCTIONS);
extern struct openssl_api openssl;

/* Loads OpenSSL. Returns 0, or -1 with err. Never raises. */
int crypto_load(struct ws_err *err);
/* Sets an error with OpenSSL's own reason. Never raises. */
void crypto_fail(struct ws_err *err, const char *kind, const char *what);
/* Reads a private key (PKCS#8 or PKCS#1), or NULL with err. Never asks for a passphrase. Never raises. */
EVP_PKEY *crypto_private_key(const char *pem, size_t len, struct ws_err *err);
/* Fills `data` with random bytes of the kernel. Never raises. */
void crypto_random(void *data, size_t len);

extern const struct ws_native crypto_encode_natives[]; /* encode.c */
extern const struct ws_native crypto_digest_natives[]; /* digest.c */
extern const struct ws_native crypto_rsa_natives[];    /* rsa.c */
extern const struct ws_native crypto_x509_natives[];   /* x509.c */
/* Makes the metatable of hashers. Raises (memory). */
void crypto_digest_open(lua_State *L);

#endif
