/* fs.h - what the files of modules/fs share: no path is followed where a caller said not to, none holds a NUL. */
#ifndef WS_FS_H
#define WS_FS_H

#include <ws/native.h>
#include <ws/op.h>

#include <lua.h>
#include <stdbool.h>

/* An operation on one or two paths in the thread pool; the first member of every operation here. */
struct fs_op {
	struct ws_op op;
	char *path;  /* owned */
	char *other; /* owned; the second path, or NULL */
};

/* The path at `idx`. Raises when it is no string, empty, or contains a NUL. */
const char *fs_check_path(lua_State *L, int idx);
/* Makes an operation of `size` bytes that owns copies of the path at 1 and, when `two`, at 2. NULL without memory: the
 * error is set in the operation at the top of the stack. Raises on misuse. [-0, +1] */
void *fs_op_new(lua_State *L, const struct ws_op_type *type, size_t size, bool two);
/* Frees the paths; the `fini` of operations that own nothing else. Never raises. */
void fs_op_fini(struct ws_op *op);
/* Pushes true; the `push` of operations without a result. */
int fs_push_true(lua_State *L, struct ws_op *op);
/* Pushes nil and the error that errno stands for. Raises (memory). */
int fs_fail(lua_State *L, const char *op, const char *path, int code);
/* Removes `path`, with everything below it when `recursive`; symbolic links are removed, never followed. Returns 0, or
 * an errno value. Never raises; runs on any thread. */
int fs_remove_tree(const char *path, bool recursive);

/* file.c: contents. */
int fs_l_read(lua_State *L);
int fs_l_write(lua_State *L);
int fs_l_copy(lua_State *L);
/* tree.c: directories. */
int fs_l_list(lua_State *L);
int fs_l_remove(lua_State *L);
/* temp.c: files that must not outlive the run. */
int fs_l_temp_dir(lua_State *L);
int fs_l_temp_file(lua_State *L);
int fs_l_temp_left(lua_State *L);
/* Forgets a temporary path that has been removed. Never raises. */
void fs_temp_forget(lua_State *L, const char *path);
/* lock.c: locks between processes. */
int fs_l_lock(lua_State *L);
/* watch.c: changes. */
int fs_l_watch(lua_State *L);

#endif
