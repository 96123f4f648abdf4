/* permit.h - the policy as the files permit*.c share it; modules include <ws/permit.h>. */
#ifndef WS_HOST_PERMIT_H
#define WS_HOST_PERMIT_H

#include <ws/permit.h>

#include <lua.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>

enum permit_list { LIST_RUN, LIST_NET, LIST_READ, LIST_WRITE, LIST_ENV, LISTS };

/* Whose word it is: the user's yes, the user's no, or the program's own needs. */
enum permit_word { WORD_ALLOW, WORD_DENY, WORD_OWN };

/* One entry of a list; what it means depends on the list. */
struct permit_rule {
	char *text; /* as it was written */
	enum permit_word word;
	/* read, write: the real path; run: the real file, NULL when there was none */
	char *path;
	size_t len;
	bool lua_only; /* files that end in .lua */
	/* run */
	bool pinned;
	unsigned char digest[32];
	/* net: a name, or a range of addresses */
	char *host; /* in lower case; NULL for a range */
	bool below; /* *.host */
	bool any;   /* everything */
	struct in6_addr address;
	int bits; /* of 128 */
	int port; /* 0: every port */
	/* env */
	bool prefix;
};

struct permit_rules {
	struct permit_rule *items;
	size_t count;
	bool enforced; /* what is not allowed is refused; else only what is denied */
};

struct permit {
	struct permit_rules lists[LISTS];
	char **guarded; /* files that no script may change: the policy itself, the programs that may run */
	size_t guarded_count;
	char *root;  /* the project's; hints name paths relative to it */
	char *temp;  /* private folder of this run */
	char *path;  /* where programs are looked for by name */
	bool strict; /* something is enforced or denied; else decisions are only recorded */
	bool told_unconfined;
	struct permit_log *log;
};

/* The policy of this process, or NULL. Set once. */
extern struct permit *ws_permit;

/* permit.c */
void permit_open(lua_State *L, int natives); /* adds the natives to the table at `natives`. Raises (memory). */
void permit_free(void);
const char *permit_list_name(enum permit_list list);
/* Records the decision; when it is a no, keeps for ws_err_errno() what was refused and sets errno. Returns 0 or -1. */
int permit_decide(
	enum permit_list list, const char *value, const struct permit_rule *rule, bool allowed, const char *why);
/* Sets the error that the last refusal on this thread stands for. Never raises. */
void permit_explain(struct ws_err *err);
/* Refuses `value` without a rule: `why` says the reason, `hint` may be NULL. Returns -1 with errno. */
int permit_refuse(enum permit_list list, const char *value, const char *why, const char *hint);

/* permit_path.c */
bool permit_covers(const struct permit_rule *rule, const char *path);
bool permit_is_below(const char *path, const char *folder); /* or the same */
/* Which of /proc, /sys, /dev the path is in; 0 for none. They are never meant by a rule for a folder above them. */
int permit_special(const char *path);

/* permit_net.c */
int permit_parse_net(struct permit_rule *rule, const char *text); /* 0, or -1: not understood */

/* permit_log.c */
struct permit_log *permit_log_new(const char *path); /* path may be NULL: memory only */
void permit_log_add(struct permit_log *log, enum permit_list list, const char *value, bool allowed, bool own);
void permit_log_push(lua_State *L, struct permit_log *log);
void permit_log_free(struct permit_log *log);

#endif
