/* decode.c - YAML text to Lua values, from libyaml's events.
 *
 * - An alias becomes a copy, so that the parts of a value never share tables; what copies add is limited.
 * - Keys are unique; merge keys (<<) add what the map itself does not say.
 * - Functions return false with `err` set when the text is bad; the caller drops what is on the stack.
 */
#include "decode.h"

#include "reader.h"
#include "scalar.h"

#include <ws/value.h>

#include <lauxlib.h>
#include <string.h>

struct decoder {
	lua_State *L;
	struct ws_yaml_reader *r;
	const struct ws_yaml_reading *how;
	struct ws_err *err;
	int anchors; /* stack: table from name to value, or to a light userdata while it is being read */
	int merges;  /* stack: table from depth to the list of maps that << names */
	int depth;
	int copies;
	struct ws_values values;
};

static bool compose(struct decoder *d);

#define BAD(d, mark, ...) ws_yaml_error((d)->how->filename, (mark), (d)->err, __VA_ARGS__)

static bool next(struct decoder *d)
{
	if (ws_yaml_next(d->r))
		return true;
	ws_yaml_problem(d->r, d->how->filename, d->err);
	return false;
}

/* --- anchors and aliases --- */

/* Remembers the value at the top (or a mark: not there yet) under the anchor's name, which is on the stack at `name`. */
static void remember(struct decoder *d, int name, bool complete)
{
	lua_pushvalue(d->L, name);
	if (complete)
		lua_pushvalue(d->L, -2);
	else
		lua_pushlightuserdata(d->L, d);
	lua_rawset(d->L, d->anchors);
}

/* Pushes a copy of the value at `idx`. */
static bool copy(struct decoder *d, int idx, yaml_mark_t mark)
{
	lua_State *L = d->L;
	if (++d->copies > WS_YAML_COPIES)
		return BAD(d, mark, "aliases expand to more than %d values", WS_YAML_COPIES);
	if (lua_type(L, idx) != LUA_TTABLE) {
		lua_pushvalue(L, idx);
		return true;
	}
	if (d->depth == WS_YAML_DEPTH)
		return BAD(d, mark, "nested too deeply");
	luaL_checkstack(L, 8, NULL);
	d->depth++;
	lua_newtable(L);
	int made = lua_gettop(L);
	for (lua_pushnil(L); lua_next(L, idx) != 0; lua_settop(L, made + 1)) {
		lua_pushvalue(L, made + 1);
		if (!copy(d, made + 2, mark))
			return false;
		lua_rawset(L, made);
	}
	lua_getmetatable(L, idx); /* of a list, or a map's that is shared until a key is added */
	lua_setmetatable(L, made);
	d->depth--;
	return true;
}

static bool compose_alias(struct decoder *d)
{
	lua_State *L = d->L;
	const yaml_event_t *e = &d->r->event;
	int type = lua_getfield(L, d->anchors, (const char *)e->data.alias.anchor);
	if (type == LUA_TNIL)
		return BAD(d, e->start_mark, "alias *%s: there is no such anchor above", e->data.alias.anchor);
	if (type == LUA_TLIGHTUSERDATA)
		return BAD(d, e->start_mark, "alias *%s is part of what it stands for", e->data.alias.anchor);
	if (!copy(d, lua_gettop(L), e->start_mark))
		return false;
	lua_remove(L, -2);
	return true;
}

/* --- scalars --- */

#define TAG "tag:yaml.org,2002:"

static bool compose_tagged(struct decoder *d)
{
	const yaml_event_t *e = &d->r->event;
	const char *s = (const char *)e->data.scalar.value, *tag = (const char *)e->data.scalar.tag;
	size_t len = e->data.scalar.length;
	static const struct {
		const char *name;
		enum ws_yaml_type type;
	} tags[] = {{TAG "str", WS_YAML_STRING}, {TAG "timestamp", WS_YAML_STRING}, {TAG "null", WS_YAML_NULL},
		{TAG "bool", WS_YAML_BOOLEAN}, {TAG "int", WS_YAML_INTEGER}, {TAG "float", WS_YAML_FLOAT}};
	for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
		if (strcmp(tags[i].name, tag) != 0)
			continue;
		enum ws_yaml_type type = tags[i].type, found = ws_yaml_type(s, len, d->how->yaml11);
		if (type != WS_YAML_STRING && found != type && !(type == WS_YAML_FLOAT && found == WS_YAML_INTEGER))
			return BAD(d, e->start_mark, "\"%.60s\" is no !!%s", s, tag + strlen(TAG));
		ws_yaml_push_plain(d->L, type, s, len, d->how->yaml11);
		return true;
	}
	return BAD(d, e->start_mark, "the tag %s is not supported", tag);
}

static bool compose_scalar(struct decoder *d)
{
	const yaml_event_t *e = &d->r->event;
	const char *s = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	if (e->data.scalar.tag != NULL && strcmp((const char *)e->data.scalar.tag, "!") != 0)
		return compose_tagged(d);
	bool typed = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && e->data.scalar.tag == NULL;
	bool yaml11 = d->how->yaml11;
	ws_yaml_push_plain(d->L, typed ? ws_yaml_type(s, len, yaml11) : WS_YAML_STRING, s, len, yaml11);
	return true;
}

/* --- lists and maps --- */

static bool enter(struct decoder *d, const char *tag, const char *wanted)
{
	const yaml_event_t *e = &d->r->event;
	if (d->depth == WS_YAML_DEPTH)
		return BAD(d, e->start_mark, "nested too deeply");
	if (tag != NULL && strcmp(tag, wanted) != 0 && strcmp(tag, "!") != 0)
		return BAD(d, e->start_mark, "the tag %s is not supported", tag);
	d->depth++;
	return true;
}

static bool compose_list(struct decoder *d)
{
	struct ws_part list;
	if (!enter(d, (const char *)d->r->event.data.sequence_start.tag, TAG "seq"))
		return false;
	ws_list_begin(&d->values, &list);
	for (;;) {
		if (!next(d))
			return false;
		if (d->r->event.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (!compose(d))
			return false;
		ws_list_add(&d->values, &list);
	}
	ws_list_end(&d->values, &list);
	d->depth--;
	return true;
}

/* Goes over the map at the current event, which was read before; true when its nth key is the current event. */
static bool seek_key(struct ws_yaml_reader *r, lua_Integer nth)
{
	int depth = 0;
	bool key = false;
	do {
		if (!ws_yaml_next(r))
			return false;
		switch (r->event.type) {
		case YAML_MAPPING_START_EVENT:
		case YAML_SEQUENCE_START_EVENT:
			depth++;
			break;
		case YAML_MAPPING_END_EVENT:
		case YAML_SEQUENCE_END_EVENT:
			depth--;
			break;
		default:
			break;
		}
		if (depth == 0) {
			key = !key;
			if (key && !ws_yaml_is_merge(&r->event) && --nth == 0)
				return true;
		}
	} while (depth >= 0);
	return false;
}

/* Says that the nth key of the map that begins at `open` occurred before. */
static bool duplicate(struct decoder *d, yaml_mark_t open, lua_Integer nth)
{
	lua_pushlstring(d->L, d->r->text, d->r->len);
	struct ws_yaml_reader *again = ws_yaml_reader_new(d->L, -1);
	while (ws_yaml_next(again))
		if (again->event.type == YAML_MAPPING_START_EVENT && again->event.start_mark.index == open.index)
			break;
	if (again->has_event && seek_key(again, nth))
		BAD(d, again->event.start_mark, "the key \"%.100s\" is in this map already",
			again->event.data.scalar.value);
	else
		BAD(d, open, "a key of this map occurs twice");
	ws_yaml_reader_close(again);
	return false;
}

/* Reads the value of << and keeps it for end_merges(). */
static bool compose_merge(struct decoder *d, yaml_mark_t key)
{
	lua_State *L = d->L;
	if (lua_rawgeti(L, d->merges, d->depth) != LUA_TNIL)
		return BAD(d, key, "the key \"<<\" is in this map already: give it a list");
	lua_pop(L, 1);
	if (!next(d) || !compose(d))
		return false;
	if (lua_type(L, -1) == LUA_TTABLE && ws_table_kind(L, -1) == WS_MAP) {
		lua_createtable(L, 1, 0);
		lua_insert(L, -2);
		lua_rawseti(L, -2, 1);
	}
	bool fits = lua_type(L, -1) == LUA_TTABLE;
	for (lua_Integer i = 1; fits && i <= (lua_Integer)lua_rawlen(L, -1); i++) {
		fits = lua_rawgeti(L, -1, i) == LUA_TTABLE && ws_table_kind(L, -1) == WS_MAP;
		lua_pop(L, 1);
	}
	if (!fits)
		return BAD(d, key, "<< takes a map, or a list of maps");
	lua_rawseti(L, d->merges, d->depth);
	return true;
}

/* Adds to the map at the top what it lacks and the maps of its << have; the first of these wins. */
static void end_merges(struct decoder *d)
{
	lua_State *L = d->L;
	int map = lua_gettop(L);
	if (lua_rawgeti(L, d->merges, d->depth) != LUA_TNIL) {
		for (lua_Integer i = 1; lua_rawgeti(L, map + 1, i) != LUA_TNIL; i++) {
			lua_Integer n = ws_map_keys(L, map + 2);
			for (lua_Integer k = 1; k <= n; k++) {
				lua_rawgeti(L, map + 3, k);
				lua_pushvalue(L, -1);
				if (lua_rawget(L, map) == LUA_TNIL) {
					lua_pop(L, 1);
					lua_pushvalue(L, -1);
					lua_rawget(L, map + 2);
					lua_settable(L, map); /* keeps the order of keys */
				}
				lua_settop(L, map + 3);
			}
			lua_settop(L, map + 1);
		}
		lua_pushnil(L);
		lua_rawseti(L, d->merges, d->depth);
	}
	lua_settop(L, map);
}

static bool compose_map(struct decoder *d)
{
	struct ws_part map;
	yaml_mark_t open = d->r->event.start_mark;
	lua_Integer twice = 0;
	bool merges = false;
	if (!enter(d, (const char *)d->r->event.data.mapping_start.tag, TAG "map"))
		return false;
	ws_map_begin(&d->values, &map);
	for (;;) {
		if (!next(d))
			return false;
		const yaml_event_t *e = &d->r->event;
		if (e->type == YAML_MAPPING_END_EVENT)
			break;
		if (e->type != YAML_SCALAR_EVENT)
			return BAD(d, e->start_mark, "a key has to be a string or a number");
		if (ws_yaml_is_merge(e)) {
			merges = true;
			if (!compose_merge(d, e->start_mark))
				return false;
			continue;
		}
		ws_yaml_push_key(d->L, e);
		if (e->data.scalar.anchor != NULL) {
			lua_pushstring(d->L, (const char *)e->data.scalar.anchor);
			lua_pushvalue(d->L, -2);
			lua_rawset(d->L, d->anchors);
		}
		if (!next(d) || !compose(d))
			return false;
		twice = ws_map_add(&d->values, &map);
		if (twice != 0)
			return duplicate(d, open, twice);
	}
	twice = ws_map_end(&d->values, &map);
	if (twice != 0)
		return duplicate(d, open, twice);
	if (merges)
		end_merges(d);
	d->depth--;
	return true;
}

static bool compose_node(struct decoder *d)
{
	switch (d->r->event.type) {
	case YAML_ALIAS_EVENT:
		return compose_alias(d);
	case YAML_SEQUENCE_START_EVENT:
		return compose_list(d);
	case YAML_MAPPING_START_EVENT:
		return compose_map(d);
	default:
		return compose_scalar(d);
	}
}

static const yaml_char_t *anchor_of(const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor;
	default:
		return NULL;
	}
}

/* Pushes the value that begins at the current event; the event that ends it is the current one then. */
static bool compose(struct decoder *d)
{
	const yaml_char_t *anchor = anchor_of(&d->r->event);
	if (anchor == NULL)
		return compose_node(d);
	luaL_checkstack(d->L, 4, NULL);
	lua_pushstring(d->L, (const char *)anchor);
	int name = lua_gettop(d->L);
	remember(d, name, false);
	if (!compose_node(d))
		return false;
	remember(d, name, true);
	lua_remove(d->L, name);
	return true;
}

/* Pushes the value of the document that begins at the current event. */
static bool compose_document(struct decoder *d)
{
	lua_newtable(d->L);
	lua_replace(d->L, d->anchors);
	return next(d) && compose(d) && next(d);
}

static bool compose_stream(struct decoder *d, bool all)
{
	struct ws_part list;
	if (!next(d)) /* the stream's start */
		return false;
	if (all) {
		ws_list_begin(&d->values, &list);
		for (;;) {
			if (!next(d))
				return false;
			if (d->r->event.type == YAML_STREAM_END_EVENT)
				break;
			if (!compose_document(d))
				return false;
			ws_list_add(&d->values, &list);
		}
		ws_list_end(&d->values, &list);
		return true;
	}
	if (!next(d))
		return false;
	if (d->r->event.type == YAML_STREAM_END_EVENT) {
		ws_push_null(d->L);
		return true;
	}
	if (!compose_document(d) || !next(d))
		return false;
	if (d->r->event.type == YAML_STREAM_END_EVENT)
		return true;
	return BAD(d, d->r->event.start_mark, "a second document begins here, and one was expected");
}

int ws_yaml_decode(lua_State *L, int idx, const struct ws_yaml_reading *how, struct ws_err *err)
{
	struct decoder d = {.L = L, .how = how, .err = err};
	int top = lua_gettop(L);
	luaL_checkstack(L, 16, NULL);
	d.r = ws_yaml_reader_new(L, idx);
	lua_newtable(L);
	d.anchors = lua_gettop(L);
	lua_newtable(L);
	d.merges = lua_gettop(L);
	ws_values_begin(L, &d.values);
	bool ok = compose_stream(&d, how->all);
	ws_yaml_reader_close(d.r);
	if (!ok) {
		lua_settop(L, top);
		return -1;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return 0;
}
