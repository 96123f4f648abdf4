/* msgpack.h - MessagePack items in and out, as Terraform writes its values.
 *
 * Pure C, no Lua. A reader points into the caller's bytes and never reads past their end; the count of an array or map
 * never exceeds what the bytes that are left could hold, so a caller may allocate by it.
 */
#ifndef WS_PROVIDER_MSGPACK_H
#define WS_PROVIDER_MSGPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ws/buf.h>

enum mp_kind { MP_NIL, MP_BOOL, MP_INT, MP_UINT, MP_FLOAT, MP_STRING, MP_BINARY, MP_ARRAY, MP_MAP, MP_EXT };

struct mp_reader {
	const unsigned char *at;
	const unsigned char *end;
};

struct mp_item {
	enum mp_kind kind;
	bool boolean;
	int64_t integer;  /* MP_INT: negative or small */
	uint64_t natural; /* MP_UINT: only above INT64_MAX */
	double real;
	const char *data; /* MP_STRING, MP_BINARY, MP_EXT */
	size_t len;
	size_t count; /* MP_ARRAY: elements; MP_MAP: pairs */
	int ext_type;
};

/* Reads one item; an array's or map's elements follow as items of their own. 1, 0 at the end, -1 malformed. Never raises. */
int mp_next(struct mp_reader *r, struct mp_item *item);

/* All writers: 0, or -1 as ws_buf_add. Never raise. */
int mp_put_nil(struct ws_buf *b);
int mp_put_bool(struct ws_buf *b, bool value);
int mp_put_int(struct ws_buf *b, int64_t value);
int mp_put_uint(struct ws_buf *b, uint64_t value);
int mp_put_float(struct ws_buf *b, double value);
int mp_put_string(struct ws_buf *b, const char *data, size_t len);
int mp_put_array(struct ws_buf *b, size_t count);
int mp_put_map(struct ws_buf *b, size_t count);
int mp_put_unknown(struct ws_buf *b); /* Terraform's unknown value: extension 0 with one zero byte */

#endif
