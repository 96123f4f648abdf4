/* sqlite.h - a database that one thread works on; no Lua here.
 *
 * Invariants
 * - Requests are queued on the loop's thread and carried out in their order by the database's own thread. Writes that
 *   wait together are one transaction, so that many of them pay for one sync.
 * - A write is reported done after its transaction is durable (WAL, synchronous=FULL), never before.
 * - After a failed transaction the database refuses every later write: a sync that failed once proves nothing when it
 *   succeeds the second time.
 * - A request belongs to the loop's thread before it is queued and after its end was reported, in between to the other.
 */
#ifndef WS_SQLITE_H
#define WS_SQLITE_H

#include <ws/error.h>
#include <ws/op.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum sqlite_type { SQLITE_VALUE_NULL, SQLITE_VALUE_INTEGER, SQLITE_VALUE_FLOAT, SQLITE_VALUE_TEXT, SQLITE_VALUE_BLOB };

struct sqlite_value {
	enum sqlite_type type;
	int64_t integer;
	double number;
	char *bytes; /* owned, of text and blobs */
	size_t len;
};

struct sqlite_statement {
	char *sql; /* owned */
	struct sqlite_value *values;
	size_t count;
};

struct sqlite_request {
	struct sqlite_request *next;
	struct ws_op *op; /* who waits; NULL when nobody does */
	bool reads;       /* one statement, whose rows are wanted */
	struct sqlite_statement *statements;
	size_t count;
	struct sqlite_value *rows; /* of a read: columns * row_count values */
	char **names;              /* of a read: the columns' */
	size_t columns, row_count;
	struct ws_err err;
};

struct sqlite_database;

/* Opens or creates the file in the thread that calls. `path` is copied. Returns NULL with `err`. Never raises. */
struct sqlite_database *sqlite_database_open(const char *path, bool read_only, struct ws_err *err);
/* Starts the database's thread. Returns 0 or a libuv code. Never raises. */
int sqlite_database_start(struct sqlite_database *db, uv_loop_t *loop);
/* Queues a request, which then belongs to the database. One that nobody waits for (no op) is carried out with the next
 * that somebody does, or a moment later. Never raises. */
void sqlite_database_send(struct sqlite_database *db, struct sqlite_request *r);
/* The error of the failed transaction, or NULL. Never raises. */
const struct ws_err *sqlite_database_failure(const struct sqlite_database *db);
/* Finishes what is queued, closes the file and frees everything; the async handle closes in the loop's next turn. Waits
 * for the thread. Never raises. */
void sqlite_database_close(struct sqlite_database *db);
void sqlite_request_free(struct sqlite_request *r);
/* Loads the library. Returns 0, or -1 with `err`. Never raises. */
int sqlite_load(struct ws_err *err);

#endif
