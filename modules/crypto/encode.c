/* encode.c - base64 (RFC 4648), hexadecimal, random bytes, UUIDs, comparison in constant time. Without OpenSSL.
 *
 * What is made from a secret is a secret.
 */
#include "crypto.h"

#include <ws/secret.h>

#include <lauxlib.h>
#include <string.h>

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

enum { MAX_RANDOM = 1 << 20 };

static int keep_secret(lua_State *L)
{
	if (ws_secret_open(L, 1, NULL) != NULL)
		ws_secret_wrap(L);
	return 1;
}

static int encode(lua_State *L, const char *alphabet, bool pad)
{
	size_t len;
	const unsigned char *s = (const unsigned char *)ws_text_or_secret(L, 1, &len);
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, len / 3 * 4 + 4);
	size_t n = 0;
	for (; len >= 3; s += 3, len -= 3) {
		out[n++] = alphabet[s[0] >> 2];
		out[n++] = alphabet[(s[0] & 3) << 4 | s[1] >> 4];
		out[n++] = alphabet[(s[1] & 15) << 2 | s[2] >> 6];
		out[n++] = alphabet[s[2] & 63];
	}
	if (len > 0) {
		unsigned second = len == 2 ? s[1] : 0;
		out[n++] = alphabet[s[0] >> 2];
		out[n++] = alphabet[(s[0] & 3) << 4 | second >> 4];
		if (len == 2)
			out[n++] = alphabet[(second & 15) << 2];
		for (size_t i = len; pad && i < 3; i++)
			out[n++] = '=';
	}
	luaL_pushresultsize(&b, n);
	return keep_secret(L);
}

/* crypto.base64_encode(data) → text */
static int l_base64_encode(lua_State *L)
{
	return encode(L, standard, true);
}

/* crypto.base64url_encode(data) → text without padding */
static int l_base64url_encode(lua_State *L)
{
	return encode(L, url_safe, false);
}

static int value_of(unsigned char c, const char *alphabet)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == (unsigned char)alphabet[62] ? 62 : c == (unsigned char)alphabet[63] ? 63 : -1;
}

static bool is_space(unsigned char c)
{
	return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

static int refuse(lua_State *L, const char *op, size_t at)
{
	struct ws_err err = {.op = op};
	ws_err_set(&err, "parse", "character %zu is not base64, or the text ends too early", at + 1);
	return ws_fail(L, &err);
}

static int decode(lua_State *L, const char *op, const char *alphabet, bool padded)
{
	size_t len, n = 0, digits = 0, pads = 0;
	const unsigned char *s = (const unsigned char *)ws_text_or_secret(L, 1, &len);
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, len / 4 * 3 + 3);
	unsigned bits = 0;
	for (size_t i = 0; i < len; i++) {
		if (is_space(s[i]))
			continue;
		if (s[i] == '=') {
			pads++;
			continue;
		}
		int value = value_of(s[i], alphabet);
		if (value < 0 || pads > 0)
			return refuse(L, op, i);
		bits = bits << 6 | (unsigned)value;
		if (++digits % 4 != 1)
			out[n++] = (char)(bits >> (6 - 2 * ((digits - 1) % 4)) & 0xff);
	}
	/* 2 digits are a byte and 3 are two; the bits that are left over must be zero, so that each value has one text. */
	size_t rest = digits % 4;
	bool right_pads = rest == 0 ? pads == 0 : pads == 4 - rest || (!padded && pads == 0);
	if (rest == 1 || !right_pads || (rest == 2 && (bits & 15) != 0) || (rest == 3 && (bits & 3) != 0))
		return refuse(L, op, len);
	luaL_pushresultsize(&b, n);
	return keep_secret(L);
}

/* crypto.base64_decode(text) → data | nil, err */
static int l_base64_decode(lua_State *L)
{
	return decode(L, "crypto.base64_decode", standard, true);
}

/* crypto.base64url_decode(text) → data | nil, err; padding may be left out */
static int l_base64url_decode(lua_State *L)
{
	return decode(L, "crypto.base64url_decode", url_safe, false);
}

static void push_hex(lua_State *L, const unsigned char *s, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, 2 * len);
	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[s[i] >> 4];
		out[2 * i + 1] = digits[s[i] & 15];
	}
	luaL_pushresultsize(&b, 2 * len);
}

/* crypto.hex_encode(data) → text */
static int l_hex_encode(lua_State *L)
{
	size_t len;
	const char *s = ws_text_or_secret(L, 1, &len);
	push_hex(L, (const unsigned char *)s, len);
	return keep_secret(L);
}

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* crypto.hex_decode(text) → data | nil, err */
static int l_hex_decode(lua_State *L)
{
	size_t len;
	const unsigned char *s = (const unsigned char *)ws_text_or_secret(L, 1, &len);
	luaL_Buffer b;
	char *out = luaL_buffinitsize(L, &b, len / 2 + 1);
	for (size_t i = 0; i + 1 < len; i += 2) {
		int high = hex_value(s[i]), low = hex_value(s[i + 1]);
		if (high < 0 || low < 0) {
			len = 1;
			break;
		}
		out[i / 2] = (char)(high << 4 | low);
	}
	if (len % 2 != 0) {
		struct ws_err err = {.op = "crypto.hex_decode"};
		ws_err_set(&err, "parse", "this is not pairs of hexadecimal digits");
		return ws_fail(L, &err);
	}
	luaL_pushresultsize(&b, len / 2);
	return keep_secret(L);
}

static size_t check_size(lua_State *L)
{
	lua_Integer n = luaL_checkinteger(L, 1);
	luaL_argcheck(L, n >= 0 && n <= MAX_RANDOM, 1, "between 0 and 1 MiB");
	return (size_t)n;
}

/* crypto.random_bytes(n) → data */
static int l_random_bytes(lua_State *L)
{
	size_t n = check_size(L);
	luaL_Buffer b;
	crypto_random(luaL_buffinitsize(L, &b, n), n);
	luaL_pushresultsize(&b, n);
	return 1;
}

/* crypto.random_hex(n) → text of 2n digits */
static int l_random_hex(lua_State *L)
{
	l_random_bytes(L);
	size_t n;
	const char *s = lua_tolstring(L, -1, &n);
	push_hex(L, (const unsigned char *)s, n);
	return 1;
}

/* crypto.uuid() → text; version 4 (RFC 9562) */
static int l_uuid(lua_State *L)
{
	unsigned char u[16];
	crypto_random(u, sizeof u);
	u[6] = (u[6] & 0x0f) | 0x40;
	u[8] = (u[8] & 0x3f) | 0x80;
	lua_settop(L, 0);
	push_hex(L, u, sizeof u);
	const char *h = lua_tostring(L, 1);
	luaL_Buffer b;
	luaL_buffinit(L, &b);
	static const int groups[] = {8, 4, 4, 4, 12};
	for (int i = 0; i < 5; h += groups[i++]) {
		if (i > 0)
			luaL_addchar(&b, '-');
		luaL_addlstring(&b, h, (size_t)groups[i]);
	}
	luaL_pushresult(&b);
	return 1;
}

/* crypto.equal(a, b) → boolean, in a time that depends on the lengths only */
static int l_equal(lua_State *L)
{
	size_t a_len, b_len;
	const char *a = ws_text_or_secret(L, 1, &a_len), *b = ws_text_or_secret(L, 2, &b_len);
	unsigned char differs = a_len != b_len;
	for (size_t i = 0; i < a_len && i < b_len; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	lua_pushboolean(L, !differs);
	return 1;
}

const struct ws_native crypto_encode_natives[] = {{"base64_encode", l_base64_encode, WS_PURE},
	{"base64_decode", l_base64_decode, WS_PURE}, {"base64url_encode", l_base64url_encode, WS_PURE},
	{"base64url_decode", l_base64url_decode, WS_PURE}, {"hex_encode", l_hex_encode, WS_PURE},
	{"hex_decode", l_hex_decode, WS_PURE}, {"random_bytes", l_random_bytes, WS_PURE},
	{"random_hex", l_random_hex, WS_PURE}, {"uuid", l_uuid, WS_PURE}, {"equal", l_equal, WS_PURE}, {NULL, NULL, 0}};
