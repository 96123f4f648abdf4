/* permit.c - the policy: how it is set, what a refusal says, and the lists of programs and variables. */
#include "permit.h"
#include "engine.h"

#include <ws/args.h>
#include <ws/lazy.h>

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct permit *ws_permit;

static const char *const list_names[LISTS + 1] = {"run", "net", "read", "write", "env", NULL};
static const char *const word_names[] = {"allow", "deny", "own", NULL};

const char *permit_list_name(enum permit_list list)
{
	return list_names[list];
}

bool ws_permit_active(void)
{
	return ws_permit != NULL && ws_permit->strict;
}

bool ws_permit_watching(void)
{
	return ws_permit != NULL;
}

const char *ws_permit_temp(void)
{
	return ws_permit != NULL ? ws_permit->temp : NULL;
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

/* What was refused last on this thread: the error is made where the errno value arrives. */
static _Thread_local struct {
	enum permit_list list;
	char value[PATH_MAX];
	char why[200];
	char hint[PATH_MAX];
} refusal;

void permit_explain(struct ws_err *err)
{
	static const char *const verbs[LISTS] = {"started", "reached", "read", "changed", "used"};
	ws_err_set(err, "denied", "%s may not be %s: %s", refusal.value, verbs[refusal.list], refusal.why);
	if (refusal.hint[0] != '\0')
		ws_err_hint(err, refusal.hint);
}

int permit_refuse(enum permit_list list, const char *value, const char *why, const char *hint)
{
	if (ws_permit->log != NULL)
		permit_log_add(ws_permit->log, list, value, false, false);
	refusal.list = list;
	snprintf(refusal.value, sizeof refusal.value, "%s", value);
	snprintf(refusal.why, sizeof refusal.why, "%s", why);
	snprintf(refusal.hint, sizeof refusal.hint, "%s", hint != NULL ? hint : "");
	errno = WS_EDENIED;
	return -1;
}

/* As the user would write it: paths of the project without its root. */
static const char *short_value(enum permit_list list, const char *value)
{
	size_t len = strlen(ws_permit->root);
	if ((list == LIST_READ || list == LIST_WRITE) && len > 1 && strncmp(value, ws_permit->root, len) == 0 &&
		value[len] == '/')
		return value + len + 1;
	return value;
}

int permit_decide(
	enum permit_list list, const char *value, const struct permit_rule *rule, bool allowed, const char *why)
{
	if (allowed) {
		if (ws_permit->log != NULL)
			permit_log_add(ws_permit->log, list, value, true, rule != NULL && rule->word == WORD_OWN);
		return 0;
	}
	char reason[200], hint[PATH_MAX] = "";
	const char *name = permit_list_name(list);
	if (rule != NULL) {
		snprintf(reason, sizeof reason, "it is denied (%s: %.120s)", name, rule->text);
		snprintf(hint, sizeof hint,
			"a denial wins over what is allowed: take %s out of --deny-%s or permissions.deny.%s",
			rule->text, name, name);
	} else {
		snprintf(reason, sizeof reason, "%s", why != NULL ? why : "this run's permissions do not list it");
		const char *text = short_value(list, value);
		if (why == NULL || list == LIST_NET || list == LIST_ENV)
			snprintf(hint, sizeof hint,
				"allow it with --allow-%s=%s, or in wsrun.yaml under permissions: %s: [%s]", name, text,
				name, text);
	}
	return permit_refuse(list, value, reason, hint);
}

/* ---- run --------------------------------------------------------------------------------------------------------- */

#define DIGEST_FUNCTIONS(F) \
	F(EVP_MD_CTX_new) \
	F(EVP_MD_CTX_free) \
	F(EVP_sha256) \
	F(EVP_DigestInit_ex) \
	F(EVP_DigestUpdate) \
	F(EVP_DigestFinal_ex)
WS_LAZY_TABLE(digest, DIGEST_FUNCTIONS);
static struct digest_api evp;

static bool has_digest(const char *file, const unsigned char expected[32])
{
	struct ws_err err = {0};
	if (WS_LAZY_LOAD(&evp, DIGEST_FUNCTIONS, "libcrypto.so.3", &err) != 0) {
		ws_err_clear(&err);
		return false;
	}
	unsigned char found[EVP_MAX_MD_SIZE], block[1 << 16];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	EVP_MD_CTX *context = evp.EVP_MD_CTX_new();
	ssize_t n = -1;
	if (fd >= 0 && context != NULL && evp.EVP_DigestInit_ex(context, evp.EVP_sha256(), NULL) == 1)
		while ((n = read(fd, block, sizeof block)) > 0)
			evp.EVP_DigestUpdate(context, block, (size_t)n);
	bool same = n == 0 && evp.EVP_DigestFinal_ex(context, found, NULL) == 1 && memcmp(found, expected, 32) == 0;
	evp.EVP_MD_CTX_free(context);
	if (fd >= 0)
		close(fd);
	return same;
}

/* The file that a name on `path` stands for, links resolved; malloc'ed, or NULL. */
static char *search(const char *name, const char *path)
{
	for (const char *part = path; *part != '\0';) {
		size_t len = strcspn(part, ":");
		char file[PATH_MAX];
		struct stat st;
		if (part[0] == '/' && snprintf(file, sizeof file, "%.*s/%s", (int)len, part, name) < (int)sizeof file &&
			stat(file, &st) == 0 && S_ISREG(st.st_mode) && access(file, X_OK) == 0)
			return realpath(file, NULL);
		part += len;
		part += *part == ':';
	}
	return NULL;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash != NULL ? slash + 1 : path;
}

/* A file that does many things by the name it is called by is only what was listed: the names must agree as well. */
static bool is_program(const struct permit_rule *r, const char *asked, const char *real)
{
	return r->any ||
	       (r->path != NULL && strcmp(r->path, real) == 0 && strcmp(base_name(asked), base_name(r->host)) == 0);
}

/* A denied program is so under every name it has. */
static bool is_denied_program(const struct permit_rule *r, const char *asked, const char *real)
{
	return r->any || (r->path != NULL && strcmp(r->path, real) == 0) ||
	       (strchr(r->host, '/') == NULL &&
		       (strcmp(r->host, base_name(asked)) == 0 || strcmp(r->host, base_name(real)) == 0));
}

int ws_permit_run(const char *asked, const char *file, char *real)
{
	if (realpath(file, real) == NULL)
		snprintf(real, PATH_MAX, "%s", file);
	if (ws_permit == NULL)
		return 0;
	const struct permit_rules *rules = &ws_permit->lists[LIST_RUN];
	const struct permit_rule *yes = NULL;
	char *by_name = search(base_name(asked), ws_permit->path);
	/* As a rule would name it. */
	const char *value = by_name != NULL && strcmp(by_name, real) == 0 ? base_name(asked) : file;
	free(by_name);
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == WORD_DENY && is_denied_program(r, asked, real))
			return permit_decide(LIST_RUN, value, r, false, NULL);
		if (r->word != WORD_DENY && yes == NULL && is_program(r, asked, real))
			yes = r;
	}
	if (yes == NULL)
		return permit_decide(LIST_RUN, value, NULL, !rules->enforced, NULL);
	if (yes->pinned && !has_digest(real, yes->digest))
		return permit_refuse(LIST_RUN, value, "its SHA-256 is not the one that the permissions name",
			"if the program was updated on purpose, write its new digest: sha256sum FILE");
	return permit_decide(LIST_RUN, value, yes, true, NULL);
}

/* ---- env --------------------------------------------------------------------------------------------------------- */

static const struct permit_rule *find_variable(enum permit_word word, const char *name, size_t len)
{
	const struct permit_rules *rules = &ws_permit->lists[LIST_ENV];
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == word && (r->any || (r->prefix ? len >= r->len : len == r->len)) &&
			strncmp(name, r->text, r->any ? 0 : r->len) == 0)
			return r;
	}
	return NULL;
}

/* Variables that make a program load or run something of the giver's choice. */
static bool is_loader(const char *name, size_t len)
{
	static const char *const names[] = {"LD_*", "DYLD_*", "GIT_*", "TF_CLI_ARGS*", "BASH_ENV", "ENV", "BASH_FUNC_*",
		"SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "IFS", "ZDOTDIR", "PYTHON*", "PERL5*", "PERLLIB",
		"RUBYOPT", "RUBYLIB", "NODE_OPTIONS", "NODE_PATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS",
		"JDK_JAVA_OPTIONS", "CLASSPATH", "LUA_INIT*", "LUA_PATH*", "LUA_CPATH*", "GCONV_PATH", "LOCPATH",
		"NLSPATH", "GLIBC_TUNABLES", "MALLOC_*", "HOSTALIASES", "OPENSSL_CONF", "OPENSSL_MODULES",
		"OPENSSL_ENGINES", "SSLKEYLOGFILE", "HELM_PLUGINS", "KUBECTL_EXTERNAL_DIFF", "SSH_ASKPASS*", "EDITOR",
		"VISUAL", "PAGER", "BROWSER", "LESSOPEN", "LESSCLOSE", "MAKEFLAGS", "GOFLAGS"};
	static const char *const harmless[] = {
		"GIT_TERMINAL_PROMPT", "GIT_OPTIONAL_LOCKS", "GIT_INDEX_FILE", "GIT_AUTHOR_*", "GIT_COMMITTER_*"};
	const struct {
		const char *const *list;
		size_t count;
	} both[] = {{harmless, sizeof harmless / sizeof *harmless}, {names, sizeof names / sizeof *names}};
	for (int k = 0; k < 2; k++) {
		for (size_t i = 0; i < both[k].count; i++) {
			const char *pattern = both[k].list[i];
			size_t n = strcspn(pattern, "*");
			if (len >= n && memcmp(name, pattern, n) == 0 && (pattern[n] == '*' || len == n))
				return k == 1;
		}
	}
	return false;
}

bool ws_permit_inherit(const char *name, size_t len)
{
	if (ws_permit == NULL)
		return true;
	if (find_variable(WORD_DENY, name, len) != NULL)
		return false;
	if (find_variable(WORD_ALLOW, name, len) != NULL)
		return true;
	bool listed = find_variable(WORD_OWN, name, len) != NULL || !ws_permit->lists[LIST_ENV].enforced;
	return listed && !(ws_permit->strict && is_loader(name, len));
}

static int check_variable(const char *name, size_t len)
{
	if (ws_permit == NULL)
		return 0;
	char value[256];
	snprintf(value, sizeof value, "%.*s", (int)(len < 255 ? len : 255), name);
	const struct permit_rule *rule = find_variable(WORD_DENY, name, len);
	if (rule != NULL)
		return permit_decide(LIST_ENV, value, rule, false, NULL);
	rule = find_variable(WORD_OWN, name, len);
	rule = rule != NULL ? rule : find_variable(WORD_ALLOW, name, len);
	return permit_decide(LIST_ENV, value, rule, rule != NULL || !ws_permit->lists[LIST_ENV].enforced, NULL);
}

/* A script chooses what it gives to its children, but for what makes them load code. */
int ws_permit_give_env(const char *name, size_t len)
{
	if (!ws_permit_active() || !is_loader(name, len) || find_variable(WORD_ALLOW, name, len) != NULL)
		return 0;
	char value[256];
	snprintf(value, sizeof value, "%.*s", (int)(len < 255 ? len : 255), name);
	return permit_decide(LIST_ENV, value, find_variable(WORD_DENY, name, len), false,
		"it makes a program load what somebody chose");
}

/* os.getenv(name) → value | nil | nil, err(denied) */
static int l_getenv(lua_State *L)
{
	size_t len;
	const char *name = luaL_checklstring(L, 1, &len);
	const char *value = getenv(name);
	if (value != NULL && check_variable(name, len) != 0) {
		struct ws_err err = {.op = "os.getenv"};
		permit_explain(&err);
		return ws_fail(L, &err);
	}
	lua_pushstring(L, value);
	return 1;
}

/* ---- setting it -------------------------------------------------------------------------------------------------- */

static char *copy(lua_State *L, const char *text)
{
	char *s = strdup(text);
	if (s == NULL)
		luaL_error(L, "out of memory");
	return s;
}

/* NAME or a path, either followed by @sha256:HEX. Returns false when the digest is none. */
static bool parse_run(struct permit_rule *r, const char *text, const char *path)
{
	const char *at = strstr(text, "@sha256:");
	size_t len = at != NULL ? (size_t)(at - text) : strlen(text);
	r->host = strndup(text, len); /* the name that it is asked for by */
	if (r->host == NULL || len == 0)
		return false;
	if (at != NULL) {
		const char *hex = at + 8;
		if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
			return false;
		for (int i = 0; i < 32; i++) {
			const char two[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
			r->digest[i] = (unsigned char)strtoul(two, NULL, 16);
		}
		r->pinned = true;
	}
	r->path = r->host[0] == '/' ? realpath(r->host, NULL) : search(r->host, path);
	return true;
}

/* Fills one rule from the table at the top. Raises when it cannot be understood. */
static void parse_rule(lua_State *L, const struct permit *p, enum permit_list list, struct permit_rule *r)
{
	int idx = lua_gettop(L);
	luaL_checktype(L, idx, LUA_TTABLE);
	ws_opts_check(L, idx, "text", "path", "word", "lua", NULL);
	size_t len;
	const char *text = ws_opt_string(L, idx, "text", "", &len);
	if (len == 0 || strlen(text) != len)
		luaL_error(L, "permissions: %s: an entry is empty or holds a NUL byte", permit_list_name(list));
	lua_getfield(L, idx, "word");
	r->word = (enum permit_word)luaL_checkoption(L, -1, "allow", word_names);
	lua_pop(L, 1);
	r->text = copy(L, text);
	r->any = strcmp(text, "*") == 0;
	r->lua_only = ws_opt_boolean(L, idx, "lua", false);
	const char *path = ws_opt_string(L, idx, "path", text, NULL);
	bool ok = true;
	switch (list) {
	case LIST_RUN:
		ok = parse_run(r, path, p->path);
		break;
	case LIST_NET:
		ok = permit_parse_net(r, text) == 0;
		break;
	case LIST_ENV:
		r->prefix = text[len - 1] == '*';
		r->len = len - r->prefix;
		break;
	default:
		r->path = ws_real_path(path);
		ok = r->path != NULL;
	}
	if (!ok)
		luaL_error(L, "permissions: %s: '%s' is not understood", permit_list_name(list), text);
}

static void parse_list(lua_State *L, struct permit *p, enum permit_list list)
{
	struct permit_rules *rules = &p->lists[list];
	lua_getfield(L, 1, permit_list_name(list));
	int idx = lua_gettop(L);
	luaL_checktype(L, idx, LUA_TTABLE);
	rules->enforced = ws_opt_boolean(L, idx, "enforced", false);
	size_t count = (size_t)luaL_len(L, idx);
	rules->items = calloc(count + 1, sizeof *rules->items);
	if (rules->items == NULL)
		luaL_error(L, "out of memory");
	p->strict |= rules->enforced;
	for (size_t i = 0; i < count; i++) {
		lua_geti(L, idx, (lua_Integer)i + 1);
		rules->count = i + 1;
		parse_rule(L, p, list, &rules->items[i]);
		p->strict |= rules->items[i].word == WORD_DENY;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void guard(lua_State *L, struct permit *p, const char *path)
{
	char **guarded = realloc(p->guarded, (p->guarded_count + 1) * sizeof *guarded);
	if (guarded == NULL)
		luaL_error(L, "out of memory");
	p->guarded = guarded;
	char *real = ws_real_path(path);
	if (real != NULL)
		p->guarded[p->guarded_count++] = real;
}

static void policy_free(struct permit *p)
{
	for (int list = 0; list < LISTS; list++) {
		for (size_t i = 0; i < p->lists[list].count; i++) {
			free(p->lists[list].items[i].text);
			free(p->lists[list].items[i].path);
			free(p->lists[list].items[i].host);
		}
		free(p->lists[list].items);
	}
	for (size_t i = 0; i < p->guarded_count; i++)
		free(p->guarded[i]);
	free(p->guarded);
	free(p->root);
	free(p->temp);
	free(p->path);
	permit_log_free(p->log);
	free(p);
}

void permit_free(void)
{
	if (ws_permit != NULL)
		policy_free(ws_permit);
	ws_permit = NULL;
}

/* Fills the policy (light userdata at 2) from the table at 1. */
static int read_policy(lua_State *L)
{
	struct permit *p = lua_touserdata(L, 2);
	ws_opts_check(L, 1, "root", "temp", "log", "path", "guard", "run", "net", "read", "write", "env", NULL);
	p->root = copy(L, ws_opt_string(L, 1, "root", "/", NULL));
	p->temp = copy(L, ws_opt_string(L, 1, "temp", "/tmp", NULL));
	p->path = copy(L, ws_opt_string(L, 1, "path", "/usr/local/bin:/usr/bin:/bin", NULL));
	for (int list = 0; list < LISTS; list++)
		parse_list(L, p, (enum permit_list)list);
	if (lua_getfield(L, 1, "guard") == LUA_TTABLE) {
		for (lua_Integer i = 1; lua_geti(L, 3, i) == LUA_TSTRING; i++) {
			guard(L, p, lua_tostring(L, -1));
			lua_pop(L, 1);
		}
	}
	if (p->lists[LIST_RUN].enforced)
		for (size_t i = 0; i < p->lists[LIST_RUN].count; i++)
			if (p->lists[LIST_RUN].items[i].path != NULL)
				guard(L, p, p->lists[LIST_RUN].items[i].path);
	p->log = permit_log_new(ws_opt_string(L, 1, "log", NULL, NULL));
	if (p->log == NULL)
		luaL_error(L, "out of memory");
	return 0;
}

/* native.permit(policy): from now on this process may do no more than it says. Once: a second call raises. */
static int l_permit(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	if (ws_permit != NULL) {
		struct ws_err err = {.op = "permissions"};
		ws_err_set(&err, "denied", "this run's permissions are set; nothing changes them");
		return ws_err_raise(L, &err);
	}
	struct permit *p = calloc(1, sizeof *p);
	if (p == NULL)
		return luaL_error(L, "out of memory");
	lua_settop(L, 1);
	lua_pushcfunction(L, read_policy);
	lua_pushvalue(L, 1);
	lua_pushlightuserdata(L, p);
	if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
		policy_free(p);
		return lua_error(L);
	}
	ws_permit = p;
	return 0;
}

/* native.decisions() → list of { list, value, allowed, own }, and whether there were more */
static int l_decisions(lua_State *L)
{
	if (ws_permit == NULL)
		return 0;
	permit_log_push(L, ws_permit->log);
	return 2;
}

void permit_open(lua_State *L, int natives)
{
	lua_pushcfunction(L, l_permit);
	lua_setfield(L, natives, "permit");
	lua_pushcfunction(L, l_decisions);
	lua_setfield(L, natives, "decisions");
	lua_getglobal(L, LUA_OSLIBNAME);
	lua_pushcfunction(L, l_getenv);
	lua_setfield(L, -2, "getenv");
	lua_pop(L, 1);
}
