/* file.h - a file as the body of a request: read ahead, and hashed on the way, in the thread pool.
 *
 * One block is taken while the next is read. With a digest the last block is given out only when the whole is right, so
 * that a body which is not what was promised is never complete at the other end.
 */
#ifndef WS_HTTP_FILE_H
#define WS_HTTP_FILE_H

#include <ws/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

enum { HTTP_FILE_WAIT = -1, HTTP_FILE_FAILED = -2 };

struct http_file;

struct http_file_options {
	const char *path;
	int64_t offset, length; /* length -1: to the end */
	const char *sha256;     /* 64 hexadecimal digits in lower case, or NULL */
	void (*ready)(void *arg);
	void *arg;
};

/* Opens the file and begins to read. NULL with err. */
struct http_file *http_file_open(uv_loop_t *loop, const struct http_file_options *o, struct ws_err *err);
int64_t http_file_size(const struct http_file *s);
/* Copies at most `max` bytes; 0 at the end; HTTP_FILE_WAIT when none are there: ready() is called when there are;
 * HTTP_FILE_FAILED with err. */
ssize_t http_file_read(struct http_file *s, char *data, size_t max, struct ws_err *err);
/* Begins again at the first byte. */
void http_file_rewind(struct http_file *s);
/* ready() is not called any more. NULL is allowed. */
void http_file_close(struct http_file *s);

#endif
