/* loop.c - see loop.h. */
#include "loop.h"

#include <ws/native.h>

#include <lauxlib.h>
#include <stdlib.h>
#include <uv.h>

enum { HOST_CONNECTIONS = 64, TOTAL_CONNECTIONS = 512, IDLE_CONNECTIONS = 128 };

struct curl_api curl;

struct http_loop {
	uv_loop_t *uv;
	CURLM *multi;
	uv_timer_t timer; /* referenced only while a transfer runs */
	struct http_transfer *running;
	unsigned sockets; /* that have not been closed */
	bool closing;
};

/* What we watch of one of libcurl's sockets. Freed when its handle has closed. */
struct socket {
	uv_poll_t poll;
	struct http_loop *loop;
	curl_socket_t fd;
	int events; /* of libuv, that libcurl wants */
	bool closing;
};

static int loop_key; /* its address names the loop in Lua's registry */

static void drain(struct http_loop *loop)
{
	CURLMsg *message;
	int left;
	while ((message = curl.curl_multi_info_read(loop->multi, &left)) != NULL) {
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode result = message->data.result;
		char *private;
		curl.curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		struct http_transfer *t = (struct http_transfer *)(void *)private;
		http_transfer_stop(t);
		t->done(t, result);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct socket *s = poll->data;
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;
	if ((events & UV_READABLE) != 0)
		flags |= CURL_CSELECT_IN;
	if ((events & UV_WRITABLE) != 0)
		flags |= CURL_CSELECT_OUT;
	/* libcurl goes on sending when the other end has closed and read nothing more: until its window is full, and then
	 * it waits for ever. It has seen that end when it does not want to read any more. */
	if ((events & UV_DISCONNECT) != 0)
		flags = s->events == UV_WRITABLE ? CURL_CSELECT_ERR : flags | CURL_CSELECT_IN;
	int running;
	struct http_loop *loop = s->loop;
	curl.curl_multi_socket_action(loop->multi, s->fd, flags, &running);
	/* libuv stops a handle that reports an error; libcurl may want to go on with it. */
	if (status < 0 && !s->closing)
		uv_poll_start(&s->poll, s->events | UV_DISCONNECT, on_poll);
	drain(loop);
}

static void on_timer(uv_timer_t *timer)
{
	struct http_loop *loop = timer->data;
	int running;
	curl.curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	drain(loop);
}

static int timer_function(CURLM *multi, long ms, void *arg)
{
	(void)multi;
	struct http_loop *loop = arg;
	if (loop->closing)
		return 0;
	if (ms < 0) {
		uv_timer_stop(&loop->timer);
	} else {
		uv_update_time(loop->uv);
		uv_timer_start(&loop->timer, on_timer, (uint64_t)ms, 0);
	}
	return 0;
}

static void free_if_closed(struct http_loop *loop)
{
	if (loop->closing && loop->sockets == 0 && loop->multi == NULL)
		free(loop);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct socket *s = handle->data;
	struct http_loop *loop = s->loop;
	free(s);
	loop->sockets--;
	free_if_closed(loop);
}

static struct socket *socket_new(struct http_loop *loop, curl_socket_t fd)
{
	struct socket *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->loop = loop;
	s->fd = fd;
	if (uv_poll_init_socket(loop->uv, &s->poll, fd) != 0) {
		free(s);
		return NULL;
	}
	s->poll.data = s;
	loop->sockets++;
	curl.curl_multi_assign(loop->multi, fd, s);
	return s;
}

static int socket_function(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
	(void)easy;
	struct http_loop *loop = arg;
	struct socket *s = assigned;
	if (what == CURL_POLL_REMOVE) {
		if (s != NULL) {
			s->closing = true;
			uv_poll_stop(&s->poll); /* at once: libcurl closes the descriptor next */
			uv_close((uv_handle_t *)&s->poll, on_socket_closed);
			curl.curl_multi_assign(loop->multi, fd, NULL);
		}
		return 0;
	}
	if (s == NULL && (s = socket_new(loop, fd)) == NULL)
		return -1;
	s->events = ((what & CURL_POLL_IN) ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) ? UV_WRITABLE : 0);
	return uv_poll_start(&s->poll, s->events | UV_DISCONNECT, on_poll) == 0 ? 0 : -1;
}

int http_transfer_start(struct http_loop *loop, struct http_transfer *t, struct ws_err *err)
{
	curl.curl_easy_setopt(t->easy, CURLOPT_PRIVATE, (char *)t);
	if (loop->running == NULL)
		uv_ref((uv_handle_t *)&loop->timer);
	t->loop = loop;
	t->next = loop->running;
	t->link = &loop->running;
	if (t->next != NULL)
		t->next->link = &t->next;
	loop->running = t;
	CURLMcode code = curl.curl_multi_add_handle(loop->multi, t->easy);
	if (code == CURLM_OK)
		return 0;
	ws_err_set(err, "internal", "libcurl: %s", curl.curl_multi_strerror(code));
	http_transfer_stop(t);
	return -1;
}

void http_transfer_stop(struct http_transfer *t)
{
	struct http_loop *loop = t->loop;
	if (loop == NULL)
		return;
	t->loop = NULL;
	*t->link = t->next;
	if (t->next != NULL)
		t->next->link = t->link;
	curl.curl_multi_remove_handle(loop->multi, t->easy);
	if (loop->running == NULL && !loop->closing)
		uv_unref((uv_handle_t *)&loop->timer);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct http_loop *loop = handle->data;
	loop->multi = NULL;
	free_if_closed(loop);
}

static void loop_close(void *arg)
{
	struct http_loop *loop = arg;
	loop->closing = true;
	while (loop->running != NULL)
		http_transfer_stop(loop->running);
	curl.curl_multi_cleanup(loop->multi);
	uv_ref((uv_handle_t *)&loop->timer);
	uv_close((uv_handle_t *)&loop->timer, on_timer_closed);
}

static int loop_init(struct http_loop *loop, lua_State *L, struct ws_err *err)
{
	loop->uv = ws_loop(L);
	loop->multi = curl.curl_multi_init();
	if (loop->multi == NULL || ws_at_exit(L, loop_close, loop) != 0) {
		if (loop->multi != NULL)
			curl.curl_multi_cleanup(loop->multi);
		ws_err_set(err, "exhausted", "out of memory");
		return -1;
	}
	uv_timer_init(loop->uv, &loop->timer);
	uv_unref((uv_handle_t *)&loop->timer);
	loop->timer.data = loop;
	curl.curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, socket_function);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, timer_function);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)HOST_CONNECTIONS);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)TOTAL_CONNECTIONS);
	curl.curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
	return 0;
}

uv_loop_t *http_loop_uv(struct http_loop *loop)
{
	return loop->uv;
}

/* Loading takes 5 ms: as much as a short command needs for all the rest. */
static struct {
	uv_thread_t thread;
	bool running;
	struct ws_err err;
} preload;

static int load(struct ws_err *err)
{
	if (WS_LAZY_LOAD(&curl, CURL_FUNCTIONS, "libcurl.so.4", err) != 0)
		return -1;
	if (curl.curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		ws_err_set(err, "internal", "libcurl cannot be initialised");
		return -1;
	}
	return 0;
}

static void on_preload(void *arg)
{
	(void)arg;
	load(&preload.err); /* whoever needs it tries again and says why not */
}

static void preload_end(void *arg)
{
	(void)arg;
	if (preload.running)
		uv_thread_join(&preload.thread);
	preload.running = false;
	ws_err_clear(&preload.err);
}

void http_preload(lua_State *L)
{
	if (preload.running || curl.loaded || ws_at_exit(L, preload_end, NULL) != 0)
		return;
	preload.running = uv_thread_create(&preload.thread, on_preload, NULL) == 0;
}

struct http_loop *http_loop_get(lua_State *L, struct ws_err *err)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &loop_key);
	struct http_loop *loop = lua_touserdata(L, -1);
	lua_pop(L, 1);
	if (loop != NULL)
		return loop;
	preload_end(NULL);
	if (load(err) != 0)
		return NULL;
	loop = calloc(1, sizeof *loop);
	if (loop == NULL) {
		ws_err_set(err, "exhausted", "out of memory");
		return NULL;
	}
	if (loop_init(loop, L, err) != 0) {
		free(loop);
		return NULL;
	}
	lua_pushlightuserdata(L, loop);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &loop_key);
	return loop;
}
