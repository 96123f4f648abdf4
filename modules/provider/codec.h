/* codec.h - Lua values to and from Protocol Buffers messages and Terraform's MessagePack values. */
#ifndef WS_PROVIDER_CODEC_H
#define WS_PROVIDER_CODEC_H

#include <lua.h>

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

#endif
