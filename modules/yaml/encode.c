/* encode.c - Lua values to YAML text, in block style as people write it.
 *
 * Lists are indented below their key, strings stand without quotes where every reader takes them for strings, text of
 * several lines becomes a literal block. The same value always gives the same text.
 */
#include "encode.h"

#include "reader.h"
#include "scalar.h"

#include <ws/number.h>
#include <ws/scratch.h>
#include <ws/secret.h>
#include <ws/utf8.h>
#include <ws/value.h>

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { STEP = 2, LONGEST_KEY = 200 }; /* a key that stands before its colon has at most 1024 characters, escaped */

struct writer {
	lua_State *L;
	struct ws_buf *out;
	const struct ws_yaml_style *style;
	int depth;
};

/* Where a value stands: after "key:" or "-", or at the beginning of the text. */
enum place { AFTER_KEY, AFTER_DASH, AT_START };

static void write_value(struct writer *w, int idx, int indent, enum place place);
static void write_in_line(struct writer *w, int idx);

static void add(struct writer *w, const char *s, size_t len)
{
	if (ws_buf_add(w->out, s, len) != 0)
		luaL_error(w->L, "not enough memory");
}

static void adds(struct writer *w, const char *s)
{
	add(w, s, strlen(s));
}

static void new_line(struct writer *w, int indent)
{
	adds(w, "\n");
	for (int i = 0; i < indent; i++)
		add(w, " ", 1);
}

/* --- strings --- */

static bool is_break_of_yaml11(const char *p, size_t n)
{
	return (n == 2 && memcmp(p, "\xc2\x85", 2) == 0) ||
	       (n == 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0));
}

static void check_utf8(struct writer *w, const char *s, size_t len)
{
	size_t valid = ws_utf8_valid(s, len);
	if (valid != len)
		luaL_error(w->L, "yaml.encode: a string is not UTF-8 (at byte %d)", (int)valid + 1);
}

static void write_quoted(struct writer *w, const char *s, size_t len)
{
	static const char escaped[] = "\"\\\n\t\r\b\a\f\v\x1b", letters[] = "\"\\ntrbafve";
	check_utf8(w, s, len);
	adds(w, "\"");
	for (const char *p = s, *end = s + len; p < end;) {
		size_t n = ws_utf8_sequence(p, end);
		unsigned char c = (unsigned char)*p;
		const char *found = c != 0 ? strchr(escaped, c) : NULL;
		char text[8];
		if (found != NULL)
			add(w, (char[]){'\\', letters[found - escaped]}, 2);
		else if (c < 0x20 || c == 0x7f)
			add(w, text, (size_t)snprintf(text, sizeof text, "\\x%02x", c));
		else if (n == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0)
			add(w, text, (size_t)snprintf(text, sizeof text, "\\x%02x", (unsigned char)p[1]));
		else if (is_break_of_yaml11(p, n))
			adds(w, (unsigned char)p[2] == 0xa8 ? "\\L" : "\\P");
		else if (n == 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
			adds(w, "\\ufeff");
		else if (n == 3 && memcmp(p, "\xef\xbf", 2) == 0 && (unsigned char)p[2] >= 0xbe)
			adds(w, (unsigned char)p[2] == 0xbe ? "\\ufffe" : "\\uffff");
		else
			add(w, p, n);
		p += n;
	}
	adds(w, "\"");
}

/* True for text that a literal block gives back unchanged and that looks well in one. */
static bool fits_block(const char *s, size_t len)
{
	if (memchr(s, '\n', len) == NULL || s[0] == '\n' || s[0] == ' ' || s[0] == '\t')
		return false;
	bool content = false; /* on this line */
	for (const char *p = s, *end = s + len; p < end;) {
		size_t n = ws_utf8_sequence(p, end);
		unsigned char c = (unsigned char)*p;
		if (n == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			return false;
		if (is_break_of_yaml11(p, n) || (n == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0) ||
			(n == 3 && (memcmp(p, "\xef\xbb\xbf", 3) == 0 ||
					   (memcmp(p, "\xef\xbf", 2) == 0 && (unsigned char)p[2] >= 0xbe))))
			return false;
		if (c == '\n' && p > s && !content && p[-1] != '\n')
			return false; /* a line of blanks only */
		content = c != '\n' && (content || (c != ' ' && c != '\t'));
		p += n;
	}
	return content || s[len - 1] == '\n';
}

static void write_block(struct writer *w, const char *s, size_t len, int indent)
{
	adds(w, s[len - 1] != '\n' ? "|-" : len > 1 && s[len - 2] == '\n' ? "|+" : "|");
	const char *end = s + len - (s[len - 1] == '\n');
	for (const char *line = s; line <= end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		if (stop == NULL)
			stop = end;
		new_line(w, stop > line ? indent : 0);
		add(w, line, (size_t)(stop - line));
		line = stop + 1;
	}
}

static void write_string(struct writer *w, const char *s, size_t len, int indent, enum place place)
{
	if (!w->style->one_line && place != AT_START && fits_block(s, len))
		write_block(w, s, len, indent);
	else if (memchr(s, 0, len) == NULL && ws_yaml_plain_string(s, len) &&
		 !(w->style->one_line && strpbrk(s, ",[]{}?") != NULL))
		add(w, s, len);
	else
		write_quoted(w, s, len);
}

/* --- other scalars --- */

static void write_number(struct writer *w, int idx)
{
	char text[WS_FLOAT_TEXT];
	if (lua_isinteger(w->L, idx)) {
		add(w, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(w->L, idx)));
		return;
	}
	double d = lua_tonumber(w->L, idx);
	if (isnan(d))
		adds(w, ".nan");
	else if (isinf(d))
		adds(w, d < 0 ? "-.inf" : ".inf");
	else
		add(w, text, ws_float_text(text, d));
}

static void write_scalar(struct writer *w, int idx, int indent, enum place place)
{
	lua_State *L = w->L;
	size_t len;
	const char *s;
	switch (lua_type(L, idx)) {
	case LUA_TSTRING:
		s = lua_tolstring(L, idx, &len);
		write_string(w, s, len, indent, place);
		return;
	case LUA_TNUMBER:
		write_number(w, idx);
		return;
	case LUA_TBOOLEAN:
		adds(w, lua_toboolean(L, idx) ? "true" : "false");
		return;
	default:
		break;
	}
	if (ws_is_null(L, idx)) {
		adds(w, "null");
	} else if ((s = ws_secret_open(L, idx, &len)) != NULL) {
		if (!w->style->secrets)
			luaL_error(L, "yaml.encode: a secret, and the result would be readable; "
				      "{ secrets = true } gives a secret as result");
		write_string(w, s, len, indent, place);
	} else {
		luaL_error(L, "yaml.encode: YAML has no %s", luaL_typename(L, idx));
	}
}

/* --- lists and maps --- */

static void enter(struct writer *w)
{
	if (w->depth == WS_YAML_DEPTH)
		luaL_error(w->L, "yaml.encode: nested too deeply, or a table that contains itself");
	luaL_checkstack(w->L, 16, NULL);
	w->depth++;
}

/* A line for an entry: the first entry after a dash stands on the dash's line, the first of a text at its start. */
static void begin_entry(struct writer *w, int indent, enum place place, bool first)
{
	if (first && place == AFTER_DASH)
		adds(w, " ");
	else if (!first || place != AT_START)
		new_line(w, indent);
}

static void write_key(struct writer *w, int idx)
{
	if (lua_type(w->L, idx) == LUA_TSTRING) {
		size_t len;
		const char *s = lua_tolstring(w->L, idx, &len);
		if (len > LONGEST_KEY)
			luaL_error(w->L, "yaml.encode: a key of %d bytes", (int)len);
		if (memchr(s, 0, len) == NULL && ws_yaml_plain_string(s, len) &&
			!(w->style->one_line && strpbrk(s, ",[]{}?") != NULL))
			add(w, s, len);
		else
			write_quoted(w, s, len);
	} else {
		write_number(w, idx);
	}
	adds(w, ":");
}

static void write_list(struct writer *w, int idx, int indent, enum place place)
{
	lua_Integer n = (lua_Integer)lua_rawlen(w->L, idx);
	for (lua_Integer i = 1; i <= n; i++) {
		begin_entry(w, indent, place, i == 1);
		adds(w, "-");
		lua_rawgeti(w->L, idx, i);
		write_value(w, lua_gettop(w->L), indent + STEP, AFTER_DASH);
		lua_pop(w->L, 1);
	}
	if (n == 0)
		adds(w, place == AT_START ? "[]" : " []");
}

static void write_map(struct writer *w, int idx, int indent, enum place place)
{
	lua_State *L = w->L;
	bool first = true;
	lua_Integer n = ws_map_keys(L, idx);
	int keys = lua_gettop(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, keys, i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, idx) != LUA_TNIL) {
			begin_entry(w, indent, place, first);
			first = false;
			write_key(w, keys + 1);
			write_value(w, keys + 2, indent + STEP, AFTER_KEY);
		}
		lua_settop(L, keys);
	}
	lua_pop(L, 1);
	if (first)
		adds(w, place == AT_START ? "{}" : " {}");
}

static enum ws_table table_kind(struct writer *w, int idx)
{
	enum ws_table kind = ws_table_kind(w->L, idx);
	if (kind == WS_NEITHER)
		luaL_error(w->L, "yaml.encode: a table is neither a list nor a map: it has holes, or numbers among its "
				 "names (yaml.object{} makes a map of numbers)");
	return kind;
}

static void write_value(struct writer *w, int idx, int indent, enum place place)
{
	if (lua_type(w->L, idx) != LUA_TTABLE) {
		if (place != AT_START)
			adds(w, " ");
		write_scalar(w, idx, indent, place);
		return;
	}
	enter(w);
	if (table_kind(w, idx) == WS_LIST)
		write_list(w, idx, indent, place);
	else
		write_map(w, idx, indent, place);
	w->depth--;
}

/* --- in a line --- */

static void list_in_line(struct writer *w, int idx)
{
	lua_Integer n = (lua_Integer)lua_rawlen(w->L, idx);
	adds(w, "[");
	for (lua_Integer i = 1; i <= n; i++) {
		adds(w, i > 1 ? ", " : "");
		lua_rawgeti(w->L, idx, i);
		write_in_line(w, lua_gettop(w->L));
		lua_pop(w->L, 1);
	}
	adds(w, "]");
}

static void map_in_line(struct writer *w, int idx)
{
	lua_State *L = w->L;
	bool first = true;
	adds(w, "{");
	lua_Integer n = ws_map_keys(L, idx);
	int keys = lua_gettop(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, keys, i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, idx) != LUA_TNIL) {
			adds(w, first ? "" : ", ");
			first = false;
			write_key(w, keys + 1);
			adds(w, " ");
			write_in_line(w, keys + 2);
		}
		lua_settop(L, keys);
	}
	lua_pop(L, 1);
	adds(w, "}");
}

static void write_in_line(struct writer *w, int idx)
{
	if (lua_type(w->L, idx) != LUA_TTABLE) {
		write_scalar(w, idx, 0, AFTER_KEY);
		return;
	}
	enter(w);
	if (table_kind(w, idx) == WS_LIST)
		list_in_line(w, idx);
	else
		map_in_line(w, idx);
	w->depth--;
}

void ws_yaml_encode(lua_State *L, int idx, const struct ws_yaml_style *style)
{
	idx = lua_absindex(L, idx);
	struct writer w = {.L = L, .style = style, .out = ws_scratch(L, SIZE_MAX / 4)};
	if (style->one_line) {
		write_in_line(&w, idx);
	} else {
		write_value(&w, idx, style->indent, AT_START);
		adds(&w, "\n");
	}
	lua_pushlstring(L, w.out->data, w.out->len);
	ws_buf_free(w.out);
	lua_remove(L, -2);
}
