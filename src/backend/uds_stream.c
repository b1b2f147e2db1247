/* SPDX-License-Identifier: BSD-3-Clause */
/* A connected unix socket as a stream of the packet core. */
#include "backend/uds_stream.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "util/blob.h"
#include "util/decimal.h"
#include "util/error.h"
#include "util/unix_socket.h"

struct uds_stream {
	struct sock_stream sock;
	char early[];				/* as many as there were */
};

static const struct sock_kind uds_kind;

static struct uds_stream *uds_stream_of(struct sock_stream *sock)
{
	assert(sock->kind == &uds_kind);
	return container_of(sock, struct uds_stream, sock);
}

static void uds_stream_free(struct uds_stream *s)
{
	sock_stream_deinit(&s->sock);
	free(s);
}

int uds_stream_new(struct stream **out, const struct uds_stream_config *config)
{
	struct uds_stream *s = malloc(sizeof *s + config->n_early);
	int fd = config->fd, r;

	if (!s) {
		unix_close(&fd);
		return -ENOMEM;
	}
	sock_stream_init(&s->sock, &uds_kind, config->type, config->loop, config->mux, fd);
	s->sock.from_host = config->from_host;
	s->sock.may_have_rights = config->may_have_rights;
	s->sock.may_leave = sock_unread_pays();
	s->sock.is_shared = config->is_shared;
	s->sock.unread.n = (uint16_t)config->n_unread;
	memcpy(s->early, config->early ? config->early : "", config->n_early);
	sock_stream_read_early(&s->sock, s->early, config->n_early);
	/* A host client's socket tells already. */
	r = config->type == VSOCK_TYPE_SEQPACKET && !config->from_host ? unix_tell_empty(fd) : 0;
	if (!r && !s->sock.unread.n)		/* else its line would be an event */
		r = sock_stream_register(&s->sock, false);
	if (r < 0) {
		uds_stream_free(s);
		return r;
	}
	/* What is in the socket already is told by its first event. Most host programs wait for
	 * the OK before they say anything. */
	sock_stream_go_live(&s->sock, config->n_early > 0 || config->has_more);
	*out = &s->sock.base;
	return 0;
}

void uds_stream_hang_up(struct stream *base)
{
	struct uds_stream *s = uds_stream_of(sock_stream_of(base));

	loop_remove(s->sock.loop, &s->sock.source);
	unix_hang_up(&s->sock.fd);
	uds_stream_free(s);
}

/* The program has its OK, or an error, and is awake to both. */
static void read_line(struct sock_stream *sock)
{
	int r;

	sock_stream_drop_unread(sock);
	r = sock->source.fd < 0 ? sock_stream_register(sock, false) : 0;
	if (r < 0) {
		sock->error = r;
		sock->base.ready |= STREAM_IN;
	}
}

static void on_accepted(struct sock_stream *sock, const struct vsock_addr *guest)
{
	char ok[HYBRID_REPLY_MAX];
	char *end = decimal_put(stpcpy(ok, "OK "), guest->port);

	*end++ = '\n';
	/* The first bytes on an empty socket: all go, or none. If the peer has left, that
	 * shows after what it sent before. */
	if (sock->from_host &&
	    send(sock->fd, ok, (size_t)(end - ok), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EPIPE && errno != ECONNRESET)
			sock->error = error_last();
		sock->base.ready |= STREAM_IN;
	}
	if (sock->from_host) {			/* and waits for an answer: also on one CPU */
		sock->may_leave = true;
		sock_unread_note_greeted(&sock->unread, loop_now_ms(sock->loop));
	}
	if (sock->source.fd < 0 || sock->unread.n)
		read_line(sock);
}

/* EPOLLHUP tells, but right after the last byte it may not have come yet. */
static bool is_closed(struct sock_stream *sock, uint32_t events)
{
	struct pollfd p = { .fd = sock->fd };

	if (events)
		return events & EPOLLHUP;
	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

int uds_stream_load(struct stream **out, enum vsock_type type, struct loop *loop,
		    struct mux *mux, uint32_t version, struct blob_reader *in)
{
	bool from_host = blob_get_bool(in);
	uint16_t n_unread = version > UDS_STREAM_VERSION_READ ? blob_get_u16(in) : 0;
	struct uds_stream *s = malloc(sizeof *s + HYBRID_LINE_MAX);
	int r;

	if (!s)
		return -ENOMEM;
	r = sock_stream_load(&s->sock, &uds_kind, type, loop, mux, AF_UNIX, s->early,
			     HYBRID_LINE_MAX, in);
	if (r) {
		free(s);
		return r;
	}
	s->sock.from_host = from_host;
	s->sock.may_leave = sock_unread_pays();
	s->sock.may_have_rights |= !unix_refuses_rights(s->sock.fd);
	if (!s->sock.is_live || !blob_is_whole(in) || n_unread > SOCK_UNREAD_MAX ||
	    (n_unread && type != VSOCK_TYPE_STREAM)) {
		uds_stream_free(s);
		return BACKEND_E_BAD_STATE;
	}
	s->sock.unread.n = n_unread;
	*out = &s->sock.base;
	return 0;
}

/* A program of which something was not read would be told of a reset: one that the guest has
 * refused may have said more than its line. */
static void on_close(struct sock_stream *sock)
{
	if (!sock->is_held && sock->unread.n && sock->source.fd < 0)
		unix_hang_up(&sock->fd);
	else if (!sock->is_held)		/* else another may go on with it */
		sock_stream_drop_unread(sock);
	uds_stream_free(uds_stream_of(sock));
}

static void on_save(const struct sock_stream *sock, struct blob *out)
{
	size_t section = blob_open(out, UDS_STREAM_TAG,
				   sock->unread.n ? UDS_STREAM_VERSION : UDS_STREAM_VERSION_READ);

	blob_put_u8(out, sock->base.type == VSOCK_TYPE_SEQPACKET ?
		    UDS_STREAM_SEQPACKET_CONNECTED : UDS_STREAM_CONNECTED);
	blob_put_u8(out, sock->from_host);
	if (sock->unread.n)
		blob_put_u16(out, sock->unread.n);
	sock_stream_save(sock, out);
	blob_close(out, section);
}

static const struct sock_kind uds_kind = {
	.short_read_empties = true,
	.accepted = on_accepted,
	.is_closed = is_closed,
	.save = on_save,
	.close = on_close,
};
