/* grpc.c - the gRPC server: its socket, its beginning and end; see grpc.h. Connections are in connection.c. */
#include "grpc_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLOSE_GRACE = 2000 /* ms that a closing server waits for clients that do not read */ };

static void server_handle_closed(uv_handle_t *handle)
{
	struct grpc_server *server = handle->data;
	server->handles--;
	grpc_server_release(server);
}

void grpc_server_release(struct grpc_server *server)
{
	if (server->connections == NULL && server->closing && !uv_is_closing((uv_handle_t *)&server->timer))
		uv_close((uv_handle_t *)&server->timer, server_handle_closed);
	if (server->handles > 0 || server->connections != NULL)
		return;
	if (!server->orphan)
		server->events.closed(server->arg);
	tls_identity_free(server->identity);
	free(server->path);
	free(server);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct grpc_server *server = listener->data;
	if (status == 0 && !server->closing)
		grpc_connection_new(server);
}

static void end_all(struct grpc_server *server)
{
	for (struct grpc_connection *c = server->connections, *next; c != NULL; c = next) {
		next = c->next;
		grpc_connection_end(c);
	}
}

static void grace_over(uv_timer_t *timer)
{
	end_all(timer->data);
}

void grpc_close(struct grpc_server *server)
{
	if (server->closing)
		return;
	server->closing = true;
	struct stat st;
	if (server->inode != 0 && lstat(server->path, &st) == 0 && st.st_ino == server->inode)
		unlink(server->path);
	for (struct grpc_connection *c = server->connections, *next; c != NULL; c = next) {
		next = c->next;
		grpc_connection_finish(c);
	}
	uv_timer_start(&server->timer, grace_over, CLOSE_GRACE, 0);
	uv_close((uv_handle_t *)&server->pipe, server_handle_closed);
	grpc_server_release(server);
}

void grpc_orphan(struct grpc_server *server)
{
	for (struct grpc_connection *c = server->connections; c != NULL; c = c->next)
		for (struct grpc_stream *s = c->streams; s != NULL; s = s->next)
			if (s->requested)
				server->events.gone(server->arg, s, true);
	server->orphan = true;
}

/* True when a socket file is there that nobody listens on. */
static bool is_dead_socket(const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	bool dead = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
	close(fd);
	return dead;
}

static int bind_socket(struct grpc_server *server, const char *path, struct ws_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	if (strlen(path) >= sizeof address.sun_path) { /* libuv would cut it off silently */
		ws_err_set(err, "invalid", "%s: the path of a socket has at most %zu bytes, this one has %zu", path,
			sizeof address.sun_path - 1, strlen(path));
		ws_err_hint(err, "choose a folder with a shorter path, for example below /tmp");
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (is_dead_socket(&address))
		unlink(path);
	int rc = uv_pipe_bind(&server->pipe, path);
	if (rc == UV_EACCES && errno == ENOENT) /* libuv says so for a missing folder */
		rc = UV_ENOENT;
	if (rc == 0 && (chmod(path, 0600) != 0 || lstat(path, &st) != 0))
		rc = -errno;
	if (rc == 0) {
		server->inode = st.st_ino;
		rc = uv_listen((uv_stream_t *)&server->pipe, 128, on_connection);
	}
	if (rc != 0)
		ws_err_uv(err, path, rc);
	return rc;
}

struct grpc_server *grpc_listen(uv_loop_t *loop, const char *path, struct tls_identity *identity,
	const struct grpc_events *events, void *arg, struct ws_err *err)
{
	if (grpc_load_http2(err) != 0)
		return NULL;
	struct grpc_server *server = calloc(1, sizeof *server);
	if (server == NULL || (server->path = strdup(path)) == NULL) {
		free(server);
		ws_err_set(err, "exhausted", "out of memory");
		return NULL;
	}
	server->events = *events;
	server->arg = arg;
	uv_pipe_init(loop, &server->pipe, 0);
	uv_timer_init(loop, &server->timer);
	server->handles = 2;
	server->pipe.data = server->timer.data = server;
	if (bind_socket(server, path, err) != 0) {
		server->orphan = true;
		grpc_close(server); /* frees it */
		return NULL;
	}
	server->identity = identity;
	return server;
}
