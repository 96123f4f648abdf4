/* process.h - what the files of modules/process share; no Lua here, so that each half can be read alone.
 *
 * A child is finished when it has exited AND both of its pipes have ended; then, and not before, it is reaped: until
 * then its process group's number is ours, and signals reach nobody else. A grandchild that keeps a pipe open after the
 * child's exit is given `linger` seconds of silence, then the pipe is closed and the result says so.
 *
 * struct child belongs to the loop until its last handle has closed, and to the Lua object until that is collected:
 * it is freed when both are gone.
 */
#ifndef WS_PROCESS_H
#define WS_PROCESS_H

#include <ws/buf.h>
#include <ws/error.h>
#include <ws/op.h>
#include <ws/permit.h>

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

/* What to start. Everything is borrowed. */
struct process_spec {
	const char *file; /* found on PATH, or with a slash; under a policy the real path */
	char *const *argv;
	char *const *envp;
	const char *cwd;     /* NULL: ours */
	int fds[3];          /* the child's 0, 1, 2; -1: /dev/null; as our own when equal to the index */
	bool merge_stderr;   /* 2 goes where 1 goes; fds[2] is not looked at */
	bool own_group;      /* false for an interactive child: it stays in the terminal's foreground group */
	bool own_session;    /* detached: survives us and our terminal */
	struct ws_cage cage; /* what the run's permissions leave it */
};

/* Starts a program; the cost does not depend on our memory. Returns 0, or -1 with `err`. Never raises. */
int process_spawn(const struct process_spec *spec, pid_t *pid, struct ws_err *err);
/* Finds `name` on `path` (the value of PATH; only its absolute parts count). Returns 0 with the malloc'ed file, or -1
 * with `err` of kind `missing_tool` or `denied`. Relative names with a slash start from `cwd`. Never raises. */
int process_find(const char *name, const char *path, const char *cwd, char **file, struct ws_err *err);
/* The number of a signal's name without SIG, or -1. */
int process_signal_number(const char *name);

enum child_why { NOT_STOPPED, STOPPED, TIMED_OUT };

struct stream {
	struct child *child;
	uv_poll_t poll;
	int fd;
	bool open;
	bool paused; /* too much waits to be read as lines */
	bool collect;
	bool lines;
	bool truncated;
	bool cut;           /* closed although something still held it */
	size_t max;         /* bytes of output kept */
	struct ws_buf tail; /* output kept, up to twice max */
	struct ws_buf lines_buf;
	size_t lines_from; /* what is before it in lines_buf has been taken */
	size_t lines_seen; /* no newline between lines_from and here */
	struct ws_op *reader;
};

struct input {
	uv_poll_t poll;
	int fd;
	bool open;
	bool broken;      /* the child has closed its end */
	bool close_after; /* data is all there is */
	const char *data;
	size_t len;
	size_t off;
	char *owned; /* data that is ours to free (and to wipe) */
	struct ws_op *writer;
};

struct process_set;

struct child {
	struct process_set *set;
	struct child *next;
	struct child **link; /* in set->children; NULL when not in it */
	pid_t pid;
	unsigned refs;
	unsigned handles;
	bool exited;
	bool finishing;
	bool finished;
	bool own_group;
	bool detached;
	int code;   /* exit code, or -1 */
	int signal; /* that ended it, or 0 */
	int stop_signal;
	enum child_why why;
	bool killed;    /* KILL was sent after the grace */
	double timeout; /* seconds; < 0: none */
	double grace;
	double linger;
	uint64_t started; /* uv_hrtime */
	uint64_t ended;
	uint64_t last_output;
	char *command; /* for messages */
	struct stream out[2];
	struct input in;
	int pidfd;
	uv_poll_t exit_poll;
	bool exit_open;
	uv_timer_t timer;
	bool timer_open;
	struct ws_op *waiter; /* for whom wake() is called when the child has finished */
	void (*wake)(struct ws_op *waiter);
};

/* All children of one host. */
struct process_set {
	uv_loop_t *loop;
	struct child *children; /* started and not finished */
	uv_signal_t sigchld;
	bool sigchld_open;
	char chunk[65536]; /* what is read from pipes passes through here */
};

struct child_fds {
	int in, out, err; /* our ends, -1 when there is none */
};

/* Begins to watch a started child. Takes over the descriptors, also on failure. Returns 0 or a libuv code. */
int child_watch(struct child *c, const struct child_fds *fds);
void child_unref(struct child *c);
/* stop_signal to the group, after `grace` seconds KILL. Does nothing the second time. */
void child_stop(struct child *c, enum child_why why);
/* Signals the group. Returns 0 or an errno value. */
int child_signal(struct child *c, int signum);
/* Closes stdin when what was given has been written. */
void child_input_close(struct child *c);
/* Begins to write what c->in says. */
void child_input_start(struct child *c);
/* Gives up a writer that was cancelled. */
void child_input_abandon(struct child *c);
/* Reads on after lines were taken. Never raises. */
void stream_resume(struct stream *s);
/* Ends every child that is not detached and waits for it: TERM, then KILL. For the end of the host. */
void process_set_close(struct process_set *set);

#endif
