/* request.c - one request: its life between MHD and the Lua task that answers it.
 *
 * The connection is suspended as soon as the head has arrived. The handler resumes it by asking for the body
 * or by answering. MHD calls on_request() again at each of these steps: HEAD   resumed: go on to the body, or
 * queue an answer that came before it BODY   with data: keep it, and suspend when too much waits; without:
 * the body has ended, queue the answer
 */
#include "server.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* ---- life
 * -------------------------------------------------------------------------------------------------------- */

void request_unref(struct request *r)
{
	if (--r->references > 0)
		return;
	if (r->response != NULL)
		mhd.MHD_destroy_response(r->response);
	ws_buf_free(&r->in);
	ws_buf_free(&r->out);
	free(r->target);
	free(r);
}

void request_wake(struct request *r)
{
	struct wait_op *op = r->waiting;
	r->waiting = NULL;
	if (op != NULL)
		ws_op_done(&op->op);
}

/* MHD goes on with what it has read of a chunked body although the connection was suspended meanwhile. */
static void suspend(struct request *r)
{
	if (r->suspended)
		return;
	r->suspended = true;
	mhd.MHD_suspend_connection(r->connection);
}

void request_resume(struct request *r)
{
	if (!r->suspended)
		return;
	r->suspended = false;
	mhd.MHD_resume_connection(r->connection);
	server_kick(r->server);
}

void request_lost(struct request *r)
{
	r->gone = true;
	if (r->streaming) {
		r->aborted = true;
		request_resume(r);
	} else if (r->stage == STAGE_BODY) {
		request_resume(r); /* MHD finds out */
	}
}

/* The connection cannot be saved: MHD sees a dead socket whatever it does next. */
void request_abort(struct request *r)
{
	if (r->connection == NULL || r->aborted)
		return;
	r->aborted = true;
	const union MHD_ConnectionInfo *info =
		mhd.MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	shutdown(info->connect_fd, SHUT_RDWR);
	request_resume(r);
}

/* ---- callbacks from MHD
 * ------------------------------------------------------------------------------------------ */

void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct server *s = cls;
	const union MHD_ConnectionInfo *info =
		mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	server_not_fresh(s, info->socket_context);
	struct request *r = calloc(1, sizeof *r);
	char *target = strdup(uri);
	if (r == NULL || target == NULL) {
		free(r);
		free(target);
		return NULL; /* on_request() then refuses */
	}
	ws_buf_init(&r->in, SIZE_MAX / 4);
	ws_buf_init(&r->out, SIZE_MAX / 4);
	r->server = s;
	r->target = target;
	r->id = ++s->next_id;
	r->references = 1;
	r->next = s->requests;
	r->link = &s->requests;
	if (r->next != NULL)
		r->next->link = &r->next;
	s->requests = r;
	return r;
}

static enum MHD_Result note_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct request *r = cls;
	(void)kind;
	if (strcasecmp(name, "transfer-encoding") == 0)
		r->length = UINT64_MAX;
	else if (strcasecmp(name, "content-length") == 0 && r->length == 0)
		r->length = strtoull(value, NULL, 10);
	else if (strcasecmp(name, "expect") == 0)
		r->expects_continue = strcasecmp(value, "100-continue") == 0;
	return MHD_YES;
}

static enum MHD_Result queue_response(struct request *r)
{
	r->stage = STAGE_REPLY;
	return mhd.MHD_queue_response(r->connection, r->status, r->response);
}

static enum MHD_Result after_head(struct request *r)
{
	if (r->response != NULL && r->length > 0 && (r->expects_continue || r->length > DRAIN_LIMIT))
		return queue_response(r); /* before the body; MHD then closes the connection */
	if (r->response != NULL)
		r->discard = true;
	r->stage = STAGE_BODY;
	return MHD_YES;
}

static enum MHD_Result take_body(struct request *r, const char *data, size_t *size)
{
	if (!r->discard) {
		if (r->collect_max > 0 && r->in.len + *size > r->collect_max) {
			r->too_large = r->discard = true;
			ws_buf_free(&r->in);
		} else if (ws_buf_add(&r->in, data, *size) != 0) {
			return MHD_NO;
		}
	}
	*size = 0;
	if (!r->collect_max || r->too_large)
		request_wake(r);
	if (!r->collect_max && !r->discard && r->in.len >= HIGH_WATER)
		suspend(r);
	return MHD_YES;
}

enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
	const char *version, const char *data, size_t *size, void **context)
{
	(void)cls;
	(void)url;
	(void)version;
	struct request *r = *context;
	if (r == NULL || r->aborted)
		return MHD_NO;
	if (r->connection == NULL) {
		r->connection = connection;
		r->method = method;
		mhd.MHD_get_connection_values(connection, MHD_HEADER_KIND, note_header, r);
		suspend(r);
		server_event(r->server, r);
		return MHD_YES;
	}
	if (r->stage == STAGE_HEAD)
		return after_head(r);
	if (*size > 0)
		return take_body(r, data, size);
	r->body_ended = true;
	if (r->response != NULL)
		return queue_response(r);
	request_wake(r);
	suspend(r);
	return MHD_YES;
}

void on_completed(void *cls, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode why)
{
	(void)connection;
	struct server *s = cls;
	struct request *r = *context;
	if (r == NULL)
		return;
	*context = NULL;
	r->completed = true;
	r->delivered = why == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->aborted;
	r->gone = !r->delivered;
	r->connection = NULL;
	r->server = NULL;
	*r->link = r->next;
	if (r->next != NULL)
		r->next->link = r->link;
	request_wake(r);
	if (r->gone && r->streaming && !r->out_ended)
		server_event(s, r);
	request_unref(r);
}

ssize_t request_read_stream(void *cls, uint64_t position, char *data, size_t max)
{
	(void)position;
	struct request *r = cls;
	if (r->aborted)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	size_t have = r->out.len - r->out_at;
	if (have > 0) {
		size_t n = have < max ? have : max;
		memcpy(data, r->out.data + r->out_at, n);
		r->out_at += n;
		if (n == have)
			r->out.len = r->out_at = 0;
		if (!r->out_ended && have - n < HIGH_WATER)
			request_wake(r);
		return (ssize_t)n;
	}
	if (r->out_ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	suspend(r);
	return 0;
}
