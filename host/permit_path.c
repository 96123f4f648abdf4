/* permit_path.c - paths: what a name leads to, and whether that may be touched.
 *
 * The kernel resolves: the path is opened with O_PATH and its real name read from /proc/self/fd. What does not exist
 * yet is a name in a folder that does. Links of /proc (magic links), which lead anywhere without a name, are not followed.
 */
#include "permit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

/* ---- names ------------------------------------------------------------------------------------------------------- */

bool permit_is_below(const char *path, const char *folder)
{
	size_t len = strlen(folder);
	if (len == 1)
		return true;
	return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

int permit_special(const char *path)
{
	static const char *const tops[] = {"/proc", "/sys", "/dev"};
	for (int i = 0; i < 3; i++)
		if (permit_is_below(path, tops[i]))
			return i + 1;
	return 0;
}

bool permit_covers(const struct permit_rule *rule, const char *path)
{
	if (rule->any)
		return true;
	if (!permit_is_below(path, rule->path))
		return false;
	if (rule->word != WORD_DENY && permit_special(path) != permit_special(rule->path))
		return false;
	size_t len = strlen(path);
	return !rule->lua_only || (len > 4 && strcmp(path + len - 4, ".lua") == 0);
}

/* Opens without reading or writing. */
static int open_path(const char *path, int flags)
{
	flags |= O_PATH | O_CLOEXEC;
	if (!ws_permit->strict)
		return open(path, flags);
	const struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
	return fd < 0 && errno == ENOSYS ? open(path, flags)
					 : fd; /* before Linux 5.6: what it led to is checked all the same */
}

/* The name that the kernel has for an open file; "" when it has none (a pipe, a removed file). */
static void name_of(int fd, char real[PATH_MAX])
{
	char self[40];
	struct stat st;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(self, real, PATH_MAX - 1);
	if (n < 0 || n == PATH_MAX - 1 || real[0] != '/' || fstat(fd, &st) != 0 || st.st_nlink == 0)
		n = 0;
	real[n] = '\0';
}

/* Puts `folder` and what follows it together; `.` and `..` are solved in the text. Returns 0 or ENAMETOOLONG. */
static int join(char out[PATH_MAX], const char *folder, const char *rest)
{
	char text[2 * PATH_MAX];
	if (snprintf(text, sizeof text, "%s/%s", folder, rest) >= (int)sizeof text)
		return ENAMETOOLONG;
	size_t len = 0;
	for (char *save = NULL, *part = strtok_r(text, "/", &save); part != NULL; part = strtok_r(NULL, "/", &save)) {
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (len > 0 && out[--len] != '/')
				;
			continue;
		}
		size_t n = strlen(part);
		if (len + n + 2 > PATH_MAX)
			return ENAMETOOLONG;
		out[len++] = '/';
		memcpy(out + len, part, n);
		len += n;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return 0;
}

/* Splits a path into the folder and the last name, without slashes at its end. False for /, . and .. */
static bool split(const char *path, char folder[PATH_MAX], char name[NAME_MAX + 1])
{
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	size_t at = len;
	while (at > 0 && path[at - 1] != '/')
		at--;
	size_t n = len - at;
	if (n == 0 || n > NAME_MAX || at >= PATH_MAX || (n == 1 && path[at] == '.') ||
		(n == 2 && path[at] == '.' && path[at + 1] == '.'))
		return false;
	memcpy(name, path + at, n);
	name[n] = '\0';
	memcpy(folder, at > 0 ? path : ".", at > 0 ? at : 1);
	folder[at > 0 ? at : 1] = '\0';
	return true;
}

/* The real name of a path of which only a beginning need exist. Returns 0 or an errno value. */
static int name_of_missing(const char *path, char real[PATH_MAX])
{
	char begin[PATH_MAX], folder[PATH_MAX];
	size_t len = strlen(path);
	if (len >= PATH_MAX)
		return ENAMETOOLONG;
	memcpy(begin, path, len + 1);
	for (;;) {
		while (len > 0 && begin[len - 1] != '/')
			len--;
		while (len > 1 && begin[len - 1] == '/')
			len--;
		begin[len] = '\0';
		int fd = open(len > 0 ? begin : ".", O_PATH | O_CLOEXEC);
		if (fd < 0 && len > 1)
			continue;
		folder[0] = '\0';
		if (fd >= 0) {
			name_of(fd, folder);
			close(fd);
		}
		return join(real, folder[0] != '\0' ? folder : "/", path + len);
	}
}

char *ws_real_path(const char *path)
{
	char real[PATH_MAX];
	if (realpath(path, real) == NULL && name_of_missing(path, real) != 0)
		return NULL;
	return strdup(real);
}

/* ---- decisions --------------------------------------------------------------------------------------------------- */

/* /proc/PID/environ and its kin: what they show or change belongs to another process, or is not a file at all. */
static bool is_process_secret(const char *real, bool write)
{
	static const char *const names[] = {"environ", "mem", "auxv", "maps", "smaps", "numa_maps", "pagemap", "stack",
		"syscall", "root", "cwd", "exe", "fd", "fdinfo", "map_files", "clear_refs"};
	if (strncmp(real, "/proc/", 6) != 0 || real[6] < '0' || real[6] > '9')
		return strcmp(real, "/proc/kcore") == 0 || strcmp(real, "/proc/kmem") == 0;
	if (write)
		return true;
	const char *rest = strchr(real + 6, '/');
	if (rest != NULL && strncmp(rest, "/task/", 6) == 0)
		rest = strchr(rest + 6, '/');
	if (rest == NULL)
		return false;
	rest++;
	size_t len = strcspn(rest, "/");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == len && memcmp(rest, names[i], len) == 0)
			return true;
	return false;
}

/* A rule that says no to the path or, for a whole tree, to something in it. */
static const struct permit_rule *denied_by(const struct permit_rules *rules, const char *real, bool tree)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == WORD_DENY && (permit_covers(r, real) || (tree && permit_is_below(r->path, real))))
			return r;
	}
	return NULL;
}

static bool is_guarded(const char *real, bool tree)
{
	for (size_t i = 0; i < ws_permit->guarded_count; i++)
		if (permit_is_below(real, ws_permit->guarded[i]) ||
			(tree && permit_is_below(ws_permit->guarded[i], real)))
			return true;
	return false;
}

/* What the program looks at to know its children and those of a dead run: numbers and names of processes. And a program
 * that may be started may be looked at. */
static bool is_known_anyway(const char *real)
{
	if (strncmp(real, "/proc", 5) == 0 && (real[5] == '\0' || (real[6] >= '0' && real[6] <= '9'))) {
		const char *rest = real[5] == '\0' ? "" : strchr(real + 6, '/');
		return rest != NULL && (rest[0] == '\0' || strcmp(rest, "/comm") == 0 || strcmp(rest, "/stat") == 0 ||
					       strcmp(rest, "/ns/pid") == 0);
	}
	const struct permit_rules *rules = &ws_permit->lists[LIST_RUN];
	for (size_t i = 0; i < rules->count; i++)
		if (rules->items[i].word == WORD_ALLOW && rules->items[i].path != NULL &&
			strcmp(rules->items[i].path, real) == 0)
			return true;
	return false;
}

static bool is_own(const struct permit_rules *rules, const char *real)
{
	for (size_t i = 0; i < rules->count; i++)
		if (rules->items[i].word == WORD_OWN && strcmp(rules->items[i].path, real) == 0)
			return true;
	return false;
}

static int decide(enum permit_list list, const char *real, unsigned touch)
{
	bool tree = (touch & WS_TREE) != 0;
	const struct permit_rules *rules = &ws_permit->lists[list];
	const struct permit_rule *rule = denied_by(rules, real, tree);
	if (rule != NULL)
		return permit_decide(list, real, rule, false, NULL);
	if (ws_permit->strict && list == LIST_WRITE && is_guarded(real, tree) &&
		!((touch & WS_DATABASE) != 0 && is_own(rules, real)))
		return permit_refuse(list, real, "a policy rests on it: no script changes it", NULL);
	for (size_t i = 0; i < rules->count; i++) {
		rule = &rules->items[i];
		if (rule->word == WORD_DENY || !permit_covers(rule, real))
			continue;
		if (ws_permit->strict && is_process_secret(real, list == LIST_WRITE))
			return permit_refuse(list, real, "it belongs to a process, and no rule allows that", NULL);
		return permit_decide(list, real, rule, true, NULL);
	}
	static const struct permit_rule own = {.word = WORD_OWN};
	if (list == LIST_READ && is_known_anyway(real))
		return permit_decide(list, real, &own, true, NULL);
	return permit_decide(list, real, NULL, !rules->enforced, NULL);
}

static int decide_both(const char *real, unsigned touch)
{
	bool tree = (touch & WS_TREE) != 0;
	if (real[0] == '\0')
		return permit_refuse((touch & WS_CHANGE) != 0 ? LIST_WRITE : LIST_READ, "a file without a name",
			"what it is cannot be told", NULL);
	if ((touch & WS_LOOK) != 0 && decide(LIST_READ, real, touch) != 0)
		return -1;
	if ((touch & WS_CHANGE) != 0 && decide(LIST_WRITE, real, touch) != 0)
		return -1;
	if (tree && (touch & WS_LOOK) == 0) { /* what is moved or removed may hold what may not be seen */
		const struct permit_rule *rule = denied_by(&ws_permit->lists[LIST_READ], real, true);
		if (rule != NULL)
			return permit_decide(LIST_READ, real, rule, false, NULL);
	}
	return 0;
}

/* The path cannot be opened for the reason `code`: says so only where this run may look. Returns -1 with errno. */
static int missing(const char *path, unsigned touch, int code)
{
	char real[PATH_MAX];
	int problem = name_of_missing(path, real);
	if (problem == 0 && decide_both(real, touch & ~(unsigned)WS_TREE) != 0)
		return -1;
	errno = problem != 0 ? problem : code;
	return -1;
}

/* ---- pins -------------------------------------------------------------------------------------------------------- */

static int pin_file(struct ws_pin *pin, int fd, unsigned touch)
{
	char real[PATH_MAX];
	name_of(fd, real);
	if (decide_both(real, touch) != 0) {
		close(fd);
		errno = WS_EDENIED;
		return -1;
	}
	pin->fd = fd;
	snprintf(pin->text, sizeof pin->text, "/proc/self/fd/%d", fd);
	pin->path = pin->text;
	return 0;
}

/* Pins the folder; the path is a name in it. `real` becomes the whole. Returns 0 or -1 with errno. */
static int pin_name(struct ws_pin *pin, const char *folder, const char *name, unsigned touch, char real[PATH_MAX])
{
	char parent[PATH_MAX];
	int fd = open_path(folder, O_DIRECTORY);
	if (fd < 0)
		return missing(folder, touch, errno);
	name_of(fd, parent);
	if (parent[0] == '\0' || join(real, parent, name) != 0) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	pin->fd = fd;
	snprintf(pin->text, sizeof pin->text, "/proc/self/fd/%d/%s", fd, name);
	pin->path = pin->text;
	return 0;
}

static int pin_link(struct ws_pin *pin, const char *path, unsigned touch)
{
	char folder[PATH_MAX], name[NAME_MAX + 1], real[PATH_MAX];
	if (!split(path, folder, name)) {
		int fd = open_path(path, 0);
		return fd < 0 ? missing(path, touch, errno) : pin_file(pin, fd, touch);
	}
	if (pin_name(pin, folder, name, touch, real) != 0)
		return -1;
	if (decide_both(real, touch) == 0)
		return 0;
	ws_unpin(pin);
	errno = WS_EDENIED;
	return -1;
}

/* A file that may be made: symbolic links that lead nowhere yet are followed by hand. */
static int pin_new(struct ws_pin *pin, const char *path, unsigned touch)
{
	char at[PATH_MAX], folder[PATH_MAX], name[NAME_MAX + 1], real[PATH_MAX], target[PATH_MAX];
	if (snprintf(at, sizeof at, "%s", path) >= (int)sizeof at) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (int i = 0; i < LINKS_MAX; i++) {
		int fd = open_path(at, 0);
		if (fd >= 0)
			return pin_file(pin, fd, touch);
		if (errno != ENOENT || !split(at, folder, name))
			return missing(at, touch, errno);
		if (pin_name(pin, folder, name, touch, real) != 0)
			return -1;
		ssize_t n = readlink(pin->path, target, sizeof target - 1);
		if (n < 0) {
			if (decide_both(real, touch) == 0)
				return 0;
			ws_unpin(pin);
			errno = WS_EDENIED;
			return -1;
		}
		target[n] = '\0';
		ws_unpin(pin);
		*strrchr(real, '/') = '\0';
		n = target[0] == '/' ? snprintf(at, sizeof at, "%s", target)
				     : snprintf(at, sizeof at, "%s/%s", real, target);
		if (n >= (ssize_t)sizeof at) {
			errno = ENAMETOOLONG;
			return -1;
		}
	}
	errno = ELOOP;
	return -1;
}

int ws_pin(struct ws_pin *pin, const char *path, unsigned touch)
{
	pin->fd = -1;
	pin->path = path;
	if (ws_permit == NULL)
		return 0;
	if ((touch & WS_LINK) != 0)
		return pin_link(pin, path, touch);
	if ((touch & WS_NEW) != 0)
		return pin_new(pin, path, touch);
	int fd = open_path(path, 0);
	return fd < 0 ? missing(path, touch, errno) : pin_file(pin, fd, touch);
}

void ws_unpin(struct ws_pin *pin)
{
	int code = errno;
	if (pin->fd >= 0)
		close(pin->fd);
	pin->fd = -1;
	errno = code;
}

/* ---- system calls ------------------------------------------------------------------------------------------------ */

int ws_open(const char *path, int flags, mode_t mode)
{
	if (ws_permit == NULL)
		return open(path, flags, mode);
	struct ws_pin pin;
	unsigned touch = (flags & O_ACCMODE) == O_WRONLY ? WS_CHANGE
			 : (flags & O_ACCMODE) == O_RDWR ? WS_LOOK | WS_CHANGE
							 : WS_LOOK;
	if ((flags & O_CREAT) != 0)
		touch |= WS_NEW;
	if ((flags & O_NOFOLLOW) != 0 || (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		touch |= WS_LINK;
	size_t len = strlen(path);
	if ((flags & O_CREAT) != 0 && len > 0 && path[len - 1] == '/') {
		errno = EISDIR;
		return -1;
	}
	if (ws_pin(&pin, path, touch) != 0)
		return -1;
	/* A descriptor of the file itself is opened anew through its own link; a name in a folder is no link by now. */
	bool itself = strchr(pin.path + strlen("/proc/self/fd/"), '/') == NULL;
	int fd = open(pin.path, itself ? flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW) : flags | O_NOFOLLOW, mode);
	ws_unpin(&pin);
	return fd;
}

bool ws_permit_way(const char *path)
{
	char real[PATH_MAX];
	struct stat st;
	struct ws_pin pin;
	if (realpath(path, real) == NULL || stat(real, &st) != 0 || !S_ISDIR(st.st_mode))
		return false;
	if (!ws_permit->strict)
		return true;
	for (int list = LIST_READ; list <= LIST_WRITE; list++)
		for (size_t i = 0; i < ws_permit->lists[list].count; i++)
			if (ws_permit->lists[list].items[i].word != WORD_DENY &&
				ws_permit->lists[list].items[i].path != NULL &&
				permit_is_below(ws_permit->lists[list].items[i].path, real))
				return true;
	if (ws_pin(&pin, path, WS_LOOK) != 0)
		return false;
	ws_unpin(&pin);
	return true;
}

int ws_rename(const char *from, const char *to)
{
	if (ws_permit == NULL)
		return rename(from, to);
	struct ws_pin a, b;
	/* What is moved can be read under its new name. */
	if (ws_pin(&a, from, WS_LOOK | WS_CHANGE | WS_TREE | WS_LINK) != 0)
		return -1;
	int rc = ws_pin(&b, to, WS_CHANGE | WS_TREE | WS_LINK | WS_NEW);
	if (rc == 0) {
		rc = rename(a.path, b.path);
		ws_unpin(&b);
	}
	ws_unpin(&a);
	return rc;
}

int ws_remove(const char *path)
{
	struct ws_pin pin;
	if (ws_pin(&pin, path, WS_CHANGE | WS_LINK | WS_TREE) != 0)
		return -1;
	int rc = remove(pin.path);
	ws_unpin(&pin);
	return rc;
}

int ws_symlink(const char *target, const char *path)
{
	struct ws_pin pin;
	if (ws_pin(&pin, path, WS_CHANGE | WS_LINK | WS_NEW) != 0)
		return -1;
	int rc = 0;
	if (ws_permit != NULL && ws_permit->strict) {
		char folder[PATH_MAX], text[2 * PATH_MAX];
		name_of(pin.fd, folder);
		snprintf(text, sizeof text, "%s/%s", target[0] == '/' ? "" : folder, target);
		char *real = ws_real_path(text);
		rc = real == NULL || decide(LIST_READ, real, 0) != 0 ? -1 : 0;
		free(real);
	}
	if (rc == 0)
		rc = symlink(target, pin.path);
	ws_unpin(&pin);
	return rc;
}
