/* error.h - one error contract.
 *
 * Misuse raises (luaL_error and friends). The world's failures return nil and an error object: a table with `kind`,
 * `message`, `op`, `status`, `retryable`, `hint`, `cause`, and a metatable whose __tostring gives one line.
 * In C the same thing is a struct ws_err; kind == NULL means that there is no error.
 */
#ifndef WS_ERROR_H
#define WS_ERROR_H

#include <lua.h>
#include <stdbool.h>

/* The closed list of kinds, and whether trying again may help. */
#define WS_ERROR_KINDS(X) \
	X(not_found, false) \
	X(exists, false) \
	X(denied, false) \
	X(unauthenticated, false) \
	X(invalid, false) \
	X(parse, false) \
	X(timeout, true) \
	X(cancelled, false) \
	X(interrupted, false) \
	X(parked, false) \
	X(connection, true) \
	X(tls, false) \
	X(protocol, false) \
	X(too_large, false) \
	X(conflict, true) \
	X(precondition, false) \
	X(locked, true) \
	X(unavailable, true) \
	X(exhausted, true) \
	X(io, false) \
	X(no_space, false) \
	X(failed, false) \
	X(missing_tool, false) \
	X(unsupported, false) \
	X(internal, false)

struct ws_err {
	const char *kind; /* a name of WS_ERROR_KINDS, or NULL: no error */
	const char *op;   /* what was attempted, e.g. "fs.read"; a static string, may be NULL */
	char *message;    /* owned */
	char *hint;       /* owned; what to do, may be NULL */
	long status;      /* HTTP status or exit code; 0 when there is none */
};

/* Sets kind and a printf-formatted message, replacing what was there. Never raises. */
void ws_err_set(struct ws_err *e, const char *kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Sets the error that errno value `code` stands for; `what` names the file or thing. Never raises. */
void ws_err_errno(struct ws_err *e, const char *what, int code);
/* Likewise for a negative libuv code. Never raises. */
void ws_err_uv(struct ws_err *e, const char *what, int code);
/* Sets the hint (copied). Never raises. */
void ws_err_hint(struct ws_err *e, const char *hint);
/* Frees what the error owns and makes it "no error". Never raises. */
void ws_err_clear(struct ws_err *e);
/* Pushes the error as an object and clears it. [-0, +1] Raises (memory). */
void ws_err_push(lua_State *L, struct ws_err *e);
/* Pushes nil and the error object, clears the error, returns 2. Raises (memory). */
int ws_fail(lua_State *L, struct ws_err *e);
/* Raises the error object. Does not return. */
int ws_err_raise(lua_State *L, struct ws_err *e);
/* True when the value at `idx` is an error object. Never raises. */
bool ws_is_error(lua_State *L, int idx);
/* Replaces the value at the top by an error object: a string becomes one of kind `internal`. Raises (memory). */
void ws_err_wrap(lua_State *L);

#endif
