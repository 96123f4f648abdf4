/* permit.h - what this run may touch: run, net, read, write, env.
 *
 * Invariants
 * - Without a policy every function here does what the plain system call does, at no cost but one test of a pointer.
 * - A policy is set once, before the first line of a script runs, and never changes; it is safe to ask on any thread.
 * - What is checked is what is used: a path is opened first (O_PATH), the name that the kernel says it has is checked,
 *   and from then on only that descriptor is used. A link that is changed meanwhile changes nothing.
 * - A refusal is errno WS_EDENIED; ws_err_errno() on the same thread then makes the error that says what, why, and
 *   which option allows it.
 */
#ifndef WS_PERMIT_H
#define WS_PERMIT_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum { WS_EDENIED = 4001 };

/* What is done to a path. */
enum ws_touch {
	WS_LOOK = 1,      /* it is read, or looked at */
	WS_CHANGE = 2,    /* it is changed, made or removed */
	WS_TREE = 4,      /* with everything below it */
	WS_LINK = 8,      /* the name itself: a symbolic link in its place is not followed */
	WS_NEW = 16,      /* it need not exist */
	WS_DATABASE = 32, /* as a database: the journal is one, and no file to a script */
};

/* A path that has been checked; `path` stands for it in system calls until ws_unpin(). */
struct ws_pin {
	const char *path;
	int fd;
	char text[320];
};

/* Checks a path and pins what it names. Returns 0, or -1 with errno (nothing to unpin then). Never raises. */
int ws_pin(struct ws_pin *pin, const char *path, unsigned touch);
/* Lets go of it; keeps errno. Never raises. */
void ws_unpin(struct ws_pin *pin);
/* The real path of what a path names, malloc'ed; of what does not exist only the beginning. NULL without memory. For
 * libraries that open by themselves what has been checked. Never raises. */
char *ws_real_path(const char *path);
/* As open(2). Never raises. */
int ws_open(const char *path, int flags, mode_t mode);
/* Whether a folder exists on the way to something that this run may look at or change. Never raises. */
bool ws_permit_way(const char *path);
/* As rename(2), unlink(2) or rmdir(2). Never raise. */
int ws_rename(const char *from, const char *to);
int ws_remove(const char *path);
/* As symlink(2); refused as well when the link would lead to where this run may not look. Never raises. */
int ws_symlink(const char *target, const char *path);

/* Where temporary files go by default: the run's own folder under a policy, else NULL. Never raises. */
const char *ws_permit_temp(void);

/* Whether a program may be started; `asked` is the name that was looked up, `file` what was found. Puts the file's real
 * path into `real` (PATH_MAX bytes). Returns 0, or -1 with errno. Never raises. */
int ws_permit_run(const char *asked, const char *file, char *real);

/* Whether a child may have one of our own variables: it may be seen, and makes nobody load code. Never raises. */
bool ws_permit_inherit(const char *name, size_t len);
/* Whether a script may give this variable to a child. Returns 0, or -1 with errno. Never raises. */
int ws_permit_give_env(const char *name, size_t len);
/* Whether there is a policy: environments of children have to be filtered. Never raises. */
bool ws_permit_active(void);
/* Whether decisions are made at all: there is a policy, or what is used is recorded. Never raises. */
bool ws_permit_watching(void);

/* A host that is asked for, checked by name; the address that it turns out to have is for ws_permit_connect(). */
struct ws_net_target {
	char host[256];
	int port;
	bool named; /* the list has its name */
};
/* Returns 0, or -1 with errno. Never raises. */
int ws_permit_host(struct ws_net_target *target, const char *host, int port);
int ws_permit_connect(const struct ws_net_target *target, const struct sockaddr *address);
/* Likewise when the connection is to a proxy, which will reach the target for us. */
int ws_permit_proxy(const struct ws_net_target *target, const char *proxy, int port, const struct sockaddr *address);
int ws_permit_listen(const struct sockaddr *address);

/* How a child is confined; made before it is started. */
struct ws_cage {
	int ruleset; /* Landlock's, or -1 */
	bool active;
	unsigned short count;
	uint64_t filter[128]; /* seccomp's program: `count` of struct sock_filter */
};

/* Prepares the confinement of `program` (its real path). Returns 0, or -1 with errno. Never raises. */
int ws_cage_open(struct ws_cage *cage, const char *program);
/* In the child, just before exec: system calls only. Returns 0 or an errno value. */
int ws_cage_enter(const struct ws_cage *cage);
void ws_cage_close(struct ws_cage *cage);

#endif
