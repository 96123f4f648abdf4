/* reader.c - see reader.h. */
#include "reader.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define METATABLE "ws.yaml.reader"

void ws_yaml_reader_close(struct ws_yaml_reader *r)
{
	if (r->has_event)
		yaml_event_delete(&r->event);
	if (r->open)
		yaml_parser_delete(&r->parser);
	r->has_event = r->open = false;
}

static int l_gc(lua_State *L)
{
	ws_yaml_reader_close(lua_touserdata(L, 1));
	return 0;
}

struct ws_yaml_reader *ws_yaml_reader_new(lua_State *L, int idx)
{
	idx = lua_absindex(L, idx);
	struct ws_yaml_reader *r = lua_newuserdatauv(L, sizeof *r, 0);
	memset(r, 0, sizeof *r);
	if (luaL_newmetatable(L, METATABLE)) {
		lua_pushcfunction(L, l_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	if (!yaml_parser_initialize(&r->parser))
		luaL_error(L, "not enough memory");
	r->open = true;
	r->text = lua_tolstring(L, idx, &r->len);
	r->bom = r->len >= 3 && memcmp(r->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text + r->bom, r->len - r->bom);
	yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
	return r;
}

bool ws_yaml_next(struct ws_yaml_reader *r)
{
	if (r->has_event)
		yaml_event_delete(&r->event);
	r->has_event = yaml_parser_parse(&r->parser, &r->event);
	return r->has_event;
}

bool ws_yaml_error(const char *filename, yaml_mark_t at, struct ws_err *err, const char *fmt, ...)
{
	char what[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	ws_err_set(err, "parse", "%s%s%zu:%zu: %s", filename ? filename : "", filename ? ":" : "", at.line + 1,
		at.column + 1, what);
	return false;
}

/* libyaml's reader knows a byte offset only; lines are counted here. */
static yaml_mark_t mark_of_offset(const struct ws_yaml_reader *r, size_t offset)
{
	yaml_mark_t mark = {0};
	for (size_t i = r->bom; i < offset + r->bom && i < r->len; i++) {
		mark.column += (r->text[i] & 0xc0) != 0x80;
		if (r->text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	return mark;
}

/* True when the first thing on the line of the mark is a tab. */
static bool tab_indents(const struct ws_yaml_reader *r, yaml_mark_t at)
{
	const char *p = r->text, *end = r->text + r->len;
	for (size_t line = 0; line < at.line && p != NULL; line++) {
		p = memchr(p, '\n', (size_t)(end - p));
		p = p ? p + 1 : NULL;
	}
	while (p != NULL && p < end && *p == ' ')
		p++;
	return p != NULL && p < end && *p == '\t';
}

void ws_yaml_problem(const struct ws_yaml_reader *r, const char *filename, struct ws_err *err)
{
	const yaml_parser_t *p = &r->parser;
	if (p->error == YAML_MEMORY_ERROR) {
		ws_err_set(err, "exhausted", "not enough memory");
	} else if (p->error == YAML_READER_ERROR) {
		ws_yaml_error(
			filename, mark_of_offset(r, p->problem_offset), err, "not readable as UTF-8: %s", p->problem);
	} else if (tab_indents(r, p->problem_mark)) {
		ws_yaml_error(filename, p->problem_mark, err,
			"a tab at the beginning of a line: YAML is indented with spaces");
	} else if (p->context != NULL && p->context_mark.line != p->problem_mark.line) {
		ws_yaml_error(filename, p->problem_mark, err, "%s (%s that begins in line %zu)", p->problem, p->context,
			p->context_mark.line + 1);
	} else if (p->context != NULL) {
		ws_yaml_error(filename, p->problem_mark, err, "%s (%s)", p->problem, p->context);
	} else {
		ws_yaml_error(filename, p->problem_mark, err, "%s", p->problem);
	}
}
