/* request.c - one request: its life between MHD and the Lua task that answers it.
 *
 * The connection is suspended as soon as the head has arrived. The handler resumes it by asking for the body
 * or by answering. MHD calls on_request() again at each of these steps: HEAD   resumed: go on to the body, or
 * queue an answer that came before it BODY   with data: keep it, and suspend when too much waits; without:
 * the body has ended, queue the answer
 */
#include "server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define METATABLE "ws.server.Request"

enum { STREAM_BLOCK = 1 << 16 };

/* Waits for something of a request: data, room, or its end. */
struct wait_op {
	struct ws_op op;
	struct request *request; /* with a reference */
};

/* ---- life
 * -------------------------------------------------------------------------------------------------------- */

void request_unref(struct request *r)
{
	if (--r->references > 0)
		return;
	if (r->response != NULL)
		mhd.MHD_destroy_response(r->response);
	ws_buf_free(&r->in);
	ws_buf_free(&r->out);
	free(r->target);
	free(r);
}

static void wake(struct request *r)
{
	struct wait_op *op = r->waiting;
	r->waiting = NULL;
	if (op != NULL)
		ws_op_done(&op->op);
}

/* MHD goes on with what it has read of a chunked body although the connection was suspended meanwhile. */
static void suspend(struct request *r)
{
	if (r->suspended)
		return;
	r->suspended = true;
	mhd.MHD_suspend_connection(r->connection);
}

static void request_resume(struct request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	mhd.MHD_resume_connection(r->connection);
	server_kick(r->server);
}

void request_lost(struct request *r)
{
	r->gone = true;
	if (r->streaming) {
		r->aborted = true;
		request_resume(r);
	} else if (r->stage == STAGE_BODY) {
		request_resume(r); /* MHD finds out */
	}
}

/* The connection cannot be saved: MHD sees a dead socket whatever it does next. */
static void request_abort(struct request *r)
{
	if (r->connection == NULL || r->aborted)
		return;
	r->aborted = true;
	const union MHD_ConnectionInfo *info =
		mhd.MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	shutdown(info->connect_fd, SHUT_RDWR);
	request_resume(r);
}

/* ---- callbacks from MHD
 * ------------------------------------------------------------------------------------------ */

void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct server *s = cls;
	(void)connection;
	struct request *r = calloc(1, sizeof *r);
	char *target = strdup(uri);
	if (r == NULL || target == NULL) {
		free(r);
		free(target);
		return NULL; /* on_request() then refuses */
	}
	ws_buf_init(&r->in, SIZE_MAX / 4);
	ws_buf_init(&r->out, SIZE_MAX / 4);
	r->server = s;
	r->target = target;
	r->id = ++s->next_id;
	r->references = 1;
	r->next = s->requests;
	r->link = &s->requests;
	if (r->next != NULL)
		r->next->link = &r->next;
	s->requests = r;
	return r;
}

static enum MHD_Result note_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct request *r = cls;
	(void)kind;
	if (strcasecmp(name, "transfer-encoding") == 0)
		r->length = UINT64_MAX;
	else if (strcasecmp(name, "content-length") == 0 && r->length == 0)
		r->length = strtoull(value, NULL, 10);
	else if (strcasecmp(name, "expect") == 0)
		r->expects_continue = strcasecmp(value, "100-continue") == 0;
	return MHD_YES;
}

static enum MHD_Result queue_response(struct request *r)
{
	r->stage = STAGE_REPLY;
	return mhd.MHD_queue_response(r->connection, r->status, r->response);
}

static enum MHD_Result after_head(struct request *r)
{
	if (r->response != NULL && r->length > 0 && (r->expects_continue || r->length > DRAIN_LIMIT))
		return queue_response(r); /* before the body; MHD then closes the connection */
	if (r->response != NULL)
		r->discard = true;
	r->stage = STAGE_BODY;
	return MHD_YES;
}

static enum MHD_Result take_body(struct request *r, const char *data, size_t *size)
{
	if (!r->discard) {
		if (r->collect_max > 0 && r->in.len + *size > r->collect_max) {
			r->too_large = r->discard = true;
			ws_buf_free(&r->in);
		} else if (ws_buf_add(&r->in, data, *size) != 0) {
			return MHD_NO;
		}
	}
	*size = 0;
	if (!r->collect_max || r->too_large)
		wake(r);
	if (!r->collect_max && !r->discard && r->in.len >= HIGH_WATER)
		suspend(r);
	return MHD_YES;
}

enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *data, size_t *size, void **context)
{
	(void)cls;
	(void)url;
	(void)version;
	struct request *r = *context;
	if (r == NULL || r->aborted)
		return MHD_NO;
	if (r->connection == NULL) {
		r->connection = connection;
		r->method = method;
		mhd.MHD_get_connection_values(connection, MHD_HEADER_KIND, note_header, r);
		suspend(r);
		server_event(r->server, r);
		return MHD_YES;
	}
	if (r->stage == STAGE_HEAD)
		return after_head(r);
	if (*size > 0)
		return take_body(r, data, size);
	r->body_ended = true;
	if (r->response != NULL)
		return queue_response(r);
	wake(r);
	suspend(r);
	return MHD_YES;
}

void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why)
{
	(void)connection;
	struct server *s = cls;
	struct request *r = *context;
	if (r == NULL)
		return;
	*context = NULL;
	r->completed = true;
	r->delivered = why == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->aborted;
	r->gone = !r->delivered;
	r->connection = NULL;
	r->server = NULL;
	*r->link = r->next;
	if (r->next != NULL)
		r->next->link = r->link;
	wake(r);
	if (r->gone && r->streaming && !r->out_ended)
		server_event(s, r);
	request_unref(r);
}

static ssize_t read_stream(void *cls, uint64_t position, char *data, size_t max)
{
	(void)position;
	struct request *r = cls;
	if (r->aborted)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	size_t have = r->out.len - r->out_at;
	if (have > 0) {
		size_t n = have < max ? have : max;
		memcpy(data, r->out.data + r->out_at, n);
		r->out_at += n;
		if (n == have)
			r->out.len = r->out_at = 0;
		if (!r->out_ended && have - n < HIGH_WATER)
			wake(r);
		return (ssize_t)n;
	}
	if (r->out_ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	suspend(r);
	return 0;
}

/* ---- what Lua sees
 * ----------------------------------------------------------------------------------------------- */

static struct request *check_request(lua_State *L)
{
	return *(struct request **)luaL_checkudata(L, 1, METATABLE);
}

static enum MHD_Result push_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	lua_State *L = cls;
	(void)kind;
	lua_pushstring(L, name);
	lua_pushstring(L, value != NULL ? value : "");
	return MHD_YES;
}

/* Collects name, value, … on the stack, then makes a table of them with the names in lower case. */
static void push_headers(lua_State *L, struct MHD_Connection *connection)
{
	int count = mhd.MHD_get_connection_values(connection, MHD_HEADER_KIND, NULL, NULL);
	luaL_checkstack(L, 2 * count + 8, "too many headers");
	lua_createtable(L, 0, count);
	int table = lua_gettop(L);
	mhd.MHD_get_connection_values(connection, MHD_HEADER_KIND, push_header, L);
	for (int i = table + 1; i < table + 2 * count; i += 2) {
		luaL_Buffer b;
		size_t len;
		const char *name = lua_tolstring(L, i, &len);
		char *lower = luaL_buffinitsize(L, &b, len);
		for (size_t k = 0; k < len; k++)
			lower[k] = (char)tolower((unsigned char)name[k]);
		luaL_pushresultsize(&b, len);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, table) == LUA_TSTRING) { /* a repeated header is a list */
			lua_pushliteral(L, ", ");
			lua_pushvalue(L, i + 1);
			lua_concat(L, 3);
		} else {
			lua_pop(L, 1);
			lua_pushvalue(L, i + 1);
		}
		lua_rawset(L, table);
	}
	lua_settop(L, table);
}

static void push_remote(lua_State *L, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	char text[INET6_ADDRSTRLEN] = "";
	if (info != NULL && info->client_addr->sa_family == AF_INET)
		uv_ip4_name((struct sockaddr_in *)info->client_addr, text, sizeof text);
	else if (info != NULL && info->client_addr->sa_family == AF_INET6)
		uv_ip6_name((struct sockaddr_in6 *)info->client_addr, text, sizeof text);
	else
		strcpy(text, "unix");
	lua_pushstring(L, text);
}

void request_push(lua_State *L, struct request *r)
{
	struct request **box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = r;
	r->references++;
	luaL_setmetatable(L, METATABLE);
	lua_pushstring(L, r->method);
	lua_pushstring(L, r->target);
	push_headers(L, r->connection);
	push_remote(L, r->connection);
}

static int request_gc(lua_State *L)
{
	struct request *r = check_request(L);
	request_abort(r); /* nobody is left who could answer */
	request_unref(r);
	return 0;
}

/* ---- operations
 * -------------------------------------------------------------------------------------------------- */

static int push_nothing_left(lua_State *L, const char *op)
{
	struct ws_err err = {.op = op};
	ws_err_set(&err, "connection", "the client has closed the connection");
	return ws_fail(L, &err);
}

static void wait_cancel(struct ws_op *base)
{
	struct wait_op *op = (struct wait_op *)base;
	struct request *r = op->request;
	if (r->response != NULL && !r->streaming)
		request_abort(r); /* and wait: MHD sends straight from Lua's string until it has let go of the
				     response */
	else if (r->waiting == op)
		wake(r);
}

static void wait_fini(struct ws_op *base)
{
	struct wait_op *op = (struct wait_op *)base;
	if (op->request != NULL) {
		if (op->request->waiting == op)
			op->request->waiting = NULL;
		request_unref(op->request);
	}
}

static struct wait_op *wait_new(lua_State *L, const struct ws_op_type *type, struct request *r)
{
	if (r->waiting != NULL)
		luaL_error(L, "%s: another task waits for this request", type->name);
	struct wait_op *op = ws_op_new(L, type, sizeof *op);
	op->request = r;
	r->references++;
	return op;
}

/* What has arrived of the body; nil at its end. */
static int push_body(lua_State *L, struct request *r)
{
	if (r->in.len == 0) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushlstring(L, r->in.data, r->in.len);
	r->in.len = 0;
	if (r->connection != NULL && r->stage == STAGE_BODY && !r->body_ended)
		request_resume(r);
	return 1;
}

static int read_push(lua_State *L, struct ws_op *base)
{
	struct request *r = ((struct wait_op *)base)->request;
	if (r->too_large) {
		struct ws_err err = {.op = "server.body", .status = 413};
		ws_err_set(&err, "too_large", "the request's body is larger than %zu bytes", r->collect_max);
		return ws_fail(L, &err);
	}
	if (r->gone && !r->body_ended)
		return push_nothing_left(L, base->type->name);
	if (r->collect_max > 0) {
		lua_pushlstring(L, r->in.data != NULL ? r->in.data : "", r->in.len);
		ws_buf_free(&r->in);
		return 1;
	}
	return push_body(L, r);
}

static const struct ws_op_type read_type = {
	.name = "server.read", .push = read_push, .cancel = wait_cancel, .fini = wait_fini};

static int read_start(lua_State *L, struct request *r)
{
	struct wait_op *op = wait_new(L, &read_type, r);
	bool wait = r->connection != NULL && r->length > 0 && !r->body_ended && !r->too_large;
	if (!wait || (r->collect_max == 0 && r->in.len > 0)) {
		if (r->length == 0)
			r->body_ended = true;
		ws_op_done(&op->op);
	} else {
		r->waiting = op;
		if (r->stage == STAGE_HEAD || r->collect_max > 0)
			request_resume(r);
	}
	return ws_op_start(L, &op->op);
}

/* server.native.read(request) → string | nil at the end | nil, err. Yields. */
static int l_read(lua_State *L)
{
	return read_start(L, check_request(L));
}

/* server.native.body(request, max) → string | nil, err: the rest of the body. Yields. */
static int l_body(lua_State *L)
{
	struct request *r = check_request(L);
	lua_Integer max = luaL_checkinteger(L, 2);
	luaL_argcheck(L, max > 0, 2, "a size in bytes expected");
	r->collect_max = (size_t)max;
	if ((r->length != UINT64_MAX && r->length > (uint64_t)max) || r->in.len > (size_t)max)
		r->too_large = true;
	return read_start(L, r);
}

static int end_push(lua_State *L, struct ws_op *base)
{
	if (!((struct wait_op *)base)->request->delivered)
		return push_nothing_left(L, base->type->name);
	lua_pushboolean(L, 1);
	return 1;
}

static const struct ws_op_type respond_type = {
	.name = "server.respond", .push = end_push, .cancel = wait_cancel, .fini = wait_fini};

/* Adds the list name, value, … at idx to the response. Returns -1 with err when MHD refuses one. */
static int add_headers(lua_State *L, int idx, struct MHD_Response *response, struct ws_err *err)
{
	lua_Integer n = luaL_len(L, idx);
	for (lua_Integer i = 1; i < n; i += 2) {
		lua_rawgeti(L, idx, i);
		lua_rawgeti(L, idx, i + 1);
		const char *name = lua_tostring(L, -2), *value = lua_tostring(L, -1);
		if (mhd.MHD_add_response_header(response, name, value) != MHD_YES && *value != '\0') {
			ws_err_set(err, "invalid", "header %s: %s cannot be sent", name, value);
			return -1;
		}
		lua_pop(L, 2);
	}
	return 0;
}

/* Hands the response over; the request owns it. Returns -1 with err. */
static int set_response(lua_State *L, struct request *r, struct MHD_Response *response, struct ws_err *err)
{
	if (response == NULL) {
		ws_err_set(err, "exhausted", "out of memory");
		return -1;
	}
	if (add_headers(L, 3, response, err) != 0) {
		mhd.MHD_destroy_response(response);
		return -1;
	}
	r->status = (unsigned)luaL_checkinteger(L, 2);
	r->response = response;
	r->discard = true;
	ws_buf_free(&r->in);
	request_resume(r);
	return 0;
}

static void check_unanswered(lua_State *L, struct request *r)
{
	luaL_checkinteger(L, 2);
	luaL_checktype(L, 3, LUA_TTABLE);
	if (r->response != NULL)
		luaL_error(L, "this request has been answered");
}

static int open_file(lua_State *L, struct MHD_Response **response, struct ws_err *err)
{
	const char *path = luaL_checkstring(L, 4);
	lua_Integer offset = luaL_optinteger(L, 5, 0), length = luaL_optinteger(L, 6, -1);
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		ws_err_errno(err, path, errno);
	} else if (!S_ISREG(st.st_mode)) {
		ws_err_set(err, "invalid", "%s is not a regular file", path);
	} else if (offset < 0 || offset > st.st_size || length > st.st_size - offset) {
		ws_err_set(err, "invalid", "%s has %lld bytes, less than asked for", path, (long long)st.st_size);
	} else {
		uint64_t size = (uint64_t)(length < 0 ? st.st_size - offset : length);
		*response = mhd.MHD_create_response_from_fd_at_offset64(size, fd, (uint64_t)offset);
		if (*response != NULL)
			return 0;
		ws_err_set(err, "exhausted", "out of memory");
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static int respond(lua_State *L, struct request *r, struct MHD_Response *response, struct wait_op *op)
{
	if (op->op.err.kind == NULL && set_response(L, r, response, &op->op.err) == 0) {
		r->waiting = op;
		return ws_op_start(L, &op->op);
	}
	return ws_op_fail(L, &op->op);
}

/* server.native.respond(request, status, headers, body, length?) → true | nil, err. The length, for an answer
 * to HEAD, is what the body would have. Yields until the client has it. */
static int l_respond(lua_State *L)
{
	struct request *r = check_request(L);
	size_t len;
	const char *body = luaL_checklstring(L, 4, &len);
	lua_Integer declared = luaL_optinteger(L, 5, -1);
	check_unanswered(L, r);
	if (r->connection == NULL)
		return push_nothing_left(L, "server.respond");
	struct wait_op *op = wait_new(L, &respond_type, r);
	lua_pushvalue(L, 4);
	lua_setiuservalue(L, -2, 1); /* MHD sends straight from the string */
	struct MHD_Response *response;
	if (declared >= 0 && len == 0)
		response =
			mhd.MHD_create_response_from_callback((uint64_t)declared, STREAM_BLOCK, read_stream, r, NULL);
	else
		response = mhd.MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_PERSISTENT);
	return respond(L, r, response, op);
}

/* server.native.respond_file(request, status, headers, path, offset?, length?) → true | nil, err. Yields. */
static int l_respond_file(lua_State *L)
{
	struct request *r = check_request(L);
	check_unanswered(L, r);
	luaL_checkstring(L, 4);
	if (r->connection == NULL)
		return push_nothing_left(L, "server.respond");
	struct wait_op *op = wait_new(L, &respond_type, r);
	struct MHD_Response *response = NULL;
	open_file(L, &response, &op->op.err);
	return respond(L, r, response, op);
}

/* server.native.stream(request, status, headers, length?) → true | nil, err: begins a response written in
 * pieces. */
static int l_stream(lua_State *L)
{
	struct request *r = check_request(L);
	lua_Integer length = luaL_optinteger(L, 4, -1);
	check_unanswered(L, r);
	if (r->connection == NULL)
		return push_nothing_left(L, "server.stream");
	struct ws_err err = {.op = "server.stream"};
	struct MHD_Response *response = mhd.MHD_create_response_from_callback(
		length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length, STREAM_BLOCK, read_stream, r, NULL);
	if (set_response(L, r, response, &err) != 0)
		return ws_fail(L, &err);
	r->streaming = true;
	lua_pushboolean(L, 1);
	return 1;
}

static int write_push(lua_State *L, struct ws_op *base)
{
	struct request *r = ((struct wait_op *)base)->request;
	if (r->gone || r->aborted || r->connection == NULL)
		return push_nothing_left(L, base->type->name);
	lua_getiuservalue(L, -1, 1); /* the operation is at the top */
	size_t len;
	const char *data = lua_tolstring(L, -1, &len);
	if (r->out_at > r->out.len / 2) {
		ws_buf_drop(&r->out, r->out_at);
		r->out_at = 0;
	}
	if (ws_buf_add(&r->out, data, len) != 0)
		return luaL_error(L, "out of memory");
	request_resume(r);
	lua_pushboolean(L, 1);
	return 1;
}

static const struct ws_op_type write_type = {
	.name = "server.write", .push = write_push, .cancel = wait_cancel, .fini = wait_fini};

/* server.native.write(request, data) → true | nil, err. Yields while too much waits for the client. */
static int l_write(lua_State *L)
{
	struct request *r = check_request(L);
	luaL_checkstring(L, 2);
	if (!r->streaming || r->out_ended)
		return luaL_error(L, "this response is not being written");
	struct wait_op *op = wait_new(L, &write_type, r);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	if (r->connection == NULL || r->gone || r->out.len - r->out_at < HIGH_WATER)
		ws_op_done(&op->op);
	else
		r->waiting = op;
	return ws_op_start(L, &op->op);
}

/* server.native.finish(request) → true | nil, err: ends a written response. Yields until the client has it.
 */
static int l_finish(lua_State *L)
{
	struct request *r = check_request(L);
	struct wait_op *op = wait_new(L, &respond_type, r);
	r->out_ended = true;
	if (r->connection == NULL) {
		ws_op_done(&op->op);
	} else {
		r->waiting = op;
		request_resume(r);
	}
	return ws_op_start(L, &op->op);
}

/* server.native.abort(request): ends the connection without an answer, or in the middle of one. */
static int l_abort(lua_State *L)
{
	request_abort(check_request(L));
	return 0;
}

/* server.native.gone(request) → boolean: the client has left. */
static int l_gone(lua_State *L)
{
	lua_pushboolean(L, check_request(L)->gone);
	return 1;
}

void request_natives(lua_State *L, int idx)
{
	static const struct ws_native natives[] = {{"read", l_read, WS_READ}, {"body", l_body, WS_READ},
		{"respond", l_respond, WS_READ}, {"respond_file", l_respond_file, WS_READ},
		{"stream", l_stream, WS_READ}, {"write", l_write, WS_READ}, {"finish", l_finish, WS_READ},
		{"abort", l_abort, WS_READ}, {"gone", l_gone, WS_READ}, {NULL, NULL, 0}};
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, request_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pop(L, 1);
	ws_natives(L, "ws.server.native", natives);
	for (const struct ws_native *n = natives; n->name != NULL; n++) {
		lua_getfield(L, -1, n->name);
		lua_setfield(L, idx, n->name);
	}
	lua_pop(L, 1);
}
