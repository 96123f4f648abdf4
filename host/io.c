/* io.c - what of Lua's own libraries touches files: io.open, io.input, io.output, io.lines, os.remove, os.rename,
 * loadfile. They behave as Lua's, and ask the policy and the plan's guard as every native does.
 */
#include "engine.h"

#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Lua keeps its default files under these names. */
#define DEFAULT_INPUT "_IO_input"
#define DEFAULT_OUTPUT "_IO_output"

static int file_close(lua_State *L)
{
	luaL_Stream *s = luaL_checkudata(L, 1, LUA_FILEHANDLE);
	return luaL_fileresult(L, fclose(s->f) == 0, NULL);
}

/* nil, message, errno: as Lua's own functions fail. */
static int failed(lua_State *L, const char *path, int code)
{
	struct ws_err err = {0};
	ws_err_errno(&err, path, code);
	lua_pushnil(L);
	if (code == WS_EDENIED)
		lua_pushfstring(
			L, "%s (%s)", err.message != NULL ? err.message : path, err.hint != NULL ? err.hint : "");
	else
		lua_pushfstring(L, "%s: %s", path, strerror(code));
	ws_err_clear(&err);
	lua_pushinteger(L, code == WS_EDENIED ? EACCES : code);
	return 3;
}

/* The flags that a mode of io.open means, or -1. */
static int flags_of(const char *mode)
{
	if (*mode == '\0' || strchr("rwa", *mode) == NULL)
		return -1;
	const char *rest = mode + 1;
	bool both = *rest == '+';
	rest += both;
	if (strspn(rest, "b") != strlen(rest))
		return -1;
	int flags = both ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
	return flags | O_CLOEXEC | (*mode == 'w' ? O_CREAT | O_TRUNC : *mode == 'a' ? O_CREAT | O_APPEND : 0);
}

/* Pushes an open file, or pushes what failed() does: returns the number of values. */
static int open_file(lua_State *L, const char *path, const char *mode, int flags)
{
	if ((flags & O_ACCMODE) != O_RDONLY)
		ws_need_path(L, WS_WRITE, "io.open", path);
	luaL_Stream *s = lua_newuserdatauv(L, sizeof *s, 0);
	s->closef = NULL;
	luaL_setmetatable(L, LUA_FILEHANDLE);
	int fd = ws_open(path, flags, 0666);
	if (fd < 0)
		return failed(L, path, errno);
	s->f = fdopen(fd, mode);
	if (s->f == NULL) {
		int code = errno;
		close(fd);
		return failed(L, path, code);
	}
	s->closef = file_close;
	return 1;
}

static const char *check_path(lua_State *L, int idx)
{
	size_t len;
	const char *path = luaL_checklstring(L, idx, &len);
	luaL_argcheck(L, strlen(path) == len, idx, "a path cannot contain a NUL byte");
	return path;
}

static int l_open(lua_State *L)
{
	const char *path = check_path(L, 1), *mode = luaL_optstring(L, 2, "r");
	int flags = flags_of(mode);
	luaL_argcheck(L, flags >= 0, 2, "invalid mode");
	return open_file(L, path, mode, flags);
}

/* io.input(file?) and io.output(file?) */
static int default_file(lua_State *L, const char *name, const char *mode)
{
	if (!lua_isnoneornil(L, 1)) {
		if (lua_type(L, 1) == LUA_TSTRING) {
			if (open_file(L, check_path(L, 1), mode, flags_of(mode)) != 1)
				return luaL_error(L, "%s", lua_tostring(L, -2));
		} else {
			luaL_checkudata(L, 1, LUA_FILEHANDLE);
			lua_pushvalue(L, 1);
		}
		lua_setfield(L, LUA_REGISTRYINDEX, name);
	}
	lua_getfield(L, LUA_REGISTRYINDEX, name);
	return 1;
}

static int l_input(lua_State *L)
{
	return default_file(L, DEFAULT_INPUT, "r");
}

static int l_output(lua_State *L)
{
	return default_file(L, DEFAULT_OUTPUT, "w");
}

/* iterator(): the next of file:lines(), upvalue 1; the file, upvalue 2, is closed at its end. */
static int next_line(lua_State *L)
{
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_call(L, 0, LUA_MULTRET);
	if (lua_gettop(L) == 0 || lua_isnil(L, 1)) {
		luaL_Stream *s = lua_touserdata(L, lua_upvalueindex(2));
		if (s->closef != NULL) {
			fclose(s->f);
			s->closef = NULL;
		}
	}
	return lua_gettop(L);
}

/* io.lines(path?, format…) */
static int l_lines(lua_State *L)
{
	bool named = !lua_isnoneornil(L, 1);
	if (lua_gettop(L) == 0)
		lua_pushnil(L);
	if (!named)
		lua_getfield(L, LUA_REGISTRYINDEX, DEFAULT_INPUT);
	else if (open_file(L, check_path(L, 1), "r", O_RDONLY | O_CLOEXEC) != 1)
		return luaL_error(L, "%s", lua_tostring(L, -2));
	lua_replace(L, 1); /* file, formats… */
	lua_getfield(L, 1, "lines");
	lua_insert(L, 1);
	lua_pushvalue(L, 2);
	lua_insert(L, 1); /* file, lines, file, formats… */
	lua_call(L, lua_gettop(L) - 2, 1);
	if (!named)
		return 1;
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, next_line, 2);
	lua_pushnil(L);
	lua_pushnil(L);
	lua_pushvalue(L, 1); /* the loop closes it when it is left early */
	return 4;
}

static int l_remove(lua_State *L)
{
	const char *path = check_path(L, 1);
	if (ws_remove(path) != 0)
		return failed(L, path, errno);
	lua_pushboolean(L, 1);
	return 1;
}

static int l_rename(lua_State *L)
{
	const char *from = check_path(L, 1), *to = check_path(L, 2);
	if (ws_rename(from, to) != 0)
		return failed(L, from, errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* loadfile(path?, mode, env?): text only; boot.lua says so for the mode. */
static int l_loadfile(lua_State *L)
{
	const char *path = lua_isnoneornil(L, 1) ? NULL : check_path(L, 1);
	int has_env = lua_gettop(L) >= 3;
	lua_settop(L, 3);
	FILE *f = stdin;
	if (path != NULL) {
		int n = open_file(L, path, "r", O_RDONLY | O_CLOEXEC);
		if (n != 1) {
			lua_pushnil(L);
			lua_pushfstring(L, "cannot open %s", lua_tostring(L, -3));
			return 2;
		}
		f = ((luaL_Stream *)lua_touserdata(L, -1))->f;
	}
	int file = lua_gettop(L);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	for (size_t n = 1; n > 0;) {
		char *space = luaL_prepbuffer(&b);
		n = fread(space, 1, LUAL_BUFFERSIZE, f);
		luaL_addsize(&b, n);
	}
	bool broken = ferror(f) != 0;
	luaL_pushresult(&b);
	if (path != NULL) {
		luaL_Stream *s = lua_touserdata(L, file);
		fclose(s->f);
		s->closef = NULL;
	}
	if (broken) {
		lua_pushnil(L);
		lua_pushfstring(L, "cannot read %s", path != NULL ? path : "stdin");
		return 2;
	}
	size_t len;
	const char *text = lua_tolstring(L, -1, &len);
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
		text += 3;
		len -= 3;
	}
	if (len > 0 && *text == '#') { /* a first line for the shell: its end stays, for the numbers of the lines */
		size_t line = strcspn(text, "\n");
		text += line;
		len -= line;
	}
	lua_pushfstring(L, path != NULL ? "@%s" : "=stdin", path);
	if (luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t") != LUA_OK) {
		lua_pushnil(L);
		lua_insert(L, -2);
		return 2;
	}
	if (has_env) {
		lua_pushvalue(L, 3);
		if (lua_setupvalue(L, -2, 1) == NULL)
			lua_pop(L, 1);
	}
	return 1;
}

void ws_io_install(lua_State *L)
{
	static const struct ws_native files[] = {{"open", l_open, WS_READ}, {"input", l_input, WS_READ},
		{"output", l_output, WS_READ}, {"lines", l_lines, WS_READ}, {NULL, NULL, 0}};
	static const struct ws_native system[] = {{"remove", l_remove, WS_WRITE | WS_AT_1},
		{"rename", l_rename, WS_WRITE | WS_AT_1 | WS_AT_2}, {NULL, NULL, 0}};
	const struct {
		const char *library;
		const struct ws_native *natives;
	} all[] = {{LUA_IOLIBNAME, files}, {LUA_OSLIBNAME, system}};
	for (size_t i = 0; i < 2; i++) {
		lua_getglobal(L, all[i].library);
		ws_natives(L, all[i].library, all[i].natives);
		for (lua_pushnil(L); lua_next(L, -2) != 0;) {
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_settable(L, -5);
		}
		lua_pop(L, 2);
	}
	lua_pushcfunction(L, l_loadfile);
	lua_setglobal(L, "loadfile");
}
