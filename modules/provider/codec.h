/* codec.h - Lua values to and from Protocol Buffers messages (messages.c) and Terraform's MessagePack values (values.c). */
#ifndef WS_PROVIDER_CODEC_H
#define WS_PROVIDER_CODEC_H

#include <lua.h>
#include <ws/buf.h>

enum {
	PROVIDER_MAX_DEPTH = 64,       /* of messages and values */
	PROVIDER_MAX_BYTES = 64 << 20, /* of an encoded message or value */
};

/* encode(descriptor, value) → bytes. Raises. */
int provider_encode(lua_State *L);
/* decode(descriptor, bytes) → value | nil, err. Raises on misuse. */
int provider_decode(lua_State *L);
/* pack(type, value) → bytes. Raises, with the path, when the value does not fit the type. */
int provider_pack(lua_State *L);
/* unpack(type, bytes) → value | nil, err. Raises on misuse. */
int provider_unpack(lua_State *L);
/* Pushes the value that stands for one that is known only after apply. Raises (memory). */
void provider_push_unknown(lua_State *L);

/* Shared by the codecs. */

/* Pushes a buffer that Lua owns, so that an error raised on the way frees it. Raises (memory). [-0, +1] */
struct ws_buf *provider_push_scratch(lua_State *L);
/* Raises when an addition to a scratch buffer returned -1. */
void provider_check_room(lua_State *L, int rc);
/* Pushes the buffer's bytes, frees it and returns 1. Raises (memory). */
int provider_finish_scratch(lua_State *L, struct ws_buf *b);
/* Pushes nil and an error of kind `protocol`; returns 2. Raises (memory). */
int provider_malformed(lua_State *L, const char *format);

#endif
