/* reader.h - libyaml's events of one text, owned by Lua. */
#ifndef WS_YAML_READER_H
#define WS_YAML_READER_H

#include <ws/error.h>

#include <lua.h>
#include <stdbool.h>
#include <yaml.h>

enum { WS_YAML_DEPTH = 256 }; /* levels of lists and maps that are read and written at most */

struct ws_yaml_reader {
	yaml_parser_t parser;
	yaml_event_t event; /* the current one */
	bool open;
	bool has_event;
	const char *text;
	size_t len;
	size_t bom; /* bytes of the byte order mark at the beginning, which is no character for libyaml */
};

/* Pushes a reader of the string at `idx`, which has to stay on the stack. Returns NULL without memory. Raises (memory). */
struct ws_yaml_reader *ws_yaml_reader_new(lua_State *L, int idx);
/* Goes to the next event. Returns false on bad text; ws_yaml_problem() tells what. Never raises. */
bool ws_yaml_next(struct ws_yaml_reader *r);
/* Frees what the reader holds; collecting it does, too. Never raises. */
void ws_yaml_reader_close(struct ws_yaml_reader *r);
/* Sets the error that ended the reading. `filename` may be NULL. Never raises. */
void ws_yaml_problem(const struct ws_yaml_reader *r, const char *filename, struct ws_err *err);
/* Sets an error of kind `parse` at a place of the text; returns false. Never raises. */
bool ws_yaml_error(const char *filename, yaml_mark_t at, struct ws_err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
