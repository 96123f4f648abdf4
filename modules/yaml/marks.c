/* marks.c - see marks.h.
 *
 * libyaml counts characters; the byte of a mark is found by walking on from the mark before, which is never far.
 */
#include "marks.h"

#include "reader.h"
#include "scalar.h"

#include <lauxlib.h>

struct marker {
	lua_State *L;
	struct ws_yaml_reader *r;
	struct ws_err *err;
	size_t at_char, at_byte; /* the same place */
	int depth;
};

static bool mark_node(struct marker *m);

static bool next(struct marker *m)
{
	if (ws_yaml_next(m->r))
		return true;
	ws_yaml_problem(m->r, NULL, m->err);
	return false;
}

static bool continues(const struct marker *m, size_t byte)
{
	return byte < m->r->len && (m->r->text[byte] & 0xc0) == 0x80;
}

/* The offset of the character that libyaml calls `index`. */
static size_t byte_of(struct marker *m, size_t index)
{
	while (m->at_char < index && m->at_byte < m->r->len) {
		do
			m->at_byte++;
		while (continues(m, m->at_byte));
		m->at_char++;
	}
	while (m->at_char > index) {
		do
			m->at_byte--;
		while (continues(m, m->at_byte));
		m->at_char--;
	}
	return m->at_byte;
}

static void set_integer(lua_State *L, const char *key, size_t value)
{
	lua_pushinteger(L, (lua_Integer)value);
	lua_setfield(L, -2, key);
}

static void set_stop(struct marker *m, yaml_mark_t end)
{
	set_integer(m->L, "stop", byte_of(m, end.index) + 1);
}

/* Pushes the node of the current event. */
static void push_node(struct marker *m, const char *style, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	lua_State *L = m->L;
	const yaml_event_t *e = &m->r->event;
	luaL_checkstack(L, 12, NULL);
	lua_createtable(L, 0, 8);
	set_integer(L, "line", e->start_mark.line + 1);
	set_integer(L, "column", e->start_mark.column + 1);
	set_integer(L, "start", byte_of(m, e->start_mark.index) + 1);
	set_stop(m, e->end_mark);
	lua_pushstring(L, style);
	lua_setfield(L, -2, "style");
	lua_pushboolean(L, anchor != NULL);
	lua_setfield(L, -2, "anchor");
	lua_pushboolean(L, tag != NULL);
	lua_setfield(L, -2, "tag");
}

static void push_scalar(struct marker *m)
{
	static const char *const styles[] = {[YAML_PLAIN_SCALAR_STYLE] = "plain",
		[YAML_SINGLE_QUOTED_SCALAR_STYLE] = "single",
		[YAML_DOUBLE_QUOTED_SCALAR_STYLE] = "double",
		[YAML_LITERAL_SCALAR_STYLE] = "literal",
		[YAML_FOLDED_SCALAR_STYLE] = "folded"};
	const yaml_event_t *e = &m->r->event;
	push_node(m, styles[e->data.scalar.style], e->data.scalar.anchor, e->data.scalar.tag);
}

static bool mark_list(struct marker *m)
{
	lua_State *L = m->L;
	const yaml_event_t *e = &m->r->event;
	push_node(m, e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE ? "flow" : "block",
		e->data.sequence_start.anchor, e->data.sequence_start.tag);
	int node = lua_gettop(L);
	lua_newtable(L);
	for (lua_Integer i = 1;; i++) {
		if (!next(m))
			return false;
		if (e->type == YAML_SEQUENCE_END_EVENT)
			break;
		if (!mark_node(m))
			return false;
		lua_rawseti(L, node + 1, i);
	}
	lua_setfield(L, node, "values");
	set_stop(m, e->end_mark);
	return true;
}

static bool mark_map(struct marker *m)
{
	lua_State *L = m->L;
	const yaml_event_t *e = &m->r->event;
	push_node(m, e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE ? "flow" : "block",
		e->data.mapping_start.anchor, e->data.mapping_start.tag);
	int node = lua_gettop(L), keys = node + 1, values = node + 2, order = node + 3;
	lua_newtable(L);
	lua_newtable(L);
	lua_newtable(L);
	for (lua_Integer i = 1;;) {
		if (!next(m))
			return false;
		if (e->type == YAML_MAPPING_END_EVENT)
			break;
		bool merge = ws_yaml_is_merge(e);
		if (e->type != YAML_SCALAR_EVENT)
			return ws_yaml_error(NULL, e->start_mark, m->err, "a key has to be a string or a number");
		ws_yaml_push_key(L, e); /* order + 1 */
		push_scalar(m);         /* order + 2 */
		if (!next(m) || !mark_node(m))
			return false;
		if (merge) {
			lua_pushboolean(L, 1);
			lua_setfield(L, node, "merge");
		} else {
			lua_pushvalue(L, order + 1);
			lua_rawseti(L, order, i++);
			lua_pushvalue(L, order + 1);
			lua_insert(L, -2);
			lua_rawset(L, values);
			lua_rawset(L, keys);
		}
		lua_settop(L, order);
	}
	lua_setfield(L, node, "order");
	lua_setfield(L, node, "values");
	lua_setfield(L, node, "keys");
	set_stop(m, e->end_mark);
	return true;
}

/* Pushes the node that begins at the current event; the event that ends it is the current one then. */
static bool mark_node(struct marker *m)
{
	if (m->depth == WS_YAML_DEPTH)
		return ws_yaml_error(NULL, m->r->event.start_mark, m->err, "nested too deeply");
	m->depth++;
	bool ok = true;
	switch (m->r->event.type) {
	case YAML_ALIAS_EVENT:
		push_node(m, "alias", NULL, NULL);
		break;
	case YAML_SEQUENCE_START_EVENT:
		ok = mark_list(m);
		break;
	case YAML_MAPPING_START_EVENT:
		ok = mark_map(m);
		break;
	default:
		push_scalar(m);
	}
	m->depth--;
	return ok;
}

int ws_yaml_marks(lua_State *L, int idx, struct ws_err *err)
{
	int top = lua_gettop(L);
	struct marker m = {.L = L, .err = err, .r = ws_yaml_reader_new(L, idx)};
	m.at_byte = m.r->bom;
	bool ok = next(&m) && next(&m); /* the stream's start; the document's, or the stream's end */
	if (ok && m.r->event.type == YAML_STREAM_END_EVENT)
		lua_pushnil(L);
	else
		ok = ok && next(&m) && mark_node(&m);
	ws_yaml_reader_close(m.r);
	if (!ok) {
		lua_settop(L, top);
		return -1;
	}
	lua_replace(L, top + 1);
	lua_settop(L, top + 1);
	return 0;
}
