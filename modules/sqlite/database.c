/* database.c - the thread that works on a database; see sqlite.h for what must hold. */
#include "sqlite.h"

#include <ws/lazy.h>
#include <ws/permit.h>

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SQLITE_FUNCTIONS(F) \
	F(sqlite3_open_v2) \
	F(sqlite3_limit) \
	F(sqlite3_close) \
	F(sqlite3_exec) \
	F(sqlite3_prepare_v2) \
	F(sqlite3_step) \
	F(sqlite3_reset) \
	F(sqlite3_finalize) \
	F(sqlite3_clear_bindings) \
	F(sqlite3_bind_null) \
	F(sqlite3_bind_int64) \
	F(sqlite3_bind_double) \
	F(sqlite3_bind_text64) \
	F(sqlite3_bind_blob64) \
	F(sqlite3_column_count) \
	F(sqlite3_column_name) \
	F(sqlite3_column_type) \
	F(sqlite3_column_int64) \
	F(sqlite3_column_double) \
	F(sqlite3_column_blob) \
	F(sqlite3_column_bytes) \
	F(sqlite3_errmsg) \
	F(sqlite3_extended_errcode) \
	F(sqlite3_system_errno) \
	F(sqlite3_busy_timeout) \
	F(sqlite3_get_autocommit)
WS_LAZY_TABLE(sqlite, SQLITE_FUNCTIONS);
static struct sqlite_api api;

enum { STATEMENTS = 16, BUSY_MS = 10000, BATCH = 4096, IDLE_NS = 20000000 };

struct prepared {
	char *sql;
	sqlite3_stmt *stmt;
};

struct sqlite_database {
	char *path;
	sqlite3 *handle;
	uv_thread_t thread;
	uv_mutex_t mutex;
	uv_cond_t wake;
	uv_async_t async;
	size_t pending; /* sent and not yet reported; the loop's thread only */
	bool started;
	bool failed;         /* the loop's thread's copy */
	struct ws_err cause; /* of it */
	/* under the mutex */
	struct sqlite_request *first, *last; /* to do */
	struct sqlite_request *done;         /* to report */
	struct sqlite_request **done_end;
	bool urgent; /* somebody waits for one of those to do */
	bool closing;
	/* the database's thread's own */
	bool broken;
	struct prepared cache[STATEMENTS];
	size_t cached;
};

int sqlite_load(struct ws_err *err)
{
	return WS_LAZY_LOAD(&api, SQLITE_FUNCTIONS, "libsqlite3.so.0", err);
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void explain(struct sqlite_database *db, struct ws_err *err)
{
	int code = api.sqlite3_extended_errcode(db->handle);
	const char *kind = "io", *hint = NULL;
	switch (code & 0xff) {
	case SQLITE_FULL:
		kind = "no_space";
		hint = "free some space and run the command again";
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		kind = "locked";
		break;
	case SQLITE_CANTOPEN:
		kind = api.sqlite3_system_errno(db->handle) == 13 ? "denied" : "not_found";
		break;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		kind = "denied";
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		kind = "parse";
		hint = "the file is no database or is damaged: move it away";
		break;
	case SQLITE_ERROR:
	case SQLITE_CONSTRAINT:
	case SQLITE_MISMATCH:
	case SQLITE_RANGE:
		kind = "invalid";
		break;
	case SQLITE_NOMEM:
		kind = "exhausted";
		break;
	default:
		break;
	}
	int system = api.sqlite3_system_errno(db->handle);
	if ((code & 0xff) == SQLITE_IOERR && system == 28)
		kind = "no_space";
	ws_err_set(err, kind, "%s: %s%s%s", db->path, api.sqlite3_errmsg(db->handle), system != 0 ? ": " : "",
		system != 0 ? strerror(system) : "");
	if (hint != NULL)
		ws_err_hint(err, hint);
}

static void copy_error(struct ws_err *to, const struct ws_err *from)
{
	ws_err_set(to, from->kind, "%s", from->message);
	if (from->hint != NULL)
		ws_err_hint(to, from->hint);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static sqlite3_stmt *prepare(struct sqlite_database *db, const char *sql, struct ws_err *err)
{
	for (size_t i = 0; i < db->cached; i++)
		if (strcmp(db->cache[i].sql, sql) == 0)
			return db->cache[i].stmt;
	sqlite3_stmt *stmt;
	if (api.sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL) != SQLITE_OK) {
		explain(db, err);
		return NULL;
	}
	char *copy = strdup(sql);
	if (copy == NULL || stmt == NULL) {
		free(copy);
		api.sqlite3_finalize(stmt);
		ws_err_set(err, stmt == NULL ? "invalid" : "exhausted",
			stmt == NULL ? "an empty statement" : "out of memory");
		return NULL;
	}
	struct prepared *slot = &db->cache[db->cached < STATEMENTS ? db->cached : STATEMENTS - 1];
	if (db->cached < STATEMENTS) {
		db->cached++;
	} else {
		api.sqlite3_finalize(slot->stmt);
		free(slot->sql);
	}
	*slot = (struct prepared){copy, stmt};
	return stmt;
}

static int bind_value(sqlite3_stmt *stmt, int at, const struct sqlite_value *v)
{
	switch (v->type) {
	case SQLITE_VALUE_INTEGER:
		return api.sqlite3_bind_int64(stmt, at, v->integer);
	case SQLITE_VALUE_FLOAT:
		return api.sqlite3_bind_double(stmt, at, v->number);
	case SQLITE_VALUE_TEXT:
		return api.sqlite3_bind_text64(stmt, at, v->bytes, v->len, SQLITE_STATIC, SQLITE_UTF8);
	case SQLITE_VALUE_BLOB:
		return api.sqlite3_bind_blob64(stmt, at, v->bytes, v->len, SQLITE_STATIC);
	default:
		return api.sqlite3_bind_null(stmt, at);
	}
}

static int read_value(sqlite3_stmt *stmt, int column, struct sqlite_value *v)
{
	switch (api.sqlite3_column_type(stmt, column)) {
	case SQLITE_INTEGER:
		v->type = SQLITE_VALUE_INTEGER;
		v->integer = api.sqlite3_column_int64(stmt, column);
		return 0;
	case SQLITE_FLOAT:
		v->type = SQLITE_VALUE_FLOAT;
		v->number = api.sqlite3_column_double(stmt, column);
		return 0;
	case SQLITE_NULL:
		v->type = SQLITE_VALUE_NULL;
		return 0;
	default:
		break;
	}
	const void *bytes = api.sqlite3_column_blob(stmt, column);
	v->type = SQLITE_VALUE_BLOB;
	v->len = (size_t)api.sqlite3_column_bytes(stmt, column);
	v->bytes = malloc(v->len + 1);
	if (v->bytes == NULL)
		return -1;
	if (v->len > 0)
		memcpy(v->bytes, bytes, v->len);
	return 0;
}

/* Keeps the row that a statement stands on. */
static int keep_row(struct sqlite_request *r, sqlite3_stmt *stmt)
{
	if (r->names == NULL) {
		r->columns = (size_t)api.sqlite3_column_count(stmt);
		r->names = calloc(r->columns + 1, sizeof *r->names);
		for (size_t i = 0; r->names != NULL && i < r->columns; i++)
			if ((r->names[i] = strdup(api.sqlite3_column_name(stmt, (int)i))) == NULL)
				return -1;
	}
	size_t n = r->columns * r->row_count;
	struct sqlite_value *rows = r->rows;
	if (r->names == NULL)
		return -1;
	if ((r->row_count & (r->row_count - 1)) == 0) { /* grows at powers of two */
		size_t capacity = r->row_count == 0 ? 1 : 2 * r->row_count;
		rows = realloc(rows, capacity * r->columns * sizeof *rows);
		if (rows == NULL)
			return -1;
		r->rows = rows;
	}
	memset(rows + n, 0, r->columns * sizeof *rows);
	r->row_count++;
	for (size_t i = 0; i < r->columns; i++)
		if (read_value(stmt, (int)i, &rows[n + i]) != 0)
			return -1;
	return 0;
}

static int run_statement(
	struct sqlite_database *db, const struct sqlite_statement *s, struct sqlite_request *rows, struct ws_err *err)
{
	sqlite3_stmt *stmt = prepare(db, s->sql, err);
	if (stmt == NULL)
		return -1;
	int rc = SQLITE_OK;
	for (size_t i = 0; i < s->count && rc == SQLITE_OK; i++)
		rc = bind_value(stmt, (int)i + 1, &s->values[i]);
	if (rc == SQLITE_OK)
		rc = api.sqlite3_step(stmt);
	while (rc == SQLITE_ROW) {
		if (rows != NULL && keep_row(rows, stmt) != 0)
			ws_err_set(err, "exhausted", "out of memory");
		rc = err->kind == NULL ? api.sqlite3_step(stmt) : SQLITE_DONE;
	}
	if (rc != SQLITE_DONE)
		explain(db, err);
	api.sqlite3_reset(stmt);
	api.sqlite3_clear_bindings(stmt);
	return err->kind == NULL ? 0 : -1;
}

static int run_sql(struct sqlite_database *db, const char *sql, struct ws_err *err)
{
	if (api.sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	explain(db, err);
	return -1;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* One transaction for the writes from `first` up to `end`. */
static void write_batch(struct sqlite_database *db, struct sqlite_request *first, const struct sqlite_request *end)
{
	struct ws_err err = {0};
	if (db->broken) {
		copy_error(&err, &db->cause);
	} else {
		int rc = run_sql(db, "BEGIN IMMEDIATE", &err);
		for (struct sqlite_request *r = first; r != end && rc == 0; r = r->next)
			for (size_t i = 0; i < r->count && rc == 0; i++)
				rc = run_statement(db, &r->statements[i], NULL, &err);
		if (rc == 0)
			rc = run_sql(db, "COMMIT", &err);
		if (rc != 0 && !api.sqlite3_get_autocommit(db->handle))
			api.sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
		if (rc != 0) {
			db->broken = true;
			copy_error(&db->cause, &err);
		}
	}
	for (struct sqlite_request *r = first; r != end && err.kind != NULL; r = r->next)
		copy_error(&r->err, &err);
	ws_err_clear(&err);
}

static void carry_out(struct sqlite_database *db, struct sqlite_request *list)
{
	while (list != NULL) {
		struct sqlite_request *end = list->next;
		if (list->reads) {
			run_statement(db, &list->statements[0], list, &list->err);
		} else {
			for (int n = 1; end != NULL && !end->reads && n < BATCH; n++)
				end = end->next;
			write_batch(db, list, end);
		}
		uv_mutex_lock(&db->mutex);
		while (list != end) {
			struct sqlite_request *next = list->next;
			list->next = NULL;
			*db->done_end = list;
			db->done_end = &list->next;
			list = next;
		}
		uv_mutex_unlock(&db->mutex);
		uv_async_send(&db->async);
	}
}

static void work(void *arg)
{
	struct sqlite_database *db = arg;
	uv_mutex_lock(&db->mutex);
	while (db->first != NULL || !db->closing) {
		if (db->first == NULL) {
			uv_cond_wait(&db->wake, &db->mutex);
			continue;
		}
		/* What nobody waits for shares the sync of what comes next, if that comes soon. */
		if (!db->urgent && !db->closing && uv_cond_timedwait(&db->wake, &db->mutex, IDLE_NS) == 0)
			continue;
		struct sqlite_request *list = db->first;
		db->first = db->last = NULL;
		db->urgent = false;
		uv_mutex_unlock(&db->mutex);
		carry_out(db, list);
		uv_mutex_lock(&db->mutex);
	}
	uv_mutex_unlock(&db->mutex);
}

/* ---- the loop's side --------------------------------------------------------------------------------------------- */

static void report(uv_async_t *async)
{
	struct sqlite_database *db = async->data;
	uv_mutex_lock(&db->mutex);
	struct sqlite_request *list = db->done;
	db->done = NULL;
	db->done_end = &db->done;
	uv_mutex_unlock(&db->mutex);
	while (list != NULL) {
		struct sqlite_request *r = list;
		list = r->next;
		db->pending--;
		if (r->err.kind != NULL && !r->reads)
			db->failed = true;
		if (r->op == NULL) {
			sqlite_request_free(r);
			continue;
		}
		if (r->err.kind != NULL)
			copy_error(&r->op->err, &r->err);
		ws_op_done(r->op);
	}
	if (db->pending == 0)
		uv_unref((uv_handle_t *)&db->async);
}

int sqlite_database_start(struct sqlite_database *db, uv_loop_t *loop)
{
	int rc = uv_async_init(loop, &db->async, report);
	if (rc != 0)
		return rc;
	db->async.data = db;
	uv_unref((uv_handle_t *)&db->async);
	db->started = true;
	uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = 1 << 20};
	rc = uv_thread_create_ex(&db->thread, &options, work, db);
	if (rc != 0) {
		db->closing = true; /* there is no thread to wait for */
		return rc;
	}
	return 0;
}

void sqlite_database_send(struct sqlite_database *db, struct sqlite_request *r)
{
	if (db->pending++ == 0)
		uv_ref((uv_handle_t *)&db->async);
	r->next = NULL;
	uv_mutex_lock(&db->mutex);
	if (db->last != NULL)
		db->last->next = r;
	else
		db->first = r;
	db->last = r;
	bool wake = r->op != NULL || db->first == r;
	db->urgent |= r->op != NULL;
	if (wake)
		uv_cond_signal(&db->wake);
	uv_mutex_unlock(&db->mutex);
}

const struct ws_err *sqlite_database_failure(const struct sqlite_database *db)
{
	return db->failed ? &db->cause : NULL; /* written before the report, and never again */
}

static void free_database(struct sqlite_database *db)
{
	uv_mutex_destroy(&db->mutex);
	uv_cond_destroy(&db->wake);
	ws_err_clear(&db->cause);
	free(db->path);
	free(db);
}

static void async_closed(uv_handle_t *handle)
{
	free_database(handle->data);
}

void sqlite_database_close(struct sqlite_database *db)
{
	bool thread = db->started && !db->closing;
	uv_mutex_lock(&db->mutex);
	db->closing = true;
	uv_cond_signal(&db->wake);
	uv_mutex_unlock(&db->mutex);
	if (thread)
		uv_thread_join(&db->thread);
	if (db->started)
		report(&db->async);
	for (size_t i = 0; i < db->cached; i++) {
		api.sqlite3_finalize(db->cache[i].stmt);
		free(db->cache[i].sql);
	}
	if (db->handle != NULL)
		api.sqlite3_close(db->handle);
	if (db->started)
		uv_close((uv_handle_t *)&db->async, async_closed);
	else
		free_database(db);
}

/* SQLite's own waiting does not cover the change to WAL: when several open a new file at once it gives up at once. */
static int set_modes(struct sqlite_database *db, bool read_only, struct ws_err *err)
{
	static const struct timespec pause = {.tv_nsec = 5000000};
	const char *modes = read_only ? "PRAGMA query_only=1"
				      : "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=1";
	uint64_t end = uv_hrtime() + (uint64_t)BUSY_MS * 1000000;
	for (;;) {
		if (run_sql(db, modes, err) == 0)
			return 0;
		if (strcmp(err->kind, "locked") != 0 || uv_hrtime() > end)
			return -1;
		ws_err_clear(err);
		nanosleep(&pause, NULL);
	}
}

struct sqlite_database *sqlite_database_open(const char *path, bool read_only, struct ws_err *err)
{
	struct sqlite_database *db = calloc(1, sizeof *db);
	if (db == NULL || (db->path = strdup(path)) == NULL) {
		free(db);
		ws_err_set(err, "exhausted", "out of memory");
		return NULL;
	}
	uv_mutex_init(&db->mutex);
	uv_cond_init(&db->wake);
	db->done_end = &db->done;
	int flags =
		SQLITE_OPEN_NOMUTEX | (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
	flags |= ws_permit_watching() ? SQLITE_OPEN_NOFOLLOW : 0; /* the path is a real one then */
	int rc = api.sqlite3_open_v2(path, &db->handle, flags, NULL) == SQLITE_OK ? 0 : -1;
	if (rc != 0 && db->handle != NULL)
		explain(db, err);
	else if (rc != 0)
		ws_err_set(err, "exhausted", "out of memory");
	if (rc == 0) {
		api.sqlite3_busy_timeout(db->handle, BUSY_MS);
		api.sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0); /* SQL names no other file */
		rc = set_modes(db, read_only, err);
	}
	if (rc != 0) {
		sqlite_database_close(db);
		return NULL;
	}
	return db;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void free_values(struct sqlite_value *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(values[i].bytes);
	free(values);
}

void sqlite_request_free(struct sqlite_request *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->count; i++) {
		free(r->statements[i].sql);
		free_values(r->statements[i].values, r->statements[i].count);
	}
	free(r->statements);
	free_values(r->rows, r->columns * r->row_count);
	for (size_t i = 0; r->names != NULL && i < r->columns; i++)
		free(r->names[i]);
	free(r->names);
	ws_err_clear(&r->err);
	free(r);
}
