/* permit_net.c - hosts by name and by the address that they turn out to have.
 *
 * A name has to be listed itself, and is checked before it is looked up; the address is when the socket is made. A name
 * that leads to this machine, to a link-local address or to a cloud's metadata server is not enough: the list has to
 * say that address. All addresses are compared as IPv6; IPv4 is ::ffff:a.b.c.d, also when it comes wrapped in 64:ff9b::/96
 * (NAT64) or ::/96.
 */
#include "permit.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char metadata_name[] = "metadata.google.internal";

static void map_ipv4(struct in6_addr *out, const void *four)
{
	static const unsigned char prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	memcpy(out->s6_addr, prefix, 12);
	memcpy(out->s6_addr + 12, four, 4);
}

/* IPv4 in its other clothes. */
static void unwrap(struct in6_addr *a)
{
	static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b}, compatible[12] = {0};
	if (memcmp(a->s6_addr, nat64, 12) == 0 || (memcmp(a->s6_addr, compatible, 12) == 0 && a->s6_addr[12] != 0))
		map_ipv4(a, (const unsigned char[4]){a->s6_addr[12], a->s6_addr[13], a->s6_addr[14], a->s6_addr[15]});
}

static bool parse_address(const char *text, struct in6_addr *out, bool *is_ipv4)
{
	unsigned char four[4];
	*is_ipv4 = inet_pton(AF_INET, text, four) == 1;
	if (*is_ipv4)
		map_ipv4(out, four);
	else if (inet_pton(AF_INET6, text, out) == 1)
		unwrap(out);
	else
		return false;
	return true;
}

static bool in_range(const struct in6_addr *a, const struct in6_addr *range, int bits)
{
	int bytes = bits / 8, rest = bits % 8;
	if (memcmp(a->s6_addr, range->s6_addr, (size_t)bytes) != 0)
		return false;
	return rest == 0 || ((a->s6_addr[bytes] ^ range->s6_addr[bytes]) >> (8 - rest)) == 0;
}

/* ---- rules ------------------------------------------------------------------------------------------------------- */

static bool parse_number(const char *text, int max, int *out)
{
	size_t len = strlen(text);
	if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
		return false;
	*out = (int)strtol(text, NULL, 10);
	return *out <= max;
}

static bool is_name(const char *s)
{
	if (*s == '\0' || strlen(s) > 253)
		return false;
	for (; *s != '\0'; s++)
		if (!isalnum((unsigned char)*s) && *s != '.' && *s != '-' && *s != '_')
			return false;
	return true;
}

/* host, host:port, *.host, address, range in CIDR notation, [ipv6]:port, "unix" (for children), *. */
int permit_parse_net(struct permit_rule *rule, const char *text)
{
	char host[300];
	bool ipv4;
	if (strlen(text) >= sizeof host)
		return -1;
	strcpy(host, text);
	if (rule->any)
		return 0;
	char *port = NULL, *slash = strchr(host, '/');
	if (host[0] == '[') {
		char *end = strchr(host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return -1;
		port = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
		memmove(host, host + 1, strlen(host));
	} else {
		char *colon = strrchr(host, ':');
		if (colon != NULL && strchr(host, ':') == colon) {
			port = colon + 1;
			*colon = '\0';
		}
	}
	if (port != NULL && (!parse_number(port, 65535, &rule->port) || rule->port == 0))
		return -1;
	if (slash != NULL && slash > host) {
		slash = strchr(host, '/');
		if (slash == NULL)
			return -1;
		*slash = '\0';
		if (!parse_address(host, &rule->address, &ipv4) ||
			!parse_number(slash + 1, ipv4 ? 32 : 128, &rule->bits))
			return -1;
		rule->bits += ipv4 ? 96 : 0;
		return 0;
	}
	if (parse_address(host, &rule->address, &ipv4)) {
		rule->bits = 128;
		return 0;
	}
	rule->below = strncmp(host, "*.", 2) == 0;
	char *name = host + (rule->below ? 2 : 0);
	size_t len = strlen(name);
	if (len > 0 && name[len - 1] == '.')
		name[len - 1] = '\0';
	if (!is_name(name))
		return -1;
	for (char *c = name; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	rule->host = strdup(name);
	return rule->host != NULL ? 0 : -1;
}

static bool port_fits(const struct permit_rule *r, int port)
{
	return r->port == 0 || r->port == port;
}

static bool names_host(const struct permit_rule *r, const char *host, int port)
{
	if (r->host == NULL || !port_fits(r, port))
		return false;
	if (!r->below)
		return strcmp(r->host, host) == 0;
	size_t len = strlen(host), n = strlen(r->host);
	return len > n + 1 && host[len - n - 1] == '.' && strcmp(host + len - n, r->host) == 0;
}

static bool has_address(const struct permit_rule *r, const struct in6_addr *a, int port)
{
	return !r->any && r->host == NULL && port_fits(r, port) && in_range(a, &r->address, r->bits);
}

/* ---- what is not an ordinary host -------------------------------------------------------------------------------- */

enum place { ORDINARY, THIS_MACHINE, LINK_LOCAL };

static enum place place_of(const struct in6_addr *a)
{
	static const struct {
		const char *text;
		int bits;
		enum place place;
	} places[] = {{"::1", 128, THIS_MACHINE}, {"::", 128, THIS_MACHINE}, {"::ffff:127.0.0.0", 104, THIS_MACHINE},
		{"::ffff:0.0.0.0", 104, THIS_MACHINE}, {"::ffff:169.254.0.0", 112, LINK_LOCAL},
		{"fe80::", 10, LINK_LOCAL}, {"fd00:ec2::254", 128, LINK_LOCAL}, {"fd20:ce::254", 128, LINK_LOCAL},
		{"::ffff:100.100.100.200", 128, LINK_LOCAL}, {"::ffff:168.63.129.16", 128, LINK_LOCAL}};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct in6_addr range;
		inet_pton(AF_INET6, places[i].text, &range);
		if (in_range(a, &range, places[i].bits))
			return places[i].place;
	}
	return ORDINARY;
}

/* Whether a range means link-local addresses, and does not only happen to hold them. */
static bool means_link_local(const struct permit_rule *r)
{
	return place_of(&r->address) == LINK_LOCAL && r->bits >= (IN6_IS_ADDR_V4MAPPED(&r->address) ? 112 : 10);
}

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static void show(char *out, size_t size, const char *host, int port)
{
	const char *form = strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d";
	snprintf(out, size, port > 0 ? form : "%s", host, port);
}

static int check_address(const struct ws_net_target *t, const struct in6_addr *a, int port)
{
	const struct permit_rules *rules = &ws_permit->lists[LIST_NET];
	enum place place = place_of(a);
	char text[INET6_ADDRSTRLEN], value[400], why[200];
	if (IN6_IS_ADDR_V4MAPPED(a))
		inet_ntop(AF_INET, a->s6_addr + 12, text, sizeof text);
	else
		inet_ntop(AF_INET6, a, text, sizeof text);
	show(value, sizeof value, text, port);
	const struct permit_rule *yes = NULL;
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == WORD_DENY && (r->any || has_address(r, a, port)))
			return permit_decide(LIST_NET, value, r, false, NULL);
		if (r->word != WORD_DENY && has_address(r, a, port) && (place != LINK_LOCAL || means_link_local(r)))
			yes = r;
	}
	if (yes != NULL)
		return permit_decide(LIST_NET, value, yes, true, NULL);
	bool local = t != NULL &&
		     (strcmp(t->host, "localhost") == 0 ||
			     (strlen(t->host) > 10 && strcmp(t->host + strlen(t->host) - 10, ".localhost") == 0));
	bool metadata = t != NULL && strcmp(t->host, metadata_name) == 0;
	bool named = t != NULL && t->named && t->port == port;
	if (named && (place == ORDINARY || (place == THIS_MACHINE && local) || (place == LINK_LOCAL && metadata)))
		return 0; /* the decision on the name is recorded */
	if (!rules->enforced && (place != LINK_LOCAL || !ws_permit->strict))
		return permit_decide(LIST_NET, value, NULL, true, NULL);
	why[0] = '\0';
	if (place != ORDINARY)
		snprintf(why, sizeof why, "%.90s%s; such an address has to be named itself",
			t != NULL && strcmp(t->host, text) != 0 ? t->host : "it",
			t != NULL && strcmp(t->host, text) != 0
				? (place == LINK_LOCAL ? " leads to a metadata server" : " leads to this machine")
				: (place == LINK_LOCAL ? " is a metadata server" : " is this machine"));
	return permit_decide(LIST_NET, value, NULL, false, why[0] != '\0' ? why : NULL);
}

int ws_permit_host(struct ws_net_target *t, const char *host, int port)
{
	*t = (struct ws_net_target){.port = port};
	if (ws_permit == NULL)
		return 0;
	size_t len = strlen(host);
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len >= sizeof t->host)
		return permit_refuse(
			LIST_NET, "a host with a name of more than 255 bytes", "no rule can name it", NULL);
	for (size_t i = 0; i < len; i++)
		t->host[i] = (char)tolower((unsigned char)host[i]);
	char bare[sizeof t->host], value[400];
	snprintf(bare, sizeof bare, "%.*s", (int)strcspn(t->host, "%"), t->host); /* without an IPv6 zone */
	struct in6_addr address;
	bool ipv4;
	if (parse_address(bare, &address, &ipv4)) {
		t->named = check_address(t, &address, port) == 0;
		return t->named ? 0 : -1;
	}
	show(value, sizeof value, t->host, port);
	const struct permit_rules *rules = &ws_permit->lists[LIST_NET];
	const struct permit_rule *yes = NULL;
	for (size_t i = 0; i < rules->count; i++) {
		const struct permit_rule *r = &rules->items[i];
		if (r->word == WORD_DENY && (r->any || names_host(r, t->host, port)))
			return permit_decide(LIST_NET, value, r, false, NULL);
		if (r->word == WORD_DENY)
			continue;
		bool wide = r->any || r->below;
		if ((r->any || names_host(r, t->host, port)) && !(wide && strcmp(t->host, metadata_name) == 0))
			yes = r;
	}
	bool open = !rules->enforced && (strcmp(t->host, metadata_name) != 0 || !ws_permit->strict);
	t->named =
		yes != NULL || open; /* a name that is not listed is not even looked up: names can carry secrets away */
	return permit_decide(LIST_NET, value, yes, t->named, NULL);
}

static int read_address(const struct sockaddr *sa, struct in6_addr *out)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
		map_ipv4(out, &in->sin_addr);
		return ntohs(in->sin_port);
	}
	const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)sa;
	*out = in->sin6_addr;
	unwrap(out);
	return ntohs(in->sin6_port);
}

int ws_permit_connect(const struct ws_net_target *target, const struct sockaddr *sa)
{
	struct in6_addr address;
	if (ws_permit == NULL || sa->sa_family == AF_UNIX) /* the path of a socket is pinned */
		return 0;
	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		return permit_refuse(LIST_NET, "an address that is not of the internet", "no rule can name it", NULL);
	int port = read_address(sa, &address);
	return check_address(target, &address, port);
}

int ws_permit_proxy(const struct ws_net_target *target, const char *proxy, int port, const struct sockaddr *address)
{
	struct ws_net_target t;
	char value[400];
	if (ws_permit != NULL && !target->named) {
		show(value, sizeof value, target->host, target->port);
		return permit_decide(
			LIST_NET, value, NULL, false, "a proxy would resolve its name, so the list has to have it");
	}
	if (ws_permit_host(&t, proxy, port) != 0)
		return -1;
	return ws_permit_connect(&t, address);
}

int ws_permit_listen(const struct sockaddr *sa)
{
	struct in6_addr address;
	if (ws_permit == NULL)
		return 0;
	int port = read_address(sa, &address);
	struct ws_net_target t = {.host = "localhost", .port = port};
	const struct permit_rules *rules = &ws_permit->lists[LIST_NET];
	for (size_t i = 0; i < rules->count; i++)
		t.named |= rules->items[i].word != WORD_DENY && names_host(&rules->items[i], t.host, port);
	if (!rules->enforced)
		t.named = true;
	return check_address(&t, &address, port);
}
