/* buf.c - see ws/buf.h. */
#include <ws/buf.h>

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256 };

void ws_buf_init(struct ws_buf *b, size_t max)
{
	*b = (struct ws_buf){.max = max};
}

void ws_buf_free(struct ws_buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

char *ws_buf_room(struct ws_buf *b, size_t len)
{
	if (len > b->max || b->len > b->max - len) {
		ws_buf_free(b);
		return NULL;
	}
	size_t need = b->len + len + 1;
	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : SMALLEST;
		while (cap < need)
			cap *= 2;
		char *data = realloc(b->data, cap);
		if (data == NULL) {
			ws_buf_free(b);
			return NULL;
		}
		b->data = data;
		b->cap = cap;
	}
	b->data[b->len + len] = '\0';
	return b->data + b->len;
}

int ws_buf_add(struct ws_buf *b, const void *data, size_t len)
{
	char *room = ws_buf_room(b, len);
	if (room == NULL)
		return -1;
	if (len > 0)
		memcpy(room, data, len);
	b->len += len;
	return 0;
}

int ws_buf_adds(struct ws_buf *b, const char *s)
{
	return ws_buf_add(b, s, strlen(s));
}

void ws_buf_drop(struct ws_buf *b, size_t len)
{
	if (len >= b->len) {
		b->len = 0;
	} else {
		memmove(b->data, b->data + len, b->len - len);
		b->len -= len;
	}
	if (b->data != NULL)
		b->data[b->len] = '\0';
}
