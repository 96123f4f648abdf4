/* utf8.h - checking UTF-8, as RFC 3629 defines it: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef WS_UTF8_H
#define WS_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the valid sequence at `s` (1 to 4), or 0 when there is none. s < end. Never raises. */
size_t ws_utf8_sequence(const char *s, const char *end);
/* The length of the longest valid beginning of the text. Never raises. */
size_t ws_utf8_valid(const char *s, size_t len);
/* Writes the code point to `out` (room for 4 bytes) and returns the number of bytes. Never raises. */
size_t ws_utf8_encode(char *out, uint32_t code);
/* The number of code points in a text (bytes that continue a sequence are not counted). Never raises. */
size_t ws_utf8_count(const char *s, size_t len);

#endif
