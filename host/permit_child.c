/* permit_child.c - children are held to the same lists by the kernel: Landlock for files and TCP ports, seccomp for
 * kinds of sockets, and without the capabilities that would lead around them.
 *
 * Landlock only allows, and always a whole tree: where something inside is denied, each of its neighbours is allowed by
 * itself, and what is made directly beside it later is not. Without Landlock in the kernel a child runs unconfined and
 * the run says so once.
 */
#include "permit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's interface, as of ABI 6; headers of the system may be older. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, RULE_PATH = 1, RULE_PORT = 2, VERSION = 1 };
enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_CHAR = 1 << 6,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_MAKE_FIFO = 1 << 10,
	FS_MAKE_BLOCK = 1 << 11,
	FS_MAKE_SYM = 1 << 12,
	FS_REFER = 1 << 13,     /* ABI 2 */
	FS_TRUNCATE = 1 << 14,  /* ABI 3 */
	FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
	NET_BIND = 1 << 0,      /* ABI 4 */
	NET_CONNECT = 1 << 1,
	SCOPE_ABSTRACT = 1 << 0, /* ABI 6 */
	SCOPE_SIGNAL = 1 << 1,
};
struct ruleset_attr {
	uint64_t fs, net, scope;
};
struct __attribute__((packed)) path_attr {
	uint64_t access;
	int32_t fd;
};
struct port_attr {
	uint64_t access, port;
};

enum {
	READ = FS_READ_FILE | FS_READ_DIR,
	RUN = FS_EXECUTE | FS_READ_FILE,
	WRITE = FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK |
		FS_MAKE_FIFO | FS_MAKE_SYM | FS_REFER | FS_TRUNCATE,
	OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
	DEPTH_MAX = 64,
};

struct builder {
	int ruleset;
	uint64_t handled;
	bool special; /* the rule at hand is for /proc, /sys or /dev, or for everything */
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Allows `access` to a file or tree; what does not exist needs no rule. */
static void allow(const struct builder *b, const char *path, uint64_t access)
{
	struct stat st;
	int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0) {
		struct path_attr attr = {.access = access & b->handled, .fd = fd};
		if (!S_ISDIR(st.st_mode))
			attr.access &= OF_FILES;
		if (attr.access != 0)
			syscall(ADD_RULE, b->ruleset, RULE_PATH, &attr, 0);
	}
	close(fd);
}

/* Whether a denial or a guarded file is the path or lies above it (1), or lies below it (-1). */
static int excluded(const struct builder *b, const char *path, uint64_t access)
{
	bool below = false;
	enum permit_list list = (access & WRITE) != 0 ? LIST_WRITE : LIST_READ;
	const struct permit_rules *rules = &ws_permit->lists[list];
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word != WORD_DENY)
			continue;
		if (r->any || permit_is_below(path, r->path))
			return 1;
		below |= permit_is_below(r->path, path);
	}
	for (size_t i = 0; list == LIST_WRITE && i < ws_permit->guarded_count; i++) {
		if (permit_is_below(path, ws_permit->guarded[i]))
			return 1;
		below |= permit_is_below(ws_permit->guarded[i], path);
	}
	if (!b->special && permit_special(path) != 0)
		return 1;
	return below || (!b->special && strcmp(path, "/") == 0) ? -1 : 0;
}

static void allow_tree(const struct builder *b, const char *path, uint64_t access, int depth)
{
	int out = excluded(b, path, access);
	if (out == 0)
		allow(b, path, access);
	if (out >= 0 || depth > DEPTH_MAX)
		return;
	allow(b, path, access & FS_READ_DIR); /* names, also of what is denied; Landlock knows no less */
	DIR *dir = opendir(path);
	for (struct dirent *d; dir != NULL && (d = readdir(dir)) != NULL;) {
		char child[PATH_MAX];
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 && d->d_type != DT_LNK &&
			snprintf(child, sizeof child, "%s/%s", strcmp(path, "/") == 0 ? "" : path, d->d_name) <
				PATH_MAX)
			allow_tree(b, child, access, depth + 1);
	}
	if (dir != NULL)
		closedir(dir);
}

/* What every program needs to start at all. None of it is secret or can be changed by way of it. */
static void allow_system(struct builder *b)
{
	static const char *const readable[] = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/nix/store", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld-musl-x86_64.path",
		"/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem",
		"/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/crypto-policies",
		"/etc/resolv.conf", "/run/systemd/resolve", "/etc/hosts", "/etc/hostname", "/etc/host.conf",
		"/etc/gai.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/passwd", "/etc/group",
		"/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/os-release", "/etc/debian_version",
		"/etc/mime.types", "/etc/magic", "/etc/terminfo", "/etc/inputrc", "/etc/gitconfig",
		"/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d", "/etc/ssh/ssh_known_hosts", "/proc",
		"/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"};
	static const char *const devices[] = {
		"/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/pts"};
	static const char *const random[] = {"/dev/random", "/dev/urandom"};
	b->special = true;
	for (size_t i = 0; i < sizeof readable / sizeof *readable; i++)
		allow_tree(b, readable[i], READ, 0);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		allow(b, devices[i], FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_IOCTL_DEV);
	for (size_t i = 0; i < sizeof random / sizeof *random; i++)
		allow(b, random[i], FS_READ_FILE | FS_IOCTL_DEV);
}

/* A script's first line names the program that reads it. */
static void allow_interpreter(const struct builder *b, const char *file)
{
	char line[256];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (n < 3 || line[0] != '#' || line[1] != '!')
		return;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	char *save = NULL, *program = strtok_r(line + 2, " \t", &save), *argument = strtok_r(NULL, " \t", &save);
	if (program == NULL)
		return;
	allow(b, program, RUN);
	if (argument != NULL && strlen(program) >= 4 && strcmp(program + strlen(program) - 4, "/env") == 0) {
		static const char *const folders[] = {"/usr/local/bin", "/usr/bin", "/bin"};
		for (size_t i = 0; i < 3; i++) {
			char path[PATH_MAX];
			if (snprintf(path, sizeof path, "%s/%s", folders[i], argument) < PATH_MAX)
				allow(b, path, RUN);
		}
	}
}

static void allow_program(const struct builder *b, const char *file)
{
	const char *slash = strrchr(file, '/');
	allow(b, file, RUN);
	allow_interpreter(b, file);
	if (slash != NULL && strcmp(slash, "/git") == 0) { /* git is many programs */
		allow(b, "/usr/lib/git-core", RUN);
		allow(b, "/usr/libexec/git-core", RUN);
	}
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

static bool is_terraform(const char *program)
{
	return strcmp(base_name(program), "terraform") == 0 || strcmp(base_name(program), "tofu") == 0;
}

/* Terraform's providers and helm's plugins lie in folders of the state folder, which nobody else runs programs from. */
static void allow_plugins(const struct builder *b, const char *program)
{
	const struct permit_rules *files = &ws_permit->lists[LIST_WRITE];
	for (size_t i = 0; i < files->count; i++) {
		const struct permit_rule *r = &files->items[i];
		if (r->word != WORD_OWN)
			continue;
		const char *name = base_name(r->path);
		bool terraform = strcmp(name, "plugins") == 0 || strcmp(name, "platforms") == 0;
		if ((terraform && is_terraform(program)) ||
			(strcmp(name, "helm") == 0 && strcmp(base_name(program), "helm") == 0))
			allow(b, r->path, FS_EXECUTE);
	}
}

static void allow_programs(const struct builder *b, const char *program)
{
	static const char *const loaders[] = {"/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1",
		"/lib/ld-linux.so.2", "/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-aarch64.so.1"};
	const struct permit_rules *rules = &ws_permit->lists[LIST_RUN];
	char self[PATH_MAX];
	if (!rules->enforced) {
		allow(b, "/", FS_EXECUTE);
		return;
	}
	allow_program(b, program);
	for (size_t i = 0; i < rules->count; i++)
		if (rules->items[i].word != WORD_DENY && rules->items[i].path != NULL)
			allow_program(b, rules->items[i].path);
	for (size_t i = 0; i < sizeof loaders / sizeof *loaders; i++)
		allow(b, loaders[i], RUN);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0) { /* kubectl's and helm's way to credentials */
		self[n] = '\0';
		allow(b, self, RUN);
	}
	allow_plugins(b, program);
}

static void allow_list(struct builder *b, enum permit_list list, uint64_t access)
{
	const struct permit_rules *rules = &ws_permit->lists[list];
	b->special = true;
	if (!rules->enforced)
		allow_tree(b, "/", access, 0);
	for (size_t i = 0; rules->enforced && i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		b->special = r->any || permit_special(r->path) != 0;
		if (r->word != WORD_DENY && !r->lua_only)
			allow_tree(b, r->path, access, 0);
	}
}

enum sockets { SOCKETS_INET = 1, SOCKETS_UNIX = 2, SOCKETS_ALL = 7 };

/* ---- network ----------------------------------------------------------------------------------------------------- */

/* Landlock knows ports, not hosts: when every entry names its port, others are closed. */
static bool has_ports_only(const struct permit_rules *rules)
{
	size_t count = 0;
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == WORD_DENY || (r->host != NULL && strcmp(r->host, "unix") == 0))
			continue;
		if (r->port == 0)
			return false;
		count++;
	}
	return rules->enforced && count > 0;
}

static unsigned sockets_of(const char *program)
{
	const struct permit_rules *rules = &ws_permit->lists[LIST_NET];
	if (!rules->enforced)
		return SOCKETS_ALL;
	unsigned sockets = 0;
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word != WORD_DENY)
			sockets |= r->host != NULL && strcmp(r->host, "unix") == 0 ? SOCKETS_UNIX : SOCKETS_INET;
	}
	if (is_terraform(program)) /* speaks to its providers through them */
		sockets |= SOCKETS_UNIX;
	return sockets;
}

/* ---- system calls ------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef THIS_ARCH
static void add(struct ws_cage *c, struct sock_filter code)
{
	_Static_assert(sizeof code == sizeof *c->filter, "a filter is made of 64-bit words");
	memcpy(&c->filter[c->count++], &code, sizeof code);
}

static void load(struct ws_cage *c, size_t offset)
{
	add(c, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

static void answer(struct ws_cage *c, int code)
{
	add(c, (struct sock_filter)BPF_STMT(
		       BPF_RET | BPF_K, code != 0 ? SECCOMP_RET_ERRNO | (unsigned)code : SECCOMP_RET_ALLOW));
}

/* Goes on with the next instruction when what was loaded is `value`, else leaves out `skip`. */
static void when(struct ws_cage *c, long value, unsigned char skip)
{
	add(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)value, 0, skip));
}

/* Modes, owners and attributes: Landlock has no say in them. A run that may write nowhere needs none. */
static void refuse_metadata(struct ws_cage *c)
{
	static const long calls[] = {
		SYS_fchmod,
		SYS_fchmodat,
		452 /* fchmodat2 */,
		SYS_fchown,
		SYS_fchownat,
		SYS_setxattr,
		SYS_lsetxattr,
		SYS_fsetxattr,
		SYS_removexattr,
		SYS_lremovexattr,
		SYS_fremovexattr,
#ifdef SYS_chmod
		SYS_chmod,
		SYS_chown,
		SYS_lchown,
#endif
	};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		when(c, calls[i], 1);
		answer(c, EPERM);
	}
}

/* socket() makes only sockets of the allowed families, and no raw ones; io_uring, which makes them too, is off. */
static void restrict_sockets(struct ws_cage *c, unsigned sockets)
{
	const struct {
		int family;
		bool allowed;
	} families[] = {{AF_INET, sockets & SOCKETS_INET}, {AF_INET6, sockets & SOCKETS_INET},
		{AF_UNIX, sockets & SOCKETS_UNIX}};
	when(c, SYS_io_uring_setup, 1);
	answer(c, ENOSYS);
	when(c, SYS_socket, 1);
	add(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
	answer(c, 0);
	load(c, offsetof(struct seccomp_data, args[0]));
	when(c, AF_NETLINK, 1); /* how libraries learn what addresses there are */
	answer(c, 0);
	for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
		if (!families[i].allowed)
			continue;
		when(c, families[i].family, 5);
		load(c, offsetof(struct seccomp_data, args[1]));
		add(c, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf));
		when(c, SOCK_RAW, 1);
		answer(c, EACCES);
		answer(c, 0);
	}
	answer(c, EACCES);
}
#endif

static void make_filter(struct ws_cage *c, unsigned sockets, bool metadata)
{
#ifdef THIS_ARCH
	load(c, offsetof(struct seccomp_data, arch));
	when(c, THIS_ARCH, 1);
	add(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
	answer(c, EPERM); /* system calls of another width have other numbers */
	load(c, offsetof(struct seccomp_data, nr));
	add(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
	answer(c, EPERM);      /* x32 */
	when(c, SYS_ioctl, 5); /* that would type into our terminal */
	load(c, offsetof(struct seccomp_data, args[1]));
	add(c, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0));
	when(c, TIOCLINUX, 1);
	answer(c, EPERM);
	answer(c, 0);
	if (metadata)
		refuse_metadata(c);
	if (sockets != SOCKETS_ALL)
		restrict_sockets(c, sockets);
	else
		answer(c, 0);
#else
	(void)c;
	(void)sockets;
	(void)metadata;
#endif
}

static bool may_write_nowhere(void)
{
	const struct permit_rules *rules = &ws_permit->lists[LIST_WRITE];
	for (size_t i = 0; i < rules->count; i++)
		if (rules->items[i].word == WORD_ALLOW)
			return false;
	return rules->enforced;
}

/* Terraform asks by a signal, once a second, whether the sandbox's provider still lives, and gives up when it may not. */
static bool watches_provider(const char *program)
{
	const struct permit_rules *rules = &ws_permit->lists[LIST_NET];
	for (size_t i = 0; i < rules->count && is_terraform(program); i++)
		if (rules->items[i].word == WORD_OWN) /* only --sandbox has hosts of its own */
			return true;
	return false;
}

/* ---- cages ------------------------------------------------------------------------------------------------------- */

static void tell_unconfined(void)
{
	if (!ws_permit->told_unconfined)
		fputs("wsrun: this kernel has no Landlock: what programs read, write and connect to is not confined\n",
			stderr);
	ws_permit->told_unconfined = true;
}

int ws_cage_open(struct ws_cage *cage, const char *program)
{
	cage->ruleset = -1;
	cage->count = 0;
	cage->active = false;
	if (!ws_permit_active())
		return 0;
	cage->active = true;
	unsigned sockets = sockets_of(program);
	make_filter(cage, sockets, may_write_nowhere());
	long abi = syscall(CREATE_RULESET, NULL, 0, VERSION);
	if (abi < 1) {
		tell_unconfined();
		return 0;
	}
	struct ruleset_attr attr = {.fs = (1 << 13) - 1};
	attr.fs |= (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
	bool ports = abi >= 4 && ((sockets & SOCKETS_INET) == 0 || has_ports_only(&ws_permit->lists[LIST_NET]));
	if (ports)
		attr.net = NET_BIND | NET_CONNECT;
	if (abi >= 6)
		attr.scope = SCOPE_ABSTRACT | (watches_provider(program) ? 0 : SCOPE_SIGNAL);
	size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? offsetof(struct ruleset_attr, scope) : sizeof attr.fs;
	struct builder b = {.handled = attr.fs};
	b.ruleset = (int)syscall(CREATE_RULESET, &attr, size, 0);
	if (b.ruleset < 0)
		return -1;
	allow_system(&b);
	allow_list(&b, LIST_READ, READ);
	allow_list(&b, LIST_WRITE, WRITE);
	allow_programs(&b, program);
	for (size_t i = 0; ports && i < ws_permit->lists[LIST_NET].count; i++) {
		const struct permit_rule *r = &ws_permit->lists[LIST_NET].items[i];
		struct port_attr port = {NET_CONNECT | NET_BIND, (uint64_t)r->port};
		if (r->word != WORD_DENY && r->port != 0)
			syscall(ADD_RULE, b.ruleset, RULE_PORT, &port, 0);
	}
	cage->ruleset = b.ruleset;
	return 0;
}

void ws_cage_close(struct ws_cage *cage)
{
	if (cage->ruleset >= 0)
		close(cage->ruleset);
	cage->ruleset = -1;
}

int ws_cage_enter(const struct ws_cage *cage)
{
	static const int capabilities[] = {CAP_SYS_ADMIN, CAP_SYS_RAWIO, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_BOOT,
		CAP_SYS_TIME, CAP_MKNOD, CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_BPF, CAP_PERFMON, CAP_CHECKPOINT_RESTORE,
		CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYSLOG, CAP_AUDIT_CONTROL};
	if (!cage->active)
		return 0;
	for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
		prctl(PR_CAPBSET_DROP, capabilities[i], 0, 0, 0); /* nobody but root has them to lose */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return errno;
	if (cage->ruleset >= 0 && syscall(RESTRICT_SELF, cage->ruleset, 0) != 0)
		return errno;
	const struct sock_fprog program = {cage->count, (struct sock_filter *)(uintptr_t)cage->filter};
	return cage->count == 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : errno;
}
