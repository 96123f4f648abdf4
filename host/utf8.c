/* utf8.c - see ws/utf8.h. */
#include <ws/utf8.h>

#include <stdbool.h>

static bool continues(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

size_t ws_utf8_sequence(const char *s, const char *end)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t left = (size_t)(end - s);
	unsigned char c = p[0];
	if (c < 0x80)
		return 1;
	if (c < 0xc2) /* a continuation, or the overlong C0 and C1 */
		return 0;
	if (c < 0xe0)
		return left >= 2 && continues(p[1]) ? 2 : 0;
	if (c < 0xf0) {
		if (left < 3 || !continues(p[1]) || !continues(p[2]))
			return 0;
		if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f)) /* overlong; surrogates */
			return 0;
		return 3;
	}
	if (c > 0xf4 || left < 4 || !continues(p[1]) || !continues(p[2]) || !continues(p[3]))
		return 0;
	if ((c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f)) /* overlong; above U+10FFFF */
		return 0;
	return 4;
}

size_t ws_utf8_valid(const char *s, size_t len)
{
	const char *p = s, *end = s + len;
	while (p < end) {
		size_t n = ws_utf8_sequence(p, end);
		if (n == 0)
			break;
		p += n;
	}
	return (size_t)(p - s);
}

size_t ws_utf8_encode(char *out, uint32_t code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
	out[0] = (char)(lead[n] | code);
	return n;
}

size_t ws_utf8_count(const char *s, size_t len)
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += !continues((unsigned char)s[i]);
	return n;
}
