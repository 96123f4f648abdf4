/* values.c - Lua values to and from Terraform's MessagePack values; see codec.h.
 *
 * A type is { kind = ..., elem = type, attributes = { name → type } } with kind "string", "number", "bool", "list", "set",
 * "map" or "object". In Lua an object's null attribute is absent; a null element of a list or map is NULL as light
 * userdata. A number that neither an integer nor a float holds is a string of decimal digits.
 */
#include "codec.h"
#include "msgpack.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char unknown_value; /* its address stands for an unknown value */

void provider_push_unknown(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)&unknown_value);
}

/* Where in a value we are, for error texts; a chain on the C stack. */
struct place {
	const struct place *parent;
	const char *name; /* NULL: an element of a list */
	lua_Integer index;
};

static void describe(luaL_Buffer *out, const struct place *p)
{
	if (p == NULL)
		return;
	describe(out, p->parent);
	char text[32];
	if (p->name != NULL) {
		if (p->parent != NULL)
			luaL_addchar(out, '.');
		luaL_addstring(out, p->name);
	} else {
		snprintf(text, sizeof text, "[%lld]", (long long)p->index - 1);
		luaL_addstring(out, text);
	}
}

static int misfit(lua_State *L, const struct place *p, const char *expected, int value)
{
	const char *got = luaL_typename(L, value);
	luaL_Buffer text;
	luaL_buffinit(L, &text);
	describe(&text, p);
	luaL_pushresult(&text);
	return luaL_error(L, "%s: %s expected, got %s", lua_tostring(L, -1), expected, got);
}

/* Pushes type.kind and returns it; the string lives as long as the type. */
static const char *kind_of(lua_State *L, int type)
{
	luaL_checktype(L, type, LUA_TTABLE);
	lua_getfield(L, type, "kind");
	const char *kind = luaL_checkstring(L, -1);
	lua_pop(L, 1);
	return kind;
}

static void pack_value(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth);

static void pack_number(lua_State *L, struct ws_buf *b, int value, const struct place *p)
{
	size_t len;
	lua_Number n;
	if (lua_isinteger(L, value)) {
		provider_check_room(L, mp_put_int(b, lua_tointeger(L, value)));
	} else if (lua_type(L, value) == LUA_TNUMBER) {
		n = lua_tonumber(L, value);
		if (!isfinite(n))
			misfit(L, p, "a finite number", value);
		if (n == floor(n) && fabs(n) < 9e15)
			provider_check_room(L, mp_put_int(b, (int64_t)n));
		else
			provider_check_room(L, mp_put_float(b, n));
	} else if (lua_type(L, value) == LUA_TSTRING) {
		const char *text = lua_tolstring(L, value, &len);
		if (strspn(text, "0123456789+-.eE") != len || lua_stringtonumber(L, text) != len + 1)
			misfit(L, p, "a number", value);
		lua_pop(L, 1);
		provider_check_room(L, mp_put_string(b, text, len));
	} else {
		misfit(L, p, "a number", value);
	}
}

static void pack_object(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth)
{
	size_t count = 0;
	lua_getfield(L, type, "attributes");
	int attributes = lua_gettop(L);
	luaL_checktype(L, attributes, LUA_TTABLE);
	for (lua_pushnil(L); lua_next(L, attributes) != 0; lua_pop(L, 1))
		count++;
	for (lua_pushnil(L); lua_next(L, value) != 0;
		lua_pop(L, 1)) { /* a name that the type does not know is a mistake */
		struct place here = {p, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?", 0};
		lua_pushvalue(L, -2);
		if (lua_rawget(L, attributes) == LUA_TNIL)
			misfit(L, &here, "nothing of this name", -2);
		lua_pop(L, 1);
	}
	provider_check_room(L, mp_put_map(b, count));
	lua_pushnil(L);
	while (lua_next(L, attributes) != 0) { /* name, type */
		size_t len;
		const char *name = lua_tolstring(L, -2, &len);
		struct place here = {p, name, 0};
		int attribute_type = lua_gettop(L);
		provider_check_room(L, mp_put_string(b, name, len));
		lua_pushvalue(L, -2);
		lua_rawget(L, value);
		pack_value(L, b, attribute_type, attribute_type + 1, &here, depth + 1);
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
}

static void pack_list(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth)
{
	lua_Integer n = luaL_len(L, value);
	lua_getfield(L, type, "elem");
	int elem = lua_gettop(L);
	provider_check_room(L, mp_put_array(b, (size_t)n));
	for (lua_Integer i = 1; i <= n; i++) {
		struct place here = {p, NULL, i};
		lua_rawgeti(L, value, i);
		pack_value(L, b, elem, elem + 1, &here, depth + 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void pack_map(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth)
{
	size_t count = 0;
	for (lua_pushnil(L); lua_next(L, value) != 0; lua_pop(L, 1))
		count++;
	provider_check_room(L, mp_put_map(b, count));
	lua_getfield(L, type, "elem");
	int elem = lua_gettop(L);
	lua_pushnil(L);
	while (lua_next(L, value) != 0) {
		size_t len;
		if (lua_type(L, -2) != LUA_TSTRING)
			misfit(L, p, "a string as key", -2);
		const char *key = lua_tolstring(L, -2, &len);
		struct place here = {p, key, 0};
		provider_check_room(L, mp_put_string(b, key, len));
		pack_value(L, b, elem, lua_gettop(L), &here, depth + 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void pack_value(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth)
{
	luaL_checkstack(L, 12, "value");
	if (depth > PROVIDER_MAX_DEPTH)
		luaL_error(L, "a value is nested too deeply");
	const char *kind = kind_of(L, type);
	if (lua_isnil(L, value) || (lua_islightuserdata(L, value) && lua_touserdata(L, value) == NULL)) {
		provider_check_room(L, mp_put_nil(b));
	} else if (lua_islightuserdata(L, value) && lua_touserdata(L, value) == &unknown_value) {
		provider_check_room(L, mp_put_unknown(b));
	} else if (strcmp(kind, "string") == 0) {
		size_t len;
		if (lua_type(L, value) != LUA_TSTRING)
			misfit(L, p, "a string", value);
		const char *text = lua_tolstring(L, value, &len);
		provider_check_room(L, mp_put_string(b, text, len));
	} else if (strcmp(kind, "bool") == 0) {
		if (!lua_isboolean(L, value))
			misfit(L, p, "a boolean", value);
		provider_check_room(L, mp_put_bool(b, lua_toboolean(L, value)));
	} else if (strcmp(kind, "number") == 0) {
		pack_number(L, b, value, p);
	} else if (!lua_istable(L, value)) {
		misfit(L, p, kind, value);
	} else if (strcmp(kind, "object") == 0) {
		pack_object(L, b, type, value, p, depth);
	} else if (strcmp(kind, "map") == 0) {
		pack_map(L, b, type, value, p, depth);
	} else {
		pack_list(L, b, type, value, p, depth);
	}
}

int provider_pack(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	struct ws_buf *b = provider_push_scratch(L);
	pack_value(L, b, 1, 2, NULL, 0);
	return provider_finish_scratch(L, b);
}

/* Pushes the next value; false, with anything on the stack, when it is malformed or does not fit the type. A null is
 * pushed as light userdata NULL. */
static bool unpack_value(lua_State *L, struct mp_reader *r, int type, int depth);

static bool unpack_elements(lua_State *L, struct mp_reader *r, int type, const struct mp_item *item, int depth)
{
	lua_createtable(L, item->count < 1024 ? (int)item->count : 1024, 0);
	int result = lua_gettop(L);
	lua_getfield(L, type, "elem");
	for (size_t i = 0; i < item->count; i++) {
		if (!unpack_value(L, r, result + 1, depth + 1))
			return false;
		lua_rawseti(L, result, (lua_Integer)i + 1);
	}
	lua_settop(L, result);
	return true;
}

static bool unpack_pairs(
	lua_State *L, struct mp_reader *r, int type, const struct mp_item *item, bool object, int depth)
{
	lua_createtable(L, 0, item->count < 1024 ? (int)item->count : 1024);
	int result = lua_gettop(L), members = result + 1;
	lua_getfield(L, type, object ? "attributes" : "elem");
	for (size_t i = 0; i < item->count; i++) {
		struct mp_item key;
		if (mp_next(r, &key) != 1 || key.kind != MP_STRING)
			return false;
		lua_pushlstring(L, key.data, key.len);
		int member = members;
		if (object) {
			lua_pushvalue(L, -1);
			if (lua_rawget(L, members) == LUA_TNIL)
				return false;
			lua_insert(L, -2); /* type, key */
			member = lua_gettop(L) - 1;
		}
		if (!unpack_value(L, r, member, depth + 1))
			return false;
		if (object && lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == NULL) {
			lua_settop(L, members);
			continue;
		}
		lua_rawset(L, result);
		lua_settop(L, members);
	}
	lua_settop(L, result);
	return true;
}

static bool unpack_number(lua_State *L, const struct mp_item *item)
{
	char text[24];
	switch (item->kind) {
	case MP_INT:
		lua_pushinteger(L, item->integer);
		return true;
	case MP_UINT:
		snprintf(text, sizeof text, "%llu", (unsigned long long)item->natural);
		lua_pushstring(L, text);
		return true;
	case MP_FLOAT:
		lua_pushnumber(L, item->real);
		return true;
	case MP_STRING:
		lua_pushlstring(L, item->data, item->len);
		return true;
	default:
		return false;
	}
}

static bool unpack_value(lua_State *L, struct mp_reader *r, int type, int depth)
{
	struct mp_item item;
	luaL_checkstack(L, 12, "value");
	if (depth > PROVIDER_MAX_DEPTH || mp_next(r, &item) != 1)
		return false;
	const char *kind = kind_of(L, type);
	if (item.kind == MP_NIL) {
		lua_pushlightuserdata(L, NULL);
		return true;
	}
	if (item.kind == MP_EXT) { /* unknown, with or without what is known about it */
		provider_push_unknown(L);
		return true;
	}
	if (strcmp(kind, "string") == 0) {
		lua_pushlstring(L, item.data ? item.data : "", item.len);
		return item.kind == MP_STRING;
	}
	if (strcmp(kind, "bool") == 0) {
		lua_pushboolean(L, item.boolean);
		return item.kind == MP_BOOL;
	}
	if (strcmp(kind, "number") == 0)
		return unpack_number(L, &item);
	if (strcmp(kind, "object") == 0 || strcmp(kind, "map") == 0)
		return item.kind == MP_MAP && unpack_pairs(L, r, type, &item, *kind == 'o', depth);
	return item.kind == MP_ARRAY && unpack_elements(L, r, type, &item, depth);
}

int provider_unpack(lua_State *L)
{
	size_t len;
	luaL_checktype(L, 1, LUA_TTABLE);
	const char *bytes = luaL_checklstring(L, 2, &len);
	lua_settop(L, 2);
	struct mp_reader r = {(const unsigned char *)bytes, (const unsigned char *)bytes + len};
	if (len == 0) { /* an empty DynamicValue is null */
		lua_pushnil(L);
		return 1;
	}
	if (!unpack_value(L, &r, 1, 0) || r.at != r.end)
		return provider_malformed(L, "value: it does not fit the schema");
	if (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == NULL)
		lua_pushnil(L);
	return 1;
}
