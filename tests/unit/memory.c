/* json and yaml when memory runs out: the nth allocation of Lua fails, for every n. They raise, and nothing crashes; the
 * address sanitizer sees that nothing leaks. */
#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int luaopen_ws_json(lua_State *L);
int luaopen_ws_yaml(lua_State *L);

static void *allocate(void *left, void *block, size_t old, size_t size)
{
	(void)old;
	if (size == 0) {
		free(block);
		return NULL;
	}
	if (*(long *)left == 0 && (block == NULL || size > old))
		return NULL;
	if (*(long *)left > 0)
		--*(long *)left;
	return realloc(block, size);
}

/* decode(text), then encode its value, with the functions of the module at 1 and the text at 2. */
static int round_trip(lua_State *L)
{
	lua_getfield(L, 1, "decode");
	lua_pushvalue(L, 2);
	lua_call(L, 1, 2);
	if (lua_isnil(L, -2))
		return 0;
	lua_settop(L, 3);
	lua_getfield(L, 1, "encode");
	lua_pushvalue(L, 3);
	lua_call(L, 1, 1);
	return 0;
}

/* Returns whether memory sufficed. */
static bool run(lua_CFunction open, const char *text, long allocations)
{
	long left = -1;
	lua_State *L = lua_newstate(allocate, &left);
	open(L);
	lua_pushcfunction(L, round_trip);
	lua_insert(L, 1);
	lua_pushstring(L, text);
	left = allocations;
	int status = lua_pcall(L, 2, 0, 0);
	left = -1;
	assert_true(status == LUA_OK || strstr(lua_tostring(L, -1), "not enough memory") != NULL);
	lua_close(L);
	return status == LUA_OK;
}

static void fail_everywhere(lua_CFunction open, const char *text)
{
	long n = 0;
	while (!run(open, text, n))
		n++;
	assert_true(n > 20);
}

static void json_survives(void **state)
{
	(void)state;
	fail_everywhere(luaopen_ws_json,
		"{\"a\": [1, 2.5, \"x\\u00e9\\n\", true, null, {\"b\": {}}], \"c\": \"\xc3\xa9\", "
		"\"d\": [{\"x\": 1, \"y\": 2}, {\"x\": 3, \"y\": 4}], \"long key of a map "
		"that is not interned by Lua, 40 bytes\": []}");
	fail_everywhere(luaopen_ws_json, "{\"a\": {\"b\": [1, {\"c\": 1, \"d\": [\"wrong]");
}

static void yaml_survives(void **state)
{
	(void)state;
	fail_everywhere(luaopen_ws_yaml, "a: &x {b: [1, -2.5e3], c: 'd'}\ne:\n  - |\n    f\n    g\n  - *x\n"
					 "  - <<: *x\n    h: \"i\\n\"\n    j: [[], {}]\n");
	fail_everywhere(luaopen_ws_yaml, "a: 1\nb:\n  c: {d: 1, e: 2, d: 3}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_survives),
		cmocka_unit_test(yaml_survives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
