/* Tests of ws/buf.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <ws/buf.h>

static void grows_and_drops(void **state)
{
	(void)state;
	struct ws_buf b;
	ws_buf_init(&b, 10000);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(ws_buf_adds(&b, "0123456789"), 0);
	assert_int_equal(b.len, 10000);
	ws_buf_drop(&b, 9995);
	assert_string_equal(b.data, "56789");
	ws_buf_free(&b);
	assert_null(b.data);
}

static void refuses_to_pass_its_maximum(void **state)
{
	(void)state;
	struct ws_buf b;
	ws_buf_init(&b, 4);
	assert_int_equal(ws_buf_adds(&b, "1234"), 0);
	assert_int_equal(ws_buf_adds(&b, "5"), -1);
	assert_null(b.data);
	assert_int_equal(ws_buf_add(&b, "", 0), 0);
	assert_null(ws_buf_room(&b, SIZE_MAX));
	ws_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_drops),
		cmocka_unit_test(refuses_to_pass_its_maximum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
