/* options.c - what Lua says about a child, turned into a struct process_spec; raises on misuse.
 *
 * All memory made here is Lua's: strings and arrays are anchored in one table, so a raise leaks nothing. Descriptors are
 * opened by the caller, after the last thing that can raise.
 */
#include "options.h"

#include <ws/args.h>
#include <ws/permit.h>
#include <ws/secret.h>

#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

/* Keeps the string at the top alive in the table `anchors` and pops it; returns its bytes. */
static const char *anchor(lua_State *L, int anchors)
{
	const char *s = lua_tostring(L, -1);
	lua_rawseti(L, anchors, luaL_len(L, anchors) + 1);
	return s;
}

static char **array(lua_State *L, int anchors, size_t count)
{
	char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
	lua_rawseti(L, anchors, luaL_len(L, anchors) + 1);
	list[count] = NULL;
	return list;
}

static void refuse_secret(lua_State *L, lua_Integer i)
{
	luaL_error(L,
		"argument %I of the command contains a secret: every user of the machine can read a command line. "
		"Give it by stdin, environment or a file of mode 0600",
		(LUAI_UACINT)i);
}

static void read_argv(lua_State *L, int anchors, struct process_spec *spec)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_Integer n = luaL_len(L, 1);
	luaL_argcheck(L, n > 0, 1, "a command expected, got an empty list");
	char **argv = array(L, anchors, (size_t)n);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 1, i);
		size_t len, redacted_len;
		if (ws_secret_open(L, -1, &len) != NULL)
			refuse_secret(L, i);
		if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
			luaL_error(L, "argument %I of the command: string expected, got %s", (LUAI_UACINT)i,
				luaL_typename(L, -1));
		const char *s = lua_tolstring(L, -1, &len);
		if (strlen(s) != len)
			luaL_error(L, "argument %I of the command contains a NUL byte", (LUAI_UACINT)i);
		ws_redact(L, s, len);
		const char *redacted = lua_tolstring(L, -1, &redacted_len);
		if (redacted_len != len || memcmp(redacted, s, len) != 0)
			refuse_secret(L, i);
		lua_pop(L, 1);
		argv[i - 1] = (char *)(uintptr_t)anchor(L, anchors);
	}
	luaL_argcheck(L, argv[0][0] != '\0', 1, "the name of the command is empty");
	spec->argv = argv;
}

/* What the child's environment has instead of ours: "name=value", or nothing when the text is NULL. */
struct change {
	const char *name;
	size_t name_len;
	const char *text;
};

static size_t count_keys(lua_State *L, int idx)
{
	size_t n = 0;
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
		n++;
	return n;
}

/* Reads name and value at the top of the stack; the text is anchored. */
static struct change read_change(lua_State *L, int anchors)
{
	struct change c = {0};
	size_t len;
	if (lua_type(L, -2) != LUA_TSTRING)
		luaL_error(L, "option 'env': names must be strings, got a %s", luaL_typename(L, -2));
	c.name = lua_tolstring(L, -2, &c.name_len);
	if (c.name_len == 0 || strlen(c.name) != c.name_len || strchr(c.name, '=') != NULL)
		luaL_error(L, "option 'env': '%s' cannot be the name of a variable", c.name);
	if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
		return c;
	const char *value = ws_secret_open(L, -1, &len);
	if (value == NULL && lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
		luaL_error(
			L, "option 'env': %s: string, secret or false expected, got %s", c.name, luaL_typename(L, -1));
	if (value == NULL)
		value = lua_tolstring(L, -1, &len);
	if (strlen(value) != len)
		luaL_error(L, "option 'env': the value of %s contains a NUL byte", c.name);
	lua_pushfstring(L, "%s=%s", c.name, value);
	c.text = anchor(L, anchors);
	return c;
}

/* Adds the changes of the table at `values`; a later one of the same name wins. Returns their number. */
static size_t add_changes(lua_State *L, int values, int anchors, struct change *changes, size_t count)
{
	for (lua_pushnil(L); lua_next(L, values) != 0; lua_pop(L, 1)) {
		struct change c = read_change(L, anchors);
		size_t i = 0;
		while (i < count && strcmp(changes[i].name, c.name) != 0)
			i++;
		changes[i] = c;
		count += i == count;
	}
	return count;
}

static bool is_changed(const char *entry, const struct change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(entry, changes[i].name, changes[i].name_len) == 0 && entry[changes[i].name_len] == '=')
			return true;
	return false;
}

static const char *find_variable(char *const *envp, const char *name)
{
	size_t len = strlen(name);
	for (; *envp != NULL; envp++)
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return *envp + len + 1;
	return NULL;
}

static void read_env(lua_State *L, int anchors, struct process_options *o)
{
	struct process_spec *spec = &o->spec;
	bool filtered = ws_permit_active();
	bool clear = ws_opt_boolean(L, 2, "clear_env", false);
	int type = ws_opt_get(L, 2, "env"), values = lua_gettop(L);
	if (type != LUA_TNIL && type != LUA_TTABLE)
		luaL_error(L, "option 'env': table expected, got %s", luaL_typename(L, -1));
	size_t overlay = lua_istable(L, 3) && !clear ? count_keys(L, 3) : 0;
	size_t wanted = type == LUA_TTABLE ? count_keys(L, values) : 0, ours = 0, count = 0, n = 0;
	spec->envp = environ;
	if (overlay + wanted > 0 || clear || filtered) {
		struct change *changes = lua_newuserdatauv(L, (overlay + wanted + 1) * sizeof *changes, 0);
		if (overlay > 0)
			count = add_changes(L, 3, anchors, changes, count);
		if (wanted > 0)
			count = add_changes(L, values, anchors, changes, count);
		while (!clear && environ[ours] != NULL)
			ours++;
		char **envp = array(L, anchors, ours + count + 1);
		for (size_t i = 0; i < ours; i++)
			if (!is_changed(environ[i], changes, count) &&
				(!filtered || ws_permit_inherit(environ[i], strcspn(environ[i], "="))))
				envp[n++] = environ[i];
		for (size_t i = 0; i < count; i++) {
			if (changes[i].text != NULL)
				envp[n++] = (char *)(uintptr_t)changes[i].text;
			o->refused |= changes[i].text != NULL &&
				      ws_permit_give_env(changes[i].name, changes[i].name_len) != 0;
		}
		envp[n] = NULL;
		if (filtered && ws_permit_temp() != NULL && find_variable(envp, "TMPDIR") == NULL) {
			lua_pushfstring(L, "TMPDIR=%s", ws_permit_temp());
			envp[n++] = (char *)(uintptr_t)anchor(L, anchors);
		}
		envp[n] = NULL;
		spec->envp = envp;
	}
	lua_settop(L, values - 1);
}

/* "collect", "discard", "inherit", "stdout" (for stderr), or { file = path, append = boolean }. */
static void read_output(lua_State *L, int which, int anchors, struct process_output *out)
{
	const char *key = which == 1 ? "stdout" : "stderr";
	static const char *const names[] = {"collect", "discard", "inherit", "pipe", "stdout", NULL};
	int type = ws_opt_get(L, 2, key);
	out->how = OUT_COLLECT;
	if (type == LUA_TTABLE) {
		int table = lua_gettop(L);
		ws_opts_check(L, table, "file", "append", NULL);
		out->append = ws_opt_boolean(L, table, "append", false);
		size_t len = 0;
		const char *file = ws_opt_string(L, table, "file", NULL, &len);
		if (file == NULL || len == 0 || strlen(file) != len)
			luaL_error(L, "option '%s': a file's name expected in { file = … }", key);
		lua_pushstring(L, file);
		out->file = anchor(L, anchors);
		out->how = OUT_FILE;
	} else if (type != LUA_TNIL) {
		const char *name = lua_tostring(L, -1);
		int i = 0;
		while (names[i] != NULL && (type != LUA_TSTRING || strcmp(names[i], name) != 0))
			i++;
		if (names[i] == NULL || (i == OUT_MERGE && which == 1))
			luaL_error(L, "option '%s': 'collect', 'discard', 'inherit', 'pipe'%s or { file = … } expected",
				key, which == 2 ? ", 'stdout'" : "");
		out->how = (enum process_output_how)i;
	}
	lua_pop(L, 1);
	const char *callback = which == 1 ? "on_stdout" : "on_stderr";
	type = ws_opt_get(L, 2, callback);
	if (type != LUA_TNIL && type != LUA_TFUNCTION)
		luaL_error(L, "option '%s': function expected, got %s", callback, luaL_typename(L, -1));
	lua_pop(L, 1);
	out->lines = type == LUA_TFUNCTION || out->how == OUT_PIPE;
	if (type == LUA_TFUNCTION && out->how > OUT_DISCARD)
		luaL_error(L, "option '%s' needs %s to be 'collect' or 'discard'", callback, key);
}

/* A detached child outlives us: a pipe to us would be its end. */
static void refuse_pipes(lua_State *L, struct process_options *o)
{
	struct process_output *const both[] = {&o->out, &o->err};
	for (int i = 0; i < 2; i++) {
		if (both[i]->lines)
			luaL_error(L, "a detached child's output cannot be read: use 'discard' or { file = … }");
		if (both[i]->how == OUT_COLLECT)
			both[i]->how = OUT_DISCARD;
	}
}

static void read_input(lua_State *L, struct process_options *o)
{
	int type = ws_opt_get(L, 2, "stdin");
	if (type == LUA_TNIL || (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))) {
		lua_pop(L, 1);
		return;
	}
	o->stdin_pipe = true;
	if (type != LUA_TFUNCTION && type != LUA_TBOOLEAN) {
		o->stdin_data = ws_secret_open(L, -1, &o->stdin_len);
		if (o->stdin_data == NULL && type != LUA_TSTRING)
			luaL_error(L, "option 'stdin': string, secret, function or true expected, got %s",
				luaL_typename(L, -1));
		if (o->stdin_data == NULL)
			o->stdin_data = lua_tolstring(L, -1, &o->stdin_len);
	}
	lua_pop(L, 1); /* the options keep it */
}

static const char *read_path(lua_State *L, const char *key)
{
	size_t len = 0;
	const char *path = ws_opt_string(L, 2, key, NULL, &len);
	if (path != NULL && (len == 0 || strlen(path) != len))
		luaL_error(L, "option '%s': a path cannot be empty or contain a NUL byte", key);
	return path;
}

void process_options_read(lua_State *L, struct process_options *o)
{
	*o = (struct process_options){0};
	lua_settop(L, 4); /* argv, options, overlay, default timeout */
	ws_opts_check(L, 2, "cwd", "env", "clear_env", "stdin", "timeout", "grace", "linger", "stop_signal",
		"max_output", "stdout", "stderr", "on_stdout", "on_stderr", "detached", "interactive", NULL);
	lua_newtable(L); /* at 5: anchors */
	read_argv(L, 5, &o->spec);
	o->spec.cwd = read_path(L, "cwd");
	read_env(L, 5, o);
	lua_settop(L, 5);
	o->path = find_variable(o->spec.envp, "PATH");
	o->timeout = ws_opt_number(L, 2, "timeout", luaL_optnumber(L, 4, -1));
	o->grace = ws_opt_number(L, 2, "grace", 10);
	o->linger = ws_opt_number(L, 2, "linger", 2);
	luaL_argcheck(L, o->timeout < 1e9 && o->grace < 1e9 && o->linger < 1e9, 2, "seconds must be less than 1e9");
	lua_Integer max = ws_opt_integer(L, 2, "max_output", 16 << 20);
	luaL_argcheck(L, max >= 0 && max <= 1 << 30, 2, "option 'max_output': between 0 and 1 GiB");
	o->max_output = (size_t)max;
	const char *stop_signal = ws_opt_string(L, 2, "stop_signal", "TERM", NULL);
	o->stop_signal = process_signal_number(stop_signal);
	if (o->stop_signal < 0)
		luaL_error(L, "option 'stop_signal': no signal has the name '%s'", stop_signal);
	o->detached = ws_opt_boolean(L, 2, "detached", false);
	o->interactive = ws_opt_boolean(L, 2, "interactive", false);
	luaL_argcheck(L, !(o->detached && o->interactive), 2, "a child is either detached or interactive");
	read_output(L, 1, 5, &o->out);
	read_output(L, 2, 5, &o->err);
	if (o->detached)
		refuse_pipes(L, o);
	read_input(L, o);
	if (o->interactive) {
		luaL_argcheck(L, !o->stdin_pipe, 2, "an interactive child has the terminal as its stdin");
		o->out.how = o->err.how = OUT_INHERIT;
		o->out.lines = o->err.lines = false;
	}
	o->spec.own_group = !o->interactive && !o->detached;
	o->spec.own_session = o->detached;
	o->spec.merge_stderr = o->err.how == OUT_MERGE;
}
