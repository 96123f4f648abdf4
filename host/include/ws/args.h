/* args.h - reading the options table that ends a function's arguments.
 *
 * All functions raise on misuse, with the caller's file and line. Strings returned stay valid while the options
 * table is on the stack.
 */
#ifndef WS_ARGS_H
#define WS_ARGS_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Checks that the argument at `idx` is nil, absent or a table that has no keys but the given names (NULL ends them). Raises. */
void ws_opts_check(lua_State *L, int idx, ...);
/* The string under `key`, or `def`. `len` may be NULL. Raises when it is not a string. */
const char *ws_opt_string(lua_State *L, int idx, const char *key, const char *def, size_t *len);
/* The number under `key`, or `def`; refused when negative or not finite. Raises. */
double ws_opt_number(lua_State *L, int idx, const char *key, double def);
/* The integer under `key`, or `def`. Raises. */
lua_Integer ws_opt_integer(lua_State *L, int idx, const char *key, lua_Integer def);
/* The boolean under `key`, or `def`. Raises. */
bool ws_opt_boolean(lua_State *L, int idx, const char *key, bool def);
/* Pushes the value under `key` (nil when the options are absent) and returns its type. Raises (memory). */
int ws_opt_get(lua_State *L, int idx, const char *key);

#endif
