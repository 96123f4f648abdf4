/* yaml.c - the natives of ws.yaml; decode.c, encode.c and marks.c do the work. */
#include "decode.h"
#include "encode.h"
#include "marks.h"

#include <ws/args.h>
#include <ws/error.h>
#include <ws/native.h>
#include <ws/secret.h>
#include <ws/value.h>

#include <lauxlib.h>

static int decode(lua_State *L, bool all)
{
	luaL_checktype(L, 1, LUA_TSTRING);
	ws_opts_check(L, 2, "filename", "yaml11", NULL);
	struct ws_yaml_reading how = {
		.filename = ws_opt_string(L, 2, "filename", NULL, NULL),
		.all = all,
		.yaml11 = ws_opt_boolean(L, 2, "yaml11", false),
	};
	struct ws_err err = {.op = all ? "yaml.decode_all" : "yaml.decode"};
	if (ws_yaml_decode(L, 1, &how, &err) != 0)
		return ws_fail(L, &err);
	return 1;
}

/* decode(text, { filename = string, yaml11 = boolean }?) → value | nil, err */
static int l_decode(lua_State *L)
{
	return decode(L, false);
}

/* decode_all(text, { filename = string, yaml11 = boolean }?) → list of values | nil, err */
static int l_decode_all(lua_State *L)
{
	return decode(L, true);
}

/* encode(value, { secrets = boolean, indent = integer, one_line = boolean }?) → string | secret */
static int l_encode(lua_State *L)
{
	luaL_checkany(L, 1);
	ws_opts_check(L, 2, "secrets", "indent", "one_line", NULL);
	lua_Integer indent = ws_opt_integer(L, 2, "indent", 0);
	luaL_argcheck(L, indent >= 0 && indent <= 1000, 2, "option 'indent': 0 to 1000 expected");
	struct ws_yaml_style style = {
		.indent = (int)indent,
		.secrets = ws_opt_boolean(L, 2, "secrets", false),
		.one_line = ws_opt_boolean(L, 2, "one_line", false),
	};
	lua_settop(L, 1);
	ws_yaml_encode(L, 1, &style);
	if (style.secrets)
		ws_secret_wrap(L);
	return 1;
}

/* marks(text) → node; the text is one that decode accepts */
static int l_marks(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TSTRING);
	struct ws_err err = {.op = "yaml.marks"};
	if (ws_yaml_marks(L, 1, &err) != 0)
		return ws_fail(L, &err);
	return 1;
}

int luaopen_ws_yaml(lua_State *L)
{
	static const struct ws_native natives[] = {
		{"decode", l_decode, WS_PURE},
		{"decode_all", l_decode_all, WS_PURE},
		{"encode", l_encode, WS_PURE},
		{"marks", l_marks, WS_PURE},
		{NULL, NULL, 0},
	};
	ws_natives(L, "ws.yaml", natives);
	ws_value_functions(L);
	return 1;
}
