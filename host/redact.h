/* redact.h - finds the known secrets in what leaves the process and replaces them by ***.
 *
 * Invariants
 * - A pattern is a form in which a secret may appear (forms.c); none is shorter than WS_SECRET_SHORTEST.
 * - Every byte that lies in any occurrence of any pattern is masked; what touches becomes one ***.
 * - A stream keeps back only what may be the beginning of a pattern, at most the longest one less a byte.
 * No Lua here: the same code serves the program, the unit tests and the fuzz target.
 */
#ifndef WS_REDACT_H
#define WS_REDACT_H

#include <ws/buf.h>

#include <stdbool.h>
#include <stddef.h>

enum {
	WS_SECRET_SHORTEST = 6,  /* masking less would garble ordinary words and prove nothing */
	WS_SECRET_LINE = 8,      /* the shortest line of a secret that is a pattern of its own */
	WS_SECRET_MAX = 1 << 20, /* bytes of a secret; of a longer one the lines are known */
};

struct ws_redactor;

/* Never raises; NULL without memory. */
struct ws_redactor *ws_redactor_new(void);
void ws_redactor_free(struct ws_redactor *r);
/* Adds every form of a secret. Returns 0, or -1 without memory: then some forms are unknown. Never raises. */
int ws_redactor_add(struct ws_redactor *r, const char *secret, size_t len);
/* Adds one pattern as it is; shorter ones are left out. For forms.c. As ws_redactor_add. */
int ws_redactor_pattern(struct ws_redactor *r, const char *bytes, size_t len);
/* True when the text holds a pattern. Never raises. */
bool ws_redactor_finds(const struct ws_redactor *r, const char *text, size_t len);

/* Calls `fn` for each form of a secret until it returns other than 0, and returns that. Never raises. */
int ws_secret_forms(const char *secret, size_t len, int (*fn)(void *arg, const char *bytes, size_t len), void *arg);

struct ws_redact_stream {
	const struct ws_redactor *redactor; /* NULL: nothing is known, everything passes */
	struct ws_buf held;                 /* may be the beginning of a pattern */
	size_t covered;                     /* so much of what is next belongs to a pattern that was masked */
	bool masking;                       /* *** is the last that was written */
};

/* Prepares a stream. It is freed by its last feed. Never raises. */
void ws_redact_begin(struct ws_redact_stream *s, const struct ws_redactor *r);
/* Appends to `out` what of the stream may leave; with `last` nothing is kept back. Returns 0, or -1 without memory or
 * past the limit of `out`, which is empty then. Never raises. */
int ws_redact_feed(struct ws_redact_stream *s, const char *data, size_t len, bool last, struct ws_buf *out);

#endif
