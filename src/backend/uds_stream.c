/* SPDX-License-Identifier: BSD-3-Clause */
/* One unix socket as a stream of the packet core. */
#include "backend/uds_stream.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "util/error.h"
#include "util/fd.h"

enum { IDLE_OUTS_MAX = 16 };

#define EVENTS_IN (EPOLLIN | EPOLLRDHUP | EPOLLET)

static const struct stream_ops uds_stream_ops;

static struct uds_stream *stream_of(struct stream *base)
{
	assert(base->ops == &uds_stream_ops);
	return container_of(base, struct uds_stream, base);
}

/* Registered output that is not wanted wakes us for nothing; so is it dropped,
 * but not at once: a busy receiver fills up again and again. */
static void drop_idle_out(struct uds_stream *s)
{
	if (s->wants_out) {
		s->idle_outs = 0;
	} else if (++s->idle_outs == IDLE_OUTS_MAX) {
		s->idle_outs = 0;
		if (loop_modify(s->loop, &s->source, EVENTS_IN) == 0)
			s->has_out = false;
	}
}

static void on_events(struct loop_source *source, uint32_t events)
{
	struct uds_stream *s = container_of(source, struct uds_stream, source);
	unsigned ready = s->base.ready;

	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->saw_rdhup = true;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		ready |= STREAM_IN;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		ready |= STREAM_OUT;
	if (events & EPOLLHUP)
		ready |= STREAM_HUP;
	if (events == EPOLLOUT)
		drop_idle_out(s);
	s->base.ready = ready;
	if (s->is_live)
		mux_stream_ready(s->mux, &s->base, loop_now_ms(s->loop));
	else if (s->handshake_ready)
		s->handshake_ready(s);
}

int uds_stream_new(struct uds_stream **out, struct loop *loop, struct mux *mux, int fd)
{
	struct uds_stream *s = calloc(1, sizeof *s);

	if (!s) {
		fd_close(&fd);
		return -ENOMEM;
	}
	s->base.ops = &uds_stream_ops;
	s->fd = fd;
	s->loop = loop;
	s->mux = mux;
	s->source = (struct loop_source){ .dispatch = on_events, .fd = -1 };
	list_init(&s->link);
	*out = s;
	return 0;
}

void uds_stream_free(struct uds_stream *s)
{
	list_remove(&s->link);
	loop_timer_cancel(s->loop, &s->timer);
	loop_remove(s->loop, &s->source);
	fd_close(&s->fd);
	free(s);
}

int uds_stream_register(struct uds_stream *s)
{
	return loop_add(s->loop, &s->source, s->fd, EVENTS_IN);
}

void uds_stream_go_live(struct uds_stream *s)
{
	s->is_live = true;
	s->from_host = s->handshake_ready;
	/* What epoll has not told yet, or told the handshake. */
	s->base.ready |= STREAM_OUT;
	if (s->from_host)
		s->base.ready |= STREAM_IN;
}

int uds_stream_read_line(struct uds_stream *s)
{
	for (;;) {
		char *at = s->line + s->line_len, *newline;
		size_t room = sizeof s->line - s->line_len, take;
		ssize_t n;

		if (!room)
			return -EMSGSIZE;
		n = recv(s->fd, at, room, MSG_PEEK | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? STREAM_E_AGAIN : error_last();
		if (n == 0)
			return STREAM_E_EOF;
		newline = memchr(at, '\n', (size_t)n);
		take = newline ? (size_t)(newline - at) + 1 : (size_t)n;
		if (recv(s->fd, at, take, MSG_DONTWAIT) != (ssize_t)take)
			return -EIO;		/* we are the only reader */
		s->line_len = (uint8_t)(s->line_len + take - (newline ? 1 : 0));
		if (newline)
			return 0;
	}
}

static size_t iov_total(const struct iovec *v, int nv)
{
	size_t total = 0;

	for (int i = 0; i < nv; i++)
		total += v[i].iov_len;
	return total;
}

/* Behind the last byte: does the peer still read? */
static int end_of_stream(struct uds_stream *s)
{
	struct pollfd p = { .fd = s->fd };

	s->base.ready &= ~(unsigned)STREAM_IN;
	if (!(s->base.ready & STREAM_HUP) && poll(&p, 1, 0) == 1 && p.revents & POLLHUP)
		s->base.ready |= STREAM_HUP;
	return s->base.ready & STREAM_HUP ? STREAM_E_CLOSED : STREAM_E_EOF;
}

static int uds_read(struct stream *base, const struct iovec *v, int nv, size_t *out)
{
	struct uds_stream *s = stream_of(base);
	struct msghdr mh = { .msg_iovlen = (size_t)nv };
	union {
		const struct iovec *c;
		struct iovec *v;
	} iov = { .c = v };			/* recvmsg writes behind it, not to it */
	ssize_t n;

	mh.msg_iov = iov.v;
	do
		n = recvmsg(s->fd, &mh, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		base->ready &= ~(unsigned)STREAM_IN;
		return STREAM_E_AGAIN;
	}
	if (n < 0)
		return error_last();
	if (n == 0)
		return end_of_stream(s);
	/* A short read has emptied the socket: what comes next is a new edge. Not
	 * so before an end, which may have been told already, and where the
	 * sender passed descriptors, which cut a read short. */
	if ((size_t)n < iov_total(v, nv) && !s->saw_rdhup && !(mh.msg_flags & MSG_CTRUNC))
		base->ready &= ~(unsigned)STREAM_IN;
	*out = (size_t)n;
	return 0;
}

static int uds_write(struct stream *base, const struct iovec *v, int nv, size_t *out)
{
	struct uds_stream *s = stream_of(base);
	union {
		const struct iovec *c;
		struct iovec *v;
	} iov = { .c = v };
	struct msghdr mh = { .msg_iov = iov.v, .msg_iovlen = (size_t)nv };
	ssize_t n;

	do
		n = sendmsg(s->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (n < 0)
		return error_last();
	*out = (size_t)n;
	return 0;
}

static int uds_shutdown(struct stream *base, int how)
{
	return shutdown(stream_of(base)->fd, how) < 0 ? error_last() : 0;
}

static void uds_accepted(struct stream *base, const struct vsock_addr *guest)
{
	struct uds_stream *s = stream_of(base);
	char ok[HYBRID_REPLY_MAX];
	int len = snprintf(ok, sizeof ok, "OK %u\n", guest->port);

	/* The first bytes on an empty socket: whole, or its peer has left, which
	 * reading will tell. */
	if (s->from_host && send(s->fd, ok, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		s->base.ready |= STREAM_IN;
}

static void uds_wait_for(struct stream *base, unsigned events)
{
	struct uds_stream *s = stream_of(base);

	s->wants_out = events & STREAM_OUT;
	if (s->wants_out && !s->has_out && s->source.fd >= 0 &&
	    loop_modify(s->loop, &s->source, EVENTS_IN | EPOLLOUT) == 0)
		s->has_out = true;
}

/* AF_UNIX knows no reset but that of unread data. */
static void uds_close(struct stream *base, bool is_orderly)
{
	(void)is_orderly;
	uds_stream_free(stream_of(base));
}

static const struct stream_ops uds_stream_ops = {
	.name = "unix",
	.read = uds_read,
	.write = uds_write,
	.shutdown = uds_shutdown,
	.accepted = uds_accepted,
	.wait_for = uds_wait_for,
	.close = uds_close,
};
