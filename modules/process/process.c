/* process.c - children as Lua sees them: start, wait, lines, write, signal.
 *
 * The Lua object is a userdata with a pointer to a struct child (process.h); collecting it stops the child.
 */
#include "process.h"
#include "options.h"

#include <ws/args.h>
#include <ws/native.h>
#include <ws/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define METATABLE "ws.process.Child"
#define SET "ws.process.set"

enum { COMMAND_MAX = 200, LINES_AT_ONCE = 256, LINE_MAX_LEN = 1 << 20 };

static struct process_set *the_set(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, SET);
	struct process_set *set = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return set;
}

static struct child *check_child(lua_State *L)
{
	struct child **slot = luaL_checkudata(L, 1, METATABLE);
	luaL_argcheck(L, *slot != NULL, 1, "the child was never started");
	return *slot;
}

/* ---- result ------------------------------------------------------------------------------------------------------ */

static void push_stream(lua_State *L, struct stream *s, const char *name, bool *truncated, bool *cut)
{
	if (s->collect) {
		size_t from = s->tail.len > s->max ? s->tail.len - s->max : 0;
		lua_pushlstring(L, s->tail.data != NULL ? s->tail.data + from : "", s->tail.len - from);
		lua_setfield(L, -2, name);
		s->truncated |= from > 0;
	}
	*truncated |= s->truncated;
	*cut |= s->cut;
}

static void push_result(lua_State *L, struct child *c)
{
	bool truncated = false, cut = false;
	lua_createtable(L, 0, 6);
	if (c->signal == 0)
		lua_pushinteger(L, c->code);
	else
		lua_pushnil(L);
	lua_setfield(L, -2, "code");
	if (c->signal != 0) {
		const char *name = sigabbrev_np(c->signal);
		if (name != NULL)
			lua_pushstring(L, name);
		else
			lua_pushfstring(L, "%d", c->signal);
		lua_setfield(L, -2, "signal");
	}
	push_stream(L, &c->out[0], "stdout", &truncated, &cut);
	push_stream(L, &c->out[1], "stderr", &truncated, &cut);
	if (truncated) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "truncated");
	}
	if (cut) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "lingering");
	}
	lua_pushnumber(L, (double)(c->ended - c->started) / 1e9);
	lua_setfield(L, -2, "seconds");
}

/* result | nil, err(timeout) with err.result */
static int push_end(lua_State *L, struct child *c)
{
	if (c->why != TIMED_OUT) {
		push_result(L, c);
		return 1;
	}
	struct ws_err err = {.op = "process.run"};
	ws_err_set(&err, "timeout", "%s: not finished after %g s; ended by %s", c->command, c->timeout,
		c->killed ? "KILL" : sigabbrev_np(c->stop_signal));
	ws_fail(L, &err);
	push_result(L, c);
	lua_setfield(L, -2, "result");
	return 2;
}

/* ---- wait -------------------------------------------------------------------------------------------------------- */

struct wait_op {
	struct ws_op op;
	struct child *child;
	uv_timer_t timer;
	bool has_timer;
	bool owns; /* a cancelled run stops its child; who waits for a handle only goes */
};

static void wait_timer_closed(uv_handle_t *handle)
{
	ws_op_done(handle->data);
}

static void wait_wake(struct ws_op *op)
{
	struct wait_op *w = (struct wait_op *)op;
	if (w->has_timer)
		uv_close((uv_handle_t *)&w->timer, wait_timer_closed);
	else
		ws_op_done(op);
}

/* Ends a wait before the child has. */
static void wait_leave(struct wait_op *w)
{
	w->child->waiter = NULL;
	wait_wake(&w->op);
}

static void wait_timeout(uv_timer_t *timer)
{
	struct wait_op *w = timer->data;
	ws_err_set(&w->op.err, "timeout", "%s: it still runs", w->child->command);
	wait_leave(w);
}

static void wait_cancel(struct ws_op *op)
{
	struct wait_op *w = (struct wait_op *)op;
	if (w->owns)
		child_stop(w->child, STOPPED);
	else if (w->child->waiter == op)
		wait_leave(w);
}

static int wait_push(lua_State *L, struct ws_op *op)
{
	return push_end(L, ((struct wait_op *)op)->child);
}

static const struct ws_op_type wait_type = {.name = "process.wait", .push = wait_push, .cancel = wait_cancel};

/* child:wait(timeout?, owns?) → result | nil, err. Yields. */
static int l_wait(lua_State *L)
{
	struct child *c = check_child(L);
	double timeout = luaL_optnumber(L, 2, -1);
	bool owns = lua_toboolean(L, 3);
	if (c->finished)
		return push_end(L, c);
	if (c->waiter != NULL)
		return luaL_error(L, "another task waits for this child already");
	struct wait_op *w = ws_op_new(L, &wait_type, sizeof *w);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	w->child = c;
	w->owns = owns;
	c->waiter = &w->op;
	c->wake = wait_wake;
	if (timeout >= 0) {
		w->timer.data = w;
		w->has_timer = true;
		uv_timer_init(ws_loop(L), &w->timer);
		uv_timer_start(&w->timer, wait_timeout, (uint64_t)(timeout * 1000 + 0.999), 0);
	}
	return ws_op_start(L, &w->op);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

struct lines_op {
	struct ws_op op;
	struct stream *stream;
};

/* Pushes a list of the lines that are there; nothing when there is none. Returns the number of values. */
static int take_lines(lua_State *L, struct stream *s)
{
	struct ws_buf *b = &s->lines_buf;
	lua_Integer n = 0;
	lua_newtable(L);
	while (n < LINES_AT_ONCE && s->lines_from < b->len) {
		const char *from = b->data + s->lines_from;
		size_t seen = s->lines_seen > s->lines_from ? s->lines_seen - s->lines_from : 0;
		size_t left = b->len - s->lines_from;
		const char *newline = memchr(from + seen, '\n', left - seen);
		if (newline == NULL && s->open && left < LINE_MAX_LEN) {
			s->lines_seen = b->len;
			break;
		}
		size_t len = newline != NULL ? (size_t)(newline - from) : left;
		lua_pushlstring(L, from, len);
		lua_rawseti(L, -2, ++n);
		s->lines_from += len + (newline != NULL);
	}
	if (s->lines_from > 0 && s->lines_from >= b->len - s->lines_from) {
		ws_buf_drop(b, s->lines_from);
		s->lines_seen = s->lines_seen > s->lines_from ? s->lines_seen - s->lines_from : 0;
		s->lines_from = 0;
	}
	stream_resume(s);
	if (n == 0)
		lua_pop(L, 1);
	return n > 0;
}

static int lines_push(lua_State *L, struct ws_op *op)
{
	int n = take_lines(L, ((struct lines_op *)op)->stream);
	if (n == 0)
		lua_pushnil(L);
	return 1;
}

static void lines_cancel(struct ws_op *op)
{
	struct stream *s = ((struct lines_op *)op)->stream;
	if (s->reader == op) {
		s->reader = NULL;
		ws_op_done(op);
	}
}

static const struct ws_op_type lines_type = {.name = "process.lines", .push = lines_push, .cancel = lines_cancel};

/* child:lines_batch("stdout" | "stderr") → list of lines | nil at the end. Yields. */
static int l_lines_batch(lua_State *L)
{
	static const char *const names[] = {"stdout", "stderr", NULL};
	struct child *c = check_child(L);
	struct stream *s = &c->out[luaL_checkoption(L, 2, NULL, names)];
	if (!s->lines)
		return luaL_error(
			L, "lines can be read when the child was started with %s = \"pipe\"", lua_tostring(L, 2));
	if (s->reader != NULL)
		return luaL_error(L, "another task reads these lines already");
	if (take_lines(L, s) > 0)
		return 1;
	if (!s->open)
		return 0;
	struct lines_op *r = ws_op_new(L, &lines_type, sizeof *r);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	r->stream = s;
	s->reader = &r->op;
	return ws_op_start(L, &r->op);
}

/* child:drop_lines("stdout" | "stderr"): nobody will read lines any more, what comes is not kept for a reader. */
static int l_drop_lines(lua_State *L)
{
	static const char *const names[] = {"stdout", "stderr", NULL};
	struct stream *s = &check_child(L)->out[luaL_checkoption(L, 2, NULL, names)];
	s->lines = false;
	ws_buf_free(&s->lines_buf);
	s->lines_from = s->lines_seen = 0;
	stream_resume(s);
	return 0;
}

/* ---- write ------------------------------------------------------------------------------------------------------- */

struct write_op {
	struct ws_op op;
	struct child *child;
};

static int write_push(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

static void write_cancel(struct ws_op *op)
{
	struct child *c = ((struct write_op *)op)->child;
	if (c->in.writer == op)
		child_input_abandon(c);
}

static const struct ws_op_type write_type = {.name = "process.write", .push = write_push, .cancel = write_cancel};

/* child:write(string | secret) → true | nil, err. Yields until the pipe has taken it. */
static int l_write(lua_State *L)
{
	struct child *c = check_child(L);
	size_t len;
	const char *data = ws_text_or_secret(L, 2, &len);
	struct input *in = &c->in;
	if (in->writer != NULL || (in->open && in->off < in->len))
		return luaL_error(L, "another write to this child has not ended");
	struct write_op *w = ws_op_new(L, &write_type, sizeof *w);
	lua_newtable(L);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, 1);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, 2);
	lua_setiuservalue(L, -2, 1);
	if (!in->open || in->close_after) {
		ws_err_set(&w->op.err, "connection", "%s: its input is closed", c->command);
		return ws_op_fail(L, &w->op);
	}
	w->child = c;
	in->data = data;
	in->len = len;
	in->off = 0;
	in->writer = &w->op;
	child_input_start(c);
	return ws_op_start(L, &w->op);
}

/* child:close_stdin() */
static int l_close_stdin(lua_State *L)
{
	child_input_close(check_child(L));
	return 0;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

/* child:kill(name?) → true | nil, err(not_found): signals the group. */
static int l_kill(lua_State *L)
{
	struct child *c = check_child(L);
	const char *name = luaL_optstring(L, 2, "TERM");
	int signum = process_signal_number(name);
	if (signum < 0)
		return luaL_argerror(L, 2, lua_pushfstring(L, "no signal has the name '%s'", name));
	int code = child_signal(c, signum);
	if (code != 0) {
		struct ws_err err = {.op = "process.kill"};
		ws_err_set(&err, code == ESRCH ? "not_found" : "denied", "%s: %s", c->command,
			code == ESRCH ? "it has ended" : strerror(code));
		return ws_fail(L, &err);
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* child:terminate(): stop signal, after the grace KILL; wait() tells when it is over. */
static int l_terminate(lua_State *L)
{
	child_stop(check_child(L), STOPPED);
	return 0;
}

/* native.live() → list of { pid, command, seconds } */
static int l_live(lua_State *L)
{
	lua_newtable(L);
	lua_Integer n = 0;
	for (const struct child *c = the_set(L)->children; c != NULL; c = c->next) {
		if (c->detached || c->finished)
			continue;
		lua_createtable(L, 0, 3);
		lua_pushinteger(L, c->pid);
		lua_setfield(L, -2, "pid");
		lua_pushstring(L, c->command);
		lua_setfield(L, -2, "command");
		lua_pushnumber(L, (double)(uv_hrtime() - c->started) / 1e9);
		lua_setfield(L, -2, "seconds");
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

/* native.interrupt_all("INT" | "TERM") → number of children. TERM stops them: KILL follows after each one's grace. */
static int l_interrupt_all(lua_State *L)
{
	static const char *const names[] = {"INT", "TERM", NULL};
	int which = luaL_checkoption(L, 1, "INT", names);
	lua_Integer n = 0;
	for (struct child *c = the_set(L)->children; c != NULL; c = c->next) {
		if (c->detached || c->exited || !c->own_group) /* the terminal itself signals an interactive child */
			continue;
		n++;
		if (which == 0) {
			child_signal(c, SIGINT);
		} else {
			c->stop_signal = SIGTERM;
			child_stop(c, STOPPED);
		}
	}
	lua_pushinteger(L, n);
	return 1;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static int child_gc(lua_State *L)
{
	struct child **slot = lua_touserdata(L, 1), *c = *slot;
	if (c == NULL)
		return 0;
	*slot = NULL;
	if (!c->detached)
		child_stop(c, STOPPED);
	child_unref(c);
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A descriptor outside 0, 1, 2, so that arranging the child's own three never meets it. */
static int above_stdio(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;
	int higher = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return higher;
}

static int make_pipe(int *reader, int *writer)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return errno;
	*reader = above_stdio(fds[0]);
	*writer = above_stdio(fds[1]);
	return *reader < 0 || *writer < 0 ? EMFILE : 0;
}

/* Opens what the child gets as descriptor `index`; `ours` is our end of a pipe. Returns 0 or -1 with `err`. */
static int open_output(
	const struct process_output *out, int index, struct process_spec *spec, int *ours, struct ws_err *err)
{
	int code = 0;
	switch (out->how) {
	case OUT_DISCARD:
		if (!out->lines)
			break;
		__attribute__((fallthrough));
	case OUT_COLLECT:
	case OUT_PIPE:
		code = make_pipe(ours, &spec->fds[index]);
		if (code != 0)
			ws_err_errno(err, "pipe", code);
		break;
	case OUT_INHERIT:
		spec->fds[index] = index;
		break;
	case OUT_FILE:
		spec->fds[index] = above_stdio(
			ws_open(out->file, O_WRONLY | O_CREAT | O_CLOEXEC | (out->append ? O_APPEND : O_TRUNC), 0666));
		if (spec->fds[index] < 0)
			ws_err_errno(err, out->file, code = errno);
		break;
	default:
		break;
	}
	return code == 0 ? 0 : -1;
}

static char *join_command(char *const *argv)
{
	struct ws_buf b;
	ws_buf_init(&b, COMMAND_MAX + 8);
	for (int i = 0; argv[i] != NULL && b.len < COMMAND_MAX; i++) {
		size_t len = strlen(argv[i]), room = COMMAND_MAX - b.len;
		if (ws_buf_adds(&b, i > 0 ? " " : "") != 0 || ws_buf_add(&b, argv[i], len < room ? len : room) != 0)
			return NULL;
		if (len > room && ws_buf_adds(&b, "...") != 0)
			return NULL;
	}
	for (size_t i = 0; i < b.len; i++)
		if (b.data[i] == '\n')
			b.data[i] = ' ';
	return b.data;
}

static void init_stream(struct stream *s, const struct process_output *out, size_t max)
{
	s->collect = out->how == OUT_COLLECT;
	s->lines = out->lines;
	s->max = max;
	ws_buf_init(&s->tail, 2 * max);
	ws_buf_init(&s->lines_buf, 4 << 20);
}

/* Fills the child from the options. Returns 0 or an errno value. */
static int init_child(struct child *c, struct process_set *set, const struct process_options *o)
{
	*c = (struct child){.set = set,
		.refs = 1,
		.pid = -1,
		.pidfd = -1,
		.own_group = !o->interactive,
		.detached = o->detached,
		.code = -1,
		.stop_signal = o->stop_signal,
		.timeout = o->timeout,
		.grace = o->grace,
		.linger = o->linger};
	init_stream(&c->out[0], &o->out, o->max_output);
	init_stream(&c->out[1], &o->err, o->max_output);
	c->in.fd = -1;
	c->command = join_command(o->spec.argv);
	if (c->command == NULL)
		return ENOMEM;
	if (o->stdin_data != NULL) {
		c->in.owned = malloc(o->stdin_len + 1);
		if (c->in.owned == NULL)
			return ENOMEM;
		memcpy(c->in.owned, o->stdin_data, o->stdin_len);
		c->in.data = c->in.owned;
		c->in.len = o->stdin_len;
		c->in.close_after = true;
	}
	return 0;
}

/* Asks the run's permissions for the program, and prepares what is left to it. Returns 0 or -1 with `err`. */
static int permitted(struct process_spec *spec, char real[PATH_MAX], struct ws_err *err)
{
	const char *file = spec->file;
	char *whole = NULL;
	if (file[0] != '/' && spec->cwd != NULL && asprintf(&whole, "%s/%s", spec->cwd, file) >= 0)
		file = whole;
	int rc = ws_permit_run(spec->argv[0], file, real);
	if (rc == 0)
		rc = ws_cage_open(&spec->cage, real);
	if (rc != 0)
		ws_err_errno(err, spec->argv[0], errno);
	free(whole);
	return rc;
}

static int start(struct child *c, struct process_options *o, struct ws_err *err)
{
	struct process_spec *spec = &o->spec;
	struct child_fds ours = {-1, -1, -1};
	char *file = NULL, real[PATH_MAX];
	spec->cage.ruleset = -1;
	spec->cage.active = false;
	spec->fds[0] = o->interactive ? 0 : -1;
	spec->fds[1] = spec->fds[2] = -1;
	int rc = process_find(spec->argv[0], o->path, spec->cwd, &file, err), code;
	spec->file = file;
	if (rc == 0 && ws_permit_watching()) {
		rc = permitted(spec, real, err);
		spec->file = real;
	}
	if (rc == 0 && o->stdin_pipe && (code = make_pipe(&spec->fds[0], &ours.in)) != 0) {
		ws_err_errno(err, "pipe", code);
		rc = -1;
	}
	if (rc == 0)
		rc = open_output(&o->out, 1, spec, &ours.out, err);
	if (rc == 0)
		rc = open_output(&o->err, 2, spec, &ours.err, err);
	c->started = uv_hrtime();
	if (rc == 0)
		rc = process_spawn(spec, &c->pid, err);
	for (int i = 0; i < 3; i++)
		if (spec->fds[i] > 2)
			close_fd(&spec->fds[i]);
	free(file);
	ws_cage_close(&spec->cage);
	if (rc != 0) {
		close_fd(&ours.in);
		close_fd(&ours.out);
		close_fd(&ours.err);
		return -1;
	}
	code = child_watch(c, &ours);
	if (code != 0)
		ws_err_uv(err, c->command, code);
	return code == 0 ? 0 : -1;
}

/* native.start(argv, opts, overlay) → child | nil, err */
static int l_start(lua_State *L)
{
	struct process_options o;
	struct ws_err err = {.op = "process.start"};
	process_options_read(L, &o);
	if (o.refused) {
		ws_err_errno(&err, o.spec.argv[0], WS_EDENIED);
		return ws_fail(L, &err);
	}
	struct process_set *set = the_set(L);
	struct child **slot = lua_newuserdatauv(L, sizeof *slot, 0);
	*slot = NULL;
	luaL_setmetatable(L, METATABLE);
	struct child *c = malloc(sizeof *c);
	int code = c != NULL ? init_child(c, set, &o) : ENOMEM;
	*slot = c; /* from here on collected with the object */
	if (code != 0)
		ws_err_errno(&err, o.spec.argv[0], code);
	if (code != 0 || start(c, &o, &err) != 0) {
		if (c != NULL && c->refs == 1)
			c->finished = c->finishing = true; /* there is no child to stop */
		return ws_fail(L, &err);
	}
	return 1;
}

/* native.which(name, path?) → file | nil, err */
static int l_which(lua_State *L)
{
	size_t len;
	const char *name = luaL_checklstring(L, 1, &len);
	const char *path = luaL_optstring(L, 2, getenv("PATH"));
	luaL_argcheck(L, len > 0 && strlen(name) == len, 1, "a command's name expected");
	struct ws_err err = {.op = "process.which"};
	char *file;
	char real[PATH_MAX];
	struct ws_pin pin;
	if (strchr(name, '/') != NULL && ws_pin(&pin, name, WS_LOOK) == 0) {
		ws_unpin(&pin);
	} else if (strchr(name, '/') != NULL && errno == WS_EDENIED && ws_permit_run(name, name, real) != 0) {
		ws_err_errno(&err, name, WS_EDENIED);
		return ws_fail(L, &err);
	}
	if (process_find(name, path, NULL, &file, &err) != 0)
		return ws_fail(L, &err);
	lua_pushstring(L, file);
	free(file);
	return 1;
}

static int l_index(lua_State *L)
{
	struct child *c = check_child(L);
	const char *key = luaL_checkstring(L, 2);
	if (strcmp(key, "pid") == 0) {
		lua_pushinteger(L, c->pid);
	} else if (strcmp(key, "command") == 0) {
		lua_pushstring(L, c->command);
	} else if (strcmp(key, "finished") == 0) {
		lua_pushboolean(L, c->finished);
	} else {
		lua_pushvalue(L, 2);
		lua_rawget(L, lua_upvalueindex(1));
	}
	return 1;
}

static void at_exit(void *set)
{
	process_set_close(set);
}

int luaopen_ws_process(lua_State *L)
{
	static const struct ws_native natives[] = {{"start", l_start, WS_EXEC}, {"which", l_which, WS_READ},
		{"live", l_live, WS_READ}, {"interrupt_all", l_interrupt_all, WS_PURE}, {NULL, NULL, 0}};
	static const luaL_Reg methods[] = {{"wait", l_wait}, {"lines_batch", l_lines_batch},
		{"drop_lines", l_drop_lines}, {"write", l_write}, {"close_stdin", l_close_stdin}, {"kill", l_kill},
		{"terminate", l_terminate}, {NULL, NULL}};
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, child_gc);
		lua_setfield(L, -2, "__gc");
		luaL_newlib(L, methods);
		lua_pushcclosure(L, l_index, 1);
		lua_setfield(L, -2, "__index");
		struct process_set *set = lua_newuserdatauv(L, sizeof *set, 0);
		memset(set, 0, sizeof *set);
		set->loop = ws_loop(L);
		lua_setfield(L, LUA_REGISTRYINDEX, SET);
		if (ws_at_exit(L, at_exit, set) != 0)
			return luaL_error(L, "out of memory");
	}
	signal(SIGPIPE, SIG_IGN); /* writing to a child that has closed its input is an error, not our end */
	return ws_natives(L, "ws.process.native", natives);
}
