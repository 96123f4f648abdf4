/* permit_log.c - every decision once, in memory and as one line of JSON in the run's folder.
 *
 * The lines are appended as decisions are made, so that a killed run has them; at the end the file is written anew from
 * memory, so that what a script may have done to it does not stay.
 */
#include "permit.h"

#include <ws/buf.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ENTRIES_MAX = 20000, SLOTS = 1 << 16 };

struct entry {
	char *value;
	enum permit_list list;
	bool allowed, own;
	struct timespec time;
};

struct permit_log {
	pthread_mutex_t mutex;
	struct entry *entries;
	size_t count, cap;
	unsigned *slots; /* hash → 1 + index of an entry */
	char *path;
	int fd;
	bool full;
};

struct permit_log *permit_log_new(const char *path)
{
	struct permit_log *log = calloc(1, sizeof *log);
	if (log == NULL)
		return NULL;
	pthread_mutex_init(&log->mutex, NULL);
	log->fd = -1;
	log->slots = calloc(SLOTS, sizeof *log->slots);
	if (path != NULL) {
		log->path = strdup(path);
		log->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	}
	if (log->slots == NULL || (path != NULL && log->path == NULL)) {
		permit_log_free(log);
		return NULL;
	}
	return log;
}

static void add_string(struct ws_buf *b, const char *s)
{
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		char text[8];
		if (c == '"' || c == '\\')
			snprintf(text, sizeof text, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			snprintf(text, sizeof text, "\\u%04x", c);
		else
			snprintf(text, sizeof text, "%c", c);
		ws_buf_adds(b, text);
	}
}

static void write_entry(int fd, const struct entry *e)
{
	struct ws_buf b;
	struct tm tm;
	char time[40], rest[160];
	ws_buf_init(&b, 1 << 16);
	gmtime_r(&e->time.tv_sec, &tm);
	strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(rest, sizeof rest, "{\"time\":\"%s.%03ldZ\",\"list\":\"%s\",\"value\":\"", time,
		e->time.tv_nsec / 1000000, permit_list_name(e->list));
	ws_buf_adds(&b, rest);
	add_string(&b, e->value);
	snprintf(rest, sizeof rest, "\",\"allowed\":%s,\"own\":%s}\n", e->allowed ? "true" : "false",
		e->own ? "true" : "false");
	if (ws_buf_adds(&b, rest) == 0) {
		ssize_t n = write(fd, b.data, b.len); /* a full disk costs lines of the log, not the run */
		(void)n;
	}
	ws_buf_free(&b);
}

static unsigned hash(enum permit_list list, const char *value, bool allowed)
{
	unsigned h = 2166136261u ^ ((unsigned)list * 2 + allowed);
	for (; *value != '\0'; value++)
		h = (h ^ (unsigned char)*value) * 16777619u;
	return h;
}

/* The slot of the decision: its entry's, or the free one where it belongs. */
static unsigned *find(const struct permit_log *log, enum permit_list list, const char *value, bool allowed)
{
	for (unsigned i = hash(list, value, allowed);; i++) {
		unsigned *slot = &log->slots[i % SLOTS];
		if (*slot == 0)
			return slot;
		const struct entry *e = &log->entries[*slot - 1];
		if (e->list == list && e->allowed == allowed && strcmp(e->value, value) == 0)
			return slot;
	}
}

void permit_log_add(struct permit_log *log, enum permit_list list, const char *value, bool allowed, bool own)
{
	pthread_mutex_lock(&log->mutex);
	unsigned *slot = find(log, list, value, allowed);
	if (*slot == 0 && log->count < ENTRIES_MAX) {
		if (log->count == log->cap) {
			size_t cap = log->cap ? log->cap * 2 : 256;
			struct entry *entries = realloc(log->entries, cap * sizeof *entries);
			if (entries != NULL) {
				log->entries = entries;
				log->cap = cap;
			}
		}
		char *copy = log->count < log->cap ? strdup(value) : NULL;
		if (copy != NULL) {
			struct entry *e = &log->entries[log->count++];
			*e = (struct entry){.value = copy, .list = list, .allowed = allowed, .own = own};
			clock_gettime(CLOCK_REALTIME, &e->time);
			*slot = (unsigned)log->count;
			if (log->fd >= 0)
				write_entry(log->fd, e);
		}
	} else if (*slot == 0) {
		log->full = true;
	}
	pthread_mutex_unlock(&log->mutex);
}

/* [-0, +2] list of { list, value, allowed, own } in order, and whether there were more than are kept. Raises. */
void permit_log_push(lua_State *L, struct permit_log *log)
{
	lua_newtable(L);
	/* Entries are only added, and only the loop's thread frees them: what was counted stays valid. */
	pthread_mutex_lock(&log->mutex);
	size_t count = log->count;
	pthread_mutex_unlock(&log->mutex);
	for (size_t i = 0; i < count; i++) {
		pthread_mutex_lock(&log->mutex);
		struct entry e = log->entries[i];
		pthread_mutex_unlock(&log->mutex);
		lua_createtable(L, 0, 4);
		lua_pushstring(L, permit_list_name(e.list));
		lua_setfield(L, -2, "list");
		lua_pushstring(L, e.value);
		lua_setfield(L, -2, "value");
		lua_pushboolean(L, e.allowed);
		lua_setfield(L, -2, "allowed");
		lua_pushboolean(L, e.own);
		lua_setfield(L, -2, "own");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, log->full);
}

/* Writes the file anew; only the host knows the name that it had. */
static void rewrite(const struct permit_log *log)
{
	close(log->fd);
	unlink(log->path);
	int fd = open(log->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	for (size_t i = 0; i < log->count; i++)
		write_entry(fd, &log->entries[i]);
	close(fd);
}

void permit_log_free(struct permit_log *log)
{
	if (log == NULL)
		return;
	if (log->fd >= 0)
		rewrite(log);
	for (size_t i = 0; i < log->count; i++)
		free(log->entries[i].value);
	free(log->entries);
	free(log->slots);
	free(log->path);
	pthread_mutex_destroy(&log->mutex);
	free(log);
}
