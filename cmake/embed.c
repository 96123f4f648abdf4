/* embed.c - build tool: the program's own files as part of it, the Lua ones also compiled.
 *
 *     embed OUTPUT.c OUTPUT.bin ROOT FILE...     files relative to ROOT
 *
 * OUTPUT.c takes the texts in by the assembler, and the compiled chunks from OUTPUT.bin. Names of functions and lines
 * stay in the chunks, so that tracebacks are true. Compiling is most of what a short command would do.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *source, *binary;
static long written; /* bytes of OUTPUT.bin */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int write_chunk(lua_State *L, const void *data, size_t len, void *arg)
{
	(void)L;
	(void)arg;
	written += (long)len;
	return fwrite(data, 1, len, binary) == len ? 0 : 1;
}

/* Pushes what is in a file. Returns -1 with a message. */
static int push_text(lua_State *L, const char *path)
{
	FILE *f = fopen(path, "rb");
	if (f == NULL) {
		perror(path);
		return -1;
	}
	luaL_Buffer text;
	luaL_buffinit(L, &text);
	size_t n;
	while ((n = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, f)) > 0)
		luaL_addsize(&text, n);
	luaL_pushresult(&text);
	fclose(f);
	return 0;
}

/* Compiles a file; returns the bytes of its chunk, 0 for what is no Lua, -1 with a message. */
static long compile(lua_State *L, const char *root, const char *file)
{
	size_t len = strlen(file);
	if (len < 4 || strcmp(file + len - 4, ".lua") != 0)
		return 0;
	long before = written;
	const char *name = lua_pushfstring(L, "@%s", file);
	if (push_text(L, lua_pushfstring(L, "%s/%s", root, file)) != 0)
		return -1;
	const char *text = lua_tolstring(L, -1, &len);
	if (luaL_loadbufferx(L, text, len, name, "t") != LUA_OK) {
		fprintf(stderr, "embed: %s\n", lua_tostring(L, -1));
		return -1;
	}
	if (lua_dump(L, write_chunk, NULL, 0) != 0)
		return -1;
	lua_settop(L, 0);
	return written - before;
}

static int embed(lua_State *L, const char *bin, const char *root, char **files, int count)
{
	fputs("/* Made by cmake/embed.c. */\n#include \"engine.h\"\n\n", source);
	fprintf(source, "__asm__(\".section .rodata\\n\"\n\"ws_code: .incbin \\\"%s\\\"\\n\"\n", bin);
	for (int i = 0; i < count; i++)
		fprintf(source, "\"ws_f%d: .incbin \\\"%s/%s\\\"\\nws_e%d: .byte 0\\n\"\n", i, root, files[i], i);
	fputs("\".previous\\n\");\n\nextern const char ws_code[];\n", source);
	for (int i = 0; i < count; i++)
		fprintf(source, "extern const char ws_f%d[], ws_e%d[];\n", i, i);
	fputs("const struct ws_embedded ws_embedded_files[] = {\n", source);
	for (int i = 0; i < count; i++) {
		long at = written, len = compile(L, root, files[i]);
		if (len < 0)
			return -1;
		fprintf(source, "\t{\"%s\", ws_f%d, ws_e%d, ws_code + %ld, %ld},\n", files[i], i, i, at, len);
	}
	fprintf(source, "};\nconst size_t ws_embedded_count = %d;\n", count);
	return 0;
}

int main(int argc, char *argv[])
{
	if (argc < 5) {
		fputs("usage: embed OUTPUT.c OUTPUT.bin ROOT FILE...\n", stderr);
		return 64;
	}
	source = fopen(argv[1], "w");
	binary = fopen(argv[2], "wb");
	lua_State *L = luaL_newstate();
	if (source == NULL || binary == NULL || L == NULL) {
		perror("embed");
		return 1;
	}
	qsort(argv + 4, (size_t)argc - 4, sizeof *argv, by_name);
	int rc = embed(L, argv[2], argv[3], argv + 4, argc - 4);
	lua_close(L);
	if (fclose(source) != 0 || fclose(binary) != 0 || rc != 0) {
		fputs("embed: failed\n", stderr);
		remove(argv[1]);
		return 1;
	}
	return 0;
}
