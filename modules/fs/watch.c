/* watch.c - changes in a directory or of a file, as a queue that one task at a time reads.
 *
 * A watcher belongs to the loop until its handle has closed; the Lua object points to it and is cleared first. At most
 * EVENTS_MAX changes wait: when more come, they are dropped and the next event says `overflow`.
 */
#include "fs.h"

#include <ws/args.h>
#include <ws/permit.h>

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METATABLE "ws.fs.Watcher"

enum { EVENTS_MAX = 4096 };

struct event {
	struct event *next;
	bool renamed; /* a name came or went; else the content or attributes changed */
	char name[];
};

struct next_op;

struct watcher {
	uv_fs_event_t handle;
	struct event *first;
	struct event **last;
	unsigned count;
	bool overflow;
	int error;
	char *pinned; /* owned; the name of the watched file, when libuv knows it by another */
	char pin[16]; /* that other one */
	struct next_op *waiting;
};

struct next_op {
	struct ws_op op;
	struct watcher *watcher; /* NULL when it was closed meanwhile */
	uv_timer_t timer;
	bool has_timer;
	bool ending;
};

static void timer_closed(uv_handle_t *handle)
{
	ws_op_done(handle->data);
}

static void next_end(struct next_op *n)
{
	if (n->ending)
		return;
	n->ending = true;
	if (n->watcher != NULL)
		n->watcher->waiting = NULL;
	if (n->has_timer)
		uv_close((uv_handle_t *)&n->timer, timer_closed);
	else
		ws_op_done(&n->op);
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
	struct watcher *w = handle->data;
	if (status < 0) {
		w->error = status;
	} else {
		if (name != NULL && w->pinned != NULL && strcmp(name, w->pin) == 0)
			name = w->pinned;
		size_t len = name != NULL ? strlen(name) : 0;
		struct event *e = w->count < EVENTS_MAX ? malloc(sizeof *e + len + 1) : NULL;
		if (e == NULL) {
			w->overflow = true;
		} else {
			*e = (struct event){.renamed = (events & UV_RENAME) != 0};
			memcpy(e->name, name != NULL ? name : "", len + 1);
			*w->last = e;
			w->last = &e->next;
			w->count++;
		}
	}
	if (w->waiting != NULL)
		next_end(w->waiting);
}

/* Pushes the oldest event, an error, or nothing: returns the number of values. */
static int take(lua_State *L, struct watcher *w)
{
	if (w->error != 0) {
		struct ws_err err = {.op = "fs.watch"};
		ws_err_uv(&err, "watch", w->error);
		w->error = 0;
		return ws_fail(L, &err);
	}
	struct event *e = w->first;
	if (e == NULL && !w->overflow)
		return 0;
	lua_createtable(L, 0, 2);
	if (e == NULL) { /* what was dropped came after the last event that was kept */
		w->overflow = false;
		lua_pushliteral(L, "overflow");
		lua_setfield(L, -2, "type");
		return 1;
	}
	lua_pushstring(L, e->name);
	lua_setfield(L, -2, "name");
	lua_pushstring(L, e->renamed ? "rename" : "change");
	lua_setfield(L, -2, "type");
	w->first = e->next;
	if (w->first == NULL)
		w->last = &w->first;
	w->count--;
	free(e);
	return 1;
}

static int next_push(lua_State *L, struct ws_op *op)
{
	struct next_op *n = (struct next_op *)op;
	int count = n->watcher != NULL ? take(L, n->watcher) : 0;
	if (count == 0)
		lua_pushnil(L);
	return count == 0 ? 1 : count;
}

static void next_cancel(struct ws_op *op)
{
	next_end((struct next_op *)op);
}

static const struct ws_op_type next_type = {.name = "fs.watch", .push = next_push, .cancel = next_cancel};

static void on_timeout(uv_timer_t *timer)
{
	struct next_op *n = timer->data;
	ws_err_set(&n->op.err, "timeout", "nothing changed in time");
	next_end(n);
}

static struct watcher **check_watcher(lua_State *L)
{
	return luaL_checkudata(L, 1, METATABLE);
}

/* watcher:next(timeout?) → event | nil, err | nil after close. Yields. */
static int l_next(lua_State *L)
{
	struct watcher *w = *check_watcher(L);
	double timeout = luaL_optnumber(L, 2, -1);
	if (w == NULL)
		return 0;
	if (w->waiting != NULL)
		return luaL_error(L, "another task waits for this watcher already");
	int count = take(L, w);
	if (count > 0)
		return count;
	struct next_op *n = ws_op_new(L, &next_type, sizeof *n);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1); /* the watcher is not collected while somebody waits for it */
	n->watcher = w;
	w->waiting = n;
	if (timeout >= 0) {
		n->has_timer = true;
		n->timer.data = n;
		uv_timer_init(ws_loop(L), &n->timer);
		uv_timer_start(&n->timer, on_timeout, (uint64_t)(timeout * 1000 + 0.999), 0);
	}
	return ws_op_start(L, &n->op);
}

static void watcher_closed(uv_handle_t *handle)
{
	struct watcher *w = handle->data;
	while (w->first != NULL) {
		struct event *e = w->first;
		w->first = e->next;
		free(e);
	}
	free(w->pinned);
	free(w);
}

/* watcher:close(). May be called twice. */
static int l_close(lua_State *L)
{
	struct watcher **slot = check_watcher(L), *w = *slot;
	if (w == NULL)
		return 0;
	*slot = NULL;
	if (w->waiting != NULL) {
		struct next_op *n = w->waiting;
		next_end(n);
		n->watcher = NULL;
	}
	uv_close((uv_handle_t *)&w->handle, watcher_closed);
	return 0;
}

int fs_l_watch(lua_State *L)
{
	const char *path = fs_check_path(L, 1);
	struct watcher **slot = lua_newuserdatauv(L, sizeof *slot, 0);
	*slot = NULL;
	if (luaL_newmetatable(L, METATABLE)) {
		static const luaL_Reg methods[] = {
			{"next", l_next}, {"close", l_close}, {"__gc", l_close}, {"__close", l_close}, {NULL, NULL}};
		luaL_setfuncs(L, methods, 0);
		lua_pushvalue(L, -1);
		lua_setfield(L, -2, "__index");
	}
	lua_setmetatable(L, -2);
	struct watcher *w = calloc(1, sizeof *w);
	if (w == NULL)
		return fs_fail(L, "fs.watch", path, ENOMEM);
	w->last = &w->first;
	w->handle.data = w;
	*slot = w;
	uv_fs_event_init(ws_loop(L), &w->handle);
	struct ws_pin pin;
	int rc = ws_pin(&pin, path, WS_LOOK) == 0 ? 0 : -errno;
	if (rc == 0) {
		rc = uv_fs_event_start(&w->handle, on_event, pin.path, 0);
		if (pin.path != path) /* libuv calls a watched file by the last part of its path */
			w->pinned = strdup(strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path);
		snprintf(w->pin, sizeof w->pin, "%d", pin.fd);
		ws_unpin(&pin);
	}
	if (rc != 0) {
		*slot = NULL;
		uv_close((uv_handle_t *)&w->handle, watcher_closed);
		return fs_fail(L, "fs.watch", path, -rc);
	}
	return 1;
}
