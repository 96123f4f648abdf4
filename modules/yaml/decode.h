/* decode.h - YAML text to Lua values. */
#ifndef WS_YAML_DECODE_H
#define WS_YAML_DECODE_H

#include <ws/error.h>

#include <lua.h>
#include <stdbool.h>

enum { WS_YAML_COPIES = 100000 }; /* values that aliases may add to one text at most */

struct ws_yaml_reading {
	const char *filename; /* for messages; may be NULL */
	bool all;             /* any number of documents, not exactly one */
	bool yaml11;          /* see scalar.h */
};

/* Reads the string at `idx` and pushes the value of its only document, or with how->all a list of the values of all
 * documents. Returns 0, or -1 with `err` of kind `parse` and nothing pushed. Raises (memory). */
int ws_yaml_decode(lua_State *L, int idx, const struct ws_yaml_reading *how, struct ws_err *err);

#endif
