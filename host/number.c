/* number.c - see ws/number.h. */
#include <ws/number.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Writes what is digits / 10^places with few places, the usual case: d * 10^places is an integer then, and dividing it
 * gives d again, so that reading the decimal does (both operands are exact). Returns 0 when d is not of that kind. */
static size_t few_places(char *out, double d)
{
	static const double powers[] = {1e1, 1e2, 1e3, 1e4, 1e5, 1e6};
	double size = fabs(d);
	if (size >= 1e9 || size < 1e-4)
		return 0;
	for (int places = 1; places <= 6; places++) {
		double digits = nearbyint(size * powers[places - 1]);
		if (digits / powers[places - 1] != size)
			continue;
		char text[WS_FLOAT_TEXT], *end = text + sizeof text, *p = end;
		uint64_t n = (uint64_t)digits;
		for (int i = 0; i < places; i++, n /= 10)
			*--p = (char)('0' + n % 10);
		*--p = '.';
		do {
			*--p = (char)('0' + n % 10);
		} while ((n /= 10) != 0);
		if (d < 0)
			*--p = '-';
		memcpy(out, p, (size_t)(end - p));
		return (size_t)(end - p);
	}
	return 0;
}

size_t ws_float_text(char out[WS_FLOAT_TEXT], double d)
{
	size_t n = few_places(out, d);
	if (n > 0)
		return n;
	for (int digits = 15; digits <= 17; digits++) {
		n = (size_t)snprintf(out, WS_FLOAT_TEXT, "%.*g", digits, d);
		if (strtod(out, NULL) == d)
			break;
	}
	if (memchr(out, '.', n) != NULL)
		return n;
	size_t mantissa = strcspn(out, "e");
	memmove(out + mantissa + 2, out + mantissa, n - mantissa);
	memcpy(out + mantissa, ".0", 2);
	return n + 2;
}
