/* server.c - libmicrohttpd in epoll mode, driven by our loop.
 *
 * MHD has one epoll descriptor with everything it waits for; our loop polls that, and a timer stands for
 * MHD's own timeouts. A Lua task takes the requests one after the other with accept() and starts a task for
 * each.
 */
#include "server.h"

#include <ws/args.h>
#include <ws/secret.h>

#include <arpa/inet.h>
#include <errno.h>
#include <lauxlib.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define METATABLE "ws.server.Server"

enum { WATCH_MS = 250, CONNECTION_LIMIT = 16384, BACKLOG = 1024, SPINS = 64 };

struct mhd_api mhd;

struct accept_op {
	struct ws_op op;
	struct server *server;
};

struct close_op {
	struct ws_op op;
	struct server *server;
};

/* ---- the loop
 * ---------------------------------------------------------------------------------------------------- */

static void run(struct server *s);

static void on_timer(uv_timer_t *timer)
{
	run(timer->data);
}

static void on_idle(uv_idle_t *idle)
{
	run(idle->data);
}

/* Work that MHD has at once is done in the next turn of the loop, so that others get theirs: the client may be in this
 * process. During a TLS handshake MHD claims to have work until the client has answered: then each turn but the first
 * few waits a moment. */
static void run(struct server *s)
{
	unsigned long long ms;
	if (s->daemon == NULL)
		return;
	mhd.MHD_run(s->daemon);
	uv_idle_stop(&s->idle);
	uv_timer_stop(&s->timer);
	if (mhd.MHD_get_timeout(s->daemon, &ms) != MHD_YES)
		return;
	if (ms == 0 && (!s->tls || s->fresh == 0 || ++s->spins <= SPINS))
		uv_idle_start(&s->idle, on_idle);
	else
		uv_timer_start(&s->timer, on_timer, ms > 0 ? ms : 1, 0);
}

void server_not_fresh(struct server *s, bool *fresh)
{
	if (fresh != NULL && *fresh) {
		*fresh = false;
		s->fresh--;
	}
}

void server_kick(struct server *s)
{
	s->spins = 0;
	if (s->daemon != NULL)
		uv_idle_start(&s->idle, on_idle);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	struct server *s = poll->data;
	s->spins = 0;
	run(s);
}

/* MHD does not look at suspended connections, so a client that leaves while its handler works is found here.
 */
static void on_watch(uv_timer_t *timer)
{
	struct server *s = timer->data;
	if (s->requests == NULL) {
		uv_timer_stop(timer);
		return;
	}
	struct request *next;
	for (struct request *r = s->requests; r != NULL; r = next) {
		next = r->next;
		if (!r->suspended || r->gone)
			continue;
		const union MHD_ConnectionInfo *info =
			mhd.MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		struct pollfd p = {.fd = info->connect_fd, .events = POLLRDHUP};
		if (poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0)
			request_lost(r);
	}
}

static void free_server(struct server *s)
{
	free(s->unix_path);
	ws_unpin(&s->socket);
	free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct server *s = handle->data;
	if (--s->open_handles > 0)
		return;
	if (s->closing != NULL) {
		ws_op_done(&s->closing->op);
		s->closing = NULL;
	}
	if (s->collected)
		free_server(s);
}

/* The oldest event; its reference passes to the caller. */
static struct request *take_event(struct server *s)
{
	struct request *r = s->events;
	s->events = r->next_event;
	r->in_events = false;
	return r;
}

/* Ends every connection and closes the handles. */
static void stop(struct server *s)
{
	if (s->daemon == NULL)
		return;
	struct MHD_Daemon *daemon = s->daemon;
	s->daemon = NULL; /* no events from here on */
	while (s->events != NULL)
		request_unref(take_event(s));
	for (struct request *r = s->requests; r != NULL; r = r->next) {
		r->aborted = true;
		if (r->suspended) { /* MHD cannot end a suspended connection */
			r->suspended = false;
			mhd.MHD_resume_connection(r->connection);
		}
	}
	mhd.MHD_stop_daemon(daemon); /* completes every request; closes the listening socket unless it is ours again */
	if (s->unix_path != NULL)
		unlink(s->unix_path);
	if (s->accepting != NULL) {
		struct accept_op *op = s->accepting;
		s->accepting = NULL;
		ws_op_done(&op->op);
	}
	uv_close((uv_handle_t *)&s->poll, on_handle_closed);
	uv_close((uv_handle_t *)&s->timer, on_handle_closed);
	uv_close((uv_handle_t *)&s->watch, on_handle_closed);
	uv_close((uv_handle_t *)&s->idle, on_handle_closed);
}

/* ---- accept
 * ------------------------------------------------------------------------------------------------------ */

void server_event(struct server *s, struct request *r)
{
	if (r->in_events || s->daemon == NULL)
		return;
	r->in_events = true;
	r->references++;
	r->next_event = NULL;
	if (s->events == NULL)
		s->events = r;
	else
		s->events_last->next_event = r;
	s->events_last = r;
	if (!uv_is_active((uv_handle_t *)&s->watch))
		uv_timer_start(&s->watch, on_watch, WATCH_MS, WATCH_MS);
	if (s->accepting != NULL) {
		struct accept_op *op = s->accepting;
		s->accepting = NULL;
		ws_op_done(&op->op);
	}
}

static int accept_push(lua_State *L, struct ws_op *base)
{
	struct server *s = ((struct accept_op *)base)->server;
	if (s->events == NULL) {
		lua_pushnil(L);
		return 1;
	}
	if (s->events->announced) { /* the second time: its client has left */
		lua_pushinteger(L, s->events->id);
		request_unref(take_event(s));
		return 1;
	}
	struct request *r = s->events;
	request_push(L, r);
	r->announced = true;
	request_unref(take_event(s));
	lua_pushinteger(L, r->id);
	return 6;
}

static void accept_cancel(struct ws_op *base)
{
	struct server *s = ((struct accept_op *)base)->server;
	s->accepting = NULL;
	ws_op_done(base);
}

static const struct ws_op_type accept_type = {.name = "server.accept", .push = accept_push, .cancel = accept_cancel};

static struct server **check_server(lua_State *L, int idx)
{
	return luaL_checkudata(L, idx, METATABLE);
}

/* server.native.accept(server) → request, method, target, headers, remote, id | id of a lost one | nil.
 * Yields. */
static int l_accept(lua_State *L)
{
	struct server *s = *check_server(L, 1);
	struct accept_op *op = ws_op_new(L, &accept_type, sizeof *op);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	op->server = s;
	if (s->events != NULL || s->daemon == NULL)
		ws_op_done(&op->op);
	else
		s->accepting = op;
	return ws_op_start(L, &op->op);
}

/* ---- close
 * ------------------------------------------------------------------------------------------------------- */

static int close_push(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

static const struct ws_op_type close_type = {.name = "server.close", .push = close_push};

/* server.native.close(server) → true. Ends every connection. Yields. */
static int l_close(lua_State *L)
{
	struct server *s = *check_server(L, 1);
	if (s->daemon == NULL) {
		lua_pushboolean(L, 1);
		return 1;
	}
	struct close_op *op = ws_op_new(L, &close_type, sizeof *op);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	s->closing = op;
	stop(s);
	return ws_op_start(L, &op->op);
}

/* server.native.quiesce(server): no new connections; those that are open stay. */
static int l_quiesce(lua_State *L)
{
	struct server *s = *check_server(L, 1);
	if (s->daemon != NULL && s->listen_fd >= 0 && mhd.MHD_quiesce_daemon(s->daemon) != MHD_INVALID_SOCKET)
		close(s->listen_fd);
	s->listen_fd = -1;
	return 0;
}

static int server_gc(lua_State *L)
{
	struct server *s = *check_server(L, 1);
	*check_server(L, 1) = NULL;
	if (s == NULL)
		return 0;
	s->collected = true;
	if (s->open_handles == 0)
		free_server(s);
	else
		stop(s);
	return 0;
}

/* ---- listen
 * ------------------------------------------------------------------------------------------------------ */

/* What listen() was asked for; strings belong to Lua. */
struct listen_opts {
	const char *host, *unix_path, *cert, *key;
	int port;
	unsigned idle;
};

static void parse_opts(lua_State *L, int idx, struct listen_opts *o)
{
	ws_opts_check(L, idx, "host", "port", "unix", "cert", "key", "idle_timeout", NULL);
	o->host = ws_opt_string(L, idx, "host", "127.0.0.1", NULL);
	o->unix_path = ws_opt_string(L, idx, "unix", NULL, NULL);
	lua_Integer port = ws_opt_integer(L, idx, "port", 0);
	luaL_argcheck(L, port >= 0 && port <= 65535, idx, "option 'port' must be between 0 and 65535");
	o->port = (int)port;
	o->idle = (unsigned)ws_opt_number(L, idx, "idle_timeout", 120);
	o->cert = ws_opt_string(L, idx, "cert", NULL, NULL);
	o->key = NULL;
	if (ws_opt_get(L, idx, "key") != LUA_TNIL)
		o->key = ws_text_or_secret(L, -1, NULL); /* stays on the stack */
}

static int bind_unix(const struct listen_opts *o, struct ws_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(o->unix_path) >= sizeof address.sun_path) {
		ws_err_set(err, "invalid", "%s: the path of a unix socket has at most %zu bytes", o->unix_path,
			sizeof address.sun_path - 1);
		return -1;
	}
	strcpy(address.sun_path, o->unix_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		ws_err_errno(err, o->unix_path, errno);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static int bind_tcp(const struct listen_opts *o, struct ws_err *err)
{
	struct sockaddr_storage address = {0};
	const char *host = strcmp(o->host, "localhost") == 0 ? "127.0.0.1" : o->host;
	if (uv_ip4_addr(host, o->port, (struct sockaddr_in *)&address) != 0 &&
		uv_ip6_addr(host, o->port, (struct sockaddr_in6 *)&address) != 0) {
		ws_err_set(err, "invalid", "%s is not an IP address to listen on", o->host);
		return -1;
	}
	if (ws_permit_listen((struct sockaddr *)&address) != 0) {
		ws_err_errno(err, o->host, errno);
		return -1;
	}
	socklen_t len = address.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
		bind(fd, (struct sockaddr *)&address, len) != 0) {
		int code = errno;
		ws_err_errno(err, o->host, code);
		if (code == EADDRINUSE) {
			ws_err_set(err, "exists", "port %d of %s is in use by another program", o->port, o->host);
			ws_err_hint(err, "choose another port, or 0 for any free one");
		}
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The port that the socket got; 0 for a unix socket. */
static int bound_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof address;
	if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
		return 0;
	if (address.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&address)->sin_port);
	if (address.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	return 0;
}

/* Targets reach Lua as they were sent: %2F in an object's name is not a separator. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *s)
{
	(void)cls;
	(void)connection;
	return strlen(s);
}

/* Counts the connections that have not sent a request yet; see run(). The context is whether this one is counted. */
static void on_connection(
	void *cls, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what)
{
	struct server *s = cls;
	(void)connection;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		bool *fresh = malloc(sizeof *fresh);
		if (fresh == NULL)
			return;
		*fresh = true;
		*context = fresh;
		s->fresh++;
	} else {
		server_not_fresh(s, *context);
		free(*context);
		*context = NULL;
	}
}

static int start_daemon(struct server *s, const struct listen_opts *o, struct ws_err *err)
{
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->cert},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->key},
		{MHD_OPTION_END, 0, NULL},
	};
	s->tls = o->cert != NULL;
	if (s->tls)
		flags |= MHD_USE_TLS;
	else
		tls[0].option = MHD_OPTION_END;
	s->daemon = mhd.MHD_start_daemon(flags, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_LIMIT, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)CONNECTION_LIMIT, MHD_OPTION_CONNECTION_TIMEOUT, o->idle, MHD_OPTION_SIGPIPE_HANDLED_BY_APP,
		1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
	if (s->daemon == NULL) {
		ws_err_set(err, "failed", "the server did not start%s",
			o->cert != NULL ? ": certificate and key must be PEM text that belong together" : "");
		return -1;
	}
	return 0;
}

static int watch_daemon(struct server *s, uv_loop_t *loop, struct ws_err *err)
{
	const union MHD_DaemonInfo *info = mhd.MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int rc = uv_poll_init(loop, &s->poll, info->epoll_fd);
	if (rc != 0) {
		mhd.MHD_stop_daemon(s->daemon);
		s->daemon = NULL;
		s->listen_fd = -1;
		ws_err_uv(err, "event loop", rc);
		return -1;
	}
	uv_timer_init(loop, &s->timer);
	uv_timer_init(loop, &s->watch);
	uv_idle_init(loop, &s->idle);
	s->poll.data = s->timer.data = s->watch.data = s->idle.data = s;
	s->open_handles = 4;
	uv_poll_start(&s->poll, UV_READABLE, on_poll);
	return 0;
}

/* server.native.listen(opts) → server, port | nil, err */
static int l_listen(lua_State *L)
{
	struct ws_err err = {.op = "server.listen"};
	struct listen_opts o;
	parse_opts(L, 1, &o);
	if (o.unix_path != NULL)
		ws_need(L, WS_WRITE, "server.listen");
	if (WS_LAZY_LOAD(&mhd, MHD_FUNCTIONS, "libmicrohttpd.so.12", &err) != 0)
		return ws_fail(L, &err);
	struct server **box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = NULL;
	luaL_setmetatable(L, METATABLE);
	struct server *s = calloc(1, sizeof *s);
	if (s == NULL)
		return luaL_error(L, "out of memory");
	*box = s; /* from here on the userdata frees it */
	s->socket.fd = -1;
	if (o.unix_path != NULL && ws_pin(&s->socket, o.unix_path, WS_CHANGE | WS_NEW | WS_LINK) != 0) {
		ws_err_errno(&err, o.unix_path, errno);
		return ws_fail(L, &err);
	}
	if (o.unix_path != NULL)
		o.unix_path = s->socket.path;
	s->listen_fd = o.unix_path != NULL ? bind_unix(&o, &err) : bind_tcp(&o, &err);
	if (s->listen_fd < 0)
		return ws_fail(L, &err);
	if (o.unix_path != NULL)
		s->unix_path = strdup(o.unix_path);
	if (listen(s->listen_fd, BACKLOG) != 0)
		ws_err_errno(&err, o.host, errno);
	int port = bound_port(s->listen_fd);
	if (err.kind != NULL || start_daemon(s, &o, &err) != 0) {
		if (bound_port(s->listen_fd) == port) /* MHD closes it in some of its failures */
			close(s->listen_fd);
		if (s->unix_path != NULL)
			unlink(s->unix_path);
		return ws_fail(L, &err);
	}
	if (watch_daemon(s, ws_loop(L), &err) != 0)
		return ws_fail(L, &err);
	lua_pushinteger(L, port);
	return 2;
}

int luaopen_ws_server(lua_State *L)
{
	static const struct ws_native natives[] = {{"listen", l_listen, WS_READ}, {"accept", l_accept, WS_READ},
		{"quiesce", l_quiesce, WS_READ}, {"close", l_close, WS_READ}, {NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, server_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	ws_natives(L, "ws.server.native", natives);
	request_natives(L, lua_gettop(L));
	return 1;
}
