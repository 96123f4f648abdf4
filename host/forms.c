/* forms.c - the forms in which a secret may appear: as it is, and as programs encode and quote it.
 *
 * Each form is made of the whole secret and, where it has several lines, of each line that is long enough, because
 * programs print line by line. Base64 of a text that contains the secret has three shapes, by where the secret begins
 * in a group of three bytes; the characters at its ends that also hold bits of its neighbours are left out.
 */
#include "redact.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BASE64_LINE = 76, PEM_LINE = 64 };

struct forms {
	int (*fn)(void *arg, const char *bytes, size_t len);
	void *arg;
	struct ws_buf text;
};

typedef int escape_fn(struct ws_buf *b, const unsigned char *s, size_t len);

static int addf(struct ws_buf *b, const char *format, unsigned value)
{
	char text[16];
	snprintf(text, sizeof text, format, value);
	return ws_buf_adds(b, text);
}

static int add_byte(struct ws_buf *b, unsigned char c)
{
	return ws_buf_add(b, &c, 1);
}

/* ---- quoting ----------------------------------------------------------------------------------------------------- */

/* JSON (RFC 8259); html: also < > & as Go and others write them; ascii: no byte above 126. */
static int json(struct ws_buf *b, const unsigned char *s, size_t len, bool html, bool ascii)
{
	static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	for (size_t i = 0; i < len; i++) {
		const char *found = NULL;
		for (const char *p = short_forms; *p != '\0' && found == NULL; p += 2)
			if ((unsigned char)*p == s[i])
				found = p + 1;
		int rc;
		if (found != NULL)
			rc = add_byte(b, '\\') == 0 ? add_byte(b, (unsigned char)*found) : -1;
		else if (s[i] < 0x20 || (html && strchr("<>&", s[i]) != NULL))
			rc = addf(b, "\\u%04x", s[i]);
		else if (ascii && s[i] >= 0xc2 && s[i] < 0xe0 && i + 1 < len)
			rc = addf(b, "\\u%04x", (s[i] & 0x1fu) << 6 | (s[i + 1] & 0x3fu)), i++;
		else if (ascii && s[i] >= 0xe0 && s[i] < 0xf0 && i + 2 < len)
			rc = addf(b, "\\u%04x", (s[i] & 0x0fu) << 12 | (s[i + 1] & 0x3fu) << 6 | (s[i + 2] & 0x3fu)),
			i += 2;
		else
			rc = add_byte(b, s[i]);
		if (rc != 0)
			return -1;
	}
	return 0;
}

static int json_plain(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return json(b, s, len, false, false);
}

static int json_html(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return json(b, s, len, true, false);
}

static int json_ascii(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return json(b, s, len, false, true);
}

/* JSON within a string of JSON, as logs have it. */
static int json_twice(struct ws_buf *b, const unsigned char *s, size_t len)
{
	struct ws_buf once;
	ws_buf_init(&once, b->max);
	int rc = json_plain(&once, s, len);
	if (rc == 0)
		rc = json_plain(b, (const unsigned char *)(once.data != NULL ? once.data : ""), once.len);
	if (once.data != NULL)
		explicit_bzero(once.data, once.len);
	ws_buf_free(&once);
	return rc;
}

static bool is_unreserved(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != '\0' && strchr("-._~", c) != NULL);
}

/* RFC 3986 section 2.1; `also` are further characters that stay, `plus` writes a space as forms do. */
static int percent(
	struct ws_buf *b, const unsigned char *s, size_t len, const char *format, const char *also, bool plus)
{
	for (size_t i = 0; i < len; i++) {
		bool stays = is_unreserved(s[i]) || (s[i] != '\0' && strchr(also, s[i]) != NULL);
		int rc = plus && s[i] == ' ' ? add_byte(b, '+') : stays ? add_byte(b, s[i]) : addf(b, format, s[i]);
		if (rc != 0)
			return -1;
	}
	return 0;
}

static int url_upper(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return percent(b, s, len, "%%%02X", "", false);
}

static int url_lower(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return percent(b, s, len, "%%%02x", "", false);
}

static int url_form(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return percent(b, s, len, "%%%02X", "", true);
}

/* What encodeURIComponent and the like leave alone. */
static int url_component(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return percent(b, s, len, "%%%02X", "!'()*", false);
}

/* What stays in a path. */
static int url_path(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return percent(b, s, len, "%%%02X", "!$&'()*+,;=:@/", false);
}

static int xml(struct ws_buf *b, const unsigned char *s, size_t len, const char *quot, const char *apos)
{
	for (size_t i = 0; i < len; i++) {
		const char *entity = s[i] == '&'    ? "&amp;"
				     : s[i] == '<'  ? "&lt;"
				     : s[i] == '>'  ? "&gt;"
				     : s[i] == '"'  ? quot
				     : s[i] == '\'' ? apos
						    : NULL;
		if ((entity != NULL ? ws_buf_adds(b, entity) : add_byte(b, s[i])) != 0)
			return -1;
	}
	return 0;
}

static int xml_names(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return xml(b, s, len, "&quot;", "&apos;");
}

static int xml_numbers(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return xml(b, s, len, "&#34;", "&#39;");
}

/* The content of an element: quotes stay. */
static int xml_text(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return xml(b, s, len, "\"", "'");
}

/* Within single quotes. */
static int shell_single(struct ws_buf *b, const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((s[i] == '\'' ? ws_buf_adds(b, "'\\''") : add_byte(b, s[i])) != 0)
			return -1;
	return 0;
}

static int backslashes(struct ws_buf *b, const unsigned char *s, size_t len, const char *before)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] != '\0' && strchr(before, s[i]) != NULL && add_byte(b, '\\') != 0)
			return -1;
		if (add_byte(b, s[i]) != 0)
			return -1;
	}
	return 0;
}

/* Within double quotes. */
static int shell_double(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return backslashes(b, s, len, "\"$`\\");
}

/* Without quotes, as printf %q writes it. */
static int shell_bare(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return backslashes(b, s, len, " \"$`\\'!&*()[]{}<>|;?^~#,\t");
}

/* Only the double quote escaped: what naive loggers do. */
static int quotes_only(struct ws_buf *b, const unsigned char *s, size_t len)
{
	return backslashes(b, s, len, "\"");
}

/* ---- encodings --------------------------------------------------------------------------------------------------- */

static int hex_lower(struct ws_buf *b, const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (addf(b, "%02x", s[i]) != 0)
			return -1;
	return 0;
}

static int hex_upper(struct ws_buf *b, const unsigned char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (addf(b, "%02X", s[i]) != 0)
			return -1;
	return 0;
}

/* The characters of base64 that hold bits of the secret alone, when `shift` bytes stand before it in its group. */
static int base64(struct ws_buf *b, const unsigned char *s, size_t len, unsigned shift, const char *last_two)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t first = shift == 0 ? 0 : shift + 1, end = (shift + len) * 8 / 6;
	for (size_t i = first; i < end; i++) {
		size_t bit = i * 6 - shift * 8, byte = bit / 8;
		unsigned two = (unsigned)s[byte] << 8 | (byte + 1 < len ? s[byte + 1] : 0u);
		unsigned six = two >> (10 - bit % 8) & 63u;
		if (add_byte(b, (unsigned char)(six < 62 ? digits[six] : last_two[six - 62])) != 0)
			return -1;
	}
	return 0;
}

/* ---- all forms --------------------------------------------------------------------------------------------------- */

static int emit(struct forms *f, const char *bytes, size_t len)
{
	return len < WS_SECRET_SHORTEST ? 0 : f->fn(f->arg, bytes, len);
}

static int emit_escaped(struct forms *f, escape_fn *escape, const unsigned char *s, size_t len)
{
	f->text.len = 0;
	if (escape(&f->text, s, len) != 0)
		return -1;
	return emit(f, f->text.data, f->text.len);
}

static int emit_wrapped(struct forms *f, size_t width)
{
	for (size_t i = 0; i < f->text.len; i += width) {
		size_t left = f->text.len - i, len = left < width ? left : width;
		if (len >= WS_SECRET_LINE && emit(f, f->text.data + i, len) != 0)
			return -1;
	}
	return 0;
}

static int emit_base64(struct forms *f, const unsigned char *s, size_t len)
{
	static const char *const alphabets[] = {"+/", "-_"};
	for (unsigned shift = 0; shift < 3; shift++) {
		for (int i = 0; i < 2; i++) {
			f->text.len = 0;
			if (base64(&f->text, s, len, shift, alphabets[i]) != 0 ||
				emit(f, f->text.data, f->text.len) != 0)
				return -1;
			bool broken = shift == 0 && i == 0; /* programs break the base64 of a whole secret into lines */
			if (broken && f->text.len > PEM_LINE &&
				(emit_wrapped(f, BASE64_LINE) != 0 || emit_wrapped(f, PEM_LINE) != 0))
				return -1;
		}
	}
	return 0;
}

static int emit_all(struct forms *f, const char *bytes, size_t len)
{
	static escape_fn *const escapes[] = {json_plain, json_html, json_ascii, json_twice, url_upper, url_lower,
		url_form, url_component, url_path, xml_names, xml_numbers, xml_text, shell_single, shell_double,
		shell_bare, quotes_only, hex_lower, hex_upper};
	const unsigned char *s = (const unsigned char *)bytes;
	int rc = emit(f, bytes, len);
	for (size_t i = 0; i < sizeof escapes / sizeof *escapes && rc == 0; i++)
		rc = emit_escaped(f, escapes[i], s, len);
	return rc == 0 ? emit_base64(f, s, len) : rc;
}

/* Frames of PEM blocks are no secret, and stand in many texts. */
static bool is_frame(const char *line, size_t len)
{
	return len > 10 && memcmp(line, "-----", 5) == 0 && memcmp(line + len - 5, "-----", 5) == 0;
}

static int emit_lines(struct forms *f, const char *bytes, size_t len)
{
	const char *end = bytes + len;
	for (const char *line = bytes; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)((newline != NULL ? newline : end) - line);
		size_t text = n > 0 && line[n - 1] == '\r' ? n - 1 : n;
		if (text >= WS_SECRET_LINE && text < len && !is_frame(line, text) && emit_all(f, line, text) != 0)
			return -1;
		line += n + 1;
	}
	return 0;
}

int ws_secret_forms(const char *secret, size_t len, int (*fn)(void *arg, const char *bytes, size_t len), void *arg)
{
	struct forms f = {.fn = fn, .arg = arg};
	if (len < WS_SECRET_SHORTEST)
		return 0;
	ws_buf_init(&f.text, (size_t)WS_SECRET_MAX * 16);
	int rc = len <= WS_SECRET_MAX ? emit_all(&f, secret, len) : 0;
	if (rc == 0)
		rc = emit_lines(&f, secret, len);
	if (f.text.data != NULL)
		explicit_bzero(f.text.data, f.text.cap);
	ws_buf_free(&f.text);
	return rc;
}
