/* decode.c - JSON text (RFC 8259) to Lua values.
 *
 * The parser reads the text once and makes Lua values directly, with no tree between. The text is a Lua string, so a
 * NUL follows its last byte: looking at one byte needs no check of the end. Bad text ends the parse with `at` and
 * `what` set; functions return false then, and the caller drops what is on the stack.
 *
 * Numbers: an integer that fits 64 bits is a Lua integer, any other number a float; one too large for a float is
 * refused. Keys that occur twice in a map are refused.
 */
#include "decode.h"

#include "plain.h"

#include <ws/scratch.h>
#include <ws/utf8.h>
#include <ws/value.h>

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	lua_State *L;
	const char *start, *p, *end;
	int depth;
	const char *at; /* where the text is wrong */
	const char *what;
	struct ws_buf *unescaped; /* of the string with escapes that is being read */
	struct ws_values values;
};

static bool parse_value(struct parser *s);

static bool bad(struct parser *s, const char *at, const char *what)
{
	s->at = at;
	s->what = what;
	return false;
}

static void skip_space(struct parser *s)
{
	const char *p = s->p;
	while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')
		p++;
	s->p = p;
}

/* --- strings --- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads the four digits at p. */
static bool read_hex4(const char *p, uint32_t *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);
		if (digit < 0)
			return false;
		*code = *code << 4 | (uint32_t)digit;
	}
	return true;
}

/* Reads the escape at p (after the backslash) to `out`; NULL when it is wrong. */
static const char *read_escape(struct parser *s, const char *p, char **out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found = *p != '\0' ? strchr(from, *p) : NULL;
	if (found != NULL) {
		*(*out)++ = to[found - from];
		return p + 1;
	}
	uint32_t code, low;
	if (*p != 'u' || !read_hex4(p + 1, &code)) {
		bad(s, p - 1, *p == 'u' ? "\\u needs four hexadecimal digits" : "unknown escape in a string");
		return NULL;
	}
	p += 5;
	if (code >= 0xd800 && code < 0xe000) {
		if (code >= 0xdc00 || p[0] != '\\' || p[1] != 'u' || !read_hex4(p + 2, &low) || low < 0xdc00 ||
			low > 0xdfff) {
			bad(s, p - 6, "half of a surrogate pair");
			return NULL;
		}
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		p += 6;
	}
	*out += ws_utf8_encode(*out, code);
	return p;
}

/* Pushes the string whose plain beginning is begin..p and that goes on with an escape at p. */
static bool parse_escaped(struct parser *s, const char *begin, const char *p)
{
	const char *quote = p; /* escaped text is never shorter than what it stands for: find its end first */
	while (quote < s->end && *quote != '"')
		quote += *quote == '\\' ? 2 : 1;
	if (quote >= s->end)
		quote = s->end;
	ws_buf_free(s->unescaped);
	char *room = ws_buf_room(s->unescaped, (size_t)(quote - begin));
	if (room == NULL)
		luaL_error(s->L, "not enough memory");
	char *out = room;
	memcpy(out, begin, (size_t)(p - begin));
	out += p - begin;
	for (;;) {
		const char *plain = p;
		p = ws_json_skip_plain(p, s->end);
		memcpy(out, plain, (size_t)(p - plain));
		out += p - plain;
		if (*p == '"')
			break;
		if (*p == '\\') {
			if (p + 1 >= s->end)
				return bad(s, begin - 1, "the string does not end");
			p = read_escape(s, p + 1, &out);
			if (p == NULL)
				return false;
			continue;
		}
		if (p >= s->end)
			return bad(s, begin - 1, "the string does not end");
		size_t n = ws_utf8_sequence(p, s->end);
		if ((unsigned char)*p < 0x20 || n == 0)
			return bad(s, p, n == 0 ? "not UTF-8" : "control character in a string: it has to be escaped");
		memcpy(out, p, n);
		out += n;
		p += n;
	}
	lua_pushlstring(s->L, room, (size_t)(out - room));
	s->p = p + 1;
	return true;
}

/* Pushes the string whose opening quote is at s->p. */
static bool parse_string(struct parser *s)
{
	const char *begin = s->p + 1, *p = begin;
	for (;;) {
		p = ws_json_skip_plain(p, s->end);
		if (*p == '"')
			break;
		if (*p == '\\')
			return parse_escaped(s, begin, p);
		if (p >= s->end)
			return bad(s, s->p, "the string does not end");
		if ((unsigned char)*p < 0x20)
			return bad(s, p, "control character in a string: it has to be escaped");
		size_t n = ws_utf8_sequence(p, s->end);
		if (n == 0)
			return bad(s, p, "not UTF-8");
		p += n;
	}
	lua_pushlstring(s->L, begin, (size_t)(p - begin));
	s->p = p + 1;
	return true;
}

/* --- numbers --- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool push_float(struct parser *s, const char *begin)
{
	double d = strtod(begin, NULL);
	if (!isfinite(d))
		return bad(s, begin, "the number is too large");
	lua_pushnumber(s->L, d);
	return true;
}

/* Pushes digits × 10^exponent when that is exact: both factors are floats without rounding then (Clinger, "How to read
 * floating point numbers accurately", 1990). */
static bool push_exact(lua_State *L, bool negative, uint64_t digits, int exponent)
{
	static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
		1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	if (digits > (UINT64_C(1) << 53) || exponent < -22 || exponent > 22)
		return false;
	double d = exponent < 0 ? (double)digits / powers[-exponent] : (double)digits * powers[exponent];
	lua_pushnumber(L, negative ? -d : d);
	return true;
}

static bool parse_number(struct parser *s)
{
	const char *begin = s->p, *p = begin;
	bool negative = *p == '-';
	p += negative;
	if (!is_digit(*p))
		return bad(s, begin, "unexpected character");
	if (*p == '0' && is_digit(p[1]))
		return bad(s, begin, "a number has no leading zeros");
	const char *first = p;
	uint64_t n = 0;
	while (is_digit(*p))
		n = n * 10 + (uint64_t)(*p++ - '0');
	bool exact = p - first <= 19; /* 19 digits always fit 64 bits */
	if (*p != '.' && *p != 'e' && *p != 'E') {
		s->p = p;
		uint64_t most = (uint64_t)INT64_MAX + negative;
		if (exact && n <= most && !(negative && n == 0)) {
			lua_pushinteger(s->L, negative ? (lua_Integer)(0 - n) : (lua_Integer)n);
			return true;
		}
		return push_float(s, begin);
	}
	int exponent = 0;
	if (*p == '.') {
		const char *fraction = ++p;
		if (!is_digit(*p))
			return bad(s, p, "a digit has to follow the decimal point");
		while (is_digit(*p))
			n = n * 10 + (uint64_t)(*p++ - '0');
		exact = p - first - 1 <= 19;
		exponent = exact ? -(int)(p - fraction) : 0;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		bool minus = *p == '-';
		p += minus || *p == '+';
		if (!is_digit(*p))
			return bad(s, p, "a digit has to follow the exponent sign");
		int e = 0;
		while (is_digit(*p))
			e = e < 10000 ? e * 10 + (*p++ - '0') : (p++, e);
		exponent += minus ? -e : e;
	}
	s->p = p;
	return (exact && push_exact(s->L, negative, n, exponent)) || push_float(s, begin);
}

/* --- lists and maps --- */

static bool enter(struct parser *s)
{
	if (s->depth == WS_JSON_DEPTH)
		return bad(s, s->p, "nested too deeply");
	s->depth++;
	s->p++;
	skip_space(s);
	return true;
}

/* After an entry: true when another follows; else s->p is behind the closing bracket, or at something wrong. */
static bool another(struct parser *s, char close, bool *ok)
{
	skip_space(s);
	char c = *s->p;
	*ok = c == ',' || c == close;
	if (!*ok) {
		bad(s, s->p, close == ']' ? "',' or ']' expected" : "',' or '}' expected");
		return false;
	}
	s->p++;
	if (c == ',')
		skip_space(s);
	return c == ',';
}

static bool parse_list(struct parser *s)
{
	struct ws_part list;
	bool ok = true;
	if (!enter(s))
		return false;
	ws_list_begin(&s->values, &list);
	if (*s->p == ']') {
		s->p++;
	} else {
		do {
			if (!parse_value(s))
				return false;
			ws_list_add(&s->values, &list);
		} while (another(s, ']', &ok));
	}
	if (!ok)
		return false;
	s->depth--;
	ws_list_end(&s->values, &list);
	return true;
}

/* Skips the value at p, which has been parsed before. */
static const char *skip_value(const char *p)
{
	int depth = 0;
	do {
		if (*p == '"') {
			for (p++; *p != '"'; p++)
				p += *p == '\\';
		} else if (*p == '{' || *p == '[') {
			depth++;
		} else if (*p == '}' || *p == ']') {
			depth--;
		}
		p++;
	} while (depth > 0 || (*p != ',' && *p != ':' && *p != '}' && *p != ']' && *p != '\0'));
	return p;
}

/* Says that the nth key of the map that begins at `open` occurred before. */
static bool duplicate(struct parser *s, const char *open, lua_Integer nth)
{
	const char *p = open + 1;
	for (lua_Integer i = 1; i < nth; i++)
		p = skip_value(skip_value(p) + 1) + 1;
	while (*p != '"')
		p++;
	return bad(s, p, "this key is in the map already");
}

static bool parse_map(struct parser *s)
{
	const char *open = s->p;
	struct ws_part map;
	lua_Integer twice = 0;
	bool ok = true;
	if (!enter(s))
		return false;
	ws_map_begin(&s->values, &map);
	if (*s->p == '}') {
		s->p++;
	} else {
		do {
			if (*s->p != '"')
				return bad(s, s->p, "a key in double quotes expected");
			if (!parse_string(s))
				return false;
			skip_space(s);
			if (*s->p != ':')
				return bad(s, s->p, "':' expected");
			s->p++;
			skip_space(s);
			if (!parse_value(s))
				return false;
			twice = ws_map_add(&s->values, &map);
			if (twice != 0)
				return duplicate(s, open, twice);
		} while (another(s, '}', &ok));
	}
	if (!ok)
		return false;
	s->depth--;
	twice = ws_map_end(&s->values, &map);
	return twice == 0 || duplicate(s, open, twice);
}

static bool parse_word(struct parser *s, const char *word, size_t len)
{
	if (strncmp(s->p, word, len) != 0)
		return bad(s, s->p, "unexpected word: a string needs double quotes");
	s->p += len;
	return true;
}

static bool parse_value(struct parser *s)
{
	switch (*s->p) {
	case '{':
		return parse_map(s);
	case '[':
		return parse_list(s);
	case '"':
		return parse_string(s);
	case 't':
		lua_pushboolean(s->L, 1);
		return parse_word(s, "true", 4);
	case 'f':
		lua_pushboolean(s->L, 0);
		return parse_word(s, "false", 5);
	case 'n':
		ws_values_null(&s->values);
		return parse_word(s, "null", 4);
	case '\0':
		if (s->p == s->end)
			return bad(s, s->p, "the text ends where a value is expected");
		return bad(s, s->p, "unexpected NUL byte");
	case ',':
	case ']':
	case '}':
		return bad(s, s->p, "a value expected");
	default:
		return parse_number(s);
	}
}

static void describe(const struct parser *s, const char *filename, struct ws_err *err)
{
	size_t line = 1;
	const char *line_start = s->start;
	for (const char *p = s->start; p < s->at; p++) {
		if (*p == '\n') {
			line++;
			line_start = p + 1;
		}
	}
	size_t column = ws_utf8_count(line_start, (size_t)(s->at - line_start)) + 1;
	ws_err_set(
		err, "parse", "%s%s%zu:%zu: %s", filename ? filename : "", filename ? ":" : "", line, column, s->what);
}

int ws_json_decode(lua_State *L, int idx, const char *filename, struct ws_err *err)
{
	struct parser s = {.L = L};
	int top = lua_gettop(L);
	size_t len;
	s.start = s.p = lua_tolstring(L, idx, &len);
	s.end = s.start + len;
	if (len >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0) /* a byte order mark may be ignored (RFC 8259, 8.1) */
		s.p += 3;
	s.unescaped = ws_scratch(L, len);
	ws_values_begin(L, &s.values);
	skip_space(&s);
	bool ok = parse_value(&s);
	if (ok) {
		skip_space(&s);
		ok = s.p == s.end || bad(&s, s.p, "the text goes on after its value");
	}
	ws_buf_free(s.unescaped);
	if (!ok) {
		describe(&s, filename, err);
		lua_settop(L, top);
		return -1;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return 0;
}
