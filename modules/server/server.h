/* server.h - what the daemon (server.c) and its requests (request.c) share.
 *
 * Invariants
 * - MHD calls us only inside MHD_run() and MHD_stop_daemon(), both on the loop's thread; Lua never runs
 * inside them.
 * - A request belongs to MHD from its first line to on_completed(), and to Lua while a userdata points to it:
 * two counts, freed with the last. `connection` is NULL before MHD knows it and after on_completed().
 * - A connection is suspended by us exactly while `suspended` is true: then MHD neither reads, writes nor
 * closes it.
 */
#ifndef WS_SERVER_H
#define WS_SERVER_H

#include <ws/buf.h>
#include <ws/lazy.h>
#include <ws/native.h>
#include <ws/op.h>
#include <ws/permit.h>

#include <microhttpd.h>
#include <stdbool.h>
#include <uv.h>

#define MHD_FUNCTIONS(F) \
	F(MHD_start_daemon) \
	F(MHD_stop_daemon) \
	F(MHD_quiesce_daemon) \
	F(MHD_run) \
	F(MHD_get_timeout) \
	F(MHD_get_daemon_info) \
	F(MHD_get_connection_info) \
	F(MHD_get_connection_values) \
	F(MHD_suspend_connection) \
	F(MHD_resume_connection) \
	F(MHD_create_response_from_buffer) \
	F(MHD_create_response_from_callback) \
	F(MHD_create_response_from_fd_at_offset64) \
	F(MHD_add_response_header) \
	F(MHD_queue_response) \
	F(MHD_destroy_response)
WS_LAZY_TABLE(mhd, MHD_FUNCTIONS);
extern struct mhd_api mhd;

enum {
	HIGH_WATER = 1 << 20,   /* bytes that wait in a request, per direction, before its source has to pause */
	MEMORY_LIMIT = 1 << 18, /* of a connection; half of it is what one read takes at most */
	DRAIN_LIMIT = 8 << 20,  /* an unread body up to this size is read and dropped to keep the connection */
};

enum stage {
	STAGE_HEAD, /* the head has arrived; the client's body waits */
	STAGE_BODY, /* the body is being received */
	STAGE_REPLY /* the response was handed to MHD */
};

/* Waits for something of a request: data, room, or its end. */
struct wait_op {
	struct ws_op op;
	struct request *request; /* with a reference */
};

struct request {
	struct server *server;             /* NULL after on_completed() */
	struct MHD_Connection *connection; /* see the invariants */
	struct MHD_Response *response;     /* owned; what to send, once the handler has said it */
	struct request *next, **link;      /* in server->requests */
	struct request *next_event;        /* in server->events */
	struct wait_op *waiting;           /* the operation that waits for this request, or NULL */
	char *target;                      /* owned; path and query as the client sent them */
	const char *method;                /* MHD's, valid until on_completed() */
	struct ws_buf in, out;             /* received and not yet read; written and not yet sent */
	size_t out_at;                     /* bytes of `out` that MHD has taken */
	size_t collect_max;                /* largest body when it is collected whole; else 0 */
	uint64_t length;                   /* Content-Length; UINT64_MAX for a chunked body */
	unsigned id;                       /* names it for Lua */
	unsigned references;
	unsigned status; /* of the response */
	enum stage stage;
	bool expects_continue; /* the client waits for a word before it sends the body */
	bool suspended;
	bool discard; /* nobody wants the rest of the body */
	bool body_ended;
	bool too_large;            /* the collected body passed collect_max */
	bool streaming;            /* the response is written piece by piece */
	bool out_ended;            /* the last piece was written */
	bool aborted;              /* end the connection at the next chance */
	bool gone;                 /* the client has left */
	bool completed, delivered; /* on_completed() was called; with success */
	bool in_events, announced; /* in server->events; Lua has got it */
};

struct server {
	struct MHD_Daemon *daemon;
	uv_poll_t poll;   /* on MHD's epoll descriptor */
	uv_timer_t timer; /* MHD's own timeouts */
	uv_idle_t idle;   /* MHD has something to do at once */
	uv_timer_t watch; /* looks for clients that left while their handler works */
	struct request *requests;
	struct request *events, *events_last; /* what accept() returns next */
	struct accept_op *accepting;
	struct close_op *closing;
	char *unix_path;      /* owned; removed at the end */
	struct ws_pin socket; /* what unix_path is checked as */
	int listen_fd;
	unsigned open_handles, next_id;
	unsigned fresh; /* connections that have not sent a request: in their TLS handshake, or silent */
	unsigned spins; /* runs since MHD's epoll descriptor last had an event */
	bool tls;
	bool collected; /* the userdata is gone: free with the last handle */
};

/* server.c */
void server_kick(struct server *s);                     /* MHD has something to do. Never raises. */
void server_not_fresh(struct server *s, bool *fresh);   /* the connection has sent a request, or ended. */
void server_event(struct server *s, struct request *r); /* queues r for accept(). Never raises. */

/* request.c: callbacks for MHD, and what is done to a request. None raises. */
void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection);
enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *data, size_t *size, void **context);
void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why);
ssize_t request_read_stream(void *cls, uint64_t position, char *data, size_t max); /* what write() left, for MHD */
void request_unref(struct request *r);
void request_wake(struct request *r);   /* ends the operation that waits for it */
void request_resume(struct request *r); /* MHD goes on with the connection */
void request_abort(struct request *r);  /* ends the connection at the next chance */
void request_lost(struct request *r);   /* the client of a suspended request has left */

/* answer.c */
void request_push(lua_State *L, struct request *r); /* [-0, +5] request, method, target, headers, remote. Raises. */
void request_natives(lua_State *L, int idx);        /* adds the natives of requests to the table at idx. Raises. */

#endif
