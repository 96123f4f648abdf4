/* marks.h - where the parts of a YAML text are. */
#ifndef WS_YAML_MARKS_H
#define WS_YAML_MARKS_H

#include <ws/error.h>

#include <lua.h>

/* Reads the string at `idx` and pushes the node of its only document (nil for an empty text). A node is a table:
 *   line, column        of its first character, from 1; columns count characters
 *   start, stop         its first byte and the one after its last, from 1
 *   style               "plain" "single" "double" "literal" "folded" | "block" "flow" | "alias"
 *   anchor, tag         true when it has one
 *   keys                of a map: key → node of the key; the keys are those that decode gives
 *   values              of a map: key → node of the value; of a list: index → node
 *   order               of a map: the keys in the text's order
 *   merge               true for a map with <<
 * Returns 0, or -1 with `err` and nothing pushed. Raises (memory). */
int ws_yaml_marks(lua_State *L, int idx, struct ws_err *err);

#endif
