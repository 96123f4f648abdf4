/* scalar.c - see scalar.h. */
#include "scalar.h"

#include <ws/utf8.h>
#include <ws/value.h>

#include <lauxlib.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool among(const char *s, size_t len, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strlen(*words) == len && memcmp(*words, s, len) == 0)
			return true;
	return false;
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?, integers aside */
static enum ws_yaml_type number_type(const char *p, const char *end)
{
	p += *p == '-' || *p == '+';
	const char *first = p;
	while (p < end && is_digit(*p))
		p++;
	bool digits = p > first;
	if (p == end)
		return digits ? WS_YAML_INTEGER : WS_YAML_STRING;
	if (*p == '.') {
		const char *fraction = ++p;
		while (p < end && is_digit(*p))
			p++;
		digits = digits || p > fraction;
	}
	if (!digits)
		return WS_YAML_STRING;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		p += p < end && (*p == '-' || *p == '+');
		const char *exponent = p;
		while (p < end && is_digit(*p))
			p++;
		if (p == exponent)
			return WS_YAML_STRING;
	}
	return p == end ? WS_YAML_FLOAT : WS_YAML_STRING;
}

static bool based_integer(const char *s, size_t len)
{
	const char *digits = s[1] == 'x' ? "0123456789abcdefABCDEF" : "01234567";
	return len > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'o') && strspn(s + 2, digits) == len - 2;
}

static bool is_boolean11(const char *s, size_t len)
{
	static const char *const words[] = {
		"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF", NULL};
	return len <= 3 && among(s, len, words);
}

static bool is_binary(const char *s, size_t len)
{
	s += *s == '-' || *s == '+' ? (len--, 1) : 0;
	return len > 2 && s[0] == '0' && s[1] == 'b' && strspn(s + 2, "01") == len - 2;
}

/* The base of an integer's digits; *p goes to the first of them. */
static unsigned base_of(const char **p, const char *end, bool yaml11)
{
	const char *s = *p;
	if (end - s < 2 || s[0] != '0')
		return 10;
	unsigned base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : s[1] == 'b' && yaml11 ? 2 : 0;
	if (base != 0) {
		*p = s + 2;
		return base;
	}
	return yaml11 && strspn(s, "01234567") == (size_t)(end - s) ? 8 : 10;
}

enum ws_yaml_type ws_yaml_type(const char *s, size_t len, bool yaml11)
{
	static const char *const nulls[] = {"null", "~", "Null", "NULL", NULL};
	static const char *const booleans[] = {"true", "false", "True", "False", "TRUE", "FALSE", NULL};
	static const char *const floats[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
	if (len == 0)
		return WS_YAML_NULL;
	if (yaml11 && is_boolean11(s, len))
		return WS_YAML_BOOLEAN;
	if (yaml11 && is_binary(s, len))
		return WS_YAML_INTEGER;
	switch (s[0]) {
	case 'n':
	case 'N':
	case '~':
		return among(s, len, nulls) ? WS_YAML_NULL : WS_YAML_STRING;
	case 't':
	case 'T':
	case 'f':
	case 'F':
		return among(s, len, booleans) ? WS_YAML_BOOLEAN : WS_YAML_STRING;
	case '.':
		if (among(s, len, floats))
			return WS_YAML_FLOAT;
		return number_type(s, s + len);
	case '+':
	case '-':
		if (len == 5 && among(s + 1, len - 1, floats) && s[2] != 'n' && s[2] != 'N')
			return WS_YAML_FLOAT;
		return number_type(s, s + len);
	case '0':
		if (based_integer(s, len))
			return WS_YAML_INTEGER;
		return number_type(s, s + len);
	default:
		return is_digit(s[0]) ? number_type(s, s + len) : WS_YAML_STRING;
	}
}

static void push_integer(lua_State *L, const char *s, size_t len, bool yaml11)
{
	bool negative = s[0] == '-';
	const char *p = s + (s[0] == '-' || s[0] == '+');
	unsigned base = base_of(&p, s + len, yaml11);
	uint64_t n = 0, most = (uint64_t)INT64_MAX + negative;
	double big = 0;
	bool fits = true;
	for (; p < s + len; p++) {
		unsigned digit = is_digit(*p) ? (unsigned)(*p - '0') : (unsigned)((*p | 0x20) - 'a' + 10);
		fits = fits && n <= (most - digit) / base;
		n = n * base + digit;
		big = big * base + digit;
	}
	if (fits)
		lua_pushinteger(L, negative ? (lua_Integer)(0 - n) : (lua_Integer)n);
	else
		lua_pushnumber(L, base == 10 ? strtod(s, NULL) : big);
}

static void push_float(lua_State *L, const char *s)
{
	const char *p = s + (s[0] == '-' || s[0] == '+');
	if (p[0] == '.' && (p[1] == 'n' || p[1] == 'N'))
		lua_pushnumber(L, NAN);
	else if (p[0] == '.' && (p[1] == 'i' || p[1] == 'I'))
		lua_pushnumber(L, s[0] == '-' ? -INFINITY : INFINITY);
	else
		lua_pushnumber(L, strtod(s, NULL));
}

void ws_yaml_push_plain(lua_State *L, enum ws_yaml_type type, const char *s, size_t len, bool yaml11)
{
	switch (type) {
	case WS_YAML_NULL:
		ws_push_null(L);
		break;
	case WS_YAML_BOOLEAN:
		lua_pushboolean(L, strchr("tTyY", s[0]) != NULL || (len == 2 && strcasecmp(s, "on") == 0));
		break;
	case WS_YAML_INTEGER:
		push_integer(L, s, len, yaml11);
		break;
	case WS_YAML_FLOAT:
		push_float(L, s);
		break;
	default:
		lua_pushlstring(L, s, len);
	}
}

static bool is_plain(const yaml_event_t *e)
{
	return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && e->data.scalar.tag == NULL &&
	       e->data.scalar.plain_implicit;
}

void ws_yaml_push_key(lua_State *L, const yaml_event_t *event)
{
	const char *s = (const char *)event->data.scalar.value;
	size_t len = event->data.scalar.length;
	if (is_plain(event) && ws_yaml_type(s, len, false) == WS_YAML_INTEGER)
		ws_yaml_push_plain(L, WS_YAML_INTEGER, s, len, false);
	else
		lua_pushlstring(L, s, len);
	if (lua_type(L, -1) == LUA_TNUMBER && !lua_isinteger(L, -1)) {
		lua_pop(L, 1);
		lua_pushlstring(L, s, len);
	}
}

bool ws_yaml_is_merge(const yaml_event_t *event)
{
	return event->type == YAML_SCALAR_EVENT && is_plain(event) && event->data.scalar.length == 2 &&
	       memcmp(event->data.scalar.value, "<<", 2) == 0;
}

/* Numbers, times and dates of YAML 1.1 and 1.2. */
static bool looks_like_number(const char *s, size_t len)
{
	const char *p = s + (s[0] == '-' || s[0] == '+'), *end = s + len;
	if (p == end || (!is_digit(*p) && *p != '.'))
		return false;
	if (strcasecmp(p, ".inf") == 0 || strcasecmp(p, ".nan") == 0)
		return true;
	if (end - p > 2 && *p == '0' && strchr("xob", p[1] | 0x20) != NULL)
		return true;
	if (end - p >= 8 && is_digit(p[1]) && is_digit(p[2]) && is_digit(p[3]) && p[4] == '-') /* 2026-01-31T… */
		return true;
	int dots = 0;
	for (; p < end; p++) {
		if (!is_digit(*p) && strchr("_:.eE+-", *p) == NULL)
			return false;
		dots += *p == '.';
	}
	return dots < 2; /* versions and addresses have more */
}

static bool is_word_of_yaml(const char *s)
{
	static const char *const words[] = {
		"true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", "=", "<<"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(s, words[i]) == 0)
			return true;
	return false;
}

bool ws_yaml_plain_string(const char *s, size_t len)
{
	if (len == 0 || strchr("?:,[]{}#&*!|>'\"%@` ", s[0]) != NULL || s[len - 1] == ' ' || s[len - 1] == ':')
		return false;
	if (s[0] == '-' && (len == 1 || s[1] == ' ' || strncmp(s, "---", 3) == 0))
		return false;
	if (strncmp(s, "...", 3) == 0 || is_word_of_yaml(s) || looks_like_number(s, len))
		return false;
	for (const char *p = s, *end = s + len; p < end;) {
		size_t n = ws_utf8_sequence(p, end);
		unsigned char c = (unsigned char)*p;
		if (n == 0 || c < 0x20 || c == 0x7f)
			return false;
		if ((c == ':' && p[1] == ' ') || (c == ' ' && p[1] == '#'))
			return false;
		/* C1 controls, U+2028 and U+2029 (line breaks in YAML 1.1), the byte order mark, U+FFFE and U+FFFF */
		if (n == 2 && c == 0xc2 && (unsigned char)p[1] < 0xa0)
			return false;
		if (n == 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0 ||
				      memcmp(p, "\xef\xbb\xbf", 3) == 0 || memcmp(p, "\xef\xbf\xbe", 3) == 0 ||
				      memcmp(p, "\xef\xbf\xbf", 3) == 0))
			return false;
		p += n;
	}
	return true;
}
