/* archive.h - what the files of this module share. */
#ifndef WS_ARCHIVE_H
#define WS_ARCHIVE_H

#include "api.h"

#include <lua.h>
#include <stddef.h>

/* Loads libarchive. Returns 0, or -1 with err. Never raises. */
int archive_load(struct ws_err *err);
/* The string under `key` of the table at `idx`, or NULL; the table keeps it. Raises when it is something else. */
const char *archive_field(lua_State *L, int idx, const char *key, size_t *len);
/* Keeps the first two arguments alive as long as the operation, which is at the top. Raises (memory). */
void archive_keep_both(lua_State *L);

int archive_create(lua_State *L);  /* write.c */
int archive_extract(lua_State *L); /* read.c, and these */
int archive_list(lua_State *L);
int archive_gunzip(lua_State *L);

#endif
