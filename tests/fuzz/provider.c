/* provider.c - the plugin protocol's readers: whatever the bytes are, they are read within bounds, and what was read as a
 * value is written as bytes that are read as the same value. */
#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int provider_encode(lua_State *L);
int provider_decode(lua_State *L);
int provider_pack(lua_State *L);
int provider_unpack(lua_State *L);

/* A type with every kind in it, and a message with every kind of field; both refer to themselves. */
static const char DEFINITIONS[] =
	"local o = { kind = 'object', attributes = { s = { kind = 'string' }, n = { kind = 'number' }, b = { kind = "
	"'bool' } } }\n"
	"o.attributes.l = { kind = 'list', elem = o }\n"
	"o.attributes.m = { kind = 'map', elem = { kind = 'set', elem = { kind = 'number' } } }\n"
	"local d = { { 1, 's', 'string' }, { 2, 'b', 'bytes', explicit = true }, { 3, 'i', 'int' }, { 4, 'f', 'bool' "
	"},\n"
	"  { 6, 'names', 'string', repeated = true } }\n"
	"d[6], d[7], d[8] = { 7, 'one', d }, { 8, 'many', d, repeated = true }, { 9, 'map', d, map = true }\n"
	"return o, d";

static void call(lua_State *L, lua_CFunction fn, int definition, int value)
{
	definition = lua_absindex(L, definition);
	value = lua_absindex(L, value);
	lua_pushcfunction(L, fn);
	lua_pushvalue(L, definition);
	lua_pushvalue(L, value);
	lua_call(L, 2, 1);
}

static int round_trip(lua_State *L)
{
	if (luaL_dostring(L, DEFINITIONS) != LUA_OK) /* bytes, type, descriptor */
		return lua_error(L);
	call(L, provider_decode, 3, 1);
	if (!lua_isnil(L, -1))
		call(L, provider_encode, 3, -1);
	lua_settop(L, 3);
	call(L, provider_unpack, 2, 1); /* 4 */
	if (lua_isnil(L, 4))
		return 0;
	call(L, provider_pack, 2, 4);   /* 5: bytes */
	call(L, provider_unpack, 2, 5); /* 6 */
	if (lua_isnil(L, 6))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lua_State *L = luaL_newstate();
	if (L == NULL)
		return 0;
	lua_pushcfunction(L, round_trip);
	lua_pushlstring(L, (const char *)data, size);
	if (lua_pcall(L, 1, 0, 0) != LUA_OK && strstr(lua_tostring(L, -1), "expected, got") == NULL &&
		strstr(lua_tostring(L, -1), "not enough memory") == NULL)
		abort();
	lua_close(L);
	return 0;
}
