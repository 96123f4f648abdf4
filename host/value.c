/* value.c - see ws/value.h. */
#include <ws/value.h>

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Keys of registry entries and of the mark in a map's metatable. The mark is `true` in a shared metatable and a table
 * from key to position in one that belongs to a single map. */
static const char null_key, array_key, map_mark;

#define KEY_ERROR "the keys of a map are strings or integers, got %s"

enum { CHUNK = 64 }; /* entries that wait on the stack at most */

void ws_push_null(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key);
}

bool ws_is_null(lua_State *L, int idx)
{
	if (lua_type(L, idx) != LUA_TUSERDATA)
		return false;
	idx = lua_absindex(L, idx);
	ws_push_null(L);
	bool is = lua_rawequal(L, -1, idx);
	lua_pop(L, 1);
	return is;
}

/* [-0, +0] The kind by metatable, or WS_NEITHER without one of ours. */
static enum ws_table marked_kind(lua_State *L, int idx)
{
	if (!lua_getmetatable(L, idx))
		return WS_NEITHER;
	enum ws_table kind = WS_NEITHER;
	if (lua_rawgetp(L, -1, &map_mark) != LUA_TNIL) {
		kind = WS_MAP;
	} else {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
		if (lua_rawequal(L, -1, -3))
			kind = WS_LIST;
		lua_pop(L, 1);
	}
	lua_pop(L, 2);
	return kind;
}

static bool is_sequence(lua_State *L, int idx, lua_Integer length)
{
	lua_Integer n = 0;
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1), n++) {
		if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 1 || lua_tointeger(L, -2) > length) {
			lua_pop(L, 2);
			return false;
		}
	}
	return n == length;
}

enum ws_table ws_table_kind(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	enum ws_table kind = marked_kind(L, idx);
	lua_Integer length = (lua_Integer)lua_rawlen(L, idx);
	if (kind == WS_MAP)
		return WS_MAP;
	if (kind == WS_LIST || length > 0)
		return is_sequence(L, idx, length) ? WS_LIST : WS_NEITHER;
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING) {
			lua_pop(L, 2);
			return WS_NEITHER;
		}
	}
	return WS_MAP;
}

/* --- the order of keys --- */

struct sort_key {
	const char *s; /* NULL: an integer */
	size_t len;
	lua_Integer n;        /* the integer */
	lua_Integer position; /* in the unsorted list */
};

static int compare_keys(const void *a, const void *b)
{
	const struct sort_key *x = a, *y = b;
	if (x->s == NULL || y->s == NULL) {
		if (x->s != NULL || y->s != NULL)
			return x->s == NULL ? -1 : 1;
		return x->n < y->n ? -1 : x->n > y->n;
	}
	int order = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
	return order != 0 ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* Pushes the keys of the table, integers first, then strings by their bytes. Keys of other types are left out. */
static lua_Integer sorted_keys(lua_State *L, int idx)
{
	lua_Integer n = 0;
	lua_newtable(L);
	int unsorted = lua_gettop(L);
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TSTRING || lua_isinteger(L, -2)) {
			lua_pushvalue(L, -2);
			lua_rawseti(L, unsorted, ++n);
		}
	}
	struct sort_key *keys = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *keys, 0);
	for (lua_Integer i = 0; i < n; i++) {
		keys[i] = (struct sort_key){.position = i + 1};
		if (lua_rawgeti(L, unsorted, i + 1) == LUA_TSTRING)
			keys[i].s = lua_tolstring(L, -1, &keys[i].len);
		else
			keys[i].n = lua_tointeger(L, -1);
		lua_pop(L, 1);
	}
	qsort(keys, (size_t)n, sizeof *keys, compare_keys);
	lua_createtable(L, (int)n, 0);
	for (lua_Integer i = 0; i < n; i++) {
		lua_rawgeti(L, unsorted, keys[i].position);
		lua_rawseti(L, -2, i + 1);
	}
	lua_replace(L, unsorted);
	lua_settop(L, unsorted);
	return n;
}

/* Replaces the list of keys at the top by one that ends with those keys of the map that it lacks, which only rawset
 * can have added. */
static lua_Integer with_unlisted(lua_State *L, int idx, lua_Integer n)
{
	int listed = lua_gettop(L);
	lua_createtable(L, (int)n, 0);
	lua_createtable(L, 0, (int)n);
	int all = listed + 1, seen = listed + 2;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, listed, i);
		lua_pushvalue(L, -1);
		lua_rawseti(L, all, i);
		lua_pushboolean(L, 1);
		lua_rawset(L, seen);
	}
	lua_Integer more = sorted_keys(L, idx);
	for (lua_Integer i = 1; i <= more; i++) {
		lua_rawgeti(L, -1, i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, seen) == LUA_TNIL) {
			lua_pop(L, 1);
			lua_rawseti(L, all, ++n);
		} else {
			lua_pop(L, 2);
		}
	}
	lua_settop(L, all);
	lua_remove(L, listed);
	return n;
}

lua_Integer ws_map_keys(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	luaL_checkstack(L, 12, NULL);
	if (marked_kind(L, idx) != WS_MAP)
		return sorted_keys(L, idx);
	lua_getmetatable(L, idx);
	lua_Integer n = (lua_Integer)lua_rawlen(L, -1), present = 0, all = 0;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		present += lua_rawget(L, idx) != LUA_TNIL;
		lua_pop(L, 1);
	}
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
		all++;
	return all == present ? n : with_unlisted(L, idx, n);
}

/* next(_, previous key) of pairs(); upvalues: map, keys, position, number of keys. */
static int l_next(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)), n = lua_tointeger(L, lua_upvalueindex(4));
	while (i < n) {
		lua_rawgeti(L, lua_upvalueindex(2), ++i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
			lua_pushinteger(L, i);
			lua_replace(L, lua_upvalueindex(3));
			return 2;
		}
		lua_pop(L, 2);
	}
	lua_pushinteger(L, n);
	lua_replace(L, lua_upvalueindex(3));
	lua_pushnil(L);
	return 1;
}

static int l_pairs(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	lua_Integer n = ws_map_keys(L, 1);
	lua_pushinteger(L, 0);
	lua_pushinteger(L, n);
	lua_pushcclosure(L, l_next, 4);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

/* --- metatables of maps --- */

static int l_newindex(lua_State *L);

/* Pushes a metatable for a map without keys yet, with room for n. */
static void push_metatable(lua_State *L, int n)
{
	lua_createtable(L, n, 4);
	lua_pushboolean(L, 1);
	lua_rawsetp(L, -2, &map_mark);
	lua_pushcfunction(L, l_newindex);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, l_pairs);
	lua_setfield(L, -2, "__pairs");
	lua_pushliteral(L, "map");
	lua_setfield(L, -2, "__name");
}

/* Gives the map at idx 1 a metatable of its own and leaves it at the top, its key → position table above it. */
static void own_metatable(lua_State *L)
{
	lua_getmetatable(L, 1);
	if (lua_rawgetp(L, -1, &map_mark) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
	push_metatable(L, (int)n + 1);
	lua_createtable(L, 0, (int)n + 1);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -3, i);
		lua_pushvalue(L, -1);
		lua_rawseti(L, -4, i);
		lua_pushinteger(L, i);
		lua_rawset(L, -3);
	}
	lua_pushvalue(L, -1);
	lua_rawsetp(L, -3, &map_mark);
	lua_pushvalue(L, -2);
	lua_setmetatable(L, 1);
}

/* A key that the map does not have is assigned to. */
static int l_newindex(lua_State *L)
{
	lua_settop(L, 3);
	if (lua_type(L, 2) != LUA_TSTRING && !lua_isinteger(L, 2))
		return luaL_error(L, KEY_ERROR, luaL_typename(L, 2));
	if (!lua_isnil(L, 3)) {
		own_metatable(L);
		lua_pushvalue(L, 2);
		if (lua_rawget(L, -2) == LUA_TNIL) {
			lua_Integer n = (lua_Integer)lua_rawlen(L, -3) + 1;
			lua_pushvalue(L, 2);
			lua_rawseti(L, -4, n);
			lua_pushvalue(L, 2);
			lua_pushinteger(L, n);
			lua_rawset(L, -4);
		}
		lua_settop(L, 3);
	}
	lua_rawset(L, 1);
	return 0;
}

/* --- building --- */

void ws_values_begin(lua_State *L, struct ws_values *v)
{
	v->L = L;
	memset(v->hash, 0, sizeof v->hash);
	luaL_checkstack(L, 8, NULL);
	ws_push_null(L);
	v->base = lua_gettop(L);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
	lua_newtable(L);
}

void ws_values_null(struct ws_values *v)
{
	lua_pushvalue(v->L, v->base);
}

void ws_list_begin(struct ws_values *v, struct ws_part *p)
{
	luaL_checkstack(v->L, CHUNK + 8, "too many levels");
	lua_pushnil(v->L);
	*p = (struct ws_part){.slot = lua_gettop(v->L)};
}

static void flush_list(lua_State *L, struct ws_part *p, int room)
{
	int n = lua_gettop(L) - p->slot;
	if (p->done == 0) {
		lua_createtable(L, n + room, 0);
		lua_replace(L, p->slot);
	}
	for (int i = n; i > 0; i--)
		lua_rawseti(L, p->slot, p->done + i);
	p->done += n;
}

void ws_list_add(struct ws_values *v, struct ws_part *p)
{
	if (lua_gettop(v->L) - p->slot >= CHUNK)
		flush_list(v->L, p, CHUNK);
}

void ws_list_end(struct ws_values *v, struct ws_part *p)
{
	flush_list(v->L, p, 0);
	lua_pushvalue(v->L, v->base + 1);
	lua_setmetatable(v->L, p->slot);
}

void ws_map_begin(struct ws_values *v, struct ws_part *p)
{
	luaL_checkstack(v->L, 2 * CHUNK + 10, "too many levels");
	lua_pushnil(v->L); /* the map */
	lua_pushnil(v->L); /* its metatable */
	*p = (struct ws_part){.slot = lua_gettop(v->L) - 1};
}

/* Moves the waiting entries into the map and their keys into its metatable; returns as ws_map_end(). */
static lua_Integer flush_map(lua_State *L, struct ws_part *p, int room)
{
	int first = p->slot + 2, n = (lua_gettop(L) - p->slot - 1) / 2;
	if (p->done == 0) {
		lua_createtable(L, 0, n + room);
		lua_replace(L, p->slot);
		push_metatable(L, n + room);
		lua_replace(L, p->slot + 1);
	}
	for (int i = 0; i < n; i++) {
		lua_pushvalue(L, first + 2 * i);
		if (lua_rawget(L, p->slot) != LUA_TNIL)
			return p->done + i + 1;
		lua_pop(L, 1);
		lua_pushvalue(L, first + 2 * i);
		lua_pushvalue(L, first + 2 * i + 1);
		lua_rawset(L, p->slot);
		lua_pushvalue(L, first + 2 * i);
		lua_rawseti(L, p->slot + 1, p->done + i + 1);
	}
	lua_settop(L, first - 1);
	p->done += n;
	return 0;
}

lua_Integer ws_map_add(struct ws_values *v, struct ws_part *p)
{
	return lua_gettop(v->L) - p->slot - 1 >= 2 * CHUNK ? flush_map(v->L, p, CHUNK) : 0;
}

/* Short strings are interned: the same key of two maps of one text has the same address. */
static uint64_t hash_keys(lua_State *L, int first, int n, const char **keys)
{
	uint64_t h = 0;
	for (int i = 0; i < n; i++) {
		if (lua_type(L, first + 2 * i) != LUA_TSTRING)
			return 0;
		keys[i] = lua_tostring(L, first + 2 * i);
		h = (h ^ (uint64_t)(uintptr_t)keys[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	return h | 1;
}

lua_Integer ws_map_end(struct ws_values *v, struct ws_part *p)
{
	lua_State *L = v->L;
	int first = p->slot + 2, n = (lua_gettop(L) - p->slot - 1) / 2;
	const char *keys[WS_SHAPE_KEYS];
	uint64_t hash = p->done == 0 && n <= WS_SHAPE_KEYS ? hash_keys(L, first, n, keys) : 0;
	unsigned at = (unsigned)(hash >> 58);
	bool known = hash != 0 && v->hash[at] == hash && v->count[at] == n &&
		     (n == 0 || memcmp(v->keys[at], keys, (size_t)n * sizeof *keys) == 0);
	if (known) { /* the keys were found to differ when the metatable was made */
		lua_createtable(L, 0, n);
		lua_replace(L, p->slot);
		for (int i = 0; i < n; i++)
			lua_rawset(L, p->slot);
		lua_rawgeti(L, v->base + 2, (lua_Integer)at + 1);
		lua_setmetatable(L, p->slot);
		lua_settop(L, p->slot);
		return 0;
	}
	lua_Integer twice = flush_map(L, p, 0);
	if (twice != 0)
		return twice;
	if (hash != 0) {
		v->hash[at] = hash;
		v->count[at] = n;
		memcpy(v->keys[at], keys, (size_t)n * sizeof *keys);
		lua_pushvalue(L, p->slot + 1);
		lua_rawseti(L, v->base + 2, (lua_Integer)at + 1);
	}
	lua_setmetatable(L, p->slot);
	return 0;
}

/* --- what json and yaml offer to Lua --- */

/* array(table?) → table */
static int l_array(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_newtable(L);
		lua_replace(L, 1);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
	lua_setmetatable(L, 1);
	return 1;
}

/* object(table?) → table */
static int l_object(lua_State *L)
{
	lua_settop(L, 1);
	if (lua_isnil(L, 1)) {
		lua_newtable(L);
		lua_replace(L, 1);
	}
	luaL_checktype(L, 1, LUA_TTABLE);
	if (marked_kind(L, 1) == WS_MAP)
		return 1;
	for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1))
		if (lua_type(L, -2) != LUA_TSTRING && !lua_isinteger(L, -2))
			return luaL_error(L, KEY_ERROR, luaL_typename(L, -2));
	lua_Integer n = sorted_keys(L, 1);
	push_metatable(L, (int)n);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 2, i);
		lua_rawseti(L, 3, i);
	}
	lua_setmetatable(L, 1);
	lua_settop(L, 1);
	return 1;
}

/* kind(value) → "null" | "array" | "object" | nil */
static int l_kind(lua_State *L)
{
	luaL_checkany(L, 1);
	const char *kind = NULL;
	if (ws_is_null(L, 1)) {
		kind = "null";
	} else if (lua_type(L, 1) == LUA_TTABLE) {
		enum ws_table k = ws_table_kind(L, 1);
		kind = k == WS_LIST ? "array" : k == WS_MAP ? "object" : NULL;
	}
	lua_pushstring(L, kind);
	return 1;
}

static int l_null_tostring(lua_State *L)
{
	lua_pushliteral(L, "null");
	return 1;
}

static void make_constants(lua_State *L)
{
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &null_key) == LUA_TNIL) {
		lua_newuserdatauv(L, 0, 0);
		lua_createtable(L, 0, 2);
		lua_pushcfunction(L, l_null_tostring);
		lua_setfield(L, -2, "__tostring");
		lua_pushliteral(L, "null");
		lua_setfield(L, -2, "__name");
		lua_setmetatable(L, -2);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &null_key);
		lua_createtable(L, 0, 1);
		lua_pushliteral(L, "list");
		lua_setfield(L, -2, "__name");
		lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
	}
	lua_pop(L, 1);
}

void ws_value_functions(lua_State *L)
{
	static const luaL_Reg functions[] = {
		{"array", l_array},
		{"object", l_object},
		{"pairs", l_pairs},
		{"kind", l_kind},
		{NULL, NULL},
	};
	make_constants(L);
	luaL_setfuncs(L, functions, 0);
	ws_push_null(L);
	lua_setfield(L, -2, "null");
}
