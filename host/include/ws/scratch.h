/* scratch.h - buffers that Lua owns, so that whatever raises, nothing leaks. */
#ifndef WS_SCRATCH_H
#define WS_SCRATCH_H

#include "buf.h"

#include <lua.h>

/* Pushes a userdata that holds an empty buffer of at most `max` bytes, and returns the buffer. It is freed when the
 * userdata is collected; free it earlier with ws_buf_free(). [-0, +1] Raises (memory). */
struct ws_buf *ws_scratch(lua_State *L, size_t max);

#endif
