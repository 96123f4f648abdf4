/* loop.h - libcurl's multi interface on our event loop. Knows transfers, not HTTP, and no Lua but for finding its loop.
 *
 * Invariants
 * - libcurl calls back only inside functions of it that we call, on the loop's thread.
 * - A timeout of 0 is never acted on inside libcurl's timer callback: the timer fires in the next turn.
 * - Finished transfers are read after every socket action, whatever caused it.
 * - At the end curl_multi_cleanup() still calls the socket callback; the handles are closed after it.
 */
#ifndef WS_HTTP_LOOP_H
#define WS_HTTP_LOOP_H

#define CURL_DISABLE_TYPECHECK

#include <ws/lazy.h>

#include <curl/curl.h>
#include <lua.h>
#include <stdbool.h>
#include <uv.h>

#define CURL_FUNCTIONS(F) \
	F(curl_global_init) \
	F(curl_easy_init) \
	F(curl_easy_setopt) \
	F(curl_easy_getinfo) \
	F(curl_easy_pause) \
	F(curl_easy_cleanup) \
	F(curl_easy_strerror) \
	F(curl_free) \
	F(curl_slist_append) \
	F(curl_slist_free_all) \
	F(curl_multi_init) \
	F(curl_multi_setopt) \
	F(curl_multi_add_handle) \
	F(curl_multi_remove_handle) \
	F(curl_multi_assign) \
	F(curl_multi_socket_action) \
	F(curl_multi_info_read) \
	F(curl_multi_strerror) \
	F(curl_multi_cleanup) \
	F(curl_url) \
	F(curl_url_cleanup) \
	F(curl_url_get) \
	F(curl_url_set)
WS_LAZY_TABLE(curl, CURL_FUNCTIONS);
extern struct curl_api curl;

/* One transfer; the first member of what the caller keeps about it. */
struct http_transfer {
	CURL *easy;
	struct http_loop *loop;                                 /* while it is running, else NULL */
	struct http_transfer *next, **link;                     /* in the loop's list while it is running */
	void (*done)(struct http_transfer *t, CURLcode result); /* called once, when it ended by itself */
};

/* Loads libcurl in a thread meanwhile: for who will need it soon. Never raises. */
void http_preload(lua_State *L);
/* The event loop that it runs on. */
uv_loop_t *http_loop_uv(struct http_loop *loop);
/* The loop of this host, made at first use. NULL with err when libcurl cannot be loaded. Never raises. */
struct http_loop *http_loop_get(lua_State *L, struct ws_err *err);
/* Starts t, whose easy handle is configured. Returns 0, or -1 with err. Never raises. */
int http_transfer_start(struct http_loop *loop, struct http_transfer *t, struct ws_err *err);
/* Ends t without calling done(); does nothing when it is not running. Never raises. */
void http_transfer_stop(struct http_transfer *t);

#endif
