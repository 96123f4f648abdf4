/* redact.c - many patterns at once, in one pass; see redact.h.
 *
 * A window of WS_SECRET_SHORTEST bytes slides over the text. `skip` tells by the window's last three bytes how far it
 * may move without passing a pattern's beginning (Wu and Manber, 1994); where it may not move, `begins` tells whether
 * any pattern begins with the window's bytes. Only then the sorted list is asked.
 *
 * In that list the longest pattern that a text begins with is found from the last pattern that is not greater than the
 * text: it is that one, or the longest pattern which that one begins with (`shorter`), and so on.
 */
#include "redact.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	WINDOW = WS_SECRET_SHORTEST,
	BLOCK = 3,
	FARTHEST = WINDOW - BLOCK + 1,
	SKIP_BITS = 18,
	BEGIN_BITS = 20,
};

struct pattern {
	const struct pattern *shorter; /* the longest other pattern that this one begins with */
	bool is_secret;                /* its forms are patterns as well */
	size_t len;
	unsigned char bytes[];
};

struct ws_redactor {
	struct pattern **sorted;
	size_t count;
	size_t capacity;
	size_t longest;
	uint8_t skip[1 << SKIP_BITS];
	uint8_t begins[1 << (BEGIN_BITS - 3)];
};

static unsigned block_slot(const unsigned char *p)
{
	uint32_t block = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
	return (block * 2654435761u) >> (32 - SKIP_BITS);
}

static unsigned window_slot(const unsigned char *p)
{
	uint64_t window = 0;
	memcpy(&window, p, WINDOW);
	return (unsigned)((window * 0x9e3779b97f4a7c15u) >> (64 - BEGIN_BITS));
}

static bool may_begin(const struct ws_redactor *r, const unsigned char *p)
{
	unsigned slot = window_slot(p);
	return r->begins[slot >> 3] & 1u << (slot & 7);
}

struct ws_redactor *ws_redactor_new(void)
{
	struct ws_redactor *r = calloc(1, sizeof *r);
	if (r != NULL)
		memset(r->skip, FARTHEST, sizeof r->skip);
	return r;
}

void ws_redactor_free(struct ws_redactor *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++) {
		explicit_bzero(r->sorted[i]->bytes, r->sorted[i]->len);
		free(r->sorted[i]);
	}
	free(r->sorted);
	free(r);
}

/* ---- the sorted list --------------------------------------------------------------------------------------------- */

/* Whether the text begins with the pattern. */
static bool is_prefix(const struct pattern *p, const unsigned char *text, size_t len)
{
	return p->len <= len && memcmp(p->bytes, text, p->len) == 0;
}

/* The number of patterns that are not greater than the text. */
static size_t not_greater(const struct ws_redactor *r, const unsigned char *text, size_t len)
{
	size_t low = 0, high = r->count;
	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct pattern *p = r->sorted[mid];
		int order = memcmp(p->bytes, text, p->len < len ? p->len : len);
		if (order < 0 || (order == 0 && p->len <= len))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The longest pattern that the text begins with, or NULL. */
static const struct pattern *match(const struct ws_redactor *r, const unsigned char *text, size_t len)
{
	size_t n = not_greater(r, text, len);
	const struct pattern *p = n > 0 ? r->sorted[n - 1] : NULL;
	while (p != NULL && !is_prefix(p, text, len))
		p = p->shorter;
	return p;
}

/* Whether a longer pattern begins with the text. */
static bool is_beginning(const struct ws_redactor *r, const unsigned char *text, size_t len)
{
	size_t n = not_greater(r, text, len);
	return n < r->count && r->sorted[n]->len > len && memcmp(r->sorted[n]->bytes, text, len) == 0;
}

static int make_room(struct ws_redactor *r)
{
	if (r->count < r->capacity)
		return 0;
	size_t capacity = r->capacity > 0 ? r->capacity * 2 : 64;
	struct pattern **sorted = realloc(r->sorted, capacity * sizeof(struct pattern *));
	if (sorted == NULL)
		return -1;
	r->sorted = sorted;
	r->capacity = capacity;
	return 0;
}

/* The pattern that is the text, or NULL; *at is the number of patterns that are not greater. */
static struct pattern *find(const struct ws_redactor *r, const unsigned char *text, size_t len, size_t *at)
{
	*at = not_greater(r, text, len);
	struct pattern *p = *at > 0 ? r->sorted[*at - 1] : NULL;
	return p != NULL && p->len == len && is_prefix(p, text, len) ? p : NULL;
}

int ws_redactor_pattern(struct ws_redactor *r, const char *bytes, size_t len)
{
	const unsigned char *text = (const unsigned char *)bytes;
	size_t at;
	if (len < WINDOW || find(r, text, len, &at) != NULL)
		return 0;
	struct pattern *p = make_room(r) == 0 ? malloc(sizeof *p + len) : NULL;
	if (p == NULL)
		return -1;
	p->is_secret = false;
	p->len = len;
	memcpy(p->bytes, text, len);
	p->shorter = match(r, text, len);
	memmove(r->sorted + at + 1, r->sorted + at, (r->count - at) * sizeof(struct pattern *));
	r->sorted[at] = p;
	r->count++;
	for (size_t i = at + 1; i < r->count && is_prefix(p, r->sorted[i]->bytes, r->sorted[i]->len); i++)
		if (r->sorted[i]->shorter == p->shorter)
			r->sorted[i]->shorter = p;
	if (len > r->longest)
		r->longest = len;
	for (int i = 0; i <= WINDOW - BLOCK; i++) {
		uint8_t *skip = &r->skip[block_slot(text + i)], distance = (uint8_t)(WINDOW - BLOCK - i);
		if (distance < *skip)
			*skip = distance;
	}
	unsigned slot = window_slot(text);
	r->begins[slot >> 3] |= (uint8_t)(1u << (slot & 7));
	return 0;
}

static int add_form(void *redactor, const char *bytes, size_t len)
{
	return ws_redactor_pattern(redactor, bytes, len);
}

int ws_redactor_add(struct ws_redactor *r, const char *secret, size_t len)
{
	size_t at;
	struct pattern *p = find(r, (const unsigned char *)secret, len, &at);
	if (p != NULL && p->is_secret)
		return 0;
	int rc = ws_secret_forms(secret, len, add_form, r);
	p = find(r, (const unsigned char *)secret, len, &at);
	if (rc == 0 && p != NULL)
		p->is_secret = true;
	return rc;
}

/* ---- the pass over the text -------------------------------------------------------------------------------------- */

/* The first place from `i` on where a pattern begins, or `len`; *found is the longest one there. */
static size_t next_match(
	const struct ws_redactor *r, const unsigned char *text, size_t len, size_t i, const struct pattern **found)
{
	*found = NULL;
	while (i + WINDOW <= len) {
		unsigned skip = r->skip[block_slot(text + i + WINDOW - BLOCK)];
		if (skip > 0) {
			i += skip;
			continue;
		}
		if (may_begin(r, text + i) && (*found = match(r, text + i, len - i)) != NULL)
			return i;
		i++;
	}
	return len;
}

bool ws_redactor_finds(const struct ws_redactor *r, const char *text, size_t len)
{
	const struct pattern *found;
	return next_match(r, (const unsigned char *)text, len, 0, &found) < len;
}

/* From where on the text may be the beginning of a pattern that goes on after it; `len` when nowhere. */
static size_t beginning_at(const struct ws_redactor *r, const unsigned char *text, size_t len)
{
	if (r->longest == 0)
		return len;
	size_t i = len >= r->longest ? len - r->longest + 1 : 0;
	for (; i < len; i++)
		if ((len - i < WINDOW || may_begin(r, text + i)) && is_beginning(r, text + i, len - i))
			break;
	return i;
}

void ws_redact_begin(struct ws_redact_stream *s, const struct ws_redactor *r)
{
	*s = (struct ws_redact_stream){.redactor = r};
	ws_buf_init(&s->held, SIZE_MAX / 2);
}

/* Writes text[0, limit), masked. Patterns that begin before the limit may reach beyond it. */
static int write_masked(
	struct ws_redact_stream *s, const unsigned char *text, size_t len, size_t limit, struct ws_buf *out)
{
	size_t written = 0, covered = s->covered; /* for what is covered *** has been written */
	const struct pattern *found;
	for (size_t i = 0;; i++) {
		i = next_match(s->redactor, text, len, i, &found);
		size_t from = covered > written ? covered : written, to = i < limit ? i : limit;
		if (from < to) {
			if (ws_buf_add(out, text + from, to - from) != 0)
				return -1;
			written = to;
			s->masking = false;
		}
		if (i >= limit)
			break;
		if (!s->masking && ws_buf_adds(out, "***") != 0)
			return -1;
		s->masking = true;
		if (i + found->len > covered)
			covered = i + found->len;
	}
	s->covered = covered > limit ? covered - limit : 0;
	return 0;
}

int ws_redact_feed(struct ws_redact_stream *s, const char *data, size_t len, bool last, struct ws_buf *out)
{
	if (s->redactor == NULL)
		return ws_buf_add(out, data, len);
	bool joined = s->held.len > 0;
	if (joined) {
		if (ws_buf_add(&s->held, data, len) != 0)
			return -1;
		data = s->held.data;
		len = s->held.len;
	}
	const unsigned char *text = (const unsigned char *)data;
	size_t limit = last ? len : beginning_at(s->redactor, text, len);
	int rc = write_masked(s, text, len, limit, out);
	if (last) {
		ws_buf_free(&s->held);
		s->covered = 0;
		s->masking = false;
	} else if (joined) {
		ws_buf_drop(&s->held, limit);
	} else if (limit < len && ws_buf_add(&s->held, data + limit, len - limit) != 0) {
		rc = -1;
	}
	return rc;
}
