/* modules.c - the one list of native modules.
 *
 * A line here, a folder in modules/ and the module exists: require "ws.NAME.native", or require "ws.NAME" when it has
 * no Lua half.
 */
#include "engine.h"

/* Every module of modules/ that has a native half, in alphabetical order. */
#define MODULES(M) \
	M(archive) \
	M(crypto) \
	M(fs) \
	M(http) \
	M(json) \
	M(process) \
	M(provider) \
	M(server) \
	M(sqlite) \
	M(time) \
	M(yaml)

#define DECLARE(name) int luaopen_ws_##name(lua_State *L);
MODULES(DECLARE)
#undef DECLARE

void ws_push_openers(lua_State *L)
{
	static const struct {
		const char *name;
		lua_CFunction open;
	} openers[] = {{"ws.error.native", luaopen_ws_error}, {"ws.secret.native", luaopen_ws_secret},
		{"ws.signal.native", luaopen_ws_signal}, {"ws.task.native", luaopen_ws_task},
#define ENTRY(name) {"ws." #name ".native", luaopen_ws_##name},
		MODULES(ENTRY)
#undef ENTRY
	};
	lua_newtable(L);
	for (size_t i = 0; i < sizeof openers / sizeof *openers; i++) {
		lua_pushcfunction(L, openers[i].open);
		lua_setfield(L, -2, openers[i].name);
	}
}
