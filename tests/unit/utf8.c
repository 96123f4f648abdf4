/* UTF-8 is checked against RFC 3629, code point by code point. */
#include <ws/utf8.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_code_point_is_written_and_read(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0x110000; code++) {
		char text[8];
		size_t n = ws_utf8_encode(text, code);
		bool valid = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
		assert_int_equal(ws_utf8_sequence(text, text + n), valid ? n : 0);
		if (valid && n > 1) /* cut off */
			assert_int_equal(ws_utf8_sequence(text, text + n - 1), 0);
	}
}

static void wrong_forms_are_refused(void **state)
{
	(void)state;
	static const char *const wrong[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80", "\xff", "\xfe", "\xc3(", "\xe2\x82(", "\xe2(\xa1", "\xf0\x90\x80(",
		"\xf0(\x80\x80"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(ws_utf8_valid(wrong[i], strlen(wrong[i])), 0);
}

static void lengths_are_counted(void **state)
{
	(void)state;
	static const char text[] = "a\xc3\xa9\0\xf0\x9f\x98\x80\xff";
	assert_int_equal(ws_utf8_valid(text, sizeof text - 1), 8);
	assert_int_equal(ws_utf8_count(text, 8), 4);
	assert_int_equal(ws_utf8_valid("", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point_is_written_and_read),
		cmocka_unit_test(wrong_forms_are_refused),
		cmocka_unit_test(lengths_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
