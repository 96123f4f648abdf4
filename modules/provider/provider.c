/* provider.c - the natives of ws.provider: a gRPC server whose calls become tasks, and the codecs of the protocol.
 *
 * The server tells Lua what happens by calling one function, each time in a new task:
 *     event("request", connection, call, path, message)
 *     event("cancelled", connection, call)        the client gave the call up, or its connection broke
 *     event("disconnected", connection)
 * A call and its stream point at each other until one of them ends; a call whose stream is gone takes a reply silently.
 */
#include "codec.h"
#include "grpc.h"

#include <errno.h>
#include <lauxlib.h>
#include <signal.h>
#include <string.h>
#include <ws/args.h>
#include <ws/native.h>
#include <ws/op.h>
#include <ws/permit.h>

#define SERVER "ws.provider.Server"
#define CALL "ws.provider.Call"

struct server {
	struct grpc_server *grpc; /* NULL when closed */
	struct close_op *closer;
	struct server *next; /* in open_servers */
	lua_State *L;        /* the main coroutine */
	int event;           /* registry reference */
};

struct call {
	struct grpc_stream *stream; /* NULL when it is gone */
	uint64_t connection;
};

struct close_op {
	struct ws_op op;
	struct server *server;
};

static struct server *open_servers; /* of all hosts of this process; loop threads do not share modules */

/* ---- events ------------------------------------------------------------------------------------------------------ */

struct event {
	struct server *server;
	const char *name;
	uint64_t connection;
	struct grpc_stream *stream;
	const char *path;
	const char *message;
	size_t len;
};

static int call_gc(lua_State *L)
{
	struct call *call = lua_touserdata(L, 1);
	struct grpc_stream *s = call->stream;
	if (s != NULL) { /* nobody is left who could answer */
		call->stream = NULL;
		grpc_set_user(s, NULL);
		grpc_reply(s, GRPC_INTERNAL, "the request was dropped", 23);
	}
	return 0;
}

/* Pushes the call of a stream; it is found again by the stream's address. */
static void push_call(lua_State *L, struct event *e)
{
	if (grpc_user(e->stream) != NULL) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, grpc_user(e->stream));
		return;
	}
	struct call *call = lua_newuserdatauv(L, sizeof *call, 0);
	*call = (struct call){.connection = e->connection};
	luaL_setmetatable(L, CALL);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, call);
	call->stream = e->stream;
	grpc_set_user(e->stream, call);
}

static int spawn_event(lua_State *L)
{
	struct event *e = lua_touserdata(L, 1);
	lua_rawgeti(L, LUA_REGISTRYINDEX, e->server->event);
	lua_pushstring(L, e->name);
	lua_pushinteger(L, (lua_Integer)e->connection);
	int nargs = 2;
	if (e->stream != NULL) {
		push_call(L, e);
		nargs++;
	}
	if (e->path != NULL) {
		lua_pushstring(L, e->path);
		lua_pushlstring(L, e->message, e->len);
		nargs += 2;
	}
	ws_task_spawn(L, nargs);
	return 0;
}

static int send_event(struct event e)
{
	lua_State *L = e.server->L;
	if (!lua_checkstack(L, 4))
		return -1;
	lua_pushcfunction(L, spawn_event);
	lua_pushlightuserdata(L, &e);
	int rc = lua_pcall(L, 1, 0, 0);
	if (rc != LUA_OK)
		lua_pop(L, 1);
	return rc;
}

/* Parts a stream from its call. */
static void forget_call(struct server *server, struct grpc_stream *s)
{
	struct call *call = grpc_user(s);
	if (call == NULL)
		return;
	grpc_set_user(s, NULL);
	call->stream = NULL;
	lua_pushnil(server->L);
	lua_rawsetp(server->L, LUA_REGISTRYINDEX, call);
}

static void on_request(
	void *arg, uint64_t connection, struct grpc_stream *s, const char *path, const char *message, size_t len)
{
	struct event e = {arg, "request", connection, s, path, message, len};
	if (send_event(e) != 0) {
		forget_call(arg, s);
		grpc_reply(s, GRPC_RESOURCE_EXHAUSTED, "out of memory", 13);
	}
}

static void on_gone(void *arg, struct grpc_stream *s, bool replied)
{
	struct call *call = grpc_user(s);
	if (!replied && call != NULL)
		send_event((struct event){
			.server = arg, .name = "cancelled", .connection = call->connection, .stream = s});
	forget_call(arg, s);
}

static void on_disconnected(void *arg, uint64_t connection)
{
	send_event((struct event){.server = arg, .name = "disconnected", .connection = connection});
}

static void on_closed(void *arg)
{
	struct server *server = arg;
	server->grpc = NULL;
	if (server->closer != NULL) {
		struct close_op *op = server->closer;
		server->closer = NULL;
		ws_op_done(&op->op);
	}
}

/* ---- natives ----------------------------------------------------------------------------------------------------- */

struct identity_box {
	struct tls_identity *identity;
};

#define IDENTITY "ws.provider.Identity"

static int identity_gc(lua_State *L)
{
	struct identity_box *box = lua_touserdata(L, 1);
	tls_identity_free(box->identity);
	box->identity = NULL;
	return 0;
}

/* identity(client_pem) → identity, certificate (DER) | nil, err. The identity serves one listen(). */
static int l_identity(lua_State *L)
{
	size_t len;
	struct ws_err err = {.op = "provider.identity"};
	const char *pem = luaL_checklstring(L, 1, &len);
	struct identity_box *box = lua_newuserdatauv(L, sizeof *box, 0);
	box->identity = NULL;
	luaL_setmetatable(L, IDENTITY);
	box->identity = tls_identity_new(pem, len, &err);
	if (box->identity == NULL)
		return ws_fail(L, &err);
	const unsigned char *der = tls_identity_certificate(box->identity, &len);
	lua_pushlstring(L, (const char *)der, len);
	return 2;
}

static void unlink_server(struct server *server)
{
	for (struct server **at = &open_servers; *at != NULL; at = &(*at)->next) {
		if (*at == server) {
			*at = server->next;
			return;
		}
	}
}

/* The script is at its end and forgot the server, or the host shuts down. */
static void abandon(struct server *server)
{
	unlink_server(server);
	if (server->grpc != NULL) {
		grpc_orphan(server->grpc);
		grpc_close(server->grpc);
		server->grpc = NULL;
	}
}

static int server_gc(lua_State *L)
{
	struct server *server = lua_touserdata(L, 1);
	abandon(server);
	luaL_unref(L, LUA_REGISTRYINDEX, server->event);
	server->event = LUA_NOREF;
	return 0;
}

static void at_exit(void *loop)
{
	for (struct server *s = open_servers, *next; s != NULL; s = next) {
		next = s->next;
		if (ws_loop(s->L) == loop)
			abandon(s);
	}
}

/* listen(path, event, identity?) → server | nil, err */
static int l_listen(lua_State *L)
{
	static const struct grpc_events events = {on_request, on_gone, on_disconnected, on_closed};
	struct ws_err err = {.op = "provider.listen"};
	const char *path = luaL_checkstring(L, 1);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	struct identity_box *box = lua_isnoneornil(L, 3) ? NULL : luaL_checkudata(L, 3, IDENTITY);
	luaL_argcheck(L, box == NULL || box->identity != NULL, 3, "an identity serves one server");
	struct ws_pin pin;
	if (ws_pin(&pin, path, WS_CHANGE | WS_NEW | WS_LINK) != 0) {
		ws_err_errno(&err, path, errno);
		return ws_fail(L, &err);
	}
	ws_unpin(&pin);
	struct server *server = lua_newuserdatauv(L, sizeof *server, 0);
	*server = (struct server){.event = LUA_NOREF};
	luaL_setmetatable(L, SERVER);
	lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
	server->L = lua_tothread(L, -1);
	lua_pop(L, 1);
	lua_pushvalue(L, 2);
	server->event = luaL_ref(L, LUA_REGISTRYINDEX);
	server->grpc = grpc_listen(ws_loop(L), path, box ? box->identity : NULL, &events, server, &err);
	if (server->grpc == NULL)
		return ws_fail(L, &err);
	if (box != NULL)
		box->identity = NULL;
	server->next = open_servers;
	open_servers = server;
	return 1;
}

/* reply(call, status, data) → boolean: whether somebody still waits for it. */
static int l_reply(lua_State *L)
{
	size_t len;
	struct call *call = luaL_checkudata(L, 1, CALL);
	lua_Integer status = luaL_checkinteger(L, 2);
	const char *data = luaL_checklstring(L, 3, &len);
	struct grpc_stream *s = call->stream;
	if (s != NULL) {
		call->stream = NULL;
		grpc_set_user(s, NULL);
		lua_pushnil(L);
		lua_rawsetp(L, LUA_REGISTRYINDEX, call);
		grpc_reply(s, (enum grpc_status)status, data, len);
	}
	lua_pushboolean(L, s != NULL);
	return 1;
}

static void close_fini(struct ws_op *op)
{
	struct close_op *c = (struct close_op *)op;
	if (c->server->closer == c)
		c->server->closer = NULL;
}

static int close_push(lua_State *L, struct ws_op *op)
{
	(void)op;
	lua_pushboolean(L, 1);
	return 1;
}

static const struct ws_op_type close_type = {.name = "provider.close", .push = close_push, .fini = close_fini};

/* close(server) → true. Yields until the last handle has closed. */
static int l_close(lua_State *L)
{
	struct server *server = luaL_checkudata(L, 1, SERVER);
	if (server->grpc == NULL || server->closer != NULL) {
		lua_pushboolean(L, 1);
		return 1;
	}
	struct close_op *op = ws_op_new(L, &close_type, sizeof *op);
	op->server = server;
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	server->closer = op;
	unlink_server(server);
	grpc_close(server->grpc);
	return ws_op_start(L, &op->op);
}

/* pid() → integer */
static int l_pid(lua_State *L)
{
	lua_pushinteger(L, uv_os_getpid());
	return 1;
}

int luaopen_ws_provider(lua_State *L)
{
	static const struct ws_native natives[] = {{"identity", l_identity, WS_PURE}, {"listen", l_listen, WS_WRITE},
		{"reply", l_reply, WS_PURE}, {"close", l_close, WS_PURE}, {"encode", provider_encode, WS_PURE},
		{"decode", provider_decode, WS_PURE}, {"pack", provider_pack, WS_PURE},
		{"unpack", provider_unpack, WS_PURE}, {"pid", l_pid, WS_READ}, {NULL, NULL, 0}};
	static const struct {
		const char *name;
		lua_CFunction gc;
	} metatables[] = {{SERVER, server_gc}, {CALL, call_gc}, {IDENTITY, identity_gc}};
	for (size_t i = 0; i < sizeof metatables / sizeof *metatables; i++) {
		luaL_newmetatable(L, metatables[i].name);
		lua_pushcfunction(L, metatables[i].gc);
		lua_setfield(L, -2, "__gc");
		lua_pop(L, 1);
	}
	signal(SIGPIPE, SIG_IGN); /* writing to a client that has gone is an error, not our end */
	if (ws_at_exit(L, at_exit, ws_loop(L)) != 0)
		return luaL_error(L, "out of memory");
	ws_natives(L, "ws.provider.native", natives);
	provider_push_unknown(L);
	lua_setfield(L, -2, "unknown");
	lua_pushlightuserdata(L, NULL);
	lua_setfield(L, -2, "null");
	return 1;
}
