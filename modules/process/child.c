/* child.c - the life of a child after it was started; see process.h for what must hold.
 *
 *   running ──exit──▶ exited ──both pipes ended, or linger over──▶ finishing ──last handle closed──▶ finished
 *
 * One timer serves in turn the timeout, the grace between the stop signal and KILL, and the linger.
 */
#include "process.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LINES_HIGH = 1 << 20, /* bytes of lines that may wait for a reader */
	LINES_LOW = 1 << 18,
	READS_AT_ONCE = 8, /* of 64 KiB, before others get their turn */
};

static void child_maybe_finish(struct child *c);

/* ---- handles ----------------------------------------------------------------------------------------------------- */

static void free_child(struct child *c)
{
	for (int i = 0; i < 2; i++) {
		ws_buf_free(&c->out[i].tail);
		ws_buf_free(&c->out[i].lines_buf);
	}
	if (c->in.owned != NULL)
		explicit_bzero(c->in.owned, c->in.len);
	free(c->in.owned);
	free(c->command);
	free(c);
}

void child_unref(struct child *c)
{
	if (--c->refs == 0)
		free_child(c);
}

static void unlink_child(struct child *c)
{
	if (c->link == NULL)
		return;
	*c->link = c->next;
	if (c->next != NULL)
		c->next->link = c->link;
	c->link = NULL;
}

static void handle_closed(uv_handle_t *handle)
{
	struct child *c = handle->data;
	if (--c->handles > 0 || !c->finishing)
		return;
	c->finished = true;
	unlink_child(c);
	if (c->waiter != NULL)
		c->wake(c->waiter);
	c->waiter = NULL;
	child_unref(c); /* the loop's */
}

static void opened(struct child *c, uv_handle_t *handle)
{
	handle->data = c;
	c->handles++;
	if (c->detached)
		uv_unref(handle);
}

static void close_poll(uv_poll_t *poll, int *fd)
{
	uv_close((uv_handle_t *)poll, handle_closed); /* takes the descriptor out of the loop at once */
	close(*fd);
	*fd = -1;
}

static void set_timer(struct child *c, double seconds);

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void wake_reader(struct stream *s)
{
	struct ws_op *reader = s->reader;
	s->reader = NULL;
	if (reader != NULL)
		ws_op_done(reader);
}

static void stream_close(struct stream *s)
{
	if (!s->open)
		return;
	s->open = false;
	close_poll(&s->poll, &s->fd);
	wake_reader(s);
}

/* Keeps the last s->max bytes; the buffer may grow to twice that, so that the shifting costs little. */
static void keep_tail(struct stream *s, const char *data, size_t len)
{
	if (len > s->max) {
		data += len - s->max;
		len = s->max;
		s->truncated = true;
	}
	if (s->tail.len + len > 2 * s->max) {
		ws_buf_drop(&s->tail, s->tail.len + len - s->max);
		s->truncated = true;
	}
	if (ws_buf_add(&s->tail, data, len) != 0) /* no memory: what was kept is gone */
		s->truncated = true;
}

static void add_lines(struct stream *s, const char *data, size_t len)
{
	if (ws_buf_add(&s->lines_buf, data, len) != 0) {
		s->lines_from = s->lines_seen = 0;
		s->truncated = true;
	}
	if (s->lines_buf.len - s->lines_from > LINES_HIGH) {
		s->paused = true;
		uv_poll_stop(&s->poll);
	}
	/* A reader is woken by a whole line, or when the buffer is full of one that does not end. */
	if (s->reader != NULL && (s->paused || memchr(data, '\n', len) != NULL))
		wake_reader(s);
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	(void)events;
	(void)status; /* an error of the pipe shows in read() */
	struct child *c = poll->data;
	struct stream *s = poll == &c->out[0].poll ? &c->out[0] : &c->out[1];
	for (int i = 0; i < READS_AT_ONCE && !s->paused; i++) {
		ssize_t n = read(s->fd, c->set->chunk, sizeof c->set->chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			stream_close(s);
			child_maybe_finish(c);
			return;
		}
		c->last_output = uv_hrtime();
		if (s->collect)
			keep_tail(s, c->set->chunk, (size_t)n);
		if (s->lines)
			add_lines(s, c->set->chunk, (size_t)n);
		if ((size_t)n < sizeof c->set->chunk)
			return;
	}
}

void stream_resume(struct stream *s)
{
	if (!s->paused || s->lines_buf.len - s->lines_from > LINES_LOW)
		return;
	s->paused = false;
	if (s->open)
		uv_poll_start(&s->poll, UV_READABLE, on_output);
}

/* ---- input ------------------------------------------------------------------------------------------------------- */

static void end_writer(struct child *c)
{
	struct ws_op *writer = c->in.writer;
	c->in.writer = NULL;
	if (writer == NULL)
		return;
	if (c->in.off < c->in.len)
		ws_err_set(&writer->err, "connection", "%s has closed its input", c->command);
	ws_op_done(writer);
}

static void input_shut(struct child *c)
{
	if (!c->in.open)
		return;
	c->in.open = false;
	close_poll(&c->in.poll, &c->in.fd);
	end_writer(c);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
	(void)events;
	struct child *c = poll->data;
	struct input *in = &c->in;
	while (in->off < in->len) {
		ssize_t n = write(in->fd, in->data + in->off, in->len - in->off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && status == 0)
			return;
		if (n < 0) {
			in->broken = true;
			input_shut(c);
			return;
		}
		in->off += (size_t)n;
	}
	uv_poll_stop(poll);
	if (in->close_after)
		input_shut(c);
	else
		end_writer(c);
}

void child_input_start(struct child *c)
{
	if (c->in.open)
		uv_poll_start(&c->in.poll, UV_WRITABLE, on_input);
}

void child_input_close(struct child *c)
{
	c->in.close_after = true;
	if (c->in.off == c->in.len)
		input_shut(c);
}

void child_input_abandon(struct child *c)
{
	struct ws_op *writer = c->in.writer;
	c->in.writer = NULL;
	c->in.len = c->in.off = 0;
	if (c->in.open)
		uv_poll_stop(&c->in.poll);
	ws_op_done(writer);
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

/* Gives the child's number back to the system. */
static void reap(struct child *c)
{
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void child_finish(struct child *c)
{
	c->finishing = true;
	if (c->why != NOT_STOPPED && c->own_group)
		kill(-c->pid, SIGKILL); /* of a stopped child nothing may remain */
	if (c->exited)
		reap(c); /* else it is detached and lives on without us */
	stream_close(&c->out[0]);
	stream_close(&c->out[1]);
	input_shut(c);
	if (c->exit_open) {
		c->exit_open = false;
		close_poll(&c->exit_poll, &c->pidfd);
	}
	if (c->timer_open) {
		c->timer_open = false;
		uv_close((uv_handle_t *)&c->timer, handle_closed);
	}
}

static void child_maybe_finish(struct child *c)
{
	if (!c->finishing && c->exited && !c->out[0].open && !c->out[1].open)
		child_finish(c);
}

/* Looks whether the child has ended, without reaping it. */
static void check_exit(struct child *c)
{
	siginfo_t info = {0};
	if (c->exited || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
		return;
	c->exited = true;
	c->ended = uv_hrtime();
	c->last_output = c->ended;
	c->code = info.si_code == CLD_EXITED ? info.si_status : -1;
	c->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
	if (c->why != NOT_STOPPED && c->own_group)
		kill(-c->pid, SIGKILL);
	child_maybe_finish(c);
	if (c->finishing)
		return;
	if (c->exit_open)
		uv_poll_stop(&c->exit_poll);
	set_timer(c, c->linger);
}

static void on_exit_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	check_exit(poll->data);
}

static void on_sigchld(uv_signal_t *handle, int signum)
{
	(void)signum;
	struct process_set *set = handle->data;
	for (struct child *c = set->children; c != NULL; c = c->next) /* handles close later, so the list stays */
		check_exit(c);
}

static void linger_over(struct child *c)
{
	double silent = (double)(uv_hrtime() - c->last_output) / 1e9;
	bool busy = c->why == NOT_STOPPED && (c->out[0].paused || c->out[1].paused); /* the delay is our reader's */
	if (busy || silent < c->linger) {
		set_timer(c, busy ? c->linger : c->linger - silent);
		return;
	}
	for (int i = 0; i < 2; i++) {
		if (c->out[i].open) {
			c->out[i].cut = true;
			stream_close(&c->out[i]);
		}
	}
	child_maybe_finish(c);
}

static void on_timer(uv_timer_t *timer)
{
	struct child *c = timer->data;
	if (c->exited) {
		linger_over(c);
	} else if (c->why == NOT_STOPPED) {
		child_stop(c, TIMED_OUT);
	} else {
		c->killed = true;
		child_signal(c, SIGKILL);
	}
}

static void set_timer(struct child *c, double seconds)
{
	if (c->timer_open)
		uv_timer_start(&c->timer, on_timer, (uint64_t)(seconds * 1000 + 0.999), 0);
}

int child_signal(struct child *c, int signum)
{
	if (c->finishing)
		return ESRCH;
	return kill(c->own_group ? -c->pid : c->pid, signum) == 0 ? 0 : errno;
}

void child_stop(struct child *c, enum child_why why)
{
	if (c->why != NOT_STOPPED || c->finishing)
		return;
	c->why = why;
	if (c->exited)
		return;
	child_signal(c, c->stop_signal);
	child_signal(c, SIGCONT); /* a stopped process would not notice */
	set_timer(c, c->grace);
}

/* ---- begin ------------------------------------------------------------------------------------------------------- */

static int watch_exit(struct child *c)
{
	struct process_set *set = c->set;
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd >= 0) {
		int rc = uv_poll_init(set->loop, &c->exit_poll, c->pidfd);
		if (rc != 0) {
			close(c->pidfd);
			return rc;
		}
		c->exit_open = true;
		opened(c, (uv_handle_t *)&c->exit_poll);
		return uv_poll_start(&c->exit_poll, UV_READABLE, on_exit_poll);
	}
	if (!set->sigchld_open) {
		uv_signal_init(set->loop, &set->sigchld);
		set->sigchld.data = set;
		set->sigchld_open = true;
		int rc = uv_signal_start(&set->sigchld, on_sigchld, SIGCHLD);
		uv_unref((uv_handle_t *)&set->sigchld);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int watch_output(struct child *c, struct stream *s, int fd)
{
	s->child = c;
	s->fd = fd;
	if (fd < 0)
		return 0;
	int rc = uv_poll_init(c->set->loop, &s->poll, fd);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	s->open = true;
	opened(c, (uv_handle_t *)&s->poll);
	return uv_poll_start(&s->poll, UV_READABLE, on_output);
}

static int watch_input(struct child *c, int fd)
{
	c->in.fd = fd;
	if (fd < 0)
		return 0;
	int rc = uv_poll_init(c->set->loop, &c->in.poll, fd);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	c->in.open = true;
	opened(c, (uv_handle_t *)&c->in.poll);
	if (c->in.data != NULL)
		child_input_start(c);
	return 0;
}

int child_watch(struct child *c, const struct child_fds *fds)
{
	c->refs++; /* the loop's */
	c->next = c->set->children;
	c->link = &c->set->children;
	if (c->next != NULL)
		c->next->link = &c->next;
	c->set->children = c;
	uv_timer_init(c->set->loop, &c->timer);
	c->timer_open = true;
	opened(c, (uv_handle_t *)&c->timer);
	int first = watch_output(c, &c->out[0], fds->out);
	int rc = watch_output(c, &c->out[1], fds->err);
	first = first != 0 ? first : rc;
	rc = watch_input(c, fds->in);
	first = first != 0 ? first : rc;
	rc = watch_exit(c);
	first = first != 0 ? first : rc;
	if (first != 0) { /* out of descriptors: a child that cannot be watched may not run */
		kill(c->own_group ? -c->pid : c->pid, SIGKILL);
		c->exited = true;
		child_finish(c);
		return first;
	}
	if (c->timeout >= 0)
		set_timer(c, c->timeout);
	if (c->pidfd < 0)
		check_exit(c); /* the signal may have come before we listened */
	return 0;
}

void process_set_close(struct process_set *set)
{
	static const struct timespec tick = {.tv_nsec = 5000000};
	for (struct child *c = set->children; c != NULL; c = c->next)
		if (!c->detached)
			child_stop(c, STOPPED);
	uint64_t end = uv_hrtime() + 3000000000u;
	for (struct child *c = set->children; c != NULL; c = c->next) {
		while (!c->exited && !c->detached) {
			check_exit(c);
			if (!c->exited && uv_hrtime() > end)
				child_signal(c, SIGKILL);
			if (!c->exited)
				nanosleep(&tick, NULL);
		}
		if (!c->finishing)
			child_finish(c);
	}
	if (set->sigchld_open)
		uv_close((uv_handle_t *)&set->sigchld, NULL);
}
