/* answer.c - what a handler does with its request: read the body, answer, write piece by piece. */
#include "server.h"

#include <ws/permit.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define METATABLE "ws.server.Request"

enum { STREAM_BLOCK = 1 << 16 };

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
		request_wake(r);
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

/* A file that goes out through TLS: MHD itself would read it in pieces of 4 KiB. */
struct file_source {
	int fd;
	uint64_t offset;
};

static ssize_t read_file(void *cls, uint64_t position, char *data, size_t max)
{
	struct file_source *f = cls;
	ssize_t n = pread(f->fd, data, max, (off_t)(f->offset + position));
	return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR; /* 0: it became shorter than was promised */
}

static void free_file(void *cls)
{
	struct file_source *f = cls;
	close(f->fd);
	free(f);
}

/* Takes the descriptor, unless it returns NULL. */
static struct MHD_Response *from_file(int fd, uint64_t size, uint64_t offset)
{
	struct file_source *f = malloc(sizeof *f);
	if (f == NULL)
		return NULL;
	*f = (struct file_source){fd, offset};
	struct MHD_Response *response =
		mhd.MHD_create_response_from_callback(size, STREAM_BLOCK, read_file, f, free_file);
	if (response == NULL)
		free(f);
	return response;
}

static int open_file(lua_State *L, bool tls, struct MHD_Response **response, struct ws_err *err)
{
	const char *path = luaL_checkstring(L, 4);
	lua_Integer offset = luaL_optinteger(L, 5, 0), length = luaL_optinteger(L, 6, -1);
	struct stat st;
	int fd = ws_open(path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0 || fstat(fd, &st) != 0) {
		ws_err_errno(err, path, errno);
	} else if (!S_ISREG(st.st_mode)) {
		ws_err_set(err, "invalid", "%s is not a regular file", path);
	} else if (offset < 0 || offset > st.st_size || length > st.st_size - offset) {
		ws_err_set(err, "invalid", "%s has %lld bytes, less than asked for", path, (long long)st.st_size);
	} else {
		uint64_t size = (uint64_t)(length < 0 ? st.st_size - offset : length);
		*response = tls ? from_file(fd, size, (uint64_t)offset)
				: mhd.MHD_create_response_from_fd_at_offset64(size, fd, (uint64_t)offset);
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
		response = mhd.MHD_create_response_from_callback(
			(uint64_t)declared, STREAM_BLOCK, request_read_stream, r, NULL);
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
	open_file(L, r->server->tls, &response, &op->op.err);
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
		length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length, STREAM_BLOCK, request_read_stream, r, NULL);
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
