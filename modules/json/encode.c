/* encode.c - Lua values to JSON text (RFC 8259).
 *
 * The text grows in a buffer that Lua owns, so raising leaks nothing. The same value always gives the same text: maps
 * keep their order or are sorted (ws/value.h), floats are written with the fewest digits that give them back.
 */
#include "encode.h"

#include "decode.h"
#include "plain.h"

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

struct writer {
	lua_State *L;
	struct ws_buf *out;
	const struct ws_json_style *style;
	int depth;
};

static void write_value(struct writer *w, int idx);

/* The place for `n` more bytes; what is written there counts after out->len is raised. */
static char *room(struct writer *w, size_t n)
{
	struct ws_buf *b = w->out;
	if (b->data != NULL && b->cap - b->len > n)
		return b->data + b->len;
	char *p = ws_buf_room(b, n);
	if (p == NULL)
		luaL_error(w->L, "not enough memory");
	return p;
}

static void add(struct writer *w, const char *s, size_t len)
{
	memcpy(room(w, len), s, len);
	w->out->len += len;
}

static void add_char(struct writer *w, char c)
{
	*room(w, 1) = c;
	w->out->len++;
}

static void new_line(struct writer *w)
{
	size_t n = (size_t)w->depth * (size_t)w->style->indent;
	if (w->style->indent == 0)
		return;
	char *p = room(w, n + 1);
	*p = '\n';
	memset(p + 1, ' ', n);
	w->out->len += n + 1;
}

/* --- strings --- */

/* Writes one escape, or one UTF-8 sequence, and returns how many bytes of the string it stands for. */
static size_t write_special(struct writer *w, const char *p, const char *end)
{
	static const char letters[] = "uuuuuuuubtnufruuuuuuuuuuuuuuuuuu"; /* of the controls, after a backslash */
	unsigned char c = (unsigned char)*p;
	if (c >= 0x80) {
		size_t n = ws_utf8_sequence(p, end);
		if (n > 0) {
			add(w, p, n);
			return n;
		}
		if (!w->style->replace_invalid)
			luaL_error(w->L,
				"json.encode: a string is not UTF-8; { invalid_utf8 = \"replace\" } writes U+FFFD");
		add(w, "\xef\xbf\xbd", 3);
	} else if (c < 0x20 && letters[c] == 'u') {
		char text[7];
		add(w, text, (size_t)snprintf(text, sizeof text, "\\u%04x", c));
	} else {
		add(w, (char[]){'\\', c < 0x20 ? letters[c] : *p}, 2);
	}
	return 1;
}

static void write_string(struct writer *w, const char *s, size_t len)
{
	const char *p = s, *end = s + len;
	add_char(w, '"');
	for (;;) {
		const char *plain = p;
		p = ws_json_skip_plain(p, end);
		add(w, plain, (size_t)(p - plain));
		if (p == end)
			break;
		p += write_special(w, p, end);
	}
	add_char(w, '"');
}

/* --- numbers --- */

static void write_integer(struct writer *w, lua_Integer i)
{
	char text[24], *p = text + sizeof text;
	uint64_t n = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
	do {
		*--p = (char)('0' + n % 10);
	} while ((n /= 10) != 0);
	if (i < 0)
		*--p = '-';
	add(w, p, (size_t)(text + sizeof text - p));
}

static void write_float(struct writer *w, double d)
{
	if (!isfinite(d))
		luaL_error(w->L, "json.encode: JSON has no %s", isnan(d) ? "NaN" : "infinity");
	w->out->len += ws_float_text(room(w, WS_FLOAT_TEXT), d);
}

/* --- lists and maps --- */

static void enter(struct writer *w, char open)
{
	if (w->depth == WS_JSON_DEPTH)
		luaL_error(w->L, "json.encode: nested too deeply, or a table that contains itself");
	luaL_checkstack(w->L, 16, NULL);
	w->depth++;
	add_char(w, open);
}

static void leave(struct writer *w, char close, bool empty)
{
	w->depth--;
	if (!empty)
		new_line(w);
	add_char(w, close);
}

static void write_list(struct writer *w, int idx)
{
	lua_State *L = w->L;
	lua_Integer n = (lua_Integer)lua_rawlen(L, idx);
	enter(w, '[');
	for (lua_Integer i = 1; i <= n; i++) {
		if (i > 1)
			add_char(w, ',');
		new_line(w);
		lua_rawgeti(L, idx, i);
		write_value(w, lua_gettop(L));
		lua_pop(L, 1);
	}
	leave(w, ']', n == 0);
}

static void write_key(struct writer *w, int idx)
{
	if (lua_type(w->L, idx) == LUA_TSTRING) {
		size_t len;
		const char *s = lua_tolstring(w->L, idx, &len);
		write_string(w, s, len);
	} else {
		add_char(w, '"');
		write_integer(w, lua_tointeger(w->L, idx));
		add_char(w, '"');
	}
	if (w->style->indent == 0)
		add_char(w, ':');
	else
		add(w, ": ", 2);
}

static void write_map(struct writer *w, int idx)
{
	lua_State *L = w->L;
	bool empty = true;
	enter(w, '{');
	lua_Integer n = ws_map_keys(L, idx);
	int keys = lua_gettop(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, keys, i);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, idx) != LUA_TNIL) {
			if (!empty)
				add_char(w, ',');
			empty = false;
			new_line(w);
			write_key(w, keys + 1);
			write_value(w, keys + 2);
		}
		lua_settop(L, keys);
	}
	lua_pop(L, 1);
	leave(w, '}', empty);
}

static void write_table(struct writer *w, int idx)
{
	switch (ws_table_kind(w->L, idx)) {
	case WS_LIST:
		write_list(w, idx);
		break;
	case WS_MAP:
		write_map(w, idx);
		break;
	default:
		luaL_error(w->L, "json.encode: a table is neither a list nor a map: it has holes, or numbers among its "
				 "names (json.object{} makes a map of numbers)");
	}
}

static void write_other(struct writer *w, int idx)
{
	size_t len;
	const char *s;
	if (ws_is_null(w->L, idx)) {
		add(w, "null", 4);
	} else if ((s = ws_secret_open(w->L, idx, &len)) != NULL) {
		if (!w->style->secrets)
			luaL_error(w->L, "json.encode: a secret, and the result would be readable; "
					 "{ secrets = true } gives a secret as result");
		write_string(w, s, len);
	} else {
		luaL_error(w->L, "json.encode: JSON has no %s", luaL_typename(w->L, idx));
	}
}

static void write_value(struct writer *w, int idx)
{
	size_t len;
	const char *s;
	switch (lua_type(w->L, idx)) {
	case LUA_TSTRING:
		s = lua_tolstring(w->L, idx, &len);
		write_string(w, s, len);
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(w->L, idx))
			write_integer(w, lua_tointeger(w->L, idx));
		else
			write_float(w, lua_tonumber(w->L, idx));
		break;
	case LUA_TBOOLEAN:
		if (lua_toboolean(w->L, idx))
			add(w, "true", 4);
		else
			add(w, "false", 5);
		break;
	case LUA_TTABLE:
		write_table(w, idx);
		break;
	default:
		write_other(w, idx);
	}
}

void ws_json_encode(lua_State *L, int idx, const struct ws_json_style *style)
{
	idx = lua_absindex(L, idx);
	struct writer w = {.L = L, .style = style, .out = ws_scratch(L, SIZE_MAX / 4)};
	write_value(&w, idx);
	lua_pushlstring(L, w.out->data, w.out->len);
	ws_buf_free(w.out);
	lua_remove(L, -2);
}
