/* op.h - operations: how a native function waits.
 *
 * Invariants
 * - A task has at most one operation in flight; an operation belongs to one task.
 * - An operation is a full userdata that the host anchors from ws_op_new() until it has ended, so libuv and libcurl may
 *   point into it; Lua never holds a pointer to it.
 * - ws_op_done() is called exactly once, on the loop's thread, after the operation's last handle has closed. It only
 *   queues: one place (task.c) resumes Lua, after checking the task's state and generation.
 * - Cancelling asks; the operation still ends through ws_op_done(). The cancelled task then gets an error of kind
 *   `cancelled` raised where it waits.
 * - An operation may be started in any coroutine that a script makes: the host's coroutine.resume and wrap pass the
 *   wait outwards. Where Lua cannot yield (comparators of table.sort, callbacks of string.gsub) ws_op_new() raises.
 * - The working directory and the environment of this process never change; they are options of a spawn.
 *
 * A yieldable native has four parts, in this order: entry (parse, allocate, start), completion, cancel, registration.
 */
#ifndef WS_OP_H
#define WS_OP_H

#include "error.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct ws_op;
struct ws_task;

struct ws_op_type {
	const char *name; /* "process.run"; becomes the error's `op` */
	/* Pushes the results and returns how many. Called when the operation ended without an error. May raise. */
	int (*push)(lua_State *L, struct ws_op *op);
	/* Asks the operation to end soon, through ws_op_done(). NULL: it ends by itself. Called on the loop's thread, also
	 * while ws_op_work() runs on another. Never raises. */
	void (*cancel)(struct ws_op *op);
	/* Frees what the operation owns; called once, also when it never started. NULL: nothing to free. Never raises. */
	void (*fini)(struct ws_op *op);
};

struct ws_op {
	const struct ws_op_type *type;
	struct ws_task *task; /* who waits; NULL until started and after the end */
	uint64_t generation;  /* of the task when it began to wait */
	struct ws_err err;    /* set by the operation before ws_op_done() when it failed */
	bool finished;        /* ws_op_done() was called */
	bool finalised;       /* fini was called */
	bool cancelling;      /* cancel was called */
	uv_work_t work;       /* for ws_op_work() */
	void (*work_fn)(struct ws_op *op);
};

/* Makes an operation of `size` zeroed bytes (struct ws_op first) and pushes it. Raises when this place cannot wait, when
 * the task was cancelled, and without memory; nothing has been acquired then. [-0, +1] */
void *ws_op_new(lua_State *L, const struct ws_op_type *type, size_t size);
/* Waits for the operation: yields. Must be the last thing a native does: return ws_op_start(L, op). */
int ws_op_start(lua_State *L, struct ws_op *op);
/* For a start that failed at once: returns nil and op->err without waiting. Raises (memory). */
int ws_op_fail(lua_State *L, struct ws_op *op);
/* The operation has ended; see the invariants. Never raises, never runs Lua. */
void ws_op_done(struct ws_op *op);
/* Runs fn(op) on a thread of libuv's pool and waits: for hashing, compression, big files. fn may set op->err. Yields. */
int ws_op_work(lua_State *L, struct ws_op *op, void (*fn)(struct ws_op *op));
/* Starts a new task that calls the function below `nargs` arguments on the stack; for natives that call back into
 * Lua (servers, watchers). An error of the task is logged. [-(nargs+1), +0] Raises (memory). */
void ws_task_spawn(lua_State *L, int nargs);

#endif
