/* request.c - see request.h. */
#include "request.h"

#include <ws/error.h>
#include <ws/permit.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, PEM_MAX = 4 << 20 };

/* ---- end and errors ---------------------------------------------------------------------------------------------- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* The kind that a transfer's failure has, and for most what to do about it. */
static const struct {
	CURLcode code;
	const char *kind, *hint;
} failures[] = {
	{CURLE_URL_MALFORMAT, "invalid", NULL},
	{CURLE_COULDNT_RESOLVE_PROXY, "connection", "check http_proxy and https_proxy in the environment"},
	{CURLE_COULDNT_RESOLVE_HOST, "connection", "check the host's name, and that this machine can resolve names"},
	{CURLE_COULDNT_CONNECT, "connection",
		"check that the server runs and that a firewall or proxy lets you through"},
	{CURLE_OPERATION_TIMEDOUT, "timeout", NULL},
	{CURLE_GOT_NOTHING, "connection", NULL},
	{CURLE_SEND_ERROR, "connection", NULL},
	{CURLE_RECV_ERROR, "connection", NULL},
	{CURLE_PARTIAL_FILE, "connection", NULL},
	{CURLE_SEND_FAIL_REWIND, "connection", NULL},
	{CURLE_PROXY, "connection", "check http_proxy and https_proxy in the environment"},
	{CURLE_SSL_CONNECT_ERROR, "tls", NULL},
	{CURLE_PEER_FAILED_VERIFICATION, "tls",
		"the server's certificate is not trusted for this name; give its authority with the option 'ca' or "
		"SSL_CERT_FILE"},
	{CURLE_SSL_CACERT_BADFILE, "tls", "the file with trusted certificates must be readable PEM"},
	{CURLE_SSL_CERTPROBLEM, "tls", "certificate and key of this client must be PEM that belong together"},
	{CURLE_SSL_ISSUER_ERROR, "tls", NULL},
	{CURLE_SSL_CIPHER, "tls", NULL},
	{CURLE_SSL_INVALIDCERTSTATUS, "tls", NULL},
	{CURLE_SSL_ENGINE_INITFAILED, "tls", NULL},
	{CURLE_WEIRD_SERVER_REPLY, "protocol", NULL},
	{CURLE_HTTP2, "connection", NULL}, /* mostly a server that shuts down */
	{CURLE_HTTP2_STREAM, "connection", NULL},
	{CURLE_BAD_CONTENT_ENCODING, "protocol", NULL},
	{CURLE_OUT_OF_MEMORY, "exhausted", NULL},
};

/* libcurl does not say that it got no socket. Returns errno when there are no descriptors left, else 0. */
static int descriptor_shortage(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? errno : 0;
	close(fd);
	return 0;
}

static void set_failure(struct http_request *r, CURLcode code)
{
	if (r->err.kind != NULL) /* a callback has said why */
		return;
	if (r->refused.kind != NULL) {
		r->err = r->refused;
		r->refused = (struct ws_err){0};
		return;
	}
	const char *text = r->message[0] != '\0' ? r->message : curl.curl_easy_strerror(code);
	int shortage = descriptor_shortage();
	if (shortage != 0) {
		ws_err_set(&r->err, "exhausted", "%s: %s", r->what, strerror(shortage));
		ws_err_hint(&r->err, "raise the limit of open files: ulimit -n");
		return;
	}
	if (strcmp(text, "select/poll returned error") == 0)
		text = "the server closed the connection";
	if (code == CURLE_RECV_ERROR && strstr(text, "chunked-encoding") != NULL)
		code = CURLE_WEIRD_SERVER_REPLY; /* libcurl reports broken chunks as a broken connection */
	for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
		if (failures[i].code == code) {
			ws_err_set(&r->err, failures[i].kind, "%s: %s", r->what, text);
			if (failures[i].hint != NULL)
				ws_err_hint(&r->err, failures[i].hint);
			return;
		}
	}
	ws_err_set(&r->err, "protocol", "%s: %s (libcurl error %d)", r->what, text, (int)code);
}

static bool is_success(struct http_request *r)
{
	if (r->status == 0)
		curl.curl_easy_getinfo(r->transfer.easy, CURLINFO_RESPONSE_CODE, &r->status);
	return r->status >= 200 && r->status < 300;
}

static int open_sink(struct http_request *r)
{
	if (r->sink_fd >= 0)
		return 0;
	int mode = r->append ? O_APPEND : O_TRUNC;
	r->sink_fd = ws_open(r->sink_path, O_WRONLY | O_CREAT | O_CLOEXEC | mode, 0666);
	if (r->sink_fd < 0) {
		ws_err_errno(&r->err, r->sink_path, errno);
		return -1;
	}
	return 0;
}

/* An empty body makes an empty file; a full disk may be reported as late as here. */
static void finish_sink(struct http_request *r)
{
	if (r->sink != HTTP_TO_FILE || !is_success(r) || open_sink(r) != 0)
		return;
	int rc = close(r->sink_fd);
	r->sink_fd = -1;
	if (rc != 0)
		ws_err_errno(&r->err, r->sink_path, errno);
}

static void on_done(struct http_transfer *t, CURLcode result)
{
	struct http_request *r = (struct http_request *)t;
	r->done = true;
	if (result != CURLE_OK) {
		set_failure(r, result);
	} else {
		is_success(r); /* keeps the status */
		finish_sink(r);
	}
	r->notify(r);
}

/* ---- what arrives ------------------------------------------------------------------------------------------------ */

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct http_request *r = arg;
	size_t len = size * count;
	if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
		r->head.len = 0; /* of an earlier response: 100 Continue, a proxy's */
	if (ws_buf_add(&r->head, data, len) != 0) {
		ws_err_set(&r->err, "too_large", "%s: the response's headers are larger than %d bytes", r->what,
			HTTP_MAX_HEAD);
		return 0;
	}
	return len;
}

static size_t write_file(struct http_request *r, const char *data, size_t len)
{
	if (open_sink(r) != 0)
		return 0;
	if (r->sink_left >= 0 && (r->sink_left -= (int64_t)len) < 0) {
		ws_err_set(
			&r->err, "too_large", "%s: the response is larger than the %s may be", r->what, r->sink_path);
		return 0;
	}
	for (size_t at = 0; at < len;) {
		ssize_t n = write(r->sink_fd, data + at, len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ws_err_errno(&r->err, r->sink_path, errno);
			return 0;
		}
		at += (size_t)n;
	}
	return len;
}

static size_t on_data(char *data, size_t size, size_t count, void *arg)
{
	struct http_request *r = arg;
	size_t len = size * count;
	if (r->sink != HTTP_TO_MEMORY && !is_success(r))
		r->sink = HTTP_TO_MEMORY; /* the text of an error is no content */
	if (r->sink == HTTP_TO_FILE)
		return write_file(r, data, len);
	if (r->sink == HTTP_TO_OWNER && r->in.len >= HTTP_HIGH_WATER) {
		r->recv_paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	size_t max = r->in.max;
	if (ws_buf_add(&r->in, data, len) != 0) {
		ws_err_set(&r->err, "too_large", "%s: the response is larger than %zu bytes", r->what, max);
		ws_err_hint(&r->err, "raise max_body, or use a sink");
		return 0;
	}
	if (r->sink == HTTP_TO_OWNER)
		r->notify(r);
	return len;
}

/* ---- what is sent ------------------------------------------------------------------------------------------------ */

static size_t read_file(struct http_request *r, char *data, size_t max)
{
	ssize_t n = http_file_read(r->file, data, max, &r->err);
	if (n == HTTP_FILE_WAIT) {
		r->send_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	return n == HTTP_FILE_FAILED ? CURL_READFUNC_ABORT : (size_t)n;
}

static size_t on_read(char *data, size_t size, size_t count, void *arg)
{
	struct http_request *r = arg;
	size_t max = size * count;
	if (r->file != NULL)
		return read_file(r, data, max);
	size_t have = r->out.len - r->out_at;
	size_t n = have < max ? have : max;
	if (n > 0)
		memcpy(data, r->out.data + r->out_at, n);
	r->out_at += n;
	if (r->out_at == r->out.len)
		r->out.len = r->out_at = 0;
	if (!r->body_ended && r->out.len - r->out_at < HTTP_HIGH_WATER && !r->wants_body) {
		r->wants_body = true;
		r->notify(r);
	}
	if (n == 0 && !r->body_ended) {
		r->send_paused = true;
		return CURL_READFUNC_PAUSE;
	}
	return n;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_request *r = arg;
	if (origin != SEEK_SET || offset != 0 || r->file == NULL)
		return CURL_SEEKFUNC_CANTSEEK;
	http_file_rewind(r->file);
	return CURL_SEEKFUNC_OK;
}

static void unpause(struct http_request *r)
{
	if (r->transfer.loop != NULL)
		curl.curl_easy_pause(r->transfer.easy,
			(r->recv_paused ? CURLPAUSE_RECV : 0) | (r->send_paused ? CURLPAUSE_SEND : 0));
}

static void on_source_ready(void *arg)
{
	struct http_request *r = arg;
	r->send_paused = false;
	unpause(r);
}

static int open_source(struct http_request *r, struct http_loop *loop, const struct http_options *o)
{
	struct http_file_options source = {.path = o->body_file,
		.offset = o->body_offset,
		.length = o->body_length,
		.sha256 = o->body_sha256,
		.ready = on_source_ready,
		.arg = r};
	r->file = http_file_open(http_loop_uv(loop), &source, &r->err);
	return r->file != NULL ? 0 : -1;
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

struct http_request *http_request_new(void)
{
	struct http_request *r = calloc(1, sizeof *r);
	if (r == NULL)
		return NULL;
	r->sink_fd = r->socket.fd = -1;
	ws_buf_init(&r->head, HTTP_MAX_HEAD);
	ws_buf_init(&r->out, SIZE_MAX / 4);
	return r;
}

int http_request_header(struct http_request *r, const char *name, const char *value)
{
	struct ws_buf line;
	ws_buf_init(&line, SIZE_MAX / 4);
	/* libcurl's notation: "name;" sends an empty value, "name:" would leave out a header of its own. */
	if (ws_buf_adds(&line, name) != 0 || ws_buf_adds(&line, *value != '\0' ? ": " : ";") != 0 ||
		ws_buf_adds(&line, value) != 0)
		return -1;
	struct curl_slist *list = curl.curl_slist_append(r->headers, line.data);
	explicit_bzero(line.data, line.len); /* it may be a credential */
	ws_buf_free(&line);
	if (list == NULL)
		return -1;
	r->headers = list;
	return 0;
}

static void set(struct http_request *r, CURLoption option, const char *value)
{
	if (value != NULL)
		curl.curl_easy_setopt(r->transfer.easy, option, value);
}

/* Where permissions count, the file is read here: libcurl would open it by itself. */
static void set_pem_file(struct http_request *r, CURLoption option, const char *path)
{
	int fd = ws_open(path, O_RDONLY | O_CLOEXEC, 0);
	char *text = malloc(PEM_MAX);
	size_t len = 0;
	ssize_t n = -1;
	if (fd >= 0 && text != NULL)
		while (len < PEM_MAX && (n = read(fd, text + len, PEM_MAX - len)) > 0)
			len += (size_t)n;
	if (n != 0) {
		ws_err_errno(&r->err, path, n > 0 ? EFBIG : text == NULL ? ENOMEM : errno);
	} else {
		struct curl_blob b = {text, len, CURL_BLOB_COPY};
		curl.curl_easy_setopt(r->transfer.easy, option, &b);
	}
	if (text != NULL)
		explicit_bzero(text, len);
	free(text);
	close_fd(&fd);
}

/* PEM text goes in as a blob, anything else is a path. */
static void set_pem(struct http_request *r, CURLoption path, CURLoption blob, const char *value, size_t len)
{
	if (value != NULL && strstr(value, "-----BEGIN") != NULL) {
		struct curl_blob b = {(void *)(uintptr_t)value, len, CURL_BLOB_COPY};
		curl.curl_easy_setopt(r->transfer.easy, blob, &b);
	} else if (value != NULL && ws_permit_watching()) {
		set_pem_file(r, blob, value);
	} else {
		set(r, path, value);
	}
}

static void set_body(struct http_request *r, const struct http_options *o)
{
	CURL *easy = r->transfer.easy;
	if (o->source == HTTP_FROM_MEMORY) {
		curl.curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl.curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->body_len);
		curl.curl_easy_setopt(easy, CURLOPT_POSTFIELDS, o->body);
	} else if (o->source != HTTP_NO_BODY) {
		int64_t size = r->file != NULL ? http_file_size(r->file) : o->body_length;
		curl.curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl.curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
		curl.curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
		curl.curl_easy_setopt(easy, CURLOPT_READDATA, r);
		curl.curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
		curl.curl_easy_setopt(easy, CURLOPT_SEEKDATA, r);
		curl.curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER);
	}
	if (strcmp(o->method, "HEAD") == 0)
		curl.curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	else
		curl.curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, o->method);
}

/* libcurl has an address and wants a socket for it: the one place that every connection passes, also a proxy's. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)purpose;
	struct http_request *r = arg;
	if (http_request_may_connect(r, &address->addr) != 0)
		return CURL_SOCKET_BAD;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void configure(struct http_request *r, const struct http_options *o)
{
	CURL *easy = r->transfer.easy;
	set(r, CURLOPT_URL, o->url);
	set(r, CURLOPT_PROTOCOLS_STR, "http,https");
	set(r, CURLOPT_UNIX_SOCKET_PATH, o->unix_path != NULL ? r->socket.path : NULL);
	if (ws_permit_watching()) {
		curl.curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
		curl.curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, r);
	}
	if (o->no_proxy)
		set(r, CURLOPT_NOPROXY, "*");
	set_pem(r, CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB, o->ca, o->ca_len);
	set_pem(r, CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB, o->cert, o->cert_len);
	set_pem(r, CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB, o->key, o->key_len);
	curl.curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* names of objects may contain .. */
	curl.curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl.curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* else giving up waits for the resolver's thread */
	curl.curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl.curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl.curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl.curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER);
	curl.curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, o->timeout_ms);
	curl.curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, o->connect_timeout_ms);
	if (o->stall_s > 0) {
		curl.curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl.curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, o->stall_s);
	}
	curl.curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, r->message);
	curl.curl_easy_setopt(easy, CURLOPT_HTTPHEADER, r->headers);
	curl.curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl.curl_easy_setopt(easy, CURLOPT_HEADERDATA, r);
	curl.curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl.curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
	set_body(r, o);
}

int http_request_start(struct http_request *r, struct http_loop *loop, const struct http_options *o)
{
	r->transfer.easy = curl.curl_easy_init();
	r->what = strdup(o->what);
	r->sink_path = o->sink_file != NULL ? strdup(o->sink_file) : NULL;
	if (r->transfer.easy == NULL || r->what == NULL || (o->sink_file != NULL && r->sink_path == NULL)) {
		ws_err_set(&r->err, "exhausted", "out of memory");
		return -1;
	}
	r->transfer.done = on_done;
	r->sink = o->sink;
	r->append = o->append;
	r->sink_left = o->sink_max;
	ws_buf_init(&r->in,
		o->sink == HTTP_TO_OWNER && o->max_body < 2 * HTTP_HIGH_WATER ? 2 * HTTP_HIGH_WATER : o->max_body);
	if (o->source == HTTP_FROM_FILE && open_source(r, loop, o) != 0)
		return -1;
	if (ws_permit_watching() && http_request_permitted(r, o) != 0)
		return -1;
	if (o->unix_path != NULL && ws_pin(&r->socket, o->unix_path, WS_LOOK | WS_CHANGE) != 0) {
		ws_err_errno(&r->err, o->unix_path, errno);
		return -1;
	}
	configure(r, o);
	if (r->err.kind != NULL)
		return -1;
	return http_transfer_start(loop, &r->transfer, &r->err);
}

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

int http_request_feed(struct http_request *r, const char *data, size_t len)
{
	r->wants_body = false;
	if (data == NULL)
		r->body_ended = true;
	else if (ws_buf_add(&r->out, data, len) != 0)
		return -1;
	if (r->send_paused) {
		r->send_paused = false;
		unpause(r);
	}
	return 0;
}

void http_request_taken(struct http_request *r)
{
	r->in.len = 0;
	if (r->recv_paused) {
		r->recv_paused = false;
		unpause(r);
	}
}

void http_request_stop(struct http_request *r)
{
	http_transfer_stop(&r->transfer);
	r->done = true;
	if (r->transfer.easy != NULL)
		curl.curl_easy_cleanup(r->transfer.easy);
	r->transfer.easy = NULL;
	close_fd(&r->sink_fd);
	http_file_close(r->file);
	r->file = NULL;
	ws_unpin(&r->socket);
}

void http_request_free(struct http_request *r)
{
	http_request_stop(r);
	curl.curl_slist_free_all(r->headers);
	ws_buf_free(&r->head);
	ws_buf_free(&r->in);
	ws_buf_free(&r->out);
	ws_err_clear(&r->err);
	ws_err_clear(&r->refused);
	free(r->what);
	free(r->sink_path);
	free(r);
}
