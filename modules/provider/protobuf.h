/* protobuf.h - the wire format of Protocol Buffers: fields in, fields out.
 *
 * Pure C, no Lua. A reader points into the caller's bytes and never reads past their end. The writer appends to a
 * ws_buf, which bounds the size. Groups (wire types 3 and 4) are refused: proto3 has none.
 */
#ifndef WS_PROVIDER_PROTOBUF_H
#define WS_PROVIDER_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>
#include <ws/buf.h>

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_reader {
	const unsigned char *at;
	const unsigned char *end;
};

struct pb_field {
	uint32_t number;
	enum pb_wire wire;
	uint64_t value;            /* of a varint or fixed field */
	const unsigned char *data; /* of a length-delimited field */
	size_t len;
};

/* Reads the next field: 1, or 0 at the end, or -1 when the bytes are malformed. Never raises. */
int pb_next(struct pb_reader *r, struct pb_field *field);
/* Appends a varint field. 0, or -1 as ws_buf_add. Never raises. */
int pb_put_varint(struct ws_buf *b, uint32_t number, uint64_t value);
/* Appends a length-delimited field. 0, or -1 as ws_buf_add. Never raises. */
int pb_put_bytes(struct ws_buf *b, uint32_t number, const void *data, size_t len);
/* For a field whose length is known only after it was written: notes where its content begins, ... */
int pb_begin(struct ws_buf *b, uint32_t number, size_t *start);
/* ... and puts the length in front of it. 0, or -1 as ws_buf_add. Never raises. */
int pb_finish(struct ws_buf *b, size_t start);

#endif
