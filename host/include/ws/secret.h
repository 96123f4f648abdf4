/* secret.h - values that must not be seen.
 *
 * A secret is an opaque userdata. It prints as ***, cannot be concatenated, and only sinks open it: a child's stdin or
 * environment, a file of mode 0600, an HTTP body or header. Every secret's bytes are known to the redactor, which
 * replaces them in what leaves the process.
 */
#ifndef WS_SECRET_H
#define WS_SECRET_H

#include <lua.h>
#include <stddef.h>

/* The bytes of the secret at `idx`, valid while it is on the stack; NULL when the value is no secret. Never raises. */
const char *ws_secret_open(lua_State *L, int idx, size_t *len);
/* The bytes of a string or secret at `idx`. Raises for anything else. */
const char *ws_text_or_secret(lua_State *L, int idx, size_t *len);
/* Replaces the string at the top by a secret that holds it. [-1, +1] Raises (memory). */
void ws_secret_wrap(lua_State *L);
/* Replaces every known secret in a text by ***; pushes the result. [-0, +1] Raises (memory). */
void ws_redact(lua_State *L, const char *text, size_t len);

#endif
