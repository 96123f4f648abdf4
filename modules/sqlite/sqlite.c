/* sqlite.c - databases as Lua sees them: open, write, post, read, close. */
#include "sqlite.h"

#include <ws/args.h>
#include <ws/native.h>
#include <ws/permit.h>

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define METATABLE "ws.sqlite.Database"

struct handle {
	struct sqlite_database *db; /* NULL: closed */
	struct handle **link;       /* in the list of open ones */
	struct handle *next;
};

static struct handle *open_handles; /* for the end of the host: their threads must be joined before the loop closes */

static struct handle *check_handle(lua_State *L)
{
	struct handle *h = luaL_checkudata(L, 1, METATABLE);
	luaL_argcheck(L, h->db != NULL, 1, "the database is closed");
	return h;
}

static void close_handle(struct handle *h)
{
	if (h->db == NULL)
		return;
	sqlite_database_close(h->db);
	h->db = NULL;
	*h->link = h->next;
	if (h->next != NULL)
		h->next->link = h->link;
}

/* ---- requests from Lua ------------------------------------------------------------------------------------------- */

/* Owns a request while what may raise goes on. */
static int slot_gc(lua_State *L)
{
	struct sqlite_request **slot = lua_touserdata(L, 1);
	sqlite_request_free(*slot);
	*slot = NULL;
	return 0;
}

static struct sqlite_request **new_request(lua_State *L, size_t statements)
{
	struct sqlite_request **slot = lua_newuserdatauv(L, sizeof *slot, 0);
	*slot = NULL;
	if (luaL_newmetatable(L, "ws.sqlite.Request")) {
		lua_pushcfunction(L, slot_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	struct sqlite_request *r = calloc(1, sizeof *r);
	*slot = r;
	if (r == NULL || (r->statements = calloc(statements, sizeof *r->statements)) == NULL)
		luaL_error(L, "out of memory");
	r->count = statements;
	return slot;
}

static char *copy_bytes(lua_State *L, const char *s, size_t len)
{
	char *copy = malloc(len + 1);
	if (copy == NULL)
		luaL_error(L, "out of memory");
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

/* Text that is UTF-8 is stored as text, anything else as a blob: both come back as the same string. */
static void read_parameter(lua_State *L, int idx, struct sqlite_value *v)
{
	size_t len;
	switch (lua_type(L, idx)) {
	case LUA_TNIL:
	case LUA_TNONE:
		v->type = SQLITE_VALUE_NULL;
		break;
	case LUA_TBOOLEAN:
		v->type = SQLITE_VALUE_INTEGER;
		v->integer = lua_toboolean(L, idx);
		break;
	case LUA_TNUMBER:
		v->type = lua_isinteger(L, idx) ? SQLITE_VALUE_INTEGER : SQLITE_VALUE_FLOAT;
		v->integer = lua_tointeger(L, idx);
		v->number = lua_tonumber(L, idx);
		break;
	case LUA_TSTRING: {
		const char *s = lua_tolstring(L, idx, &len);
		v->bytes = copy_bytes(L, s, len);
		v->len = len;
		v->type = memchr(s, '\0', len) == NULL ? SQLITE_VALUE_TEXT : SQLITE_VALUE_BLOB;
		break;
	}
	default:
		luaL_error(L, "parameters are strings, numbers, booleans and nil, not %s", luaL_typename(L, idx));
	}
}

/* A statement: the SQL at `first`, its parameters up to `last`. */
static void read_statement(lua_State *L, struct sqlite_statement *s, int first, int last)
{
	size_t len;
	const char *sql = luaL_checklstring(L, first, &len);
	s->sql = copy_bytes(L, sql, len);
	if (last == first)
		return;
	s->values = calloc((size_t)(last - first), sizeof *s->values);
	if (s->values == NULL)
		luaL_error(L, "out of memory");
	s->count = (size_t)(last - first);
	for (int i = first + 1; i <= last; i++)
		read_parameter(L, i, &s->values[i - first - 1]);
}

/* The request of write and post: statements { sql, parameters…, n? } from argument 2 on. */
static struct sqlite_request **read_statements(lua_State *L)
{
	int count = lua_gettop(L) - 1;
	luaL_argcheck(L, count > 0, 2, "a statement { sql, parameters… } expected");
	for (int i = 2; i <= count + 1; i++)
		luaL_checktype(L, i, LUA_TTABLE);
	struct sqlite_request **slot = new_request(L, (size_t)count);
	for (int i = 0; i < count; i++) {
		int base = lua_gettop(L);
		lua_getfield(L, i + 2, "n");
		lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : luaL_len(L, i + 2);
		lua_pop(L, 1);
		luaL_argcheck(L, n >= 1 && n <= 100, i + 2, "a statement has an SQL text and at most 99 parameters");
		luaL_checkstack(L, (int)n, "parameters");
		for (lua_Integer p = 1; p <= n; p++)
			lua_geti(L, i + 2, p);
		read_statement(L, &(*slot)->statements[i], base + 1, base + (int)n);
		lua_settop(L, base);
	}
	return slot;
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

struct request_op {
	struct ws_op op;
	struct sqlite_request *request;
};

static void push_value(lua_State *L, const struct sqlite_value *v)
{
	if (v->type == SQLITE_VALUE_INTEGER)
		lua_pushinteger(L, v->integer);
	else if (v->type == SQLITE_VALUE_FLOAT)
		lua_pushnumber(L, v->number);
	else if (v->type == SQLITE_VALUE_NULL)
		lua_pushnil(L);
	else
		lua_pushlstring(L, v->bytes, v->len);
}

static int request_push(lua_State *L, struct ws_op *op)
{
	const struct sqlite_request *r = ((struct request_op *)op)->request;
	if (!r->reads) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_createtable(L, (int)r->row_count, 0);
	for (size_t row = 0; row < r->row_count; row++) {
		lua_createtable(L, 0, (int)r->columns);
		for (size_t i = 0; i < r->columns; i++) {
			push_value(L, &r->rows[row * r->columns + i]);
			lua_setfield(L, -2, r->names[i]);
		}
		lua_rawseti(L, -2, (lua_Integer)row + 1);
	}
	return 1;
}

static void request_fini(struct ws_op *op)
{
	sqlite_request_free(((struct request_op *)op)->request);
}

static const struct ws_op_type write_type = {.name = "sqlite.write", .push = request_push, .fini = request_fini};
static const struct ws_op_type read_type = {.name = "sqlite.read", .push = request_push, .fini = request_fini};

static int send_and_wait(lua_State *L, struct handle *h, const struct ws_op_type *type, struct sqlite_request **slot)
{
	struct request_op *w = ws_op_new(L, type, sizeof *w);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1); /* the database lives as long as somebody waits for it */
	w->request = *slot;
	*slot = NULL;
	w->request->op = &w->op;
	sqlite_database_send(h->db, w->request);
	return ws_op_start(L, &w->op);
}

/* db:write({ sql, parameters… }…) → true | nil, err. Yields until it is durable. */
static int l_write(lua_State *L)
{
	struct handle *h = check_handle(L);
	ws_need(L, WS_WRITE, "sqlite.write");
	struct sqlite_request **slot = read_statements(L);
	return send_and_wait(L, h, &write_type, slot);
}

/* db:post({ sql, parameters… }…): as write, without waiting; it is part of the next write's transaction at the latest. */
static int l_post(lua_State *L)
{
	struct handle *h = check_handle(L);
	ws_need(L, WS_WRITE, "sqlite.post");
	struct sqlite_request **slot = read_statements(L);
	struct sqlite_request *r = *slot;
	*slot = NULL;
	sqlite_database_send(h->db, r);
	return 0;
}

/* db:read(sql, parameters…) → rows | nil, err. Yields. */
static int l_read(lua_State *L)
{
	struct handle *h = check_handle(L);
	int last = lua_gettop(L);
	struct sqlite_request **slot = new_request(L, 1);
	(*slot)->reads = true;
	read_statement(L, &(*slot)->statements[0], 2, last);
	return send_and_wait(L, h, &read_type, slot);
}

/* db:failure() → err | nil: what ended the writing. */
static int l_failure(lua_State *L)
{
	const struct ws_err *cause = sqlite_database_failure(check_handle(L)->db);
	if (cause == NULL)
		return 0;
	struct ws_err copy = {.op = "sqlite.write"};
	ws_err_set(&copy, cause->kind, "%s", cause->message);
	ws_err_push(L, &copy);
	return 1;
}

/* db:close(): finishes what was posted. */
static int l_close(lua_State *L)
{
	close_handle(luaL_checkudata(L, 1, METATABLE));
	return 0;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

struct open_op {
	struct ws_op op;
	char *path;
	bool read_only;
	struct sqlite_database *db;
};

static void open_work(struct ws_op *op)
{
	struct open_op *o = (struct open_op *)op;
	o->db = sqlite_database_open(o->path, o->read_only, &op->err);
}

static int open_push(lua_State *L, struct ws_op *op)
{
	struct open_op *o = (struct open_op *)op;
	struct handle *h = lua_newuserdatauv(L, sizeof *h, 0);
	*h = (struct handle){0};
	luaL_setmetatable(L, METATABLE);
	struct ws_err err = {.op = "sqlite.open"};
	int rc = sqlite_database_start(o->db, ws_loop(L));
	if (rc != 0) {
		ws_err_uv(&err, o->path, rc);
		return ws_fail(L, &err);
	}
	h->db = o->db;
	o->db = NULL;
	h->next = open_handles;
	h->link = &open_handles;
	if (h->next != NULL)
		h->next->link = &h->next;
	open_handles = h;
	return 1;
}

static void open_fini(struct ws_op *op)
{
	struct open_op *o = (struct open_op *)op;
	free(o->path);
	if (o->db != NULL)
		sqlite_database_close(o->db);
}

static const struct ws_op_type open_type = {.name = "sqlite.open", .push = open_push, .fini = open_fini};

/* native.open(path, { read_only }) → db | nil, err. Yields. */
static int l_open(lua_State *L)
{
	size_t len;
	const char *path = luaL_checklstring(L, 1, &len);
	luaL_argcheck(L, len > 0 && strlen(path) == len, 1, "a path expected");
	ws_opts_check(L, 2, "read_only", NULL);
	bool read_only = ws_opt_boolean(L, 2, "read_only", false);
	if (!read_only)
		ws_need(L, WS_WRITE, "sqlite.open");
	struct ws_err err = {.op = "sqlite.open"};
	if (sqlite_load(&err) != 0)
		return ws_fail(L, &err);
	struct open_op *o = ws_op_new(L, &open_type, sizeof *o);
	o->read_only = read_only;
	o->path = ws_permit_watching() ? ws_real_path(path) : strdup(path);
	if (o->path == NULL) {
		ws_err_set(&o->op.err, "exhausted", "out of memory");
		return ws_op_fail(L, &o->op);
	}
	struct ws_pin pin;
	if (ws_pin(&pin, o->path, WS_LOOK | WS_NEW | WS_DATABASE | (read_only ? 0 : WS_CHANGE)) != 0) {
		ws_err_errno(&o->op.err, path, errno);
		return ws_op_fail(L, &o->op);
	}
	ws_unpin(&pin);
	return ws_op_work(L, &o->op, open_work);
}

static int handle_gc(lua_State *L)
{
	close_handle(lua_touserdata(L, 1));
	return 0;
}

static void at_exit(void *unused)
{
	(void)unused;
	while (open_handles != NULL)
		close_handle(open_handles);
}

int luaopen_ws_sqlite(lua_State *L)
{
	static const struct ws_native natives[] = {{"open", l_open, WS_READ}, {NULL, NULL, 0}};
	static const luaL_Reg methods[] = {{"write", l_write}, {"post", l_post}, {"read", l_read},
		{"failure", l_failure}, {"close", l_close}, {NULL, NULL}};
	if (luaL_newmetatable(L, METATABLE)) {
		luaL_newlib(L, methods);
		lua_setfield(L, -2, "__index");
		lua_pushcfunction(L, handle_gc);
		lua_setfield(L, -2, "__gc");
		lua_pushcfunction(L, l_close);
		lua_setfield(L, -2, "__close");
		if (ws_at_exit(L, at_exit, NULL) != 0)
			return luaL_error(L, "out of memory");
	}
	return ws_natives(L, "ws.sqlite.native", natives);
}
