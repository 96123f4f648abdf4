/* Tests of modules/provider/grpc.h with a client that writes its frames by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../../modules/provider/grpc.h"

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, END_STREAM = 1, END_HEADERS = 4 };

struct world {
	uv_loop_t loop;
	char dir[32];
	char path[64];
	struct grpc_server *server;
	struct grpc_stream *stream; /* of the last request */
	char message[64];
	char called[64];
	unsigned requests, gone, replied, disconnected, closed;
	bool answer; /* at once, with the message itself */
};

static void on_request(
	void *arg, uint64_t connection, struct grpc_stream *s, const char *path, const char *message, size_t len)
{
	struct world *w = arg;
	assert_true(connection > 0);
	w->requests++;
	w->stream = s;
	assert_true(len < sizeof w->message && strlen(path) < sizeof w->called);
	memcpy(w->message, message, len);
	w->message[len] = '\0';
	strcpy(w->called, path);
	if (w->answer)
		grpc_reply(s, GRPC_OK, message, len);
}

static void on_gone(void *arg, struct grpc_stream *s, bool replied)
{
	struct world *w = arg;
	(void)s;
	w->gone++;
	w->replied += replied;
}

static void on_disconnected(void *arg, uint64_t connection)
{
	(void)connection;
	((struct world *)arg)->disconnected++;
}

static void on_closed(void *arg)
{
	((struct world *)arg)->closed++;
}

static const struct grpc_events events = {on_request, on_gone, on_disconnected, on_closed};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct ws_err err = {0};
	strcpy(w->dir, "/tmp/wsrun-grpc-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof w->path, "%s/s", w->dir);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	w->server = grpc_listen(&w->loop, w->path, NULL, &events, w, &err);
	assert_non_null(w->server);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	grpc_close(w->server);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 1);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	assert_int_equal(rmdir(w->dir), 0); /* the socket is gone */
	free(w);
	return 0;
}

/* Lets the server work until *what has the value, for at most a second. */
static void until(struct world *w, const unsigned *what, unsigned value)
{
	for (int i = 0; i < 1000 && *what != value; i++) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
	assert_int_equal(*what, value);
}

static int dial(struct world *w)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, w->path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void say(int fd, const void *data, size_t len)
{
	assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void frame(int fd, int type, int flags, uint32_t stream, const void *data, size_t len)
{
	unsigned char head[9] = {(unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len,
		(unsigned char)type, (unsigned char)flags, 0, 0, 0, (unsigned char)stream};
	say(fd, head, sizeof head);
	say(fd, data, len);
}

static size_t field(unsigned char *out, const char *name, const char *value)
{
	size_t n = 0;
	out[n++] = 0; /* literal, not indexed */
	out[n++] = (unsigned char)strlen(name);
	memcpy(out + n, name, strlen(name));
	n += strlen(name);
	out[n++] = (unsigned char)strlen(value);
	memcpy(out + n, value, strlen(value));
	return n + strlen(value);
}

static void greet(int fd)
{
	say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	frame(fd, 4, 0, 0, "", 0); /* SETTINGS */
}

static void headers(int fd, uint32_t stream, const char *path)
{
	unsigned char block[256];
	size_t n = field(block, ":method", "POST");
	n += field(block + n, ":scheme", "http");
	n += field(block + n, ":path", path);
	n += field(block + n, ":authority", "unused");
	n += field(block + n, "content-type", "application/grpc");
	frame(fd, HEADERS, END_HEADERS, stream, block, n);
}

/* Reads what has come; true when a frame of that type and flags is among it, whose content (if given) holds `text`. */
static bool heard(struct world *w, int fd, int type, int flags, const char *text)
{
	static unsigned char got[65536];
	size_t len = 0;
	for (int i = 0; i < 50; i++) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		ssize_t n = recv(fd, got + len, sizeof got - len, 0);
		if (n > 0)
			len += (size_t)n;
		usleep(500);
	}
	for (size_t at = 0; at + 9 <= len;) {
		size_t size = (size_t)got[at] << 16 | (size_t)got[at + 1] << 8 | got[at + 2];
		if (got[at + 3] == type && (got[at + 4] & flags) == flags &&
			(text == NULL || memmem(got + at + 9, size, text, strlen(text)) != NULL))
			return true;
		at += 9 + size;
	}
	return false;
}

static void a_call_is_answered(void **state)
{
	struct world *w = *state;
	w->answer = true;
	int fd = dial(w);
	greet(fd);
	headers(fd, 1, "/tfplugin6.Provider/Hello");
	frame(fd, DATA, 0, 1, "\0\0\0\0\5he", 7); /* in two frames */
	frame(fd, DATA, END_STREAM, 1, "llo", 3);
	until(w, &w->requests, 1);
	assert_string_equal(w->called, "/tfplugin6.Provider/Hello");
	assert_string_equal(w->message, "hello");
	assert_true(heard(w, fd, DATA, 0, "hello"));
	until(w, &w->gone, 1);
	assert_int_equal(w->replied, 1);
	close(fd);
	until(w, &w->disconnected, 1);
}

static void what_the_client_gives_up_is_gone(void **state)
{
	struct world *w = *state;
	int fd = dial(w);
	greet(fd);
	headers(fd, 1, "/a");
	frame(fd, DATA, END_STREAM, 1, "\0\0\0\0\0", 5);
	until(w, &w->requests, 1);
	frame(fd, RST_STREAM, 0, 1, "\0\0\0\10", 4);
	until(w, &w->gone, 1);
	assert_int_equal(w->replied, 0);
	headers(fd, 3, "/b"); /* the connection goes on */
	frame(fd, DATA, END_STREAM, 3, "\0\0\0\0\0", 5);
	until(w, &w->requests, 2);
	close(fd); /* with a call that waits */
	until(w, &w->gone, 2);
	until(w, &w->disconnected, 1);
	assert_int_equal(w->replied, 0);
}

static void mistakes_do_no_harm(void **state)
{
	struct world *w = *state;
	int probe = dial(w);
	close(probe); /* a probe that says nothing */
	int fd = dial(w);
	say(fd, "GET / HTTP/1.1\r\n\r\n\r\n\r\n\r\n\r\n", 26);
	assert_false(heard(w, fd, DATA, 0, NULL));
	char byte;
	while (recv(fd, &byte, 1, 0) > 0)
		;
	assert_int_equal(recv(fd, &byte, 1, 0), 0); /* closed */
	close(fd);
	fd = dial(w);
	greet(fd);
	headers(fd, 1, "/short");
	frame(fd, DATA, END_STREAM, 1, "\0\0\0\0\5hi", 7); /* says five bytes, has two */
	headers(fd, 3, "/packed");
	frame(fd, DATA, END_STREAM, 3, "\1\0\0\0\1x", 6); /* compressed */
	headers(fd, 5, "/none");
	frame(fd, DATA, END_STREAM, 5, "", 0);
	assert_true(heard(w, fd, HEADERS, END_STREAM, NULL));
	assert_int_equal(w->requests, 0);
	w->answer = true;
	headers(fd, 7, "/good");
	frame(fd, DATA, END_STREAM, 7, "\0\0\0\0\2ok", 7);
	until(w, &w->requests, 1);
	assert_true(heard(w, fd, DATA, 0, "ok"));
	close(fd);
}

static void streaming_calls_are_refused_at_once(void **state)
{
	struct world *w = *state;
	int fd = dial(w);
	greet(fd);
	headers(fd, 1, "/plugin.GRPCBroker/StartStream"); /* no end of the stream */
	assert_true(heard(w, fd, HEADERS, END_STREAM, NULL));
	assert_int_equal(w->requests, 0);
	close(fd);
}

static void closing_with_a_call_that_waits(void **state)
{
	struct world *w = *state;
	int fd = dial(w);
	greet(fd);
	headers(fd, 1, "/a");
	frame(fd, DATA, END_STREAM, 1, "\0\0\0\0\0", 5);
	until(w, &w->requests, 1);
	grpc_close(w->server);
	until(w, &w->gone, 1);
	assert_int_equal(w->replied, 0);
	close(fd);
	until(w, &w->closed, 1);
	struct ws_err err = {0};
	w->closed = 0;
	w->server = grpc_listen(&w->loop, w->path, NULL, &events, w, &err);
	assert_non_null(w->server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		TEST(a_call_is_answered),
		TEST(what_the_client_gives_up_is_gone),
		TEST(mistakes_do_no_harm),
		TEST(streaming_calls_are_refused_at_once),
		TEST(closing_with_a_call_that_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
