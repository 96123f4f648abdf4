/* grpc.h - a gRPC server for unary calls on a unix socket: HTTP/2 by nghttp2, on the loop, with or without TLS.
 *
 * No Lua here. Ownership: the server, its connections and its streams belong to the loop from grpc_listen() until the
 * `closed` event. A stream lives until its `gone` event at the latest; a user keeps no pointer to it after that.
 * Events may call grpc_reply() and grpc_close().
 */
#ifndef WS_PROVIDER_GRPC_H
#define WS_PROVIDER_GRPC_H

#include "tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include <ws/error.h>

enum {
	GRPC_MAX_MESSAGE = 64 << 20,     /* bytes of one request */
	GRPC_MAX_CONNECTION = 256 << 20, /* bytes of all requests of a connection that are not complete */
	GRPC_MAX_CONNECTIONS = 1024,
	GRPC_MAX_STREAMS = 1000, /* of a connection */
	GRPC_MAX_PATH = 256,
};

/* Status codes that this server gives by itself. */
enum grpc_status {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
};

struct grpc_server;
struct grpc_stream;

struct grpc_events {
	/* A complete request. The message's bytes are valid during the call. */
	void (*request)(void *arg, uint64_t connection, struct grpc_stream *s, const char *path, const char *message,
		size_t len);
	/* The stream has ended: its reply was sent, or the client gave up, or the connection broke. For each request once. */
	void (*gone)(void *arg, struct grpc_stream *s, bool replied);
	/* A connection that had a request has ended. */
	void (*disconnected)(void *arg, uint64_t connection);
	/* The last handle has closed; the server is freed after this returns. */
	void (*closed)(void *arg);
};

/* Loads nghttp2 and listens on the socket `path`; a dead socket file there is replaced. `identity` is NULL without TLS;
 * the server takes it over when this succeeds. Returns NULL with `err` set when it fails. Never raises. */
struct grpc_server *grpc_listen(uv_loop_t *loop, const char *path, struct tls_identity *identity,
	const struct grpc_events *events, void *arg, struct ws_err *err);
/* Stops listening, tells the clients and closes; the `closed` event follows. May be called again. Never raises. */
void grpc_close(struct grpc_server *server);
/* For an owner that goes away before the server: each stream that waits is `gone` now, and no event follows. */
void grpc_orphan(struct grpc_server *server);
/* Answers the request, once: with a message when status is GRPC_OK, else with a text. Never raises. */
void grpc_reply(struct grpc_stream *s, enum grpc_status status, const char *data, size_t len);
/* What the user attached to a stream; NULL at first. Never raise. */
void *grpc_user(const struct grpc_stream *s);
void grpc_set_user(struct grpc_stream *s, void *user);

#endif
