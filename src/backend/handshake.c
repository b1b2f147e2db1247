/* SPDX-License-Identifier: BSD-3-Clause */
/* Host clients until they have said their line. */
#include "backend/handshake.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "backend/hybrid.h"
#include "protocol/hybrid.h"
#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/socket_kind.h"
#include "util/unix_socket.h"

struct handshake {				/* one client */
	struct handshakes *all;
	struct list node;			/* handshakes::clients */
	int fd;
	struct loop_source source;
	struct loop_timer timer;
	uint8_t len;				/* bytes of line */
	char line[HYBRID_LINE_MAX];
};

#define HANDSHAKES_TAG BLOB_TAG('H', 'A', 'N', 'D')
#define EVENTS (EPOLLIN | EPOLLRDHUP)

enum { HANDSHAKES_VERSION = 1 };

enum failure {					/* to be explained once */
	NO_CONNECT_LINE,			/* something else */
	LINE_TOO_LONG,
	LINE_CUT,				/* left before its end */
	LINE_LATE,
	TOO_MANY_CLIENTS,
};

static void leave(struct handshake *h)
{
	struct handshakes *hs = h->all;

	list_remove(&h->node);
	hs->n--;
	if (hs->config.n_all)
		--*hs->config.n_all;
	loop_timer_cancel(hs->config.loop, &h->timer);
	loop_remove(hs->config.loop, &h->source);
}

/* Where another process may go on with it, that process's client notices nothing. */
static void end(struct handshake *h)
{
	leave(h);
	if (h->all->config.is_held)
		closer_close(&h->fd);
	else
		unix_hang_up(&h->fd);
	free(h);
}

static void count(const struct handshakes *hs, enum backend_handshake how)
{
	if (hs->config.counted)
		hs->config.counted(hs->config.ctx, how);
}

static void fail(struct handshake *h, enum failure failure)
{
	static const enum backend_handshake how[] = {
		[NO_CONNECT_LINE] = HANDSHAKE_NO_CONNECT, [LINE_TOO_LONG] = HANDSHAKE_TOO_LONG,
		[LINE_CUT] = HANDSHAKE_CUT, [LINE_LATE] = HANDSHAKE_LATE,
		[TOO_MANY_CLIENTS] = HANDSHAKE_TOO_MANY,
	};
	static const char *const text[] = {
		[NO_CONNECT_LINE] = "its first line is not \"CONNECT <port>\"",
		[LINE_TOO_LONG] = "no end of line within 32 bytes, where \"CONNECT <port>\" has "
			"to be",
		[LINE_CUT] = "it left before the end of its \"CONNECT <port>\" line",
		[TOO_MANY_CLIENTS] = "too many that have not said \"CONNECT <port>\"",
	};
	struct handshakes *hs = h->all;

	count(hs, how[failure]);
	if (failure == LINE_LATE)
		log_first(&hs->failures, failure, hs->config.tag,
			  "client of %s closed: no \"CONNECT <port>\" line for %g s",
			  hs->config.path, hs->config.timeout_ms / 1000.0);
	else
		log_first(&hs->failures, failure, hs->config.tag, "client of %s closed: %s",
			  hs->config.path, text[failure]);
	end(h);
}

/* Closes a client that has made no mistake. */
static void drop(struct handshake *h, const char *why)
{
	log_debug(h->all->config.tag, "host client: %s; closed", why);
	end(h);
}

static void log_error(const struct handshakes *hs, int error)
{
	log_limited(error_is_shortage(error) ? LEVEL_WARN : LEVEL_DEBUG, hs->config.tag,
		    "host client: %s; closed", error_str(error));
}

static void fail_error(struct handshake *h, int error)
{
	count(h->all, HANDSHAKE_ERROR);
	log_error(h->all, error);
	end(h);
}

/* The first line is whole: @len bytes of it, and its newline. @result: what came with it. */
static void hand_on(struct handshake *h, size_t len, struct handshake_result *result)
{
	struct handshakes *hs = h->all;

	if (!hybrid_parse_connect(h->line, len, &result->port)) {
		fail(h, NO_CONNECT_LINE);
		return;
	}
	leave(h);
	count(hs, HANDSHAKE_DONE);
	result->fd = fd_take(&h->fd);
	hs->config.done(hs->config.ctx, result);
	free(h);
}

static void finish(struct handshake *h, size_t len)
{
	struct handshake_result result = {
		.early = h->line + len + 1, .n_early = h->len - len - 1,
	};

	hand_on(h, len, &result);
}

/* A line that has come in one piece stays in the socket. 0: the client is gone, closed or handed
 * on; UNIX_E_AGAIN: nothing has come; anything else: it has to be read. */
static int peek_line(struct handshake *h)
{
	struct iovec room = { h->line, sizeof h->line };
	struct handshake_result result = { .early = NULL };
	const char *newline;
	size_t got;
	int r = unix_peek(h->fd, &room, 1, &got);

	if (r)
		return r;
	newline = memchr(h->line, '\n', got);
	if (!newline)
		return UNIX_E_TOO_LONG;
	result.n_unread = (size_t)(newline - h->line) + 1;
	result.has_more = got > result.n_unread;
	hand_on(h, result.n_unread - 1, &result);
	return 0;
}

static void leave_early(struct handshake *h)
{
	count(h->all, HANDSHAKE_LEFT);
	drop(h, "left without a word");
}

/* A read has given @r, which is not 0, after the first byte or before. */
static void on_no_line(struct handshake *h, int r)
{
	if (r == UNIX_E_TOO_LONG)
		fail(h, LINE_TOO_LONG);
	else if (r == UNIX_E_EOF && h->len)
		fail(h, LINE_CUT);
	else if (r == UNIX_E_EOF || r == UNIX_E_RESET)
		leave_early(h);
	else
		fail_error(h, r);
}

/* As read_line(): the first message is the line, with its newline or without. */
static bool read_message(struct handshake *h)
{
	struct iovec room = { h->line, sizeof h->line };
	size_t got;
	int r = unix_recv_message(h->fd, &room, 1, &got);

	if (r == UNIX_E_AGAIN)
		return true;
	if (r) {
		on_no_line(h, r);
		return false;
	}
	if (got && h->line[got - 1] == '\n')
		got--;
	h->len = (uint8_t)(got + 1);
	finish(h, got);
	return false;
}

/* Reads on. False: the client is gone, closed or handed on. */
static bool read_line(struct handshake *h)
{
	if (h->all->config.socket_type == SOCK_SEQPACKET)
		return read_message(h);
	if (!h->len && !h->all->config.may_have_rights) {
		int r = peek_line(h);

		if (r < 0)
			on_no_line(h, r);
		if (r <= 0 || r == UNIX_E_AGAIN)
			return r == UNIX_E_AGAIN;
	}
	for (;;) {
		char *at = h->line + h->len, *newline;
		struct iovec room = { at, sizeof h->line - h->len };
		size_t got;
		bool cut;
		int r;

		if (!room.iov_len) {
			fail(h, LINE_TOO_LONG);
			return false;
		}
		r = unix_recv(h->fd, &room, 1, h->all->config.may_have_rights, &got, &cut);
		if (r == UNIX_E_AGAIN)
			return true;
		if (r) {
			on_no_line(h, r);
			return false;
		}
		h->len = (uint8_t)(h->len + got);
		newline = memchr(at, '\n', got);
		if (newline) {
			finish(h, (size_t)(newline - h->line));
			return false;
		}
	}
}

static void on_readable(struct loop_source *source, uint32_t events)
{
	struct handshake *h = container_of(source, struct handshake, source);

	(void)events;
	if (!h->all->config.is_held)
		read_line(h);
}

static void on_timeout(struct loop_timer *timer)
{
	fail(container_of(timer, struct handshake, timer), LINE_LATE);
}

void handshakes_init(struct handshakes *hs, const struct handshakes_config *config)
{
	*hs = (struct handshakes){ .config = *config };
	list_init(&hs->clients);
}

static struct handshake *oldest(struct handshakes *hs)
{
	return container_of(hs->clients.next, struct handshake, node);
}

static void drop_all(struct handshakes *hs, const char *why)
{
	while (!list_is_empty(&hs->clients))
		drop(oldest(hs), why);
}

void handshakes_deinit(struct handshakes *hs)
{
	drop_all(hs, "the daemon ends");
}

static bool is_full(const struct handshakes *hs)
{
	return (hs->config.n_all ? *hs->config.n_all : hs->n) >= hs->config.max;
}

static struct handshake *client_new(struct handshakes *hs, int fd)
{
	struct handshake *h = malloc(sizeof *h);

	if (!h)
		return NULL;
	*h = (struct handshake){
		.all = hs, .fd = fd, .source = { .dispatch = on_readable, .fd = -1 },
		.timer.expire = on_timeout,
	};
	list_append(&hs->clients, &h->node);
	hs->n++;
	if (hs->config.n_all)
		++*hs->config.n_all;
	return h;
}

void handshakes_add(struct handshakes *hs, int fd)
{
	struct handshake *h;
	int r;

	while (hs->n && is_full(hs))		/* maybe with less than there were */
		fail(oldest(hs), TOO_MANY_CLIENTS);
	if (!hs->n && is_full(hs) && hs->config.n_all && *hs->config.n_all) {
		log_first(&hs->failures, TOO_MANY_CLIENTS, hs->config.tag,
			  "client of %s closed: too many others have not said \"CONNECT <port>\"",
			  hs->config.path);
		count(hs, HANDSHAKE_TOO_MANY);
		unix_hang_up(&fd);
		return;
	}
	h = client_new(hs, fd);
	if (!h) {
		log_error(hs, -ENOMEM);
		count(hs, HANDSHAKE_ERROR);
		unix_close(&fd);
		return;
	}
	unix_keep_urgent_inline(fd);
	if (hs->config.socket_type == SOCK_SEQPACKET && (r = unix_tell_empty(fd)) < 0) {
		fail_error(h, r);
		return;
	}
	if (!read_line(h))
		return;
	loop_timer_set(hs->config.loop, &h->timer,
		       loop_now_ms(hs->config.loop) + hs->config.timeout_ms);
	r = loop_add(hs->config.loop, &h->source, fd, EVENTS);
	if (r < 0)
		fail_error(h, r);
}

void handshakes_save(const struct handshakes *hs, struct blob *out)
{
	size_t section = blob_open(out, HANDSHAKES_TAG, HANDSHAKES_VERSION);

	list_for_each(node, &hs->clients) {
		const struct handshake *h = container_of(node, struct handshake, node);

		blob_put_fd(out, h->fd);
		blob_put_u64(out, h->timer.deadline_ms);
		blob_put_u8(out, h->len);
		blob_put_bytes(out, h->line, h->len);
	}
	blob_close(out, section);
}

/* The next client, the youngest so far; closed if that fails. */
static int load_client(struct handshakes *hs, struct blob_reader *in)
{
	int fd = blob_get_fd(in);
	uint64_t deadline_ms = blob_get_u64(in);
	uint64_t latest_ms = loop_now_ms(hs->config.loop) + hs->config.timeout_ms;
	uint8_t len = blob_get_u8(in);
	const char *line = blob_get_bytes(in, len);
	struct handshake *h;

	if (!line || len >= HYBRID_LINE_MAX || memchr(line, '\n', len) ||
	    !socket_is(fd, AF_UNIX, hs->config.socket_type)) {
		closer_close(&fd);
		return HANDSHAKES_E_BAD_STATE;
	}
	if (hs->n && is_full(hs))
		end(oldest(hs));
	h = client_new(hs, fd);
	if (!h) {
		closer_close(&fd);
		return -ENOMEM;
	}
	memcpy(h->line, line, len);
	h->len = len;
	h->timer.deadline_ms = deadline_ms < latest_ms ? deadline_ms : latest_ms;
	hs->config.may_have_rights |= !unix_refuses_rights(fd);
	return loop_add(hs->config.loop, &h->source, fd, 0);
}

int handshakes_load(struct handshakes *hs, struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;
	int r = 0;

	assert(hs->config.is_held && !hs->n);
	if (!blob_enter(in, &section, HANDSHAKES_TAG, HANDSHAKES_VERSION, &version))
		return HANDSHAKES_E_BAD_STATE;
	while (!r && blob_has_more(&section))
		r = load_client(hs, &section);
	if (r)
		drop_all(hs, "not loaded");
	return r;
}

void handshakes_resume(struct handshakes *hs)
{
	if (!hs->config.is_held)
		return;
	hs->config.is_held = false;
	list_for_each_safe(node, &hs->clients) {
		struct handshake *h = container_of(node, struct handshake, node);
		int r = loop_modify(hs->config.loop, &h->source, EVENTS);

		if (r < 0)
			fail_error(h, r);
		else
			loop_timer_set(hs->config.loop, &h->timer, h->timer.deadline_ms);
	}
}

void handshakes_move(struct handshakes *hs, struct loop_move *m)
{
	list_for_each(node, &hs->clients) {
		struct handshake *h = container_of(node, struct handshake, node);

		loop_move_source(m, &h->source, EVENTS);
		loop_move_timer(m, &h->timer);
	}
	loop_move_pointer(m, &hs->config.loop);
}
