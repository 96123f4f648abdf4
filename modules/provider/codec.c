/* codec.c - see codec.h.
 *
 * A message descriptor is a list of fields { number, name, type, repeated = true | map = true, explicit = true }; type is
 * "string", "bytes", "int", "bool" or the descriptor of another message. As proto3 says, an absent scalar and its zero
 * are the same; `explicit` marks members of a oneof, whose zero is written.
 *
 * A value type is { kind = ..., elem = type, attributes = { name → type } } with kind "string", "number", "bool", "list",
 * "set", "map" or "object". In Lua an object's null attribute is absent; a null element of a list or map is NULL as light
 * userdata. A number that neither an integer nor a float holds is a string of decimal digits.
 */
#include "codec.h"

#include "msgpack.h"
#include "protobuf.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <ws/error.h>

enum { MAX_DEPTH = 64, MAX_BYTES = 64 << 20 };

#define SCRATCH "ws.provider.Scratch"

static const char unknown_value; /* its address stands for an unknown value */

void provider_push_unknown(lua_State *L)
{
	lua_pushlightuserdata(L, (void *)(uintptr_t)&unknown_value);
}

static int scratch_gc(lua_State *L)
{
	ws_buf_free(lua_touserdata(L, 1));
	return 0;
}

/* Pushes a buffer that Lua owns, so that an error raised on the way frees it. */
static struct ws_buf *push_scratch(lua_State *L)
{
	struct ws_buf *b = lua_newuserdatauv(L, sizeof *b, 0);
	ws_buf_init(b, MAX_BYTES);
	if (luaL_newmetatable(L, SCRATCH)) {
		lua_pushcfunction(L, scratch_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	return b;
}

static void check_room(lua_State *L, int rc)
{
	if (rc != 0)
		luaL_error(L, "a message of the plugin protocol would be larger than %d bytes", MAX_BYTES);
}

/* Pushes the buffer's bytes and frees it. */
static int finish_scratch(lua_State *L, struct ws_buf *b)
{
	lua_pushlstring(L, b->data ? b->data : "", b->len);
	ws_buf_free(b);
	return 1;
}

static int malformed(lua_State *L, const char *format)
{
	struct ws_err err = {.op = "provider.decode"};
	ws_err_set(&err, "protocol", "malformed %s", format);
	return ws_fail(L, &err);
}

/* ---- Protocol Buffers -------------------------------------------------------------------------------------------- */

static void encode_message(lua_State *L, struct ws_buf *b, int descriptor, int value, int depth);

/* Writes the value at the top as one field; `type` is the index of the field's type. */
static void encode_field(lua_State *L, struct ws_buf *b, uint32_t number, int type, bool explicit, int depth)
{
	size_t len;
	if (lua_istable(L, type)) {
		size_t start = 0;
		check_room(L, pb_begin(b, number, &start));
		encode_message(L, b, type, lua_gettop(L), depth + 1);
		check_room(L, pb_finish(b, start));
		return;
	}
	switch (*lua_tostring(L, type)) {
	case 's':
	case 'b': /* "string", "bytes", "bool" */
		if (strcmp(lua_tostring(L, type), "bool") == 0) {
			if (lua_toboolean(L, -1) || explicit)
				check_room(L, pb_put_varint(b, number, (uint64_t)lua_toboolean(L, -1)));
		} else {
			const char *text = luaL_checklstring(L, -1, &len);
			if (len > 0 || explicit)
				check_room(L, pb_put_bytes(b, number, text, len));
		}
		break;
	default: {
		lua_Integer n = luaL_checkinteger(L, -1);
		if (n != 0 || explicit)
			check_room(L, pb_put_varint(b, number, (uint64_t)n));
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
		check_room(L, pb_begin(b, number, &start));
		check_room(L, pb_put_bytes(b, 1, key, len));
		lua_pop(L, 1);
		encode_field(L, b, 2, type, true, depth);
		check_room(L, pb_finish(b, start));
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

static void encode_message(lua_State *L, struct ws_buf *b, int descriptor, int value, int depth)
{
	luaL_checkstack(L, 12, "message");
	luaL_checktype(L, value, LUA_TTABLE);
	if (depth > MAX_DEPTH)
		luaL_error(L, "a message of the plugin protocol is nested too deeply");
	lua_Integer n = luaL_len(L, descriptor);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, descriptor, i); /* field */
		int field = lua_gettop(L);
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
	lua_settop(L, 2);
	struct ws_buf *b = push_scratch(L);
	encode_message(L, b, 1, 2, 0);
	return finish_scratch(L, b);
}

/* Pushes the field of the descriptor with this number; false (and nothing) when it knows none. */
static bool find_field(lua_State *L, int descriptor, uint32_t number)
{
	lua_Integer n = luaL_len(L, descriptor);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, descriptor, i);
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
	if (depth > MAX_DEPTH)
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
		return malformed(L, "protobuf message");
	return 1;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

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
		check_room(L, mp_put_int(b, lua_tointeger(L, value)));
	} else if (lua_type(L, value) == LUA_TNUMBER) {
		n = lua_tonumber(L, value);
		if (!isfinite(n))
			misfit(L, p, "a finite number", value);
		if (n == floor(n) && fabs(n) < 9e15)
			check_room(L, mp_put_int(b, (int64_t)n));
		else
			check_room(L, mp_put_float(b, n));
	} else if (lua_type(L, value) == LUA_TSTRING) {
		const char *text = lua_tolstring(L, value, &len);
		if (strspn(text, "0123456789+-.eE") != len || lua_stringtonumber(L, text) != len + 1)
			misfit(L, p, "a number", value);
		lua_pop(L, 1);
		check_room(L, mp_put_string(b, text, len));
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
	for (lua_pushnil(L); lua_next(L, value) != 0; lua_pop(L, 1)) { /* a name that the type does not know is a mistake */
		struct place here = {p, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?", 0};
		lua_pushvalue(L, -2);
		if (lua_rawget(L, attributes) == LUA_TNIL)
			misfit(L, &here, "nothing of this name", -2);
		lua_pop(L, 1);
	}
	check_room(L, mp_put_map(b, count));
	lua_pushnil(L);
	while (lua_next(L, attributes) != 0) { /* name, type */
		size_t len;
		const char *name = lua_tolstring(L, -2, &len);
		struct place here = {p, name, 0};
		int attribute_type = lua_gettop(L);
		check_room(L, mp_put_string(b, name, len));
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
	check_room(L, mp_put_array(b, (size_t)n));
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
	check_room(L, mp_put_map(b, count));
	lua_getfield(L, type, "elem");
	int elem = lua_gettop(L);
	lua_pushnil(L);
	while (lua_next(L, value) != 0) {
		size_t len;
		if (lua_type(L, -2) != LUA_TSTRING)
			misfit(L, p, "a string as key", -2);
		const char *key = lua_tolstring(L, -2, &len);
		struct place here = {p, key, 0};
		check_room(L, mp_put_string(b, key, len));
		pack_value(L, b, elem, lua_gettop(L), &here, depth + 1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void pack_value(lua_State *L, struct ws_buf *b, int type, int value, const struct place *p, int depth)
{
	luaL_checkstack(L, 12, "value");
	if (depth > MAX_DEPTH)
		luaL_error(L, "a value is nested too deeply");
	const char *kind = kind_of(L, type);
	if (lua_isnil(L, value) || (lua_islightuserdata(L, value) && lua_touserdata(L, value) == NULL)) {
		check_room(L, mp_put_nil(b));
	} else if (lua_islightuserdata(L, value) && lua_touserdata(L, value) == &unknown_value) {
		check_room(L, mp_put_unknown(b));
	} else if (strcmp(kind, "string") == 0) {
		size_t len;
		if (lua_type(L, value) != LUA_TSTRING)
			misfit(L, p, "a string", value);
		const char *text = lua_tolstring(L, value, &len);
		check_room(L, mp_put_string(b, text, len));
	} else if (strcmp(kind, "bool") == 0) {
		if (!lua_isboolean(L, value))
			misfit(L, p, "a boolean", value);
		check_room(L, mp_put_bool(b, lua_toboolean(L, value)));
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
	struct ws_buf *b = push_scratch(L);
	pack_value(L, b, 1, 2, NULL, 0);
	return finish_scratch(L, b);
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

static bool unpack_pairs(lua_State *L, struct mp_reader *r, int type, const struct mp_item *item, bool object, int depth)
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
	if (depth > MAX_DEPTH || mp_next(r, &item) != 1)
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
		return malformed(L, "value: it does not fit the schema");
	if (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == NULL)
		lua_pushnil(L);
	return 1;
}
