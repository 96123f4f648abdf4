/* encode.h - Lua values to YAML text. */
#ifndef WS_YAML_ENCODE_H
#define WS_YAML_ENCODE_H

#include <lua.h>
#include <stdbool.h>

struct ws_yaml_style {
	int indent;    /* of the lines after the first, in spaces; the text is a value that stands at that depth */
	bool secrets;  /* secrets are opened */
	bool one_line; /* the value has to fit the rest of a line: strings without blocks, lists and maps in brackets */
};

/* Pushes the text of the value at `idx`, which ends in a line break unless it has to fit a line. Raises for what has no
 * YAML. */
void ws_yaml_encode(lua_State *L, int idx, const struct ws_yaml_style *style);

#endif
