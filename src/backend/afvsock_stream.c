/* SPDX-License-Identifier: BSD-3-Clause */
/* An AF_VSOCK socket as a stream of the packet core. */
#include "backend/afvsock_stream.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "util/blob.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/iov.h"
#include "util/log_limit.h"
#include "util/sender.h"

enum {
	STREAM_VERSION = 1,
	MESSAGES_VERSION,			/* of SOCK_SEQPACKET: a byte, SAVED_*, at its end */
};

enum { SAVED_NONE, SAVED_SENT, SAVED_TORN };	/* the message that was being sent */

enum {
	SAVE_WAIT_MS = 200,			/* all that are saved together */
	SAVE_TOGETHER_MS = 2000,
};

static const struct sock_kind byte_kind, message_kind;

static struct afvsock_stream *afvsock_stream_of(struct sock_stream *sock)
{
	assert(sock->kind == &byte_kind || sock->kind == &message_kind);
	return container_of(sock, struct afvsock_stream, sock);
}

static const struct sock_kind *kind_of(enum vsock_type type)
{
	return type == VSOCK_TYPE_SEQPACKET ? &message_kind : &byte_kind;
}

/* ---- life ---- */

int afvsock_connect_error(int error)
{
	switch (error) {
	case ECONNRESET:
	case ECONNREFUSED:
		return BACKEND_E_NOBODY;
	case ENODEV:
	case ENETUNREACH:
	case EHOSTUNREACH:
		return BACKEND_E_NO_ROUTE;
	case ETIMEDOUT:
		return BACKEND_E_TIMEOUT;
	default:
		return -error;
	}
}

/* The connect is over: 0 or -errno. */
static int go_live(struct sock_stream *sock, bool may_read)
{
	int r = sock->base.type == VSOCK_TYPE_SEQPACKET ? sender_prepare(sock->fd) : 0;

	if (!r)
		sock_stream_go_live(sock, may_read);
	return r;
}

static void fill(struct afvsock_stream *s, const struct afvsock_stream_config *config)
{
	s->senders = config->senders;
	s->tag = config->tag;
	s->port = config->port;
	s->sending = NULL;
	s->was_sent = s->end_waits = false;
}

int afvsock_stream_new(struct afvsock_stream **out, const struct afvsock_stream_config *config,
		       enum vsock_type type, int fd, bool is_connecting)
{
	struct afvsock_stream *s = malloc(sizeof *s);
	int r;

	if (!s) {
		fd_close(&fd);
		return -ENOMEM;
	}
	fill(s, config);
	sock_stream_init(&s->sock, kind_of(type), type, config->loop, config->mux, fd);
	r = sock_stream_register(&s->sock, is_connecting);
	if (!r && !is_connecting)
		r = go_live(&s->sock, false);
	if (r) {
		afvsock_stream_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void afvsock_stream_free(struct afvsock_stream *s)
{
	if (s->sending) {
		loop_remove(s->sock.loop, &s->sock.source);
		sending_free(s->sending, &s->sock.fd);
	}
	sock_stream_deinit(&s->sock);
	free(s);
}

static void on_close(struct sock_stream *sock)
{
	afvsock_stream_free(afvsock_stream_of(sock));
}

/* The connect is over, one way or the other. */
static void on_early_event(struct sock_stream *sock, uint32_t events)
{
	socklen_t len = sizeof (int);
	int error = 0, r;

	if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	if (getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	r = error ? afvsock_connect_error(error) : go_live(sock, false);
	mux_stream_connected(sock->mux, &sock->base, &sock->base, r, loop_now_ms(sock->loop));
}

static void on_accepted_by_guest(struct sock_stream *sock, const struct vsock_addr *guest)
{
	(void)sock;
	(void)guest;
}

/*
 * EPOLLHUP comes only when both ends have closed, and we have not. But send()
 * knows a peer that no longer reads: it is asked to send nothing. After our own
 * shutdown it says the same, which does no harm: then the end of what the peer
 * sends is the end of all.
 */
static bool is_closed(struct sock_stream *sock, uint32_t events)
{
	(void)events;
	return sock->is_live && send(sock->fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
		(errno == EPIPE || errno == ENOTCONN);
}

/* ---- messages ---- */

static bool is_closed_and_told(struct sock_stream *sock, uint32_t events)
{
	struct afvsock_stream *s = afvsock_stream_of(sock);

	if (!is_closed(sock, events))
		return false;
	s->end_waits = s->sending;
	return !s->end_waits;
}

/* The message is sent, or it failed; and what has waited for that is told now. */
static void on_sent(void *ctx)
{
	struct afvsock_stream *s = ctx;
	struct sock_stream *sock = &s->sock;

	sock->base.ready |= STREAM_OUT;
	if (s->end_waits) {
		s->end_waits = false;
		sock->base.ready |= STREAM_IN | STREAM_HUP;
	}
	mux_stream_ready(sock->mux, &sock->base, loop_now_ms(sock->loop));
}

/* Nothing was read. An end shows as such, too; else it was a message, an empty one, as systems
 * other than Linux may send it. */
static int read_nothing(struct afvsock_stream *s)
{
	struct sock_stream *sock = &s->sock;
	struct pollfd p = { .fd = sock->fd, .events = POLLRDHUP };

	if (poll(&p, 1, 0) == 0)
		return 0;
	if (s->sending && is_closed(sock, 0)) {
		s->end_waits = true;
		sock->base.ready &= ~(unsigned)STREAM_IN;
		return STREAM_E_AGAIN;
	}
	return sock_stream_end(sock);
}

static int read_error(struct sock_stream *sock)
{
	switch (errno) {
	case EAGAIN:
		sock->base.ready &= ~(unsigned)STREAM_IN;
		return STREAM_E_AGAIN;
	case ECONNRESET:
		return STREAM_E_RESET;
	default:
		return error_last();
	}
}

static int on_read_message(struct sock_stream *sock, const struct iovec *v, int nv, size_t *n,
			   uint32_t *flags)
{
	union {
		const struct iovec *c;
		struct iovec *v;
	} to = { .c = v };			/* recvmsg writes where it points, not to it */
	struct msghdr mh;
	ssize_t r;

	do {
		mh = (struct msghdr){ .msg_iov = to.v, .msg_iovlen = (size_t)nv };
		r = recvmsg(sock->fd, &mh, MSG_DONTWAIT);
	} while (r < 0 && errno == EINTR);
	*n = 0;
	*flags = 0;
	if (r < 0)
		return read_error(sock);
	if (mh.msg_flags & MSG_TRUNC)
		return STREAM_E_TOO_LONG;
	if (r == 0)
		return read_nothing(afvsock_stream_of(sock));
	*n = (size_t)r;
	*flags = mh.msg_flags & MSG_EOR ? VSOCK_SEQ_EOR : 0;
	return 0;
}

/* What -errno of a message means. */
static int write_error(const struct afvsock_stream *s, int error)
{
	switch (-error) {
	case EPIPE:
		return STREAM_E_NO_READER;
	case ECONNRESET:
	case ENOTCONN:
		return STREAM_E_RESET;
	case EMSGSIZE:
	case ENOMEM:				/* the same, before Linux 6.4 */
		return STREAM_E_TOO_LONG;
	case EAGAIN:				/* the time limit: no reason to try it again */
	case EINTR:
		log_limited(LEVEL_WARN, s->tag, "a message to AF_VSOCK port %u was torn, as this "
			    "process was stopped meanwhile; connection reset", s->port);
		return -EINTR;
	default:
		return error;
	}
}

static int begin_message(struct afvsock_stream *s, const struct iovec *v, int nv, uint32_t flags)
{
	int r;

	if (!iov_total(v, (size_t)nv)) {
		log_limited(LEVEL_WARN, s->tag, "an empty message to AF_VSOCK port %u: Linux passes "
			    "none there; connection reset", s->port);
		return -EOPNOTSUPP;
	}
	r = sending_new(&s->sending, s->senders, s->sock.fd, v, nv,
			flags & VSOCK_SEQ_EOR ? MSG_EOR : 0, on_sent, s);
	return r ? r : SENDING_E_BUSY;
}

static int on_write_message(struct sock_stream *sock, const struct iovec *v, int nv, uint32_t flags)
{
	struct afvsock_stream *s = afvsock_stream_of(sock);
	int r;

	if (s->was_sent) {
		s->was_sent = false;
		return 0;
	}
	r = s->sending ? sending_result(s->sending) : begin_message(s, v, nv, flags);
	if (r == SENDING_E_BUSY) {
		sock->base.ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	}
	if (s->sending) {
		sending_free(s->sending, &sock->fd);
		s->sending = NULL;
	}
	return r ? write_error(s, r) : 0;
}

/* ---- state ---- */

/* While all workers are parked, and one thread saves all that there is. */
static uint8_t save_message(const struct afvsock_stream *s)
{
	static uint64_t began_ms;
	uint64_t now_ms = clock_ms();

	if (s->was_sent)
		return SAVED_SENT;
	if (!s->sending)
		return SAVED_NONE;
	if (now_ms - began_ms > SAVE_TOGETHER_MS)
		began_ms = now_ms;
	return sending_wait(s->sending, began_ms + SAVE_WAIT_MS) ? SAVED_TORN : SAVED_SENT;
}

static void on_save(const struct sock_stream *sock, struct blob *out)
{
	const struct afvsock_stream *s = container_of_const(sock, struct afvsock_stream, sock);
	bool has_messages = sock->base.type == VSOCK_TYPE_SEQPACKET;
	size_t section = blob_open(out, AFVSOCK_STREAM_TAG,
				   has_messages ? MESSAGES_VERSION : STREAM_VERSION);

	sock_stream_save(sock, out);
	if (has_messages)
		blob_put_u8(out, save_message(s));
	blob_close(out, section);
}

/* What follows the socket. 0; BACKEND_E_*, -errno. */
static int load_message(struct afvsock_stream *s, struct blob_reader *in)
{
	uint8_t saved = blob_get_u8(in);

	if (!blob_is_whole(in) || saved > SAVED_TORN || (saved && !s->sock.is_live))
		return BACKEND_E_BAD_STATE;
	s->was_sent = saved == SAVED_SENT;
	if (saved == SAVED_TORN) {
		log_limited(LEVEL_WARN, s->tag, "a message to AF_VSOCK port %u was still being sent "
			    "when another engine took over; connection reset", s->port);
		return BACKEND_E_TIMEOUT;
	}
	return s->sock.is_live ? sender_prepare(s->sock.fd) : 0;
}

int afvsock_stream_load(struct stream **out, const struct afvsock_stream_config *config,
			struct blob_reader *in)
{
	struct afvsock_stream *s;
	struct blob_reader section;
	enum vsock_type type;
	uint32_t version;
	int r;

	if (!blob_enter(in, &section, AFVSOCK_STREAM_TAG, MESSAGES_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	s = malloc(sizeof *s);
	if (!s)
		return -ENOMEM;
	fill(s, config);
	type = version == MESSAGES_VERSION ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM;
	r = sock_stream_load(&s->sock, kind_of(type), type, config->loop, config->mux, AF_VSOCK,
			     NULL, 0, &section);
	if (r) {
		free(s);
		return r;
	}
	if (s->sock.may_have_rights)
		r = BACKEND_E_BAD_STATE;
	else if (type == VSOCK_TYPE_SEQPACKET)
		r = load_message(s, &section);
	else if (!blob_is_whole(&section))
		r = BACKEND_E_BAD_STATE;
	if (r) {
		afvsock_stream_free(s);
		return r;
	}
	*out = &s->sock.base;
	return s->sock.is_live ? 0 : BACKEND_E_PENDING;
}

static const struct sock_kind byte_kind = {
	.short_read_empties = false,		/* not with every transport of the kernel */
	.early_event = on_early_event,
	.accepted = on_accepted_by_guest,
	.is_closed = is_closed,
	.save = on_save,
	.close = on_close,
};

static const struct sock_kind message_kind = {
	.early_event = on_early_event,
	.accepted = on_accepted_by_guest,
	.is_closed = is_closed_and_told,
	.read_message = on_read_message,
	.write_message = on_write_message,
	.tells_out = true,
	.save = on_save,
	.close = on_close,
};
