/* archive.c - tar and gzip: made byte for byte the same from the same input (write.c), and taken apart safely (read.c).
 *
 * libarchive reads, and compresses. The headers of a tar are written by tar.c: libarchive's depend on the locale.
 */
#include "archive.h"

#include <ws/native.h>

#include <lauxlib.h>

struct archive_api ws_archive;

int archive_load(struct ws_err *err)
{
	return WS_LAZY_LOAD(&ws_archive, ARCHIVE_FUNCTIONS, "libarchive.so.13", err);
}

const char *archive_field(lua_State *L, int idx, const char *key, size_t *len)
{
	const char *s = NULL;
	if (lua_getfield(L, idx, key) == LUA_TSTRING)
		s = lua_tolstring(L, -1, len);
	else if (!lua_isnil(L, -1))
		luaL_error(L, "%s must be a string", key);
	lua_pop(L, 1); /* the table keeps it */
	return s;
}

void archive_keep_both(lua_State *L)
{
	lua_createtable(L, 2, 0);
	lua_pushvalue(L, 1);
	lua_rawseti(L, -2, 1);
	lua_pushvalue(L, 2);
	lua_rawseti(L, -2, 2);
	lua_setiuservalue(L, -2, 1);
}

int luaopen_ws_archive(lua_State *L)
{
	static const struct ws_native natives[] = {{"create", archive_create, WS_READ},
		{"extract", archive_extract, WS_WRITE | WS_AT_2}, {"list", archive_list, WS_READ},
		{"gunzip", archive_gunzip, WS_PURE}, {NULL, NULL, 0}};
	return ws_natives(L, "ws.archive.native", natives);
}
