/* scalar.h - what a scalar without quotes means: the core schema of YAML 1.2 (section 10.3.2), or what Kubernetes' tools
 * take it for, which read YAML 1.1: yes, no, on, off, y, n are booleans, 0644 is octal, 0b101 is binary. */
#ifndef WS_YAML_SCALAR_H
#define WS_YAML_SCALAR_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

enum ws_yaml_type { WS_YAML_STRING, WS_YAML_NULL, WS_YAML_BOOLEAN, WS_YAML_INTEGER, WS_YAML_FLOAT };

/* The type of a plain scalar. Never raises. */
enum ws_yaml_type ws_yaml_type(const char *s, size_t len, bool yaml11);
/* Pushes the value of a plain scalar of that type; an integer that does not fit 64 bits becomes a float. The text ends
 * in a NUL. Raises (memory). */
void ws_yaml_push_plain(lua_State *L, enum ws_yaml_type type, const char *s, size_t len, bool yaml11);
/* Pushes a scalar as the key of a map: integers stay, everything else is its text. Raises (memory). */
void ws_yaml_push_key(lua_State *L, const yaml_event_t *event);
/* True when the event is the plain key << that merges another map. Never raises. */
bool ws_yaml_is_merge(const yaml_event_t *event);
/* True when a text can stand without quotes in block style and every reader takes it for a string, those of YAML 1.1
 * too (yes, 0644, 12:30, dates). Never raises. */
bool ws_yaml_plain_string(const char *s, size_t len);

#endif
