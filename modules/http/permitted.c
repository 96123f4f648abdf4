/* permitted.c - a request and the run's permissions: the host by name, then each address that is connected to.
 *
 * The URL is taken apart by libcurl itself, so that we never check another host than it asks. Redirects are requests of
 * their own (http.lua), checked again.
 */
#include "request.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* Host and port of a URL as libcurl reads them. Returns 0, or -1 when it cannot. */
static int take_apart(const char *url, char host[256], int *port)
{
	CURLU *parts = curl.curl_url();
	char *name = NULL, *number = NULL;
	int rc = -1;
	if (parts != NULL &&
		curl.curl_url_set(parts, CURLUPART_URL, url,
			CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME | CURLU_PATH_AS_IS) == CURLUE_OK &&
		curl.curl_url_get(parts, CURLUPART_HOST, &name, CURLU_URLDECODE) == CURLUE_OK &&
		curl.curl_url_get(parts, CURLUPART_PORT, &number, CURLU_DEFAULT_PORT) == CURLUE_OK &&
		strlen(name) < 256) {
		strcpy(host, name);
		*port = (int)strtol(number, NULL, 10);
		rc = 0;
	}
	curl.curl_free(name);
	curl.curl_free(number);
	curl.curl_url_cleanup(parts);
	return rc;
}

/* The proxy that libcurl takes from the environment, where it takes one. */
static void find_proxy(struct http_request *r, const char *url)
{
	static const char *const of_http[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const of_https[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	const char *const *names = strncmp(url, "https:", 6) == 0 ? of_https : of_http, *proxy = NULL;
	for (; *names != NULL && proxy == NULL; names++)
		proxy = getenv(*names);
	r->proxy = (struct ws_net_target){.port = 0};
	if (proxy == NULL || take_apart(proxy, r->proxy.host, &r->proxy.port) != 0)
		return;
	if (strstr(proxy, "://") == NULL && r->proxy.port == 80 && strstr(proxy, ":80") == NULL)
		r->proxy.port = 1080; /* libcurl's own default for proxies */
}

int http_request_permitted(struct http_request *r, const struct http_options *o)
{
	char host[256];
	int port;
	if (o->unix_path != NULL)
		return 0; /* the socket is what is asked for */
	if (take_apart(o->url, host, &port) != 0) {
		ws_err_set(&r->err, "invalid", "%s: the URL has no host that a rule could name", r->what);
		return -1;
	}
	if (ws_permit_host(&r->target, host, port) != 0) {
		ws_err_errno(&r->err, host, errno);
		return -1;
	}
	if (!o->no_proxy)
		find_proxy(r, o->url);
	return 0;
}

int http_request_may_connect(struct http_request *r, const struct sockaddr *address)
{
	int port = 0;
	if (address->sa_family == AF_INET)
		port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
	else if (address->sa_family == AF_INET6)
		port = ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
	bool by_proxy = r->proxy.host[0] != '\0' && r->proxy.port == port && r->target.port != port;
	int rc = by_proxy ? ws_permit_proxy(&r->target, r->proxy.host, port, address)
			  : ws_permit_connect(&r->target, address);
	if (rc == 0)
		return 0;
	ws_err_clear(&r->refused);
	ws_err_errno(&r->refused, r->what, WS_EDENIED);
	return -1;
}
