/* SPDX-License-Identifier: BSD-3-Clause */
/* Host clients until they have said their line. */
#include "backend/handshake.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "backend/hybrid.h"
#include "protocol/hybrid.h"
#include "util/error.h"
#include "util/fd.h"
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
	loop_timer_cancel(hs->config.loop, &h->timer);
	loop_remove(hs->config.loop, &h->source);
}

static void end(struct handshake *h)
{
	leave(h);
	unix_hang_up(&h->fd);
	free(h);
}

static void fail(struct handshake *h, enum failure failure)
{
	static const char *const text[] = {
		[NO_CONNECT_LINE] = "its first line is not \"CONNECT <port>\"",
		[LINE_TOO_LONG] = "no end of line within 32 bytes, where \"CONNECT <port>\" has "
			"to be",
		[LINE_CUT] = "it left before the end of its \"CONNECT <port>\" line",
		[TOO_MANY_CLIENTS] = "too many that have not said \"CONNECT <port>\"",
	};
	struct handshakes *hs = h->all;

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
	log_error(h->all, error);
	end(h);
}

/* The first line is whole: @len bytes of it, and its newline. */
static void finish(struct handshake *h, size_t len)
{
	struct handshakes *hs = h->all;
	struct handshake_result result = {
		.early = h->line + len + 1, .n_early = h->len - len - 1,
	};

	if (!hybrid_parse_connect(h->line, len, &result.port)) {
		fail(h, NO_CONNECT_LINE);
		return;
	}
	leave(h);
	result.fd = fd_take(&h->fd);
	hs->config.done(hs->config.ctx, &result);
	free(h);
}

/* Reads on. False: the client is gone, closed or handed on. */
static bool read_line(struct handshake *h)
{
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
		if (r == UNIX_E_EOF && h->len)
			fail(h, LINE_CUT);
		else if (r == UNIX_E_EOF || r == UNIX_E_RESET)
			drop(h, "left without a word");
		else if (r)
			fail_error(h, r);
		if (r)
			return false;
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
	(void)events;
	read_line(container_of(source, struct handshake, source));
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

void handshakes_deinit(struct handshakes *hs)
{
	while (!list_is_empty(&hs->clients))
		drop(oldest(hs), "the daemon ends");
}

void handshakes_add(struct handshakes *hs, int fd)
{
	struct handshake *h;
	int r;

	while (hs->n && hs->n >= hs->config.max)	/* which may be less than it was */
		fail(oldest(hs), TOO_MANY_CLIENTS);
	h = malloc(sizeof *h);
	if (!h) {
		log_error(hs, -ENOMEM);
		unix_close(&fd);
		return;
	}
	*h = (struct handshake){
		.all = hs, .fd = fd, .source = { .dispatch = on_readable, .fd = -1 },
		.timer.expire = on_timeout,
	};
	list_append(&hs->clients, &h->node);
	hs->n++;
	unix_keep_urgent_inline(fd);
	if (!read_line(h))
		return;
	loop_timer_set(hs->config.loop, &h->timer,
		       loop_now_ms(hs->config.loop) + hs->config.timeout_ms);
	r = loop_add(hs->config.loop, &h->source, fd, EPOLLIN | EPOLLRDHUP);
	if (r < 0)
		fail_error(h, r);
}
