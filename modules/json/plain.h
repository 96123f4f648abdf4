/* plain.h - the bytes that stand for themselves in a JSON string, for both directions. */
#ifndef WS_JSON_PLAIN_H
#define WS_JSON_PLAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ASCII without controls, quote and backslash. */
static inline bool ws_json_is_plain(char c)
{
	return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

#define WS_REPEAT(byte) (0x0101010101010101u * (byte))
#define WS_HAS_ZERO(x) (((x)-WS_REPEAT(1)) & ~(x))

/* The first byte of p..end that does not stand for itself, or `end`; looks at eight bytes at a time. */
static inline const char *ws_json_skip_plain(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		uint64_t special =
			w | WS_HAS_ZERO(w ^ WS_REPEAT('"')) | WS_HAS_ZERO(w ^ WS_REPEAT('\\')) | (w - WS_REPEAT(0x20));
		if (special & WS_REPEAT(0x80))
			break;
		p += 8;
	}
	while (p < end && ws_json_is_plain(*p))
		p++;
	return p;
}

#endif
