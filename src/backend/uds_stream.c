/* SPDX-License-Identifier: BSD-3-Clause */
/* One unix socket: what it says before and beside the bytes. */
#include "backend/uds_stream.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "util/decimal.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/unix_socket.h"

static const struct sock_kind uds_kind;

static struct uds_stream *uds_stream_of(struct sock_stream *sock)
{
	assert(sock->kind == &uds_kind);
	return container_of(sock, struct uds_stream, sock);
}

int uds_stream_new(struct uds_stream **out, struct loop *loop, struct mux *mux, int fd)
{
	struct uds_stream *s = malloc(sizeof *s);

	if (!s) {
		fd_close(&fd);
		return -ENOMEM;
	}
	*s = (struct uds_stream){ .owner = NULL };
	sock_stream_init(&s->sock, &uds_kind, loop, mux, fd);
	list_init(&s->link);
	dial_init(&s->dial);
	*out = s;
	return 0;
}

void uds_stream_free(struct uds_stream *s)
{
	list_remove(&s->link);
	loop_timer_cancel(s->sock.loop, &s->timer);
	if (s->dialer)
		dial_cancel(s->dialer, &s->dial);
	sock_stream_deinit(&s->sock);
	free(s);
}

void uds_stream_hang_up(struct uds_stream *s)
{
	loop_remove(s->sock.loop, &s->sock.source);
	unix_hang_up(&s->sock.fd);
	uds_stream_free(s);
}

/* The handshake has left behind what a host client sent after its line. */
void uds_stream_go_live(struct uds_stream *s)
{
	s->from_host = s->handshake_ready;
	sock_stream_go_live(&s->sock, s->from_host);
}

int uds_stream_read_line(struct uds_stream *s)
{
	for (;;) {
		char *at = s->line + s->line_len, *newline;
		struct iovec room = { at, sizeof s->line - s->line_len };
		bool cut;
		ssize_t n;

		if (!room.iov_len)
			return -EMSGSIZE;
		n = unix_recv(s->sock.fd, &room, 1, s->sock.may_have_rights, &cut);
		if (n < 0)
			return n == -EAGAIN ? STREAM_E_AGAIN : (int)n;
		if (n == 0)
			return STREAM_E_EOF;
		newline = memchr(at, '\n', (size_t)n);
		if (newline) {
			sock_stream_read_early(&s->sock, newline + 1,
					       (size_t)(at + n - (newline + 1)));
			s->line_len = (uint8_t)(newline - s->line);
			return 0;
		}
		s->line_len = (uint8_t)(s->line_len + n);
	}
}

static void on_early_event(struct sock_stream *sock, uint32_t events)
{
	struct uds_stream *s = uds_stream_of(sock);

	(void)events;
	if (s->handshake_ready)
		s->handshake_ready(s);
}

static void on_accepted(struct sock_stream *sock, const struct vsock_addr *guest)
{
	struct uds_stream *s = uds_stream_of(sock);
	char ok[HYBRID_REPLY_MAX];
	char *end = decimal_put(stpcpy(ok, "OK "), guest->port);

	*end++ = '\n';
	/* The first bytes on an empty socket: all go, or none. That its peer has left
	 * shows behind what it sent before. */
	if (s->from_host &&
	    send(sock->fd, ok, (size_t)(end - ok), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EPIPE && errno != ECONNRESET)
			sock->error = error_last();
		sock->base.ready |= STREAM_IN;
	}
}

/* EPOLLHUP tells; behind the last byte it may not have come yet. */
static bool is_closed(struct sock_stream *sock, uint32_t events)
{
	struct pollfd p = { .fd = sock->fd };

	if (events)
		return events & EPOLLHUP;
	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void on_close(struct sock_stream *sock)
{
	uds_stream_free(uds_stream_of(sock));
}

static const struct sock_kind uds_kind = {
	.short_read_empties = true,
	.early_event = on_early_event,
	.accepted = on_accepted,
	.is_closed = is_closed,
	.close = on_close,
};
