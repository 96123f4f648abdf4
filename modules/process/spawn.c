/* spawn.c - starting a program.
 *
 * The child gets descriptors 0, 1 and 2 and no other, default signals, an empty signal mask, its own process group.
 *
 * vfork: no page tables are copied, so the cost does not depend on our memory, and the child can do what posix_spawn has
 * no word for. Until its exec it runs in our memory, on our stack, while we wait, with all signals blocked: between vfork
 * and exec there are system calls only. A wrong cwd is told before, because chdir and exec have one errno for both.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_SIGNAL = 31 }; /* nothing in this process handles those above, the realtime signals */

/* A program starts with default signals: exec keeps ignored ones, and a handler that ran between unblocking and exec
 * would run in our memory. */
static void default_signals(void)
{
	const struct sigaction standard = {.sa_handler = SIG_DFL};
	struct sigaction now;
	for (int i = 1; i <= LAST_SIGNAL; i++) {
		bool handled = sigaction(i, NULL, &now) == 0 && now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN;
		if (handled || i == SIGPIPE) /* which we ignore ourselves */
			sigaction(i, &standard, NULL);
	}
}

/* Arranges descriptors 0, 1, 2; those of the spec are above 2 or in their place already. Returns 0 or an errno value. */
static int arrange_streams(const struct process_spec *spec)
{
	for (int i = 0; i < 3; i++) {
		int fd = spec->fds[i];
		if (i == 2 && spec->merge_stderr)
			fd = 1;
		else if (fd < 0)
			fd = open("/dev/null", O_RDWR);
		if (fd < 0 || (fd != i && dup2(fd, i) < 0))
			return errno;
	}
	return 0;
}

static void close_others(void)
{
	struct rlimit limit;
	if (close_range(3, ~0U, 0) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit); /* a kernel older than 5.9 */
	for (int fd = 3; (rlim_t)fd < limit.rlim_cur; fd++)
		close(fd);
}

/* Becomes the program. Returns an errno value when it cannot. */
static int become(const struct process_spec *spec)
{
	sigset_t none;
	default_signals();
	if (spec->own_session)
		setsid();
	else if (spec->own_group)
		setpgid(0, 0);
	int code = arrange_streams(spec);
	if (code != 0)
		return code;
	if (spec->cwd != NULL && chdir(spec->cwd) != 0)
		return errno;
	code = ws_cage_enter(&spec->cage);
	if (code != 0)
		return code;
	close_others();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(spec->file, spec->argv, spec->envp);
	return errno;
}

static int check_cwd(const char *cwd, struct ws_err *err)
{
	struct stat st;
	struct ws_pin pin;
	if (cwd == NULL)
		return 0;
	if (ws_pin(&pin, cwd, WS_LOOK) != 0 && errno == WS_EDENIED) {
		ws_err_errno(err, cwd, errno);
		return -1;
	}
	ws_unpin(&pin);
	if (stat(cwd, &st) != 0 && errno == ENOENT)
		ws_err_set(err, "not_found", "cwd does not exist: %s", cwd);
	else if (stat(cwd, &st) != 0)
		ws_err_errno(err, cwd, errno);
	else if (!S_ISDIR(st.st_mode))
		ws_err_set(err, "invalid", "cwd is not a directory: %s", cwd);
	else if (access(cwd, X_OK) != 0)
		ws_err_set(err, "denied", "cwd may not be entered: %s", cwd);
	else
		return 0;
	return -1;
}

static void explain(const struct process_spec *spec, int code, struct ws_err *err)
{
	switch (code) {
	case ENOENT: /* the file was there a moment ago: what its first line names is not */
		ws_err_set(err, "missing_tool", "%s: the interpreter that its first line names does not exist",
			spec->file);
		break;
	case ENOEXEC:
		ws_err_set(
			err, "invalid", "%s: not a program for this machine, and no script with a #! line", spec->file);
		break;
	case E2BIG:
		ws_err_set(err, "too_large", "%s: arguments and environment are too long", spec->file);
		ws_err_hint(err, "give long input by stdin or a file");
		break;
	default:
		ws_err_errno(err, spec->file, code);
	}
}

int process_spawn(const struct process_spec *spec, pid_t *pid, struct ws_err *err)
{
	sigset_t all, before;
	volatile int failed = 0; /* written by the child */
	if (check_cwd(spec->cwd, err) != 0)
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t child = vfork();
	if (child == 0) {
		failed = become(spec);
		_exit(127);
	}
	if (child < 0)
		failed = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed == 0) {
		*pid = child;
		return 0;
	}
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	explain(spec, failed, err);
	return -1;
}

/* Whether `file` can be started: 0, ENOENT, or EACCES. */
static int executable(const char *file)
{
	struct stat st;
	if (stat(file, &st) != 0)
		return ENOENT;
	return S_ISREG(st.st_mode) && access(file, X_OK) == 0 ? 0 : EACCES;
}

static int find_relative(const char *name, const char *cwd, char **file, struct ws_err *err)
{
	char *full = NULL;
	if (name[0] != '/' && cwd != NULL) {
		if (asprintf(&full, "%s/%s", cwd, name) < 0)
			full = NULL;
	} else {
		full = strdup(name);
	}
	if (full == NULL) {
		ws_err_errno(err, name, ENOMEM);
		return -1;
	}
	int code = executable(full);
	if (code == ENOENT)
		ws_err_set(err, "missing_tool", "command not found: %s", full);
	else if (code != 0)
		ws_err_set(err, "denied", "%s is not an executable file", full);
	free(full);
	/* The child is in its cwd when it looks for the file, so the name as it was given is right. */
	*file = code == 0 ? strdup(name) : NULL;
	if (code == 0 && *file == NULL)
		ws_err_errno(err, name, ENOMEM);
	return *file != NULL ? 0 : -1;
}

int process_find(const char *name, const char *path, const char *cwd, char **file, struct ws_err *err)
{
	*file = NULL;
	if (strchr(name, '/') != NULL)
		return find_relative(name, cwd, file, err);
	if (path == NULL)
		path = "/usr/local/bin:/usr/bin:/bin";
	char *denied = NULL;
	for (const char *part = path; *part != '\0';) {
		size_t len = strcspn(part, ":");
		char *full = NULL;
		if (part[0] == '/' && asprintf(&full, "%.*s/%s", (int)len, part, name) >= 0) {
			int code = executable(full);
			if (code == 0) {
				free(denied);
				*file = full;
				return 0;
			}
			if (code == EACCES && denied == NULL)
				denied = full;
			else
				free(full);
		}
		part += len;
		part += *part == ':';
	}
	if (denied != NULL)
		ws_err_set(err, "denied", "%s is not an executable file", denied);
	else
		ws_err_set(err, "missing_tool", "command not found: %s (looked in %s)", name, path);
	free(denied);
	return -1;
}

int process_signal_number(const char *name)
{
	for (int i = 1; i < NSIG; i++) {
		const char *abbrev = sigabbrev_np(i);
		if (abbrev != NULL && strcmp(abbrev, name) == 0)
			return i;
	}
	return -1;
}
