/* grpc_internal.h - what grpc.c (the server) and connection.c share. */
#ifndef WS_PROVIDER_GRPC_INTERNAL_H
#define WS_PROVIDER_GRPC_INTERNAL_H

#include "grpc.h"

#include <nghttp2/nghttp2.h>
#include <sys/types.h>
#include <ws/buf.h>

enum { READ_SIZE = 64 << 10 };

struct grpc_connection;

struct grpc_stream {
	struct grpc_connection *connection;
	struct grpc_stream *next;
	struct grpc_stream **link;
	int32_t id;
	char path[GRPC_MAX_PATH];
	struct ws_buf request;
	bool requested; /* the request event was sent */
	bool replied;
	char *reply; /* frame prefix and message */
	size_t reply_len;
	size_t reply_sent;
	void *user;
};

struct grpc_connection {
	uv_pipe_t pipe;
	uv_write_t write;
	struct grpc_server *server;
	struct grpc_connection *next;
	struct grpc_connection **link;
	uint64_t id;
	nghttp2_session *session;
	struct tls_session *tls;
	struct grpc_stream *streams;
	size_t buffered;   /* bytes of incomplete requests */
	struct ws_buf out; /* what the write under way sends */
	struct ws_buf plain;
	bool writing;
	bool ending;     /* close when everything is written */
	bool in_session; /* nghttp2 is calling us: the flush comes after it */
	bool used;       /* had a request */
	bool pipe_closed;
	char input[READ_SIZE];
};

struct grpc_server {
	uv_pipe_t pipe;
	uv_timer_t timer; /* for the grace of grpc_close() */
	unsigned handles; /* of the two above, not closed yet */
	struct grpc_events events;
	void *arg;
	struct tls_identity *identity;
	struct grpc_connection *connections;
	unsigned count;
	uint64_t last_id;
	bool closing;
	bool orphan;
	char *path;
	ino_t inode; /* of the socket file: only our own is removed */
};

/* Loads libnghttp2. 0, or -1 with `err` set. Never raises. */
int grpc_load_http2(struct ws_err *err);
/* Takes a connection of the server's listener. What fails closes it. Never raises. */
void grpc_connection_new(struct grpc_server *server);
/* Says goodbye and ends the connection when everything is written. Never raises. */
void grpc_connection_finish(struct grpc_connection *c);
/* Ends the connection at once; its streams are gone. Never raises. */
void grpc_connection_end(struct grpc_connection *c);
/* Frees the server when nothing of it is open any more. Never raises. */
void grpc_server_release(struct grpc_server *server);

#endif
