/* encode.h - Lua values to JSON text. */
#ifndef WS_JSON_ENCODE_H
#define WS_JSON_ENCODE_H

#include <lua.h>
#include <stdbool.h>

struct ws_json_style {
	int indent;           /* spaces a level; 0: all on one line */
	bool secrets;         /* secrets are opened */
	bool replace_invalid; /* bytes that are not UTF-8 become U+FFFD instead of an error */
};

/* Pushes the text of the value at `idx`. Raises for what JSON cannot say. */
void ws_json_encode(lua_State *L, int idx, const struct ws_json_style *style);

#endif
