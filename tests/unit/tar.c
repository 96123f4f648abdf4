/* Headers of tar archives: what fits into ustar, and what needs a pax record. */
#include "../../modules/archive/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ws_buf made(struct tar_entry entry)
{
	struct ws_buf out;
	ws_buf_init(&out, 1 << 20);
	assert_int_equal(tar_header(&out, &entry), 0);
	assert_int_equal(out.len % TAR_BLOCK, 0);
	return out;
}

/* The checksum of a header is right, and the last block of `out` is the entry's own. */
static const char *last(const struct ws_buf *out)
{
	const char *block = out->data + out->len - TAR_BLOCK;
	unsigned sum = 0;
	for (int i = 0; i < TAR_BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : (unsigned char)block[i];
	assert_int_equal(strtoul(block + 148, NULL, 8), sum);
	assert_memory_equal(block + 257, "ustar\00000", 8);
	return block;
}

static void plain(void **state)
{
	(void)state;
	struct ws_buf out =
		made((struct tar_entry){.name = "a/b", .size = 5, .mtime = 1700000000, .mode = 0755, .type = '0'});
	const char *block = last(&out);
	assert_int_equal(out.len, TAR_BLOCK);
	assert_string_equal(block, "a/b");
	assert_string_equal(block + 100, "0000755");
	assert_string_equal(block + 124, "00000000005");
	assert_string_equal(block + 136, "14524770400");
	assert_int_equal(block[156], '0');
	ws_buf_free(&out);
}

static void sizes(void **state)
{
	(void)state;
	struct ws_buf out = made((struct tar_entry){.name = "big", .size = 077777777777LL, .type = '0'});
	assert_int_equal(out.len, TAR_BLOCK);
	assert_string_equal(last(&out) + 124, "77777777777");
	ws_buf_free(&out);
	out = made((struct tar_entry){.name = "big", .size = 077777777777LL + 1, .type = '0'});
	assert_int_equal(out.len, 3 * TAR_BLOCK);
	assert_int_equal(out.data[156], 'x');
	assert_string_equal(out.data + TAR_BLOCK, "19 size=8589934592\n");
	assert_string_equal(last(&out) + 124, "00000000000");
	ws_buf_free(&out);
}

static void repeat(char *name, const char *part, size_t times)
{
	*name = '\0';
	while (times-- > 0)
		strcat(name, part);
}

static void names(void **state)
{
	(void)state;
	char name[400];
	repeat(name, "n", 100); /* fills the field, without a NUL */
	struct ws_buf out = made((struct tar_entry){.name = name, .type = '0'});
	assert_int_equal(out.len, TAR_BLOCK);
	assert_memory_equal(last(&out), name, 100);
	ws_buf_free(&out);
	repeat(name, "n", 101); /* no slash to split at */
	out = made((struct tar_entry){.name = name, .type = '0'});
	assert_int_equal(out.len, 3 * TAR_BLOCK);
	assert_memory_equal(out.data + TAR_BLOCK, "111 path=nnn", 12);
	ws_buf_free(&out);
	repeat(name, "d/", 127); /* 254 bytes: split at a slash, which is in neither part */
	strcat(name, "f");
	out = made((struct tar_entry){.name = name, .type = '0'});
	const char *block = last(&out);
	assert_int_equal(out.len, TAR_BLOCK);
	size_t prefix = strlen(block + 345);
	assert_true(prefix <= 155);
	assert_memory_equal(block + 345, name, prefix);
	assert_string_equal(block, name + prefix + 1);
	ws_buf_free(&out);
	repeat(name, "d", 100); /* a folder of 101 bytes: its last slash is no place to split */
	strcat(name, "/");
	out = made((struct tar_entry){.name = name, .type = '5'});
	assert_int_equal(out.len, 3 * TAR_BLOCK);
	ws_buf_free(&out);
}

static void links(void **state)
{
	(void)state;
	char target[201];
	memset(target, 't', 200);
	target[200] = '\0';
	struct ws_buf out = made((struct tar_entry){.name = "l", .link = "to", .mode = 0777, .type = '2'});
	assert_string_equal(last(&out) + 157, "to");
	ws_buf_free(&out);
	out = made((struct tar_entry){.name = "l", .link = target, .type = '2'});
	assert_int_equal(out.len, 3 * TAR_BLOCK);
	assert_memory_equal(out.data + TAR_BLOCK, "214 linkpath=ttt", 16);
	ws_buf_free(&out);
}

static void no_room(void **state)
{
	(void)state;
	struct ws_buf out;
	ws_buf_init(&out, 100);
	assert_int_equal(tar_header(&out, &(struct tar_entry){.name = "a", .type = '0'}), -1);
	ws_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(sizes), cmocka_unit_test(names),
		cmocka_unit_test(links), cmocka_unit_test(no_room)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
