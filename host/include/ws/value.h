/* value.h - null, lists and maps as json and yaml share them.
 *
 * - null is one userdata, true in conditions, equal to itself only.
 * - A decoded list is a table with the metatable ARRAY, so that the empty list stays a list.
 * - A decoded map is a table whose metatable lists its keys in order (indices 1..n); pairs() follows it, and so do the
 *   encoders. Maps of one text that have the same keys share that metatable; adding a key to a map gives it a
 *   metatable of its own first. A removed key keeps its place in the list: values say which keys there are.
 * - Plain tables: a non-empty sequence is a list; anything else with string keys only is a map, in sorted order.
 */
#ifndef WS_VALUE_H
#define WS_VALUE_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

enum { WS_SHAPES = 64, WS_SHAPE_KEYS = 16 };

/* Where values are being built: anchors on the Lua stack and the metatables of the maps made so far. */
struct ws_values {
	lua_State *L;
	int base; /* stack: null, ARRAY, table of the cached metatables */
	uint64_t hash[WS_SHAPES];
	int count[WS_SHAPES];
	const char *keys[WS_SHAPES][WS_SHAPE_KEYS];
};

/* A list or map under construction; its parts wait on the stack above `slot` until it is known how many they are. */
struct ws_part {
	int slot;
	lua_Integer done; /* entries that are in the table already */
};

/* Prepares to build. [-0, +3] Raises (memory). */
void ws_values_begin(lua_State *L, struct ws_values *v);
/* Pushes null. Never raises. */
void ws_values_null(struct ws_values *v);
/* Begins a list; push one value and call ws_list_add(), again and again; ws_list_end() leaves the list on the stack.
 * They raise (memory). */
void ws_list_begin(struct ws_values *v, struct ws_part *p);
void ws_list_add(struct ws_values *v, struct ws_part *p);
void ws_list_end(struct ws_values *v, struct ws_part *p);
/* Begins a map; push a key and a value and call ws_map_add(). ws_map_add() and ws_map_end() return 0, or the number
 * (from 1) of the entry whose key was there already: give up then. They raise (memory). */
void ws_map_begin(struct ws_values *v, struct ws_part *p);
lua_Integer ws_map_add(struct ws_values *v, struct ws_part *p);
lua_Integer ws_map_end(struct ws_values *v, struct ws_part *p);

/* Pushes null. [-0, +1] Never raises. */
void ws_push_null(lua_State *L);
/* True when the value at `idx` is null. Never raises. */
bool ws_is_null(lua_State *L, int idx);

enum ws_table { WS_LIST, WS_MAP, WS_NEITHER };
/* What the table at `idx` is by its metatable or content. WS_NEITHER: mixed keys, holes, or keys of other types. Never raises. */
enum ws_table ws_table_kind(lua_State *L, int idx);
/* Pushes a table with the keys of the map at `idx` in order at 1..n and returns n. Keys without a value may be among
 * them. It may be the map's own metatable: do not change it. [-0, +1] Raises (memory). */
lua_Integer ws_map_keys(lua_State *L, int idx);

/* Sets null, array, object, pairs and kind in the table at the top: the part that modules of data formats have in
 * common. Every such module calls it when it is opened, before anything else of this header. Raises (memory). */
void ws_value_functions(lua_State *L);

#endif
