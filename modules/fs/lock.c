/* lock.c - locks between processes: flock(2) on a file.
 *
 * The kernel gives the lock back when its holder ends, however it ends, so a lock is never stale. The file stays: to
 * remove it would let two hold "the" lock at once.
 */
#include "fs.h"

#include <ws/args.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <sys/file.h>
#include <unistd.h>

#define METATABLE "ws.fs.Lock"

enum { RETRY_MS = 25 };

struct lock_op {
	struct fs_op fs;
	uv_timer_t timer;
	int fd;
	int how;
	uint64_t deadline; /* ms of the loop's clock */
};

static void timer_closed(uv_handle_t *handle)
{
	ws_op_done(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
	struct lock_op *l = timer->data;
	int code = flock(l->fd, l->how | LOCK_NB) == 0 ? 0 : errno;
	if (code == EWOULDBLOCK || code == EINTR) {
		if (uv_now(timer->loop) < l->deadline)
			return;
		ws_err_set(&l->fs.op.err, "locked", "%s: another process holds the lock", l->fs.path);
	} else if (code != 0) {
		ws_err_errno(&l->fs.op.err, l->fs.path, code);
	}
	uv_close((uv_handle_t *)timer, timer_closed);
}

static void lock_cancel(struct ws_op *op)
{
	struct lock_op *l = (struct lock_op *)op;
	if (!uv_is_closing((uv_handle_t *)&l->timer))
		uv_close((uv_handle_t *)&l->timer, timer_closed);
}

static int lock_push(lua_State *L, struct ws_op *op)
{
	struct lock_op *l = (struct lock_op *)op;
	int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
	*fd = l->fd;
	l->fd = -1;
	luaL_setmetatable(L, METATABLE);
	return 1;
}

static void lock_fini(struct ws_op *op)
{
	struct lock_op *l = (struct lock_op *)op;
	if (l->fd >= 0)
		close(l->fd);
	fs_op_fini(op);
}

static const struct ws_op_type lock_type = {
	.name = "fs.lock", .push = lock_push, .cancel = lock_cancel, .fini = lock_fini};

/* lock:release(). May be called twice. */
static int l_release(lua_State *L)
{
	int *fd = luaL_checkudata(L, 1, METATABLE);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return 0;
}

int fs_l_lock(lua_State *L)
{
	fs_check_path(L, 1);
	ws_opts_check(L, 2, "wait", "shared", NULL);
	double wait = ws_opt_number(L, 2, "wait", 0);
	luaL_argcheck(L, wait < 1e9, 2, "seconds must be less than 1e9");
	int how = ws_opt_boolean(L, 2, "shared", false) ? LOCK_SH : LOCK_EX;
	if (luaL_newmetatable(L, METATABLE)) {
		static const luaL_Reg methods[] = {
			{"release", l_release}, {"__gc", l_release}, {"__close", l_release}, {NULL, NULL}};
		luaL_setfuncs(L, methods, 0);
		lua_pushvalue(L, -1);
		lua_setfield(L, -2, "__index");
	}
	lua_pop(L, 1);
	struct lock_op *l = fs_op_new(L, &lock_type, sizeof *l, false);
	if (l == NULL) {
		((struct lock_op *)lua_touserdata(L, -1))->fd = -1;
		return ws_op_fail(L, lua_touserdata(L, -1));
	}
	l->how = how;
	l->fd = ws_open(l->fs.path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (l->fd < 0) {
		ws_err_errno(&l->fs.op.err, l->fs.path, errno);
		return ws_op_fail(L, &l->fs.op);
	}
	uv_loop_t *loop = ws_loop(L);
	l->deadline = uv_now(loop) + (uint64_t)(wait * 1000);
	l->timer.data = l;
	uv_timer_init(loop, &l->timer);
	uv_timer_start(&l->timer, on_timer, 0, RETRY_MS);
	return ws_op_start(L, &l->fs.op);
}
