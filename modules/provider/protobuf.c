/* protobuf.c - see protobuf.h. */
#include "protobuf.h"

#include <string.h>

static int read_varint(struct pb_reader *r, uint64_t *value)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		if (r->at == r->end)
			return -1;
		unsigned char byte = *r->at++;
		if (shift == 63 && byte > 1)
			return -1;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*value = v;
			return 0;
		}
	}
	return -1;
}

static int read_fixed(struct pb_reader *r, unsigned size, uint64_t *value)
{
	if ((size_t)(r->end - r->at) < size)
		return -1;
	*value = 0;
	for (unsigned i = 0; i < size; i++)
		*value |= (uint64_t)r->at[i] << (8 * i);
	r->at += size;
	return 0;
}

int pb_next(struct pb_reader *r, struct pb_field *field)
{
	uint64_t key, len;
	if (r->at == r->end)
		return 0;
	if (read_varint(r, &key) != 0 || key >> 3 == 0 || key >> 3 > 0x1fffffff)
		return -1;
	*field = (struct pb_field){.number = (uint32_t)(key >> 3), .wire = (enum pb_wire)(key & 7)};
	switch (field->wire) {
	case PB_VARINT:
		return read_varint(r, &field->value) == 0 ? 1 : -1;
	case PB_FIXED64:
		return read_fixed(r, 8, &field->value) == 0 ? 1 : -1;
	case PB_FIXED32:
		return read_fixed(r, 4, &field->value) == 0 ? 1 : -1;
	case PB_BYTES:
		if (read_varint(r, &len) != 0 || len > (uint64_t)(r->end - r->at))
			return -1;
		field->data = r->at;
		field->len = (size_t)len;
		r->at += len;
		return 1;
	default:
		return -1;
	}
}

static size_t write_varint(unsigned char out[10], uint64_t value)
{
	size_t n = 0;
	for (; value >= 0x80; value >>= 7)
		out[n++] = (unsigned char)(value | 0x80);
	out[n++] = (unsigned char)value;
	return n;
}

static int put_raw_varint(struct ws_buf *b, uint64_t value)
{
	unsigned char bytes[10];
	return ws_buf_add(b, bytes, write_varint(bytes, value));
}

int pb_put_varint(struct ws_buf *b, uint32_t number, uint64_t value)
{
	return put_raw_varint(b, (uint64_t)number << 3 | PB_VARINT) == 0 ? put_raw_varint(b, value) : -1;
}

int pb_put_bytes(struct ws_buf *b, uint32_t number, const void *data, size_t len)
{
	if (put_raw_varint(b, (uint64_t)number << 3 | PB_BYTES) != 0 || put_raw_varint(b, len) != 0)
		return -1;
	return ws_buf_add(b, data, len);
}

int pb_begin(struct ws_buf *b, uint32_t number, size_t *start)
{
	if (put_raw_varint(b, (uint64_t)number << 3 | PB_BYTES) != 0)
		return -1;
	*start = b->len;
	return 0;
}

int pb_finish(struct ws_buf *b, size_t start)
{
	unsigned char bytes[10];
	size_t len = b->len - start, n = write_varint(bytes, len);
	if (ws_buf_room(b, n) == NULL)
		return -1;
	b->len += n;
	memmove(b->data + start + n, b->data + start, len);
	memcpy(b->data + start, bytes, n);
	b->data[b->len] = '\0';
	return 0;
}
