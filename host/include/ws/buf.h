/* buf.h - the one growing buffer.
 *
 * Every buffer is given its largest size when it is made. An addition that would pass it, or for which there is no
 * memory, frees the buffer and returns -1: callers return at once and clean up nothing.
 */
#ifndef WS_BUF_H
#define WS_BUF_H

#include <stddef.h>

struct ws_buf {
	char *data; /* NUL-terminated when not NULL */
	size_t len; /* bytes used, without the NUL */
	size_t cap; /* bytes allocated */
	size_t max; /* largest len */
};

/* Prepares an empty buffer that may grow to `max` bytes. Never raises. */
void ws_buf_init(struct ws_buf *b, size_t max);
/* Frees the content; the buffer may be used again. Never raises. */
void ws_buf_free(struct ws_buf *b);
/* Appends `len` bytes. Returns 0, or -1 when the limit or memory is exhausted (the buffer is then empty). Never raises. */
int ws_buf_add(struct ws_buf *b, const void *data, size_t len);
/* Appends a NUL-terminated string; as ws_buf_add. */
int ws_buf_adds(struct ws_buf *b, const char *s);
/* Makes room for `len` more bytes and returns where they go, or NULL as ws_buf_add; b->len is the caller's to raise. */
char *ws_buf_room(struct ws_buf *b, size_t len);
/* Drops the first `len` bytes. Never raises. */
void ws_buf_drop(struct ws_buf *b, size_t len);

#endif
