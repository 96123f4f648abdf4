/* task.c - tasks: coroutines that the loop resumes.
 *
 * States: READY (queued), RUNNING (its Lua code is on the C stack), WAITING (in an operation), ENDED.
 * The generation rises each time a task is resumed; a completion that carries another generation is refused.
 * A task is a userdata, anchored in the registry until it has ended; its results stay on its coroutine for whoever
 * joins it. An error is stored and given to whoever joins; one that nobody asked for is logged when the task is
 * collected or the host ends.
 */
#include "engine.h"

#include <ws/op.h>
#include <ws/secret.h>

#include <assert.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define TASK_METATABLE "ws.Task"
#define SIGNAL_METATABLE "ws.Signal"

enum task_state { READY, RUNNING, WAITING, ENDED };

struct ws_task {
	struct ws_engine *engine;
	struct ws_task *next_ready;
	struct ws_task **link; /* in engine->tasks, the pointer that points here */
	struct ws_task *next;
	struct waiter *joiners; /* join operations to complete when this ends */
	lua_State *co;
	int co_ref; /* registry reference of the coroutine */
	enum task_state state;
	int nargs; /* values on co for the first resume; results when ENDED */
	uint64_t generation;
	struct ws_op *op;    /* in flight */
	unsigned shields;    /* > 0: cancellation waits */
	enum ws_grant grant; /* in a plan, what it may do */
	bool cancelled;
	bool failed;
	bool queued;
	bool joined;   /* somebody has seen the result */
	bool detached; /* nobody will: log an error at once */
};

/* An operation that waits for a task's end or a signal, perhaps not for ever. */
struct waiter {
	struct ws_op op;
	struct waiter *next;
	struct waiter **link;   /* NULL when not in a list */
	struct ws_task *target; /* for join */
	struct waiter *self;    /* the list of a waiter that is in no other: a sleep */
	uv_timer_t timer;
	bool has_timer;
	bool sleeps; /* the end of the time is the success */
};

/* ---- ready queue ------------------------------------------------------------------------------------------------- */

static void make_ready(struct ws_task *t)
{
	struct ws_engine *e = t->engine;
	assert(!t->queued);
	t->queued = true;
	t->next_ready = NULL;
	if (e->ready_last != NULL)
		e->ready_last->next_ready = t;
	else
		e->ready_first = t;
	e->ready_last = t;
	if (e->in_loop) /* else a task that a timer or idle handle made ready would wait for the next input */
		uv_stop(&e->loop);
}

/* ---- operations (ws/op.h) ---------------------------------------------------------------------------------------- */

static void op_finalise(struct ws_op *op)
{
	if (op->finalised)
		return;
	op->finalised = true;
	if (op->type->fini != NULL)
		op->type->fini(op);
	ws_err_clear(&op->err);
}

static int op_gc(lua_State *L)
{
	op_finalise(lua_touserdata(L, 1));
	return 0;
}

static void anchor(lua_State *L, const void *key, int idx)
{
	lua_pushvalue(L, idx);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static void release(lua_State *L, const void *key)
{
	lua_pushnil(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static int raise_cancelled(lua_State *L, const char *op)
{
	struct ws_err err = {.op = op};
	ws_err_set(&err, "cancelled", "the task was cancelled");
	return ws_err_raise(L, &err);
}

void *ws_op_new(lua_State *L, const struct ws_op_type *type, size_t size)
{
	struct ws_engine *e = ws_engine(L);
	struct ws_task *t = e->current;
	if (t == NULL || e->no_yield > 0 || !lua_isyieldable(L))
		luaL_error(L, "%s cannot wait here: not in a task, or inside a callback of table.sort or string.gsub",
			type->name);
	if (t->op != NULL) /* a coroutine whose wait another one took over */
		luaL_error(L, "%s cannot wait here: this task waits already", type->name);
	if (t->cancelled && t->shields == 0)
		raise_cancelled(L, type->name);
	struct ws_op *op = lua_newuserdatauv(L, size, 1);
	memset(op, 0, size);
	op->type = type;
	op->err.op = type->name;
	if (luaL_newmetatable(L, "ws.Op")) {
		lua_pushcfunction(L, op_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	/* Also keeps a place in the registry, so that anchoring and releasing later cannot fail for lack of memory. */
	anchor(L, op, -1);
	return op;
}

static int finish(lua_State *L, struct ws_op *op)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, op); /* on the stack it lives until this function returns or raises */
	release(L, op);
	int n;
	if (op->err.kind != NULL) {
		n = ws_fail(L, &op->err);
	} else {
		n = op->type->push(L, op);
	}
	op_finalise(op);
	return n;
}

static int op_k(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	struct ws_op *op = (struct ws_op *)ctx;
	struct ws_task *t = ws_engine(L)->current;
	if (!op->finished)
		return luaL_error(L, "this coroutine waits for %s in another task", op->type->name);
	if (t->cancelled && t->shields == 0) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, op);
		release(L, op);
		const char *name = op->type->name;
		op_finalise(op);
		return raise_cancelled(L, name);
	}
	return finish(L, op);
}

int ws_op_start(lua_State *L, struct ws_op *op)
{
	struct ws_engine *e = ws_engine(L);
	struct ws_task *t = e->current;
	assert(t != NULL && t->op == NULL && !op->finalised);
	if (op->finished) /* ended while it was being started */
		return finish(L, op);
	op->task = t;
	op->generation = t->generation;
	t->op = op;
	e->operations++;
	ws_push_wait_mark(L);
	return lua_yieldk(L, 1, (lua_KContext)op, op_k);
}

int ws_op_fail(lua_State *L, struct ws_op *op)
{
	assert(op->err.kind != NULL && op->task == NULL);
	return finish(L, op);
}

void ws_op_done(struct ws_op *op)
{
	assert(!op->finished);
	op->finished = true;
	struct ws_task *t = op->task;
	if (t == NULL)
		return;
	t->engine->operations--;
	op->task = NULL;
	if (t->state == WAITING && t->op == op && t->generation == op->generation) {
		t->op = NULL;
		make_ready(t);
	} else {
		fprintf(stderr, "wsrun: a late end of %s was refused\n", op->type->name);
	}
}

static void work_cb(uv_work_t *work)
{
	struct ws_op *op = work->data;
	op->work_fn(op);
}

static void work_after(uv_work_t *work, int status)
{
	struct ws_op *op = work->data;
	if (status == UV_ECANCELED)
		ws_err_set(&op->err, "cancelled", "cancelled before it began");
	ws_op_done(op);
}

int ws_op_work(lua_State *L, struct ws_op *op, void (*fn)(struct ws_op *op))
{
	op->work.data = op;
	op->work_fn = fn;
	int rc = uv_queue_work(ws_loop(L), &op->work, work_cb, work_after);
	if (rc != 0) {
		ws_err_uv(&op->err, "thread pool", rc);
		return ws_op_fail(L, op);
	}
	return ws_op_start(L, op);
}

/* ---- life of a task ---------------------------------------------------------------------------------------------- */

static int traceback_handler(lua_State *L)
{
	ws_err_wrap(L);
	if (lua_getfield(L, -1, "traceback") == LUA_TNIL) {
		luaL_traceback(L, L, NULL, 1);
		lua_setfield(L, -3, "traceback");
	}
	lua_pop(L, 1);
	return 1;
}

static int body_k(lua_State *L, int status, lua_KContext ctx)
{
	(void)ctx;
	if (status == LUA_OK || status == LUA_YIELD) {
		lua_pushboolean(L, 1);
		lua_replace(L, 1); /* true, results… */
		return lua_gettop(L);
	}
	lua_pushboolean(L, 0);
	lua_insert(L, -2);
	return 2;
}

/* The coroutine's own function: fn, args… → true, results… | false, error. A pcall inside it lets the <close>
 * variables of a failed task wait as well. */
static int body(lua_State *L)
{
	int nargs = lua_gettop(L) - 1;
	lua_pushcfunction(L, traceback_handler);
	lua_insert(L, 1);
	int status = lua_pcallk(L, nargs, LUA_MULTRET, 1, 0, body_k);
	return body_k(L, status, 0);
}

struct ws_task *ws_task_new(lua_State *L, int nargs)
{
	struct ws_engine *e = ws_engine(L);
	struct ws_task *t = lua_newuserdatauv(L, sizeof *t, 1);
	*t = (struct ws_task){.engine = e, .co_ref = LUA_NOREF, .state = ENDED};
	luaL_setmetatable(L, TASK_METATABLE);
	lua_State *co = lua_newthread(L);
	luaL_checkstack(co, nargs + 3, "too many arguments");
	t->co = co;
	t->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	anchor(L, t, -1);
	if (e->current != NULL) { /* what was said with set_locals() holds in the tasks that are started then, too */
		lua_rawgetp(L, LUA_REGISTRYINDEX, e->current);
		lua_getiuservalue(L, -1, 1);
		lua_setiuservalue(L, -3, 1);
		lua_pop(L, 1);
		t->grant = e->current->grant;
	}
	lua_insert(L, -(nargs + 2)); /* task, fn, args… */
	lua_pushcfunction(co, body);
	lua_xmove(L, co, nargs + 1);
	t->nargs = nargs + 1;
	t->state = READY;
	t->next = e->tasks;
	t->link = &e->tasks;
	if (t->next != NULL)
		t->next->link = &t->next;
	e->tasks = t;
	make_ready(t);
	return t;
}

enum ws_grant ws_task_grant(const struct ws_task *t)
{
	return t->grant;
}

void ws_task_set_grant(struct ws_task *t, enum ws_grant grant)
{
	t->grant = grant;
}

bool ws_task_ended(const struct ws_task *t)
{
	return t->state == ENDED;
}

/* Says on stderr what a task failed with that nobody joined; that it was cancelled is no news to anybody. */
static void log_failure(lua_State *L, struct ws_task *t)
{
	int top = lua_gettop(L);
	t->joined = true;
	if (t->cancelled)
		return;
	lua_pushvalue(t->co, -1);
	lua_xmove(t->co, L, 1);
	size_t len;
	const char *text = luaL_tolstring(L, -1, &len);
	ws_redact(L, text, len);
	fprintf(stderr, "wsrun: a task failed and nobody joined it: %s\n", lua_tostring(L, -1));
	if (ws_is_error(L, top + 1) && lua_getfield(L, top + 1, "traceback") == LUA_TSTRING) {
		text = lua_tolstring(L, -1, &len);
		ws_redact(L, text, len);
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
	}
	lua_settop(L, top);
}

static void waiter_end(struct waiter *w);

static void task_end(struct ws_task *t, int nresults)
{
	t->state = ENDED;
	t->nargs = nresults;
	t->failed = !lua_toboolean(t->co, -nresults);
	*t->link = t->next;
	if (t->next != NULL)
		t->next->link = t->link;
	t->link = NULL;
	for (struct waiter *w; (w = t->joiners) != NULL;)
		waiter_end(w);
}

static void task_resume(struct ws_task *t)
{
	struct ws_engine *e = t->engine;
	int nargs = t->nargs, nresults = 0;
	assert(t->state != ENDED && t->op == NULL);
	t->nargs = 0;
	t->state = RUNNING;
	t->generation++;
	e->current = t;
	e->running = t->co;
	int status = lua_resume(t->co, e->L, nargs, &nresults);
	e->running = NULL;
	e->current = NULL;
	if (status == LUA_YIELD) {
		if (nresults == 1 && ws_is_wait_mark(t->co, -1)) {
			lua_pop(t->co, 1);
			t->state = WAITING;
			return;
		}
		lua_pop(t->co, nresults);
		lua_resetthread(t->co);
		lua_pushboolean(t->co, 0);
		lua_pushliteral(t->co, "coroutine.yield was called outside a coroutine");
		nresults = 2;
	} else if (status != LUA_OK) { /* only without memory: body() catches the rest */
		lua_pushboolean(t->co, 0);
		lua_insert(t->co, -2);
		nresults = 2;
	}
	bool detached = t->detached;
	task_end(t, nresults);
	if (t->failed && detached)
		log_failure(e->L, t);
	release(e->L, t);
}

void ws_task_run_ready(struct ws_engine *e)
{
	struct ws_task *last = e->ready_last; /* tasks that become ready meanwhile wait for their turn after the loop */
	while (e->ready_first != NULL) {
		struct ws_task *t = e->ready_first;
		e->ready_first = t->next_ready;
		if (e->ready_first == NULL)
			e->ready_last = NULL;
		t->queued = false;
		bool stop = t == last;
		task_resume(t);
		if (stop)
			break;
	}
}

void ws_task_cancel(struct ws_task *t)
{
	if (t->state == ENDED || t->cancelled)
		return;
	t->cancelled = true;
	struct ws_op *op = t->op;
	if (t->state == WAITING && op != NULL && t->shields == 0 && !op->cancelling) {
		op->cancelling = true;
		if (op->work_fn != NULL && uv_cancel((uv_req_t *)&op->work) == 0)
			return; /* it had not begun */
		if (op->type->cancel != NULL)
			op->type->cancel(op);
	}
}

void ws_task_cancel_all(struct ws_engine *e)
{
	for (struct ws_task *t = e->tasks; t != NULL; t = t->next)
		ws_task_cancel(t);
}

void ws_task_spawn(lua_State *L, int nargs)
{
	struct ws_task *t = ws_task_new(L, nargs);
	t->detached = true;
	lua_pop(L, 1);
}

/* true, results… | nil, err */
int ws_task_push_result(lua_State *L, struct ws_task *t)
{
	lua_State *co = t->co;
	t->joined = true;
	if (t->failed) {
		lua_pushnil(L);
		lua_pushvalue(co, -1);
		lua_xmove(co, L, 1);
		ws_err_wrap(L);
		return 2;
	}
	int n = t->nargs;
	luaL_checkstack(L, n + 1, "too many results");
	luaL_checkstack(co, n + 1, "too many results");
	int base = lua_gettop(co) - n;
	for (int i = 1; i <= n; i++)
		lua_pushvalue(co, base + i);
	lua_xmove(co, L, n);
	return n;
}

/* ---- waiting for tasks, signals and time ------------------------------------------------------------------------- */

static void waiter_closed(uv_handle_t *handle)
{
	ws_op_done(handle->data);
}

/* Takes the waiter out of its list and ends it. */
static void waiter_end(struct waiter *w)
{
	if (w->link == NULL)
		return;
	*w->link = w->next;
	if (w->next != NULL)
		w->next->link = w->link;
	w->link = NULL;
	if (w->has_timer)
		uv_close((uv_handle_t *)&w->timer, waiter_closed);
	else
		ws_op_done(&w->op);
}

static void waiter_timeout(uv_timer_t *timer)
{
	struct waiter *w = timer->data;
	if (!w->sleeps)
		ws_err_set(&w->op.err, "timeout", "it took too long");
	waiter_end(w);
}

static void waiter_cancel(struct ws_op *op)
{
	waiter_end((struct waiter *)op);
}

static int waiter_push(lua_State *L, struct ws_op *op)
{
	struct waiter *w = (struct waiter *)op;
	if (w->target == NULL) {
		lua_pushboolean(L, 1);
		return 1;
	}
	return ws_task_push_result(L, w->target);
}

static const struct ws_op_type join_type = {.name = "task.join", .push = waiter_push, .cancel = waiter_cancel};
static const struct ws_op_type wait_type = {.name = "task.wait", .push = waiter_push, .cancel = waiter_cancel};
static const struct ws_op_type sleep_type = {.name = "task.sleep", .push = waiter_push, .cancel = waiter_cancel};

static int waiter_start(lua_State *L, struct waiter *w, struct waiter **list, double timeout)
{
	w->next = *list;
	w->link = list;
	if (w->next != NULL)
		w->next->link = &w->next;
	*list = w;
	if (timeout >= 0) {
		w->has_timer = true;
		w->timer.data = w;
		uv_timer_init(ws_loop(L), &w->timer);
		uv_update_time(
			ws_loop(L)); /* the loop's clock stands still while Lua runs: the wait would be too short */
		uv_timer_start(&w->timer, waiter_timeout, (uint64_t)(timeout * 1000 + 0.999), 0);
	}
	return ws_op_start(L, &w->op);
}

static double opt_timeout(lua_State *L, int idx)
{
	if (lua_isnoneornil(L, idx))
		return -1;
	double timeout = luaL_checknumber(L, idx);
	luaL_argcheck(L, timeout >= 0 && timeout < 1e9, idx, "seconds must be between 0 and 1e9");
	return timeout;
}

static struct ws_task *check_task(lua_State *L, int idx)
{
	return luaL_checkudata(L, idx, TASK_METATABLE);
}

/* task.native.spawn(fn, ...) → task */
static int l_spawn(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	ws_task_new(L, lua_gettop(L) - 1);
	return 1;
}

/* task.native.join(t, timeout?) → true, results… | nil, err. Yields. */
static int l_join(lua_State *L)
{
	struct ws_task *t = check_task(L, 1);
	double timeout = opt_timeout(L, 2);
	if (t->state == ENDED)
		return ws_task_push_result(L, t);
	if (t == t->engine->current)
		return luaL_error(L, "a task cannot join itself");
	struct waiter *w = ws_op_new(L, &join_type, sizeof *w);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1); /* the task lives as long as somebody waits for it */
	w->target = t;
	return waiter_start(L, w, &t->joiners, timeout);
}

/* task.native.cancel(t) */
static int l_cancel(lua_State *L)
{
	ws_task_cancel(check_task(L, 1));
	return 0;
}

/* task.native.ended(t) → boolean */
static int l_ended(lua_State *L)
{
	lua_pushboolean(L, check_task(L, 1)->state == ENDED);
	return 1;
}

/* task.native.shield(delta): +1 makes this task ignore cancellation, -1 ends that. */
static int l_shield(lua_State *L)
{
	struct ws_task *t = ws_engine(L)->current;
	lua_Integer delta = luaL_checkinteger(L, 1);
	luaL_argcheck(L, delta == 1 || (delta == -1 && t->shields > 0), 1, "1 or -1");
	t->shields = (unsigned)((lua_Integer)t->shields + delta);
	return 0;
}

/* task.native.sleep(seconds) → true. Yields. */
static int l_sleep(lua_State *L)
{
	double seconds = opt_timeout(L, 1);
	luaL_argcheck(L, seconds >= 0, 1, "seconds expected");
	struct waiter *w = ws_op_new(L, &sleep_type, sizeof *w);
	w->sleeps = true;
	return waiter_start(L, w, &w->self, seconds);
}

/* task.native.locals() → table | nil: what this task was started with, or set last. */
static int l_locals(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, ws_engine(L)->current);
	lua_getiuservalue(L, -1, 1);
	return 1;
}

/* task.native.set_locals(table): for this task and those it starts from now on. */
static int l_set_locals(lua_State *L)
{
	if (!lua_isnil(L, 1))
		luaL_checktype(L, 1, LUA_TTABLE);
	lua_rawgetp(L, LUA_REGISTRYINDEX, ws_engine(L)->current);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	return 0;
}

struct ws_signal {
	struct waiter *waiters;
};

/* task.native.signal() → signal */
static int l_signal(lua_State *L)
{
	struct ws_signal *s = lua_newuserdatauv(L, sizeof *s, 0);
	s->waiters = NULL;
	luaL_setmetatable(L, SIGNAL_METATABLE);
	return 1;
}

/* task.native.notify(signal): ends the wait of all who wait now. */
static int l_notify(lua_State *L)
{
	struct ws_signal *s = luaL_checkudata(L, 1, SIGNAL_METATABLE);
	while (s->waiters != NULL)
		waiter_end(s->waiters);
	return 0;
}

/* task.native.wait(signal, timeout?) → true | nil, err. Yields. */
static int l_wait(lua_State *L)
{
	struct ws_signal *s = luaL_checkudata(L, 1, SIGNAL_METATABLE);
	double timeout = opt_timeout(L, 2);
	struct waiter *w = ws_op_new(L, &wait_type, sizeof *w);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	return waiter_start(L, w, &s->waiters, timeout);
}

static int task_gc(lua_State *L)
{
	struct ws_task *t = lua_touserdata(L, 1);
	if (t->state == ENDED && t->failed && !t->joined && t->co_ref != LUA_NOREF) {
		log_failure(L, t);
	}
	luaL_unref(L, LUA_REGISTRYINDEX, t->co_ref);
	t->co_ref = LUA_NOREF;
	return 0;
}

int luaopen_ws_task(lua_State *L)
{
	static const struct ws_native natives[] = {{"spawn", l_spawn, WS_PURE}, {"join", l_join, WS_PURE},
		{"cancel", l_cancel, WS_PURE}, {"ended", l_ended, WS_PURE}, {"shield", l_shield, WS_PURE},
		{"sleep", l_sleep, WS_PURE}, {"signal", l_signal, WS_PURE}, {"notify", l_notify, WS_PURE},
		{"wait", l_wait, WS_PURE}, {"locals", l_locals, WS_PURE}, {"set_locals", l_set_locals, WS_PURE},
		{NULL, NULL, 0}};
	if (luaL_newmetatable(L, TASK_METATABLE)) {
		lua_pushcfunction(L, task_gc);
		lua_setfield(L, -2, "__gc");
	}
	luaL_newmetatable(L, SIGNAL_METATABLE);
	lua_pop(L, 2);
	return ws_natives(L, "ws.task.native", natives);
}
