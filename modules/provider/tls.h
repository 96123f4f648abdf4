/* tls.h - TLS for a plugin's socket, as HashiCorp's plugin protocol wants it (AutoMTLS).
 *
 * The server has a certificate of its own making; the client must show the one that it announced. OpenSSL works on
 * memory, so that the loop does all reading and writing. libssl and libcrypto are loaded at the first use.
 */
#ifndef WS_PROVIDER_TLS_H
#define WS_PROVIDER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <ws/buf.h>
#include <ws/error.h>

struct tls_identity;
struct tls_session;

/* Makes a key and a self-signed certificate for "localhost" that a client with the certificate `client_pem` may talk to.
 * NULL with `err` set when it fails. Never raises. */
struct tls_identity *tls_identity_new(const char *client_pem, size_t len, struct ws_err *err);
/* The server's certificate in DER; belongs to the identity. Never raises. */
const unsigned char *tls_identity_certificate(const struct tls_identity *identity, size_t *len);
/* Frees it; NULL is fine. Sessions must be gone. Never raises. */
void tls_identity_free(struct tls_identity *identity);

/* Begins the server's side of a connection; NULL without memory. Never raises. */
struct tls_session *tls_session_new(struct tls_identity *identity);
/* Takes bytes from the socket and appends what they say to `plain`. 0, or -1 when the connection must end. */
int tls_read(struct tls_session *session, const char *data, size_t len, struct ws_buf *plain);
/* Takes bytes for the client; they wait inside until the handshake is over. 0 or -1. */
int tls_write(struct tls_session *session, const char *data, size_t len);
/* Moves bytes for the socket to `out`: 0 or -1. */
int tls_output(struct tls_session *session, struct ws_buf *out);
/* True when the handshake is over: only then may tls_write() be called. Never raises. */
bool tls_ready(const struct tls_session *session);
/* Frees it; NULL is fine. Never raises. */
void tls_session_free(struct tls_session *session);

#endif
