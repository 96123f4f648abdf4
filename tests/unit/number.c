/* Floats are written so that reading gives the same bits, and no shorter text does. */
#include <ws/number.h>

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *text_of(double d)
{
	static char text[WS_FLOAT_TEXT + 1];
	text[ws_float_text(text, d)] = '\0';
	return text;
}

static void usual_numbers_look_usual(void **state)
{
	(void)state;
	assert_string_equal(text_of(0.1), "0.1");
	assert_string_equal(text_of(100), "100.0");
	assert_string_equal(text_of(-2.25), "-2.25");
	assert_string_equal(text_of(123456.789), "123456.789");
	assert_string_equal(text_of(0.0), "0.0");
	assert_string_equal(text_of(-0.0), "-0.0");
	assert_string_equal(text_of(1e22), "1.0e+22");
	assert_string_equal(text_of(1.5e-7), "1.5e-07");
	assert_string_equal(text_of(1.0 / 3), "0.3333333333333333");
	assert_string_equal(text_of(DBL_MAX), "1.7976931348623157e+308");
	assert_string_equal(text_of(999999999.999999), "999999999.999999");
}

static void reading_gives_the_same_bits(void **state)
{
	(void)state;
	uint64_t seed = 1;
	for (int i = 0; i < 200000; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		double d;
		if (i % 2 == 0) {
			uint64_t bits = seed ^ (seed >> 29);
			memcpy(&d, &bits, sizeof d);
			if (!isfinite(d))
				continue;
		} else { /* decimals with few places */
			d = (double)(seed >> 34) / (double)(int[]){1, 10, 100, 1000, 10000, 100000, 1000000}[i % 7];
		}
		const char *text = text_of(d);
		double again = strtod(text, NULL);
		assert_memory_equal(&again, &d, sizeof d);
		assert_non_null(strchr(text, '.'));
		assert_true(strlen(text) < WS_FLOAT_TEXT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usual_numbers_look_usual),
		cmocka_unit_test(reading_gives_the_same_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
