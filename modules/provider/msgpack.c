/* msgpack.c - see msgpack.h. */
#include "msgpack.h"

#include <string.h>

static int read_number(struct mp_reader *r, unsigned size, uint64_t *value)
{
	if ((size_t)(r->end - r->at) < size)
		return -1;
	*value = 0;
	for (unsigned i = 0; i < size; i++)
		*value = *value << 8 | *r->at++;
	return 0;
}

static int take_bytes(struct mp_reader *r, enum mp_kind kind, size_t len, struct mp_item *item)
{
	if (len > (size_t)(r->end - r->at))
		return -1;
	item->kind = kind;
	item->data = (const char *)r->at;
	item->len = len;
	r->at += len;
	return 1;
}

static int take_container(struct mp_reader *r, enum mp_kind kind, size_t count, struct mp_item *item)
{
	size_t left = (size_t)(r->end - r->at);
	if (count > (kind == MP_MAP ? left / 2 : left))
		return -1;
	item->kind = kind;
	item->count = count;
	return 1;
}

static int take_int(struct mp_item *item, int64_t value)
{
	item->kind = MP_INT;
	item->integer = value;
	return 1;
}

static int take_ext(struct mp_reader *r, size_t len, struct mp_item *item)
{
	if (r->at == r->end)
		return -1;
	item->ext_type = (signed char)*r->at++;
	return take_bytes(r, MP_EXT, len, item);
}

/* The formats 0xc4 to 0xdf that are followed by a number of 1, 2, 4 or 8 bytes. */
static int next_sized(struct mp_reader *r, unsigned char format, struct mp_item *item)
{
	static const unsigned char sizes[] = {
		1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
	uint64_t n;
	unsigned size = sizes[format - 0xc4];
	if (read_number(r, size, &n) != 0)
		return -1;
	switch (format) {
	case 0xc4:
	case 0xc5:
	case 0xc6:
		return take_bytes(r, MP_BINARY, (size_t)n, item);
	case 0xc7:
	case 0xc8:
	case 0xc9:
		return take_ext(r, (size_t)n, item);
	case 0xca: {
		float f;
		uint32_t bits = (uint32_t)n;
		memcpy(&f, &bits, sizeof f);
		item->kind = MP_FLOAT;
		item->real = f;
		return 1;
	}
	case 0xcb:
		memcpy(&item->real, &n, sizeof item->real);
		item->kind = MP_FLOAT;
		return 1;
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		if (n <= INT64_MAX)
			return take_int(item, (int64_t)n);
		item->kind = MP_UINT;
		item->natural = n;
		return 1;
	case 0xd0:
		return take_int(item, (int8_t)n);
	case 0xd1:
		return take_int(item, (int16_t)n);
	case 0xd2:
		return take_int(item, (int32_t)n);
	case 0xd3:
		return take_int(item, (int64_t)n);
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		return take_ext(r, (size_t)1 << (format - 0xd4), item);
	case 0xd9:
	case 0xda:
	case 0xdb:
		return take_bytes(r, MP_STRING, (size_t)n, item);
	case 0xdc:
	case 0xdd:
		return take_container(r, MP_ARRAY, (size_t)n, item);
	default:
		return take_container(r, MP_MAP, (size_t)n, item);
	}
}

int mp_next(struct mp_reader *r, struct mp_item *item)
{
	if (r->at == r->end)
		return 0;
	unsigned char format = *r->at++;
	*item = (struct mp_item){.kind = MP_NIL};
	if (format < 0x80)
		return take_int(item, format);
	if (format < 0x90)
		return take_container(r, MP_MAP, format & 0x0f, item);
	if (format < 0xa0)
		return take_container(r, MP_ARRAY, format & 0x0f, item);
	if (format < 0xc0)
		return take_bytes(r, MP_STRING, format & 0x1f, item);
	if (format >= 0xe0)
		return take_int(item, (int8_t)format);
	switch (format) {
	case 0xc0:
		return 1;
	case 0xc1: /* never used */
		return -1;
	case 0xc2:
	case 0xc3:
		item->kind = MP_BOOL;
		item->boolean = format == 0xc3;
		return 1;
	default:
		return next_sized(r, format, item);
	}
}

static int put_number(struct ws_buf *b, unsigned char format, unsigned size, uint64_t value)
{
	unsigned char bytes[9] = {format};
	for (unsigned i = 0; i < size; i++)
		bytes[1 + i] = (unsigned char)(value >> (8 * (size - 1 - i)));
	return ws_buf_add(b, bytes, 1 + size);
}

int mp_put_nil(struct ws_buf *b)
{
	return put_number(b, 0xc0, 0, 0);
}

int mp_put_bool(struct ws_buf *b, bool value)
{
	return put_number(b, value ? 0xc3 : 0xc2, 0, 0);
}

int mp_put_uint(struct ws_buf *b, uint64_t value)
{
	if (value < 0x80)
		return put_number(b, (unsigned char)value, 0, 0);
	if (value <= UINT8_MAX)
		return put_number(b, 0xcc, 1, value);
	if (value <= UINT16_MAX)
		return put_number(b, 0xcd, 2, value);
	return value <= UINT32_MAX ? put_number(b, 0xce, 4, value) : put_number(b, 0xcf, 8, value);
}

int mp_put_int(struct ws_buf *b, int64_t value)
{
	if (value >= 0)
		return mp_put_uint(b, (uint64_t)value);
	if (value >= -32)
		return put_number(b, (unsigned char)value, 0, 0);
	if (value >= INT8_MIN)
		return put_number(b, 0xd0, 1, (uint64_t)value);
	if (value >= INT16_MIN)
		return put_number(b, 0xd1, 2, (uint64_t)value);
	return value >= INT32_MIN ? put_number(b, 0xd2, 4, (uint64_t)value) : put_number(b, 0xd3, 8, (uint64_t)value);
}

int mp_put_float(struct ws_buf *b, double value)
{
	uint64_t bits;
	memcpy(&bits, &value, sizeof bits);
	return put_number(b, 0xcb, 8, bits);
}

static int put_length(struct ws_buf *b, size_t n, unsigned char fix, size_t fix_max, unsigned char format16)
{
	if (n <= fix_max)
		return put_number(b, (unsigned char)(fix | n), 0, 0);
	if (n <= UINT16_MAX)
		return put_number(b, format16, 2, n);
	return n <= UINT32_MAX ? put_number(b, (unsigned char)(format16 + 1), 4, n) : -1;
}

int mp_put_string(struct ws_buf *b, const char *data, size_t len)
{
	int rc = len > 31 && len <= UINT8_MAX ? put_number(b, 0xd9, 1, len) : put_length(b, len, 0xa0, 31, 0xda);
	return rc == 0 ? ws_buf_add(b, data, len) : -1;
}

int mp_put_array(struct ws_buf *b, size_t count)
{
	return put_length(b, count, 0x90, 15, 0xdc);
}

int mp_put_map(struct ws_buf *b, size_t count)
{
	return put_length(b, count, 0x80, 15, 0xde);
}

int mp_put_unknown(struct ws_buf *b)
{
	return put_number(b, 0xd4, 2, 0);
}
