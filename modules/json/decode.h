/* decode.h - JSON text to Lua values. */
#ifndef WS_JSON_DECODE_H
#define WS_JSON_DECODE_H

#include <ws/error.h>

#include <lua.h>

enum { WS_JSON_DEPTH = 512 }; /* levels of lists and maps that are read and written at most */

/* Reads the string at `idx` and pushes its value. Returns 0, or -1 with `err` of kind `parse` and nothing pushed;
 * `filename` (may be NULL) goes before line and column. Raises (memory). */
int ws_json_decode(lua_State *L, int idx, const char *filename, struct ws_err *err);

#endif
