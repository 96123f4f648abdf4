/* Tests of host/redact.h: every form of a secret, at every place where a stream may be cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <redact.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ws_redactor *redactor(const char *first, ...)
{
	struct ws_redactor *r = ws_redactor_new();
	assert_non_null(r);
	va_list more;
	va_start(more, first);
	for (const char *s = first; s != NULL; s = va_arg(more, const char *))
		assert_int_equal(ws_redactor_add(r, s, strlen(s)), 0);
	va_end(more);
	return r;
}

/* What leaves when the text comes in pieces of at most `piece` bytes, the first of `first` bytes. */
static char *streamed(const struct ws_redactor *r, const char *text, size_t len, size_t first, size_t piece)
{
	struct ws_redact_stream s;
	struct ws_buf out;
	ws_buf_init(&out, 1 << 24);
	ws_redact_begin(&s, r);
	for (size_t at = 0, n = first; at < len; at += n, n = piece) {
		if (n > len - at)
			n = len - at;
		assert_int_equal(ws_redact_feed(&s, text + at, n, false, &out), 0);
	}
	assert_int_equal(ws_redact_feed(&s, "", 0, true, &out), 0);
	return out.data != NULL ? out.data : strdup("");
}

static void becomes(const struct ws_redactor *r, const char *text, const char *wanted)
{
	size_t len = strlen(text);
	for (size_t first = 0; first <= len; first++) {
		for (size_t piece = 1; piece <= len + 1; piece += piece < 8 ? 1 : len) {
			char *got = streamed(r, text, len, first, piece);
			assert_string_equal(got, wanted);
			free(got);
		}
	}
}

static void masks_what_is_covered(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("abcdef123", "123xyz99", "abcdef12", "zzzzzz", NULL);
	becomes(r, "", "");
	becomes(r, "nothing here", "nothing here");
	becomes(r, "abcdef123", "***");
	becomes(r, "<abcdef12>", "<***>");
	becomes(r, "-abcdef123xyz99-", "-***-");
	becomes(r, "abcdef123abcdef123", "***");
	becomes(r, "abcdef123 abcdef123", "*** ***");
	becomes(r, "zzzzzzzzzzz zzzzz", "*** zzzzz");
	becomes(r, "abcdeabcdefabcdef1", "abcdeabcdefabcdef1");
	becomes(r, "abcdef1abcdef12", "abcdef1***");
	ws_redactor_free(r);
}

static void passes_everything_without_secrets(void **state)
{
	struct ws_redactor *r = ws_redactor_new();
	becomes(r, "a line that is longer than any window\n", "a line that is longer than any window\n");
	ws_redactor_free(r);
	(void)state;
}

static void leaves_short_ones_alone(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("short", "{", "a\nb\nc", "", "ab\nsecond line\ncd", NULL);
	becomes(r, "short { a b c ab cd", "short { a b c ab cd");
	becomes(r, "second line", "***");
	ws_redactor_free(r);
}

static void frames_of_pem_are_no_secret(void **state)
{
	(void)state;
	const char *key =
		"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";
	struct ws_redactor *r = redactor(key, NULL);
	becomes(r, "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----");
	becomes(r, "x MIIEvQIBADANBgkq y", "x *** y");
	becomes(r, key, "***");
	becomes(r,
		"{\"k\":\"-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkq\\nhkiG9w0BAQEFAASC\\n-----END PRIVATE "
		"KEY-----\\n\"}",
		"{\"k\":\"***\"}");
	ws_redactor_free(r);
}

/* Forms as other programs write them, not made by our own code. */
static void knows_the_usual_forms(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("p\"a'ss <w\\ord>&\xc3\xa9", NULL);
	static const char *const forms[] = {
		"p\"a'ss <w\\ord>&\xc3\xa9", "p\\\"a'ss <w\\\\ord>&\xc3\xa9",   /* JSON */
		"p\\\"a'ss \\u003cw\\\\ord\\u003e\\u0026\xc3\xa9",              /* Go's JSON */
		"p\\\"a'ss <w\\\\ord>&\\u00e9",                                 /* Python's JSON */
		"p\\\\\\\"a'ss <w\\\\\\\\ord>&\xc3\xa9",                        /* JSON in JSON */
		"p%22a%27ss%20%3Cw%5Cord%3E%26%C3%A9",                          /* URL */
		"p%22a%27ss+%3Cw%5Cord%3E%26%C3%A9",                            /* a form */
		"p%22a'ss%20%3Cw%5Cord%3E%26%C3%A9",                            /* encodeURIComponent */
		"p%22a%27ss%20%3cw%5cord%3e%26%c3%a9",                          /* lower case */
		"p&quot;a&apos;ss &lt;w\\ord&gt;&amp;\xc3\xa9",                 /* XML */
		"p&#34;a&#39;ss &lt;w\\ord&gt;&amp;\xc3\xa9",                   /* Go's XML and HTML */
		"p\"a'\\''ss <w\\ord>&\xc3\xa9",                                /* single quotes */
		"p\\\"a'ss <w\\\\ord>&\xc3\xa9",                                /* double quotes */
		"702261277373203c775c6f72643e26c3a9",                           /* hex */
		"702261277373203C775C6F72643E26C3A9", "cCJhJ3NzIDx3XG9yZD4mw6", /* base64, without the last group */
	};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		char text[256];
		snprintf(text, sizeof text, "%s", forms[i]);
		becomes(r, text, "***");
		snprintf(text, sizeof text, "[%s]", forms[i]);
		becomes(r, text, "[***]");
	}
	ws_redactor_free(r);
}

/* Base64 of "xy" + secret + "z" at each shift, computed by coreutils' base64. */
static void base64_at_three_shifts(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("s3cr3t-passw0rd", NULL);
	becomes(r, "czNjcjN0LXBhc3N3MHJk", "***");
	becomes(r, "eHMzY3IzdC1wYXNzdzByZHo=", "eH***Ho="); /* of "x", the secret, "z" */
	becomes(r, "eHlzM2NyM3QtcGFzc3cwcmR6", "eHl***R6"); /* of "xy", the secret, "z" */
	ws_redactor_free(r);
}

struct search {
	const struct ws_redactor *r;
	size_t forms;
};

static int is_masked_everywhere(void *arg, const char *bytes, size_t len)
{
	struct search *search = arg;
	char *text = malloc(len + 9);
	memcpy(text, "<<<<", 4);
	memcpy(text + 4, bytes, len);
	memcpy(text + 4 + len, ">>>>", 5);
	assert_true(len >= WS_SECRET_SHORTEST);
	for (size_t cut = 0; cut <= len + 8; cut++) {
		char *got = streamed(search->r, text, len + 8, cut, len + 8);
		assert_string_equal(got, "<<<<***>>>>");
		free(got);
	}
	free(text);
	search->forms++;
	return 0;
}

static void every_form_at_every_cut(void **state)
{
	(void)state;
	static const char *const secrets[] = {"hunter2hunter2", "6 char", "ya29.a0AfH6SMBx-_~",
		"p\"a'ss <w\\ord>&\xc3\xa9", "two lines of it\nthe second one", "tab\tand\\back",
		"\x01\x02\x03\xff\xfe\xfd\x80", "++//==--__..", "{\"private_key_id\": \"0123456789abcdef\"}",
		"\xf0\x9f\x94\x91 key of four"};
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
		struct search search = {.r = redactor(secrets[i], NULL)};
		assert_int_equal(ws_secret_forms(secrets[i], strlen(secrets[i]), is_masked_everywhere, &search), 0);
		assert_true(search.forms >= 14);
		ws_redactor_free((struct ws_redactor *)search.r);
	}
}

static void long_secrets_in_lines(void **state)
{
	(void)state;
	char secret[301];
	for (size_t i = 0; i < 300; i++)
		secret[i] = (char)('!' + (i * 7 + i / 90) % 90);
	secret[300] = '\0';
	struct ws_redactor *r = redactor(secret, NULL);
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[512];
	size_t n = 0;
	for (size_t i = 0; i < 300; i += 3) {
		unsigned three = (unsigned)secret[i] << 16 | (unsigned)secret[i + 1] << 8 | (unsigned)secret[i + 2];
		for (int shift = 18; shift >= 0; shift -= 6) {
			text[n++] = digits[three >> shift & 63];
			if (n % 77 == 76)
				text[n++] = '\n';
		}
	}
	text[n] = '\0';
	char *got = streamed(r, text, n, 100, 7);
	assert_string_equal(got, "***\n***\n***\n***\n***\n***");
	free(got);
	ws_redactor_free(r);
}

/* A stream keeps back only what may be the beginning of a pattern. */
static void passes_on_what_is_harmless(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("secret-value", NULL);
	struct ws_redact_stream s;
	struct ws_buf out;
	ws_buf_init(&out, 1000);
	ws_redact_begin(&s, r);
	assert_int_equal(ws_redact_feed(&s, "Password: ", 10, false, &out), 0);
	assert_string_equal(out.data, "Password: ");
	assert_int_equal(ws_redact_feed(&s, "it is sec", 9, false, &out), 0);
	assert_string_equal(out.data, "Password: it is ");
	assert_int_equal(ws_redact_feed(&s, "ond", 3, false, &out), 0);
	assert_string_equal(out.data, "Password: it is second");
	assert_int_equal(ws_redact_feed(&s, "", 0, true, &out), 0);
	ws_buf_free(&out);
	ws_redactor_free(r);
}

static void refuses_to_pass_the_limit_of_out(void **state)
{
	(void)state;
	struct ws_redactor *r = redactor("secret-value", NULL);
	struct ws_redact_stream s;
	struct ws_buf out;
	ws_buf_init(&out, 4);
	ws_redact_begin(&s, r);
	assert_int_equal(ws_redact_feed(&s, "too long", 8, true, &out), -1);
	assert_null(out.data);
	ws_redactor_free(r);
}

/* Against the slow way: mark every byte of every occurrence of every pattern. */
static void agrees_with_the_slow_way(void **state)
{
	(void)state;
	unsigned seed = 12345;
	for (int round = 0; round < 300; round++) {
		struct ws_redactor *r = ws_redactor_new();
		char patterns[8][16], text[200], wanted[400];
		size_t lens[8], n = 0;
		bool masked[200] = {false};
		for (int p = 0; p < 8; p++) {
			lens[p] = 6 + (seed = seed * 1103515245 + 12345, seed >> 16) % 8;
			for (size_t i = 0; i < lens[p]; i++)
				patterns[p][i] = (char)('a' + (seed = seed * 1103515245 + 12345, seed >> 16) % 2);
			assert_int_equal(ws_redactor_pattern(r, patterns[p], lens[p]), 0);
		}
		for (size_t i = 0; i < sizeof text; i++)
			text[i] = (char)('a' + (seed = seed * 1103515245 + 12345, seed >> 16) % (i % 40 == 0 ? 3 : 2));
		for (size_t i = 0; i < sizeof text; i++)
			for (int p = 0; p < 8; p++)
				if (i + lens[p] <= sizeof text && memcmp(text + i, patterns[p], lens[p]) == 0)
					memset(masked + i, true, lens[p]);
		for (size_t i = 0; i < sizeof text; i++) {
			if (!masked[i])
				wanted[n++] = text[i];
			else if (i == 0 || !masked[i - 1])
				n += (size_t)sprintf(wanted + n, "***");
		}
		wanted[n] = '\0';
		for (size_t piece = 1; piece < 30; piece += 3) {
			char *got = streamed(r, text, sizeof text, piece / 2, piece);
			assert_string_equal(got, wanted);
			free(got);
		}
		ws_redactor_free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masks_what_is_covered),
		cmocka_unit_test(passes_everything_without_secrets),
		cmocka_unit_test(leaves_short_ones_alone),
		cmocka_unit_test(frames_of_pem_are_no_secret),
		cmocka_unit_test(knows_the_usual_forms),
		cmocka_unit_test(base64_at_three_shifts),
		cmocka_unit_test(every_form_at_every_cut),
		cmocka_unit_test(long_secrets_in_lines),
		cmocka_unit_test(passes_on_what_is_harmless),
		cmocka_unit_test(refuses_to_pass_the_limit_of_out),
		cmocka_unit_test(agrees_with_the_slow_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
