/* spawn.c - starting a program.
 *
 * The child gets descriptors 0, 1 and 2 and no other, default signals, an empty signal mask, its own process group. What
 * can be told apart before the start is checked there, because posix_spawn has one errno for everything.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_actions(posix_spawn_file_actions_t *actions, const struct process_spec *spec)
{
	int rc = 0;
	for (int i = 0; i < 3 && rc == 0; i++) {
		int fd = spec->fds[i];
		if (i == 2 && spec->merge_stderr)
			rc = posix_spawn_file_actions_adddup2(actions, 1, 2);
		else if (fd < 0)
			rc = posix_spawn_file_actions_addopen(actions, i, "/dev/null", O_RDWR, 0);
		else if (fd != i)
			rc = posix_spawn_file_actions_adddup2(actions, fd, i);
	}
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	if (rc == 0 && spec->cwd != NULL)
		rc = posix_spawn_file_actions_addchdir_np(actions, spec->cwd);
	return rc;
}

static int attributes(posix_spawnattr_t *attr, const struct process_spec *spec)
{
	sigset_t none, pipe;
	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	if (spec->own_session)
		flags |= POSIX_SPAWN_SETSID;
	else if (spec->own_group)
		flags |= POSIX_SPAWN_SETPGROUP;
	int rc = posix_spawnattr_setflags(attr, (short)flags);
	if (rc == 0)
		rc = posix_spawnattr_setpgroup(attr, 0);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attr, &none);
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(attr, &pipe);
	return rc;
}

static int check_cwd(const char *cwd, struct ws_err *err)
{
	struct stat st;
	if (cwd == NULL)
		return 0;
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
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	if (check_cwd(spec->cwd, err) != 0)
		return -1;
	int rc = posix_spawn_file_actions_init(&actions);
	if (rc == 0) {
		rc = posix_spawnattr_init(&attr);
		if (rc == 0) {
			rc = file_actions(&actions, spec);
			if (rc == 0)
				rc = attributes(&attr, spec);
			if (rc == 0)
				rc = posix_spawn(pid, spec->file, &actions, &attr, spec->argv, spec->envp);
			posix_spawnattr_destroy(&attr);
		}
		posix_spawn_file_actions_destroy(&actions);
	}
	if (rc == 0)
		return 0;
	explain(spec, rc, err);
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
