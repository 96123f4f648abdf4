/* messages.c - Lua tables to and from Protocol Buffers messages; see codec.h.
 *
 * A message descriptor is a list of fields { number, name, type, repeated = true | map = true, explicit = true }; type is
 * "string", "bytes", "int", "bool" or the descriptor of another message. As proto3 says, an absent scalar and its zero
 * are the same; `explicit` marks members of a oneof, whose zero is written.
 */
#include "codec.h"
#include "protobuf.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

static void encode_message(lua_State *L, struct ws_buf *b, int descriptor, int value, int depth);

/* Writes the value at the top as one field; `type` is the index of the field's type. */
static void encode_field(lua_State *L, struct ws_buf *b, uint32_t number, int type, bool explicit, int depth)
{
	size_t len;
	if (lua_istable(L, type)) {
		size_t start = 0;
		provider_check_room(L, pb_begin(b, number, &start));
		encode_message(L, b, type, lua_gettop(L), depth + 1);
		provider_check_room(L, pb_finish(b, start));
		return;
	}
	switch (*lua_tostring(L, type)) {
	case 's':
	case 'b': /* "string", "bytes", "bool" */
		if (strcmp(lua_tostring(L, type), "bool") == 0) {
			if (lua_toboolean(L, -1) || explicit)
				provider_check_room(L, pb_put_varint(b, number, (uint64_t)lua_toboolean(L, -1)));
		} else {
			const char *text = luaL_checklstring(L, -1, &len);
			if (len > 0 || explicit)
				provider_check_room(L, pb_put_bytes(b, number, text, len));
		}
		break;
	default: {
		lua_Integer n = luaL_checkinteger(L, -1);
		if (n != 0 || explicit)
			provider_check_room(L, pb_put_varint(b, number, (uint64_t)n));
	}
	}
}

/* Writes the table at the top, key → value, as the entries of a protobuf map. */
static void encode_map(lua_State *L, struct ws_buf *b, uint32_t number, int type, int depth)
{
	int table = lua_gettop(L);
	lua_pushnil(L);
	while (lua_next(L, table) != 0) {
		size_t start = 0, len;
		lua_pushvalue(L, -2);
		const char *key = luaL_checklstring(L, -1, &len);
		provider_check_room(L, pb_begin(b, number, &start));
		provider_check_room(L, pb_put_bytes(b, 1, key, len));
		lua_pop(L, 1);
		encode_field(L, b, 2, type, true, depth);
		provider_check_room(L, pb_finish(b, start));
		lua_pop(L, 1);
	}
}

static bool flag(lua_State *L, int table, const char *name)
{
	lua_getfield(L, table, name);
	bool set = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return set;
}

/* A descriptor comes from Lua: { { number, name, type }… }, and a type is a descriptor or a name. */
static void check_field(lua_State *L, int field)
{
	bool whole = lua_istable(L, field);
	if (whole) {
		int type = lua_rawgeti(L, field, 3);
		whole = (type == LUA_TTABLE || type == LUA_TSTRING) && lua_rawgeti(L, field, 2) == LUA_TSTRING;
		lua_settop(L, field);
	}
	if (!whole)
		luaL_error(L, "a message's descriptor is not one");
}

static void encode_message(lua_State *L, struct ws_buf *b, int descriptor, int value, int depth)
{
	luaL_checkstack(L, 12, "message");
	luaL_checktype(L, value, LUA_TTABLE);
	if (depth > PROVIDER_MAX_DEPTH)
		luaL_error(L, "a message of the plugin protocol is nested too deeply");
	lua_Integer n = luaL_len(L, descriptor);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, descriptor, i); /* field */
		int field = lua_gettop(L);
		check_field(L, field);
		lua_rawgeti(L, field, 1); /* number */
		uint32_t number = (uint32_t)lua_tointeger(L, -1);
		lua_rawgeti(L, field, 3); /* type */
		int type = lua_gettop(L);
		lua_rawgeti(L, field, 2);
		lua_gettable(L, value); /* value[name] */
		if (lua_isnil(L, -1)) {
			;
		} else if (flag(L, field, "map")) {
			encode_map(L, b, number, type, depth);
		} else if (flag(L, field, "repeated")) {
			int list = lua_gettop(L);
			lua_Integer count = luaL_len(L, list);
			for (lua_Integer k = 1; k <= count; k++) {
				lua_rawgeti(L, list, k);
				encode_field(L, b, number, type, true, depth);
				lua_pop(L, 1);
			}
		} else {
			encode_field(L, b, number, type, flag(L, field, "explicit"), depth);
		}
		lua_settop(L, field - 1);
	}
}

int provider_encode(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	struct ws_buf *b = provider_push_scratch(L);
	encode_message(L, b, 1, 2, 0);
	return provider_finish_scratch(L, b);
}

/* Pushes the field of the descriptor with this number; false (and nothing) when it knows none. */
static bool find_field(lua_State *L, int descriptor, uint32_t number)
{
	lua_Integer n = luaL_len(L, descriptor);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, descriptor, i);
		check_field(L, lua_gettop(L));
		lua_rawgeti(L, -1, 1);
		bool found = lua_tointeger(L, -1) == (lua_Integer)number;
		lua_pop(L, 1);
		if (found)
			return true;
		lua_pop(L, 1);
	}
	return false;
}

static bool decode_message(lua_State *L, int descriptor, const unsigned char *data, size_t len, int depth);

/* Pushes the field's content as the type at `type` says; false when it does not fit. */
static bool push_field(lua_State *L, int type, const struct pb_field *f, int depth)
{
	if (lua_istable(L, type))
		return f->wire == PB_BYTES && decode_message(L, type, f->data, f->len, depth + 1);
	const char *name = lua_tostring(L, type);
	if (strcmp(name, "string") == 0 || strcmp(name, "bytes") == 0) {
		if (f->wire != PB_BYTES)
			return false;
		lua_pushlstring(L, (const char *)f->data, f->len);
		return true;
	}
	if (f->wire != PB_VARINT)
		return false;
	if (strcmp(name, "bool") == 0)
		lua_pushboolean(L, f->value != 0);
	else
		lua_pushinteger(L, (lua_Integer)f->value);
	return true;
}

/* Stores one entry of a protobuf map in the table at `into`; a missing key is "". */
static bool decode_entry(lua_State *L, int into, int type, const struct pb_field *f, int depth)
{
	struct pb_reader r = {f->data, f->data + f->len};
	struct pb_field part;
	int rc;
	if (f->wire != PB_BYTES)
		return false;
	lua_pushliteral(L, "");
	int key = lua_gettop(L);
	lua_pushliteral(L, "");
	while ((rc = pb_next(&r, &part)) == 1) {
		if (part.number == 1 && part.wire == PB_BYTES) {
			lua_pushlstring(L, (const char *)part.data, part.len);
			lua_replace(L, key);
		} else if (part.number == 2) {
			if (!push_field(L, type, &part, depth))
				return false;
			lua_replace(L, key + 1);
		}
	}
	lua_rawset(L, into);
	return rc == 0;
}

static bool decode_into(lua_State *L, int result, int field, const struct pb_field *f, int depth)
{
	bool map = flag(L, field, "map"), repeated = flag(L, field, "repeated");
	lua_rawgeti(L, field, 3); /* type */
	int type = lua_gettop(L);
	lua_rawgeti(L, field, 2); /* name */
	if (!map && !repeated) {
		if (!push_field(L, type, f, depth))
			return false;
		lua_rawset(L, result);
		return true;
	}
	lua_pushvalue(L, -1);
	if (lua_rawget(L, result) == LUA_TNIL) { /* name, table */
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -2);
		lua_pushvalue(L, -2);
		lua_rawset(L, result);
	}
	int into = lua_gettop(L);
	if (map)
		return decode_entry(L, into, type, f, depth);
	if (!push_field(L, type, f, depth))
		return false;
	lua_rawseti(L, into, luaL_len(L, into) + 1);
	return true;
}

/* Pushes the message as a table; false, with anything on the stack, when it is malformed. Unknown fields are skipped. */
static bool decode_message(lua_State *L, int descriptor, const unsigned char *data, size_t len, int depth)
{
	struct pb_reader r = {data, data + len};
	struct pb_field f;
	int rc;
	if (depth > PROVIDER_MAX_DEPTH)
		return false;
	luaL_checkstack(L, 16, "message");
	lua_newtable(L);
	int result = lua_gettop(L);
	while ((rc = pb_next(&r, &f)) == 1) {
		if (!find_field(L, descriptor, f.number))
			continue;
		if (!decode_into(L, result, result + 1, &f, depth))
			return false;
		lua_settop(L, result);
	}
	return rc == 0;
}

int provider_decode(lua_State *L)
{
	size_t len;
	luaL_checktype(L, 1, LUA_TTABLE);
	const char *bytes = luaL_checklstring(L, 2, &len);
	lua_settop(L, 2);
	if (!decode_message(L, 1, (const unsigned char *)bytes, len, 0))
		return provider_malformed(L, "protobuf message");
	return 1;
}
