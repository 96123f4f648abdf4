/* request.h - one HTTP request: what is sent, what has arrived, and when its owner has something to do. No Lua.
 *
 * A request ends by itself (`done`) or is stopped. Whenever its state changes so that the owner may go on, notify() is
 * called; it only queues. Waiting data is bounded: the transfer pauses until the owner has taken it.
 */
#ifndef WS_HTTP_REQUEST_H
#define WS_HTTP_REQUEST_H

#include "file.h"
#include "loop.h"

#include <ws/buf.h>
#include <ws/permit.h>

#include <stdint.h>

enum {
	HTTP_HIGH_WATER = 1 << 18, /* bytes that wait for a sink, or from a producer */
	HTTP_MAX_HEAD = 1 << 18,   /* bytes of all response headers */
};

enum http_sink { HTTP_TO_MEMORY, HTTP_TO_FILE, HTTP_TO_OWNER };
enum http_source { HTTP_NO_BODY, HTTP_FROM_MEMORY, HTTP_FROM_FILE, HTTP_FROM_OWNER };

/* Everything is borrowed until http_request_start() returns, except `body`: until the request is freed. */
struct http_options {
	const char *method, *url, *what; /* what: names the request in errors */
	const char *body, *body_file, *body_sha256;
	size_t body_len;
	int64_t body_offset, body_length; /* of the file; or the length that a producer promises, -1 for unknown */
	enum http_source source;
	enum http_sink sink;
	const char *sink_file;
	bool append;      /* to sink_file */
	int64_t sink_max; /* bytes that may go there, -1: any number */
	size_t max_body;
	long timeout_ms, connect_timeout_ms, stall_s; /* 0: none */
	const char *ca, *cert, *key;                  /* PEM text, or a path */
	size_t ca_len, cert_len, key_len;
	const char *unix_path;
	bool no_proxy;
};

struct http_request {
	struct http_transfer transfer;
	struct ws_err err; /* why it failed, once it is done */
	void (*notify)(struct http_request *r);
	void *owner;                /* of notify() */
	char *what;                 /* owned */
	struct curl_slist *headers; /* owned; to be filled before the start */
	struct ws_buf head;         /* the final response's header lines */
	struct ws_buf in;           /* body that arrived: all of it (memory), or what the owner has not taken */
	struct ws_buf out;          /* body that the owner gave and libcurl has not taken */
	size_t out_at;              /* bytes of `out` that libcurl has taken */
	enum http_sink sink;
	char *sink_path; /* owned */
	int sink_fd;
	bool append;
	int64_t sink_left;      /* bytes that may still go there, -1: any number */
	struct http_file *file; /* owned; the body, when it is a file */
	long status;
	bool recv_paused, send_paused;
	bool wants_body; /* the producer is asked for more */
	bool body_ended; /* the producer has ended */
	bool done;
	struct ws_net_target target, proxy; /* whom the run's permissions have to list; proxy.host may be empty */
	struct ws_err refused;              /* why an address was not connected to; another one may be */
	struct ws_pin socket;               /* of a unix socket, while the request lives */
	char message[CURL_ERROR_SIZE];
};

/* Makes an idle request, or NULL without memory. */
struct http_request *http_request_new(void);
/* Adds "name: value"; the value is copied. Returns -1 without memory. */
int http_request_header(struct http_request *r, const char *name, const char *value);
/* Starts it. Returns 0, or -1 with r->err. */
int http_request_start(struct http_request *r, struct http_loop *loop, const struct http_options *o);
/* Takes `data` as the next piece of the body; NULL ends the body. Returns -1 without memory. */
int http_request_feed(struct http_request *r, const char *data, size_t len);
/* Forgets what has arrived (the owner has taken it) and lets the transfer go on. */
void http_request_taken(struct http_request *r);
/* Ends the transfer; notify() is not called. */
void http_request_stop(struct http_request *r);
void http_request_free(struct http_request *r);

/* permitted.c: what the run's permissions say. Each returns 0, or -1 with r->err (r->refused for an address). */
int http_request_permitted(struct http_request *r, const struct http_options *o);
int http_request_may_connect(struct http_request *r, const struct sockaddr *address);

#endif
