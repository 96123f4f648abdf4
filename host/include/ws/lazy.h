/* lazy.h - libraries that are loaded when they are first needed.
 *
 * libcurl, OpenSSL, SQLite and their kin cost several milliseconds and megabytes at start-up. They are not linked: a
 * module lists the functions it uses once and calls them through a table that is filled by dlopen().
 *
 *     #define SQLITE_FUNCTIONS(F) F(sqlite3_open_v2) F(sqlite3_close)
 *     WS_LAZY_TABLE(sqlite, SQLITE_FUNCTIONS);
 *     static struct sqlite_api sqlite;
 *     if (WS_LAZY_LOAD(&sqlite, SQLITE_FUNCTIONS, "libsqlite3.so.0", &err) != 0) return ws_fail(L, &err);
 *     sqlite.sqlite3_open_v2(…);
 */
#ifndef WS_LAZY_H
#define WS_LAZY_H

#include "error.h"

#include <stddef.h>

#define WS_LAZY_MEMBER(f) __typeof__(&f) f;
#define WS_LAZY_TABLE(name, FUNCTIONS) \
	struct name##_api { \
		FUNCTIONS(WS_LAZY_MEMBER) \
		int loaded; \
	}

#define WS_LAZY_NAME(f) #f,
#define WS_LAZY_LOAD(table, FUNCTIONS, soname, err) \
	((table)->loaded ? 0 \
			 : ws_lazy_load((void **)(table), (const char *const[]){FUNCTIONS(WS_LAZY_NAME) NULL}, \
				   (soname), &(table)->loaded, (err)))

/* Loads `soname` and stores the address of names[i] in slots[i]; `loaded` becomes 1. Returns 0, or -1 with `err` of
 * kind `missing_tool`. By one thread at a time. Never raises. */
int ws_lazy_load(void **slots, const char *const *names, const char *soname, int *loaded, struct ws_err *err);

#endif
