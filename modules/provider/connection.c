/* connection.c - a connection of the gRPC server: HTTP/2 frames in, calls out; see grpc.h.
 *
 * A connection reads into nghttp2 and, after each read or reply, sends what nghttp2 has to say: one write at a time, the
 * next when it has finished, so a client that does not read costs a bounded amount of memory. Its memory is freed when
 * its pipe has closed and no write is under way.
 */
#include "grpc_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ws/lazy.h>

#define NGHTTP2_FUNCTIONS(F) \
	F(nghttp2_session_callbacks_new) \
	F(nghttp2_session_callbacks_del) \
	F(nghttp2_session_callbacks_set_on_begin_headers_callback) \
	F(nghttp2_session_callbacks_set_on_header_callback) \
	F(nghttp2_session_callbacks_set_on_data_chunk_recv_callback) \
	F(nghttp2_session_callbacks_set_on_frame_recv_callback) \
	F(nghttp2_session_callbacks_set_on_stream_close_callback) \
	F(nghttp2_session_server_new) \
	F(nghttp2_session_del) \
	F(nghttp2_session_mem_recv) \
	F(nghttp2_session_mem_send) \
	F(nghttp2_session_want_read) \
	F(nghttp2_session_want_write) \
	F(nghttp2_session_get_stream_user_data) \
	F(nghttp2_session_set_stream_user_data) \
	F(nghttp2_session_terminate_session) \
	F(nghttp2_submit_settings) \
	F(nghttp2_submit_response) \
	F(nghttp2_submit_trailer) \
	F(nghttp2_submit_rst_stream) \
	F(nghttp2_session_set_local_window_size)

WS_LAZY_TABLE(nghttp2, NGHTTP2_FUNCTIONS);
static struct nghttp2_api h2;

int grpc_load_http2(struct ws_err *err)
{
	return WS_LAZY_LOAD(&h2, NGHTTP2_FUNCTIONS, "libnghttp2.so.14", err);
}

enum {
	WRITE_SIZE = 256 << 10, /* bytes of one write */
	STREAM_WINDOW = 1 << 20,
	FRAME_PREFIX = 5, /* compression flag and length before a gRPC message */
};

/* ---- end of things ----------------------------------------------------------------------------------------------- */

static void stream_free(struct grpc_stream *s)
{
	struct grpc_connection *c = s->connection;
	c->buffered -= s->request.len;
	if (s->requested && !c->server->orphan)
		c->server->events.gone(c->server->arg, s, s->replied);
	*s->link = s->next;
	if (s->next != NULL)
		s->next->link = s->link;
	ws_buf_free(&s->request);
	free(s->reply);
	free(s);
}

static void connection_release(struct grpc_connection *c)
{
	if (!c->pipe_closed || c->writing)
		return;
	struct grpc_server *server = c->server;
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	server->count--;
	ws_buf_free(&c->out);
	ws_buf_free(&c->plain);
	free(c);
	grpc_server_release(server);
}

static void connection_closed(uv_handle_t *handle)
{
	struct grpc_connection *c = handle->data;
	c->pipe_closed = true;
	connection_release(c);
}

/* Ends the connection at once. Streams that wait for their reply are gone. Not while nghttp2 calls us. */
void grpc_connection_end(struct grpc_connection *c)
{
	assert(!c->in_session);
	if (uv_is_closing((uv_handle_t *)&c->pipe))
		return;
	while (c->streams != NULL)
		stream_free(c->streams);
	if (c->session != NULL)
		h2.nghttp2_session_del(c->session);
	c->session = NULL;
	tls_session_free(c->tls);
	c->tls = NULL;
	if (c->used && !c->server->orphan)
		c->server->events.disconnected(c->server->arg, c->id);
	uv_close((uv_handle_t *)&c->pipe, connection_closed);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void connection_flush(struct grpc_connection *c);

static void write_done(uv_write_t *write, int status)
{
	struct grpc_connection *c = write->data;
	c->writing = false;
	c->out.len = 0;
	if (c->pipe_closed)
		connection_release(c);
	else if (status != 0)
		grpc_connection_end(c);
	else
		connection_flush(c);
}

/* Moves what nghttp2 (and TLS) want to send to c->out. 0 or -1. */
static int collect_output(struct grpc_connection *c)
{
	while (c->session != NULL && (c->tls == NULL || tls_ready(c->tls)) && c->out.len < WRITE_SIZE) {
		const uint8_t *data;
		ssize_t n = h2.nghttp2_session_mem_send(c->session, &data);
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		if (c->tls != NULL ? tls_write(c->tls, (const char *)data, (size_t)n) != 0 ||
					     tls_output(c->tls, &c->out) != 0
				   : ws_buf_add(&c->out, data, (size_t)n) != 0)
			return -1;
	}
	return c->tls != NULL ? tls_output(c->tls, &c->out) : 0;
}

static bool session_is_over(const struct grpc_connection *c)
{
	return !h2.nghttp2_session_want_read(c->session) && !h2.nghttp2_session_want_write(c->session);
}

static void connection_flush(struct grpc_connection *c)
{
	if (c->in_session || c->writing || uv_is_closing((uv_handle_t *)&c->pipe))
		return;
	if (collect_output(c) != 0) {
		grpc_connection_end(c);
		return;
	}
	if (c->out.len == 0) {
		if (c->ending || session_is_over(c))
			grpc_connection_end(c);
		return;
	}
	uv_buf_t buf = uv_buf_init(c->out.data, (unsigned)c->out.len);
	c->write.data = c;
	c->writing = true;
	if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, write_done) != 0) {
		c->writing = false;
		grpc_connection_end(c);
	}
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

#define HEADER(n, v) \
	{ \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE \
	}

static ssize_t reply_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
	nghttp2_data_source *source, void *arg)
{
	struct grpc_stream *s = source->ptr;
	size_t left = s->reply_len - s->reply_sent, n = left < room ? left : room;
	(void)arg;
	memcpy(out, s->reply + s->reply_sent, n);
	s->reply_sent += n;
	if (s->reply_sent == s->reply_len) {
		const nghttp2_nv trailer[] = {HEADER("grpc-status", "0")};
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (h2.nghttp2_submit_trailer(session, id, trailer, 1) != 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

/* The text of grpc-message: printable ASCII, the rest percent-encoded. */
static void encode_text(char *out, size_t size, const char *text, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n + 4 <= size; i++) {
		unsigned char ch = (unsigned char)text[i];
		if (ch >= 0x20 && ch < 0x7f && ch != '%')
			out[n++] = (char)ch;
		else
			n += (size_t)snprintf(out + n, size - n, "%%%02X", ch);
	}
	out[n] = '\0';
}

static int submit_status(struct grpc_stream *s, enum grpc_status status, const char *text, size_t len)
{
	char code[12], message[2048];
	snprintf(code, sizeof code, "%d", status);
	encode_text(message, sizeof message, text, len);
	const nghttp2_nv headers[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc"),
		HEADER("grpc-status", code), HEADER("grpc-message", message)};
	return h2.nghttp2_submit_response(s->connection->session, s->id, headers, 4, NULL);
}

static int submit_message(struct grpc_stream *s, const char *data, size_t len)
{
	const nghttp2_nv headers[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc")};
	nghttp2_data_provider provider = {.source.ptr = s, .read_callback = reply_read};
	s->reply = malloc(FRAME_PREFIX + len);
	if (s->reply == NULL)
		return -1;
	s->reply[0] = 0; /* not compressed */
	for (int i = 0; i < 4; i++)
		s->reply[1 + i] = (char)(len >> (24 - 8 * i));
	memcpy(s->reply + FRAME_PREFIX, data, len);
	s->reply_len = FRAME_PREFIX + len;
	return h2.nghttp2_submit_response(s->connection->session, s->id, headers, 2, &provider);
}

void grpc_reply(struct grpc_stream *s, enum grpc_status status, const char *data, size_t len)
{
	struct grpc_connection *c = s->connection;
	assert(!s->replied);
	s->replied = true;
	int rc = status == GRPC_OK && len <= UINT32_MAX ? submit_message(s, data, len)
							: submit_status(s, status, data, len);
	if (rc != 0)
		h2.nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	connection_flush(c);
}

void *grpc_user(const struct grpc_stream *s)
{
	return s->user;
}

void grpc_set_user(struct grpc_stream *s, void *user)
{
	s->user = user;
}

static void refuse(struct grpc_stream *s, enum grpc_status status, const char *text)
{
	if (!s->replied)
		grpc_reply(s, status, text, strlen(text));
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_connection *c = arg;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	struct grpc_stream *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* this stream only */
	s->connection = c;
	s->id = frame->hd.stream_id;
	ws_buf_init(&s->request, GRPC_MAX_MESSAGE + FRAME_PREFIX);
	s->next = c->streams;
	s->link = &c->streams;
	if (s->next != NULL)
		s->next->link = &s->next;
	c->streams = s;
	h2.nghttp2_session_set_stream_user_data(session, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
	const uint8_t *value, size_t len, uint8_t flags, void *arg)
{
	(void)flags;
	(void)arg;
	struct grpc_stream *s = h2.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s == NULL || name_len != 5 || memcmp(name, ":path", 5) != 0)
		return 0;
	if (len >= sizeof s->path)
		refuse(s, GRPC_UNIMPLEMENTED, "the method's name is too long");
	else
		memcpy(s->path, value, len);
	return 0;
}

static int on_data_chunk(
	nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
	(void)flags;
	struct grpc_connection *c = arg;
	struct grpc_stream *s = h2.nghttp2_session_get_stream_user_data(session, id);
	if (s == NULL || s->replied)
		return 0;
	size_t before = s->request.len;
	if (c->buffered + len > GRPC_MAX_CONNECTION || ws_buf_add(&s->request, data, len) != 0) {
		c->buffered -= before;
		ws_buf_free(&s->request);
		refuse(s, GRPC_RESOURCE_EXHAUSTED, "the request is too large");
		return 0;
	}
	c->buffered += len;
	return 0;
}

/* The request is complete: exactly one message, not compressed. */
static void take_request(struct grpc_stream *s)
{
	struct grpc_connection *c = s->connection;
	const unsigned char *data = (const unsigned char *)s->request.data;
	if (s->request.len < FRAME_PREFIX) {
		refuse(s, GRPC_INTERNAL, "the request has no message");
		return;
	}
	size_t len = (size_t)data[1] << 24 | (size_t)data[2] << 16 | (size_t)data[3] << 8 | data[4];
	if (data[0] != 0) {
		refuse(s, GRPC_UNIMPLEMENTED, "compressed messages are not taken");
	} else if (len != s->request.len - FRAME_PREFIX) {
		refuse(s, GRPC_INTERNAL, "the request is not one message");
	} else {
		s->requested = c->used = true;
		c->server->events.request(c->server->arg, c->id, s, s->path, s->request.data + FRAME_PREFIX, len);
		c->buffered -= s->request.len;
		ws_buf_free(&s->request);
	}
}

/* Streaming calls of the plugin framework, which nobody needs to have answered: no END_STREAM comes on one of them. */
static bool is_streaming(const char *path)
{
	return strncmp(path, "/plugin.GRPCBroker/", 19) == 0 || strncmp(path, "/plugin.GRPCStdio/", 18) == 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_connection *c = arg;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	struct grpc_stream *s = h2.nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s == NULL || s->replied || s->requested || c->server->orphan)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && is_streaming(s->path))
		refuse(s, GRPC_UNIMPLEMENTED, "unknown method");
	else if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		take_request(s);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	(void)code;
	(void)arg;
	struct grpc_stream *s = h2.nghttp2_session_get_stream_user_data(session, id);
	if (s != NULL) {
		h2.nghttp2_session_set_stream_user_data(session, id, NULL);
		stream_free(s);
	}
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int feed(struct grpc_connection *c, const char *data, size_t len)
{
	c->in_session = true;
	ssize_t n = h2.nghttp2_session_mem_recv(c->session, (const uint8_t *)data, len);
	c->in_session = false;
	return n == (ssize_t)len ? 0 : -1;
}

static int take_input(struct grpc_connection *c, const char *data, size_t len)
{
	if (c->tls == NULL)
		return feed(c, data, len);
	if (tls_read(c->tls, data, len, &c->plain) != 0)
		return -1;
	int rc = c->plain.len > 0 ? feed(c, c->plain.data, c->plain.len) : 0;
	c->plain.len = 0;
	return rc;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)suggested;
	struct grpc_connection *c = handle->data;
	*buf = uv_buf_init(c->input, sizeof c->input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct grpc_connection *c = stream->data;
	if (n == 0)
		return;
	if (n < 0) {
		grpc_connection_end(c);
		return;
	}
	if (take_input(c, buf->base, (size_t)n) != 0) {
		c->ending = true; /* what nghttp2 or TLS say about the mistake still goes out */
		uv_read_stop(stream);
	}
	connection_flush(c);
}

/* ---- a new connection -------------------------------------------------------------------------------------------- */

static int make_session(struct grpc_connection *c)
{
	static const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, GRPC_MAX_STREAMS},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 64 << 10}};
	nghttp2_session_callbacks *callbacks;
	if (h2.nghttp2_session_callbacks_new(&callbacks) != 0)
		return -1;
	h2.nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	h2.nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	h2.nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	h2.nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	h2.nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	int rc = h2.nghttp2_session_server_new(&c->session, callbacks, c);
	h2.nghttp2_session_callbacks_del(callbacks);
	if (rc != 0)
		return -1;
	h2.nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 4 * STREAM_WINDOW);
	return h2.nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings);
}

void grpc_connection_new(struct grpc_server *server)
{
	uv_stream_t *listener = (uv_stream_t *)&server->pipe;
	struct grpc_connection *c = calloc(1, sizeof *c);
	if (c == NULL)
		return;
	c->server = server;
	c->id = ++server->last_id;
	c->next = server->connections;
	c->link = &server->connections;
	if (c->next != NULL)
		c->next->link = &c->next;
	server->connections = c;
	server->count++;
	ws_buf_init(&c->out, 4 * WRITE_SIZE);
	ws_buf_init(&c->plain, GRPC_MAX_MESSAGE);
	uv_pipe_init(listener->loop, &c->pipe, 0);
	c->pipe.data = c;
	if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0 || server->count > GRPC_MAX_CONNECTIONS ||
		make_session(c) != 0 ||
		(server->identity != NULL && (c->tls = tls_session_new(server->identity)) == NULL) ||
		uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
		grpc_connection_end(c);
		return;
	}
	connection_flush(c); /* our SETTINGS */
}

void grpc_connection_finish(struct grpc_connection *c)
{
	if (uv_is_closing((uv_handle_t *)&c->pipe))
		return;
	h2.nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
	c->ending = true;
	connection_flush(c);
}
