/* json.c - the Lua functions of ws.json; decode.c and encode.c do the work. */
#include "decode.h"
#include "encode.h"

#include <ws/args.h>
#include <ws/error.h>
#include <ws/native.h>
#include <ws/secret.h>
#include <ws/value.h>

#include <lauxlib.h>

/* decode(text, { filename = string }?) → value | nil, err */
static int l_decode(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TSTRING);
	ws_opts_check(L, 2, "filename", NULL);
	const char *filename = ws_opt_string(L, 2, "filename", NULL, NULL);
	struct ws_err err = {.op = "json.decode"};
	if (ws_json_decode(L, 1, filename, &err) != 0)
		return ws_fail(L, &err);
	return 1;
}

/* encode(value, { indent = spaces, secrets = boolean, invalid_utf8 = "replace" }?) → string | secret */
static int l_encode(lua_State *L)
{
	luaL_checkany(L, 1);
	ws_opts_check(L, 2, "indent", "secrets", "invalid_utf8", NULL);
	lua_Integer indent = ws_opt_integer(L, 2, "indent", 0);
	luaL_argcheck(L, indent >= 0 && indent <= 16, 2, "option 'indent': 0 to 16 expected");
	static const char *const invalid[] = {"refuse", "replace", NULL};
	ws_opt_get(L, 2, "invalid_utf8");
	struct ws_json_style style = {
		.indent = (int)indent,
		.secrets = ws_opt_boolean(L, 2, "secrets", false),
		.replace_invalid = luaL_checkoption(L, -1, "refuse", invalid) == 1,
	};
	lua_settop(L, 1);
	ws_json_encode(L, 1, &style);
	if (style.secrets)
		ws_secret_wrap(L);
	return 1;
}

int luaopen_ws_json(lua_State *L)
{
	static const struct ws_native natives[] = {
		{"decode", l_decode, WS_PURE},
		{"encode", l_encode, WS_PURE},
		{NULL, NULL, 0},
	};
	ws_natives(L, "ws.json", natives);
	ws_value_functions(L);
	return 1;
}
