/* The table and the processor's instruction give the same checksums. */
#include "../../modules/crypto/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void table_and_instruction_agree(void **state)
{
	(void)state;
	unsigned char data[300];
	srand(1);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)rand();
	for (size_t from = 0; from < 16; from++)
		for (size_t len = 0; from + len <= sizeof data; len++)
			assert_int_equal(
				crc32c((uint32_t)len, data + from, len), crc32c_table((uint32_t)len, data + from, len));
	assert_int_equal(crc32c_table(0, "123456789", 9), 0xe3069283);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(table_and_instruction_agree)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
