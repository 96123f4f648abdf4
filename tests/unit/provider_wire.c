/* Tests of the provider's wire formats: modules/provider/protobuf.h and msgpack.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "../../modules/provider/msgpack.h"
#include "../../modules/provider/protobuf.h"

#include <cmocka.h>
#include <string.h>

static void protobuf_fields_come_back(void **state)
{
	(void)state;
	struct ws_buf b;
	size_t start = 0;
	ws_buf_init(&b, 4096);
	assert_int_equal(pb_put_varint(&b, 1, 0), 0);
	assert_int_equal(pb_put_varint(&b, 536870911, UINT64_MAX), 0);
	assert_int_equal(pb_begin(&b, 3, &start), 0);
	char long_text[300];
	memset(long_text, 'x', sizeof long_text);
	assert_int_equal(pb_put_bytes(&b, 4, long_text, sizeof long_text), 0);
	assert_int_equal(pb_finish(&b, start), 0);
	assert_int_equal(pb_put_bytes(&b, 5, "", 0), 0);
	struct pb_reader r = {(unsigned char *)b.data, (unsigned char *)b.data + b.len};
	struct pb_field f;
	assert_int_equal(pb_next(&r, &f), 1);
	assert_int_equal(f.number, 1);
	assert_int_equal(f.value, 0);
	assert_int_equal(pb_next(&r, &f), 1);
	assert_int_equal(f.number, 536870911);
	assert_true(f.value == UINT64_MAX);
	assert_int_equal(pb_next(&r, &f), 1);
	assert_int_equal(f.number, 3);
	struct pb_reader inner = {f.data, f.data + f.len};
	assert_int_equal(pb_next(&inner, &f), 1);
	assert_int_equal(f.number, 4);
	assert_int_equal(f.len, sizeof long_text);
	assert_int_equal(pb_next(&inner, &f), 0);
	assert_int_equal(pb_next(&r, &f), 1);
	assert_int_equal(f.len, 0);
	assert_int_equal(pb_next(&r, &f), 0);
	ws_buf_free(&b);
}

static int read_protobuf(const char *bytes, size_t len)
{
	struct pb_reader r = {(const unsigned char *)bytes, (const unsigned char *)bytes + len};
	struct pb_field f;
	int rc;
	while ((rc = pb_next(&r, &f)) == 1)
		;
	return rc;
}

static void malformed_protobuf_is_refused(void **state)
{
	(void)state;
	assert_int_equal(read_protobuf("", 0), 0);
	assert_int_equal(read_protobuf("\x0d\1\2\3\4\x09\1\2\3\4\5\6\7\x08", 14), 0); /* fixed32 and fixed64 */
	assert_int_equal(read_protobuf("\x0a", 1), -1);
	assert_int_equal(read_protobuf("\x0a\2x", 3), -1);
	assert_int_equal(read_protobuf("\0\1", 2), -1);
	assert_int_equal(read_protobuf("\x0b", 1), -1);
	assert_int_equal(read_protobuf("\x0d\1\2", 3), -1);
	assert_int_equal(read_protobuf("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11), 0);
	assert_int_equal(read_protobuf("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 11), -1);
	assert_int_equal(read_protobuf("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11), -1);
}

static void msgpack_has_the_shortest_form(void **state)
{
	(void)state;
	static const struct {
		int64_t value;
		size_t len;
	} cases[] = {{0, 1}, {127, 1}, {128, 2}, {255, 2}, {256, 3}, {65535, 3}, {65536, 5}, {UINT32_MAX, 5},
		{(int64_t)UINT32_MAX + 1, 9}, {INT64_MAX, 9}, {-1, 1}, {-32, 1}, {-33, 2}, {-128, 2}, {-129, 3},
		{INT16_MIN, 3}, {INT16_MIN - 1, 5}, {INT32_MIN, 5}, {(int64_t)INT32_MIN - 1, 9}, {INT64_MIN, 9}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct ws_buf b;
		struct mp_item item;
		ws_buf_init(&b, 64);
		assert_int_equal(mp_put_int(&b, cases[i].value), 0);
		assert_int_equal(b.len, cases[i].len);
		struct mp_reader r = {(unsigned char *)b.data, (unsigned char *)b.data + b.len};
		assert_int_equal(mp_next(&r, &item), 1);
		assert_int_equal(item.kind, MP_INT);
		assert_true(item.integer == cases[i].value);
		assert_int_equal(mp_next(&r, &item), 0);
		ws_buf_free(&b);
	}
}

static void msgpack_lengths(void **state)
{
	(void)state;
	static char text[70000];
	static const size_t lengths[] = {0, 31, 32, 255, 256, 65535, 65536};
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct ws_buf b;
		struct mp_item item;
		ws_buf_init(&b, 1 << 20);
		assert_int_equal(mp_put_string(&b, text, lengths[i]), 0);
		struct mp_reader r = {(unsigned char *)b.data, (unsigned char *)b.data + b.len};
		assert_int_equal(mp_next(&r, &item), 1);
		assert_int_equal(item.kind, MP_STRING);
		assert_int_equal(item.len, lengths[i]);
		ws_buf_free(&b);
	}
}

static int next_of(const char *bytes, size_t len, struct mp_item *item)
{
	struct mp_reader r = {(const unsigned char *)bytes, (const unsigned char *)bytes + len};
	return mp_next(&r, item);
}

static void malformed_msgpack_is_refused(void **state)
{
	(void)state;
	struct mp_item item;
	assert_int_equal(next_of("\xc1", 1, &item), -1);
	assert_int_equal(next_of("\xa2x", 2, &item), -1);
	assert_int_equal(next_of("\xdb\xff\xff\xff\xff", 5, &item), -1);
	assert_int_equal(next_of("\xdd\xff\xff\xff\xff", 5, &item), -1); /* more elements than bytes */
	assert_int_equal(next_of("\xdf\0\0\0\1x", 6, &item), -1);        /* a pair needs two bytes */
	assert_int_equal(next_of("\xcb\1", 2, &item), -1);
	assert_int_equal(next_of("\xd4", 1, &item), -1);
	assert_int_equal(next_of("\xd4\0", 2, &item), -1);
	assert_int_equal(next_of("\xd4\0\0", 3, &item), 1);
	assert_int_equal(item.kind, MP_EXT);
	assert_int_equal(next_of("\xc7\2\x0c\1\2", 5, &item), 1);
	assert_int_equal(item.ext_type, 12);
	assert_int_equal(item.len, 2);
	assert_int_equal(next_of("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 9, &item), 1);
	assert_int_equal(item.kind, MP_UINT);
	assert_true(item.natural == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(protobuf_fields_come_back),
		cmocka_unit_test(malformed_protobuf_is_refused),
		cmocka_unit_test(msgpack_has_the_shortest_form),
		cmocka_unit_test(msgpack_lengths),
		cmocka_unit_test(malformed_msgpack_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
