/* SPDX-License-Identifier: BSD-3-Clause */
/* A stream socket as a stream of the packet core. */
#include "backend/sock_stream.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "util/blob.h"
#include "util/closer.h"
#include "util/error.h"
#include "util/fd.h"
#include "util/iov.h"
#include "util/socket_kind.h"
#include "util/unix_socket.h"

#define SOCK_TAG BLOB_TAG('S', 'O', 'C', 'K')

enum {
	IDLE_OUTS_MAX = 16, SOCK_VERSION = 1, ERRNO_MAX = 4095,
	KERNEL_MESSAGE_MAX = 4 << 20,		/* bytes: about what it allocates in one piece */
};

#define EVENTS_IN (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

static const struct stream_ops sock_stream_ops, sock_message_ops;

struct sock_stream *sock_stream_of(struct stream *base)
{
	assert(base->ops == &sock_stream_ops || base->ops == &sock_message_ops);
	return container_of(base, struct sock_stream, base);
}

/* Output that is registered and not wanted wakes us for nothing. It is dropped, but
 * not at once: a busy receiver fills up again and again. */
static void drop_idle_out(struct sock_stream *s)
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
	struct sock_stream *s = container_of(source, struct sock_stream, source);
	unsigned ready = s->base.ready;

	if (s->is_held)
		return;
	if (!events) {				/* there was no next write */
		sock_stream_drop_unread(s);
		return;
	}
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		s->saw_rdhup = true;
		s->saw_error |= (events & EPOLLERR) != 0;
		if (s->kind->is_closed(s, events))
			ready |= STREAM_HUP | (events & EPOLLERR ? STREAM_LOST : 0u);
	}
	s->saw_urgent |= (events & EPOLLPRI) != 0;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		ready |= STREAM_IN;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		ready |= STREAM_OUT;
	if (events == EPOLLOUT)
		drop_idle_out(s);
	s->base.ready = ready;
	if (s->is_live)
		mux_stream_ready(s->mux, &s->base, loop_now_ms(s->loop));
	else
		s->kind->early_event(s, events);
}

int sock_stream_socket_type(enum vsock_type type)
{
	return type == VSOCK_TYPE_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM;
}

void sock_stream_init(struct sock_stream *s, const struct sock_kind *kind,
		      enum vsock_type type, struct loop *loop, struct mux *mux, int fd)
{
	*s = (struct sock_stream){
		.base = {
			.type = (uint16_t)type,
			.ops = type == VSOCK_TYPE_SEQPACKET ? &sock_message_ops :
				&sock_stream_ops,
		},
		.kind = kind, .fd = fd, .loop = loop, .mux = mux,
		.source = { .dispatch = on_events, .fd = -1 },
	};
}

void sock_stream_deinit(struct sock_stream *s)
{
	bool may_take_long = s->may_have_rights && !s->has_ended;

	if (s->is_shared)
		loop_remove(s->loop, &s->source);
	if (may_take_long && (s->is_held || !unix_drained(s->fd))) {
		loop_remove(s->loop, &s->source);
		closer_close(&s->fd);
	} else {
		loop_forget(s->loop, &s->source);
		fd_close(&s->fd);
	}
}

int sock_stream_register(struct sock_stream *s, bool connecting)
{
	s->has_out = connecting;
	return loop_add(s->loop, &s->source, s->fd, EVENTS_IN | (connecting ? EPOLLOUT : 0));
}

void sock_stream_go_live(struct sock_stream *s, bool may_read)
{
	s->is_live = true;
	s->base.ready |= STREAM_OUT | (may_read ? STREAM_IN : 0);
}

void sock_stream_read_early(struct sock_stream *s, const char *bytes, size_t n)
{
	s->early = bytes;
	s->n_early = n;
}

void sock_stream_drop_unread(struct sock_stream *s)
{
	int r = s->unread.n ? sock_unread_drop(&s->unread, s->fd, s->loop, &s->source) : 0;

	if (r) {				/* or they would be read again */
		s->error = r;
		s->base.ready |= STREAM_IN;
	}
}

static bool may_stay_unread(const struct sock_stream *s, const struct iovec *v, int nv)
{
	return s->may_leave && !s->may_have_rights && !s->saw_urgent && !s->saw_rdhup &&
		sock_unread_may_stay(&s->unread, iov_total(v, (size_t)nv));
}

int sock_stream_end(struct sock_stream *s)
{
	s->base.ready &= ~(unsigned)STREAM_IN;
	s->has_ended = true;
	if (!(s->base.ready & STREAM_HUP) && s->kind->is_closed(s, 0))
		s->base.ready |= STREAM_HUP;
	return s->base.ready & STREAM_HUP ? STREAM_E_CLOSED : STREAM_E_EOF;
}

static size_t take_early(struct sock_stream *s, const struct iovec *v, int nv)
{
	size_t room = iov_total(v, (size_t)nv), n = s->n_early < room ? s->n_early : room;

	iov_copy_to(v, (size_t)nv, s->early, n);
	s->early += n;
	s->n_early -= n;
	return n;
}

/* Less came than there was room for, so the socket is empty. (An urgent byte, or descriptors
 * that come along, cut a read short as well: those are not short reads.) */
static void note_short_read(struct sock_stream *s)
{
	if (!s->saw_rdhup)
		s->base.ready &= ~(unsigned)STREAM_IN;
	else if (!s->saw_error)
		s->is_empty_for_good = true;
}

/* What @r, of unix_recv(), says of a read that has given nothing. */
static int no_read(struct sock_stream *s, int r)
{
	switch (r) {
	case UNIX_E_AGAIN:
		s->base.ready &= ~(unsigned)STREAM_IN;
		return STREAM_E_AGAIN;
	case UNIX_E_EOF:
		return sock_stream_end(s);
	case UNIX_E_RESET:
		return STREAM_E_RESET;
	case UNIX_E_TOO_LONG:
		return STREAM_E_TOO_LONG;
	default:
		return r;
	}
}

static int sock_read(struct stream *base, const struct iovec *v, int nv, size_t *out)
{
	struct sock_stream *s = sock_stream_of(base);
	bool stays = may_stay_unread(s, v, nv), cut = false;
	int r;

	if (!stays)
		sock_stream_drop_unread(s);
	if (s->error)
		return s->error;
	if (s->n_early) {
		*out = take_early(s, v, nv);
		return 0;
	}
	if (s->is_empty_for_good)
		return sock_stream_end(s);
	r = stays ?
		sock_unread_look(&s->unread, s->fd, s->loop, &s->source, v, nv, out) :
		unix_recv(s->fd, v, (size_t)nv, s->may_have_rights, out, &cut);
	sock_unread_note_read(&s->unread);
	if (stays && r < 0)
		s->error = r;			/* here, too */
	if (r)
		return no_read(s, r);
	if (s->kind->short_read_empties && !s->saw_urgent && !cut && *out < iov_total(v, (size_t)nv))
		note_short_read(s);
	return 0;
}

static int sock_read_message(struct stream *base, const struct iovec *v, int nv, size_t *out,
			     uint32_t *flags)
{
	struct sock_stream *s = sock_stream_of(base);
	int r;

	*flags = 0;				/* AF_UNIX knows no records */
	if (s->error)
		return s->error;
	if (s->kind->read_message)
		return s->kind->read_message(s, v, nv, out, flags);
	r = unix_recv_message(s->fd, v, (size_t)nv, out);
	if (r == UNIX_E_RESET && !s->was_reset) {
		/* The kernel tells it first, once; other than for SOCK_STREAM. */
		s->was_reset = true;
		r = unix_recv_message(s->fd, v, (size_t)nv, out);
	}
	if (r == UNIX_E_EOF && s->was_reset)
		return STREAM_E_RESET;
	if (r == UNIX_E_TOO_LONG)
		*out = 0;
	return r ? no_read(s, r) : 0;
}

static ssize_t send_all(int fd, const struct iovec *v, int nv, int flags)
{
	union {
		const struct iovec *c;
		struct iovec *v;
	} iov = { .c = v };
	struct msghdr mh = { .msg_iov = iov.v, .msg_iovlen = (size_t)nv };
	ssize_t n;

	do
		n = nv == 1 ? send(fd, v->iov_base, v->iov_len, flags) : sendmsg(fd, &mh, flags);
	while (n < 0 && errno == EINTR);
	return n;
}

/* What errno says of a write. */
static int write_error(struct stream *base)
{
	switch (errno) {
	case EAGAIN:
		base->ready &= ~(unsigned)STREAM_OUT;
		return STREAM_E_AGAIN;
	case EPIPE:
		return STREAM_E_NO_READER;
	case ECONNRESET:
		return STREAM_E_RESET;
	case EMSGSIZE:
		return STREAM_E_TOO_LONG;
	default:
		return error_last();
	}
}

/* Makes room for a message of @len bytes, as far as the system's limit lets us. */
static void grow_send_buffer(int fd, size_t len)
{
	const int size = len < INT32_MAX ? (int)len : INT32_MAX;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0) {
		/* The next attempt says what is wrong. */
	}
}

static int sock_write_message(struct stream *base, const struct iovec *v, int nv, uint32_t flags)
{
	const int how = MSG_DONTWAIT | MSG_NOSIGNAL | (flags & VSOCK_SEQ_EOR ? MSG_EOR : 0);
	struct sock_stream *s = sock_stream_of(base);
	ssize_t n;

	if (s->kind->write_message)
		return s->kind->write_message(s, v, nv, flags);
	n = send_all(s->fd, v, nv, how);
	if (n < 0 && errno == EMSGSIZE) {
		grow_send_buffer(s->fd, iov_total(v, (size_t)nv));
		n = send_all(s->fd, v, nv, how);
	}
	if (n < 0 && errno == ENOBUFS && iov_total(v, (size_t)nv) > KERNEL_MESSAGE_MAX)
		return STREAM_E_TOO_LONG;	/* for good, whatever SO_SNDBUF says */
	return n < 0 ? write_error(base) : 0;
}

static size_t sock_write_messages(struct stream *base, const struct iovec *v,
				  const struct stream_message *m, size_t n)
{
	const int how = MSG_DONTWAIT | MSG_NOSIGNAL | (m->flags & VSOCK_SEQ_EOR ? MSG_EOR : 0);
	struct sock_stream *s = sock_stream_of(base);
	struct mmsghdr headers[STREAM_MESSAGES_MAX];
	union {
		const struct iovec *c;
		struct iovec *v;
	} iov = { .c = v };
	unsigned same;
	int sent;

	if (s->kind->write_message)
		return 0;
	for (same = 0; same < n && m[same].flags == m->flags; same++) {
		headers[same] = (struct mmsghdr){
			.msg_hdr = { .msg_iov = iov.v, .msg_iovlen = m[same].n },
		};
		iov.c += m[same].n;
	}
	do
		sent = sendmmsg(s->fd, headers, same, how);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return (size_t)sent;
	if (errno == EAGAIN)
		base->ready &= ~(unsigned)STREAM_OUT;
	return 0;
}

static int sock_write(struct stream *base, const struct iovec *v, int nv, size_t *out)
{
	struct sock_stream *s = sock_stream_of(base);
	ssize_t n = send_all(s->fd, v, nv, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return write_error(base);
	sock_unread_note_write(&s->unread, loop_now_ms(s->loop));
	s->may_leave &= sock_unread_pays();
	if (!s->may_leave || sock_unread_is_due(&s->unread))
		sock_stream_drop_unread(s);
	*out = (size_t)n;
	return 0;
}

static int sock_shutdown(struct stream *base, int how)
{
	return shutdown(sock_stream_of(base)->fd, how) < 0 ? error_last() : 0;
}

static void sock_accepted(struct stream *base, const struct vsock_addr *guest)
{
	struct sock_stream *s = sock_stream_of(base);

	s->kind->accepted(s, guest);
}

/* What is ready now is told again. */
static void resume(struct sock_stream *s)
{
	s->is_held = false;
	s->has_out = s->wants_out || !s->is_live;
	if (loop_modify(s->loop, &s->source, EVENTS_IN | (s->has_out ? EPOLLOUT : 0)) < 0)
		s->has_out = false;
}

static void sock_wait_for(struct stream *base, unsigned events)
{
	/* Of messages, where it is ready, an edge has passed that the core has not used up. */
	bool is_ready = base->type == VSOCK_TYPE_SEQPACKET && base->ready & STREAM_OUT;
	struct sock_stream *s = sock_stream_of(base);

	s->wants_out = events & STREAM_OUT && !s->kind->tells_out;
	if (s->is_held) {
		resume(s);
		return;
	}
	if (s->wants_out && (!s->has_out || is_ready) && s->source.fd >= 0 &&
	    loop_modify(s->loop, &s->source, EVENTS_IN | EPOLLOUT) == 0)
		s->has_out = true;
}

enum { SAVED_LIVE = 1, SAVED_URGENT = 2, SAVED_RIGHTS = 4, SAVED_RESET = 8,
       SAVED_FLAGS = 15 };

/* Not what an event tells again: each socket's state is looked at anew. */
void sock_stream_save(const struct sock_stream *s, struct blob *out)
{
	size_t section = blob_open(out, SOCK_TAG, SOCK_VERSION);

	blob_put_fd(out, s->fd);
	blob_put_u8(out, (uint8_t)((s->is_live ? SAVED_LIVE : 0) |
				   (s->saw_urgent ? SAVED_URGENT : 0) |
				   (s->may_have_rights ? SAVED_RIGHTS : 0) |
				   (s->was_reset ? SAVED_RESET : 0)));
	blob_put_u32(out, (uint32_t)-s->error);
	blob_put_u32(out, (uint32_t)s->n_early);
	blob_put_bytes(out, s->early, s->n_early);
	blob_close(out, section);
}

static int load(struct sock_stream *s, char *early, size_t early_max, struct blob_reader *in)
{
	uint8_t flags = blob_get_u8(in);
	uint32_t error = blob_get_u32(in), n_early = blob_get_u32(in);
	const void *bytes = blob_get_bytes(in, n_early);

	if (!blob_is_whole(in) || flags & ~SAVED_FLAGS || error > ERRNO_MAX ||
	    n_early > early_max ||
	    (n_early && !(flags & SAVED_LIVE && s->base.type == VSOCK_TYPE_STREAM)) ||
	    (flags & SAVED_RESET && s->base.type == VSOCK_TYPE_STREAM))
		return BACKEND_E_BAD_STATE;
	if (n_early)
		sock_stream_read_early(s, memcpy(early, bytes, n_early), n_early);
	s->error = -(int)error;
	s->saw_urgent = flags & SAVED_URGENT;
	s->may_have_rights = flags & SAVED_RIGHTS;
	s->was_reset = flags & SAVED_RESET;
	if (flags & SAVED_LIVE)
		sock_stream_go_live(s, true);
	return loop_add(s->loop, &s->source, s->fd, 0);
}

int sock_stream_load(struct sock_stream *s, const struct sock_kind *kind, enum vsock_type type,
		     struct loop *loop, struct mux *mux, int domain, char *early, size_t early_max,
		     struct blob_reader *in)
{
	struct blob_reader section;
	uint32_t version;
	int fd, r;

	if (!blob_enter(in, &section, SOCK_TAG, SOCK_VERSION, &version))
		return BACKEND_E_BAD_STATE;
	fd = blob_get_fd(&section);
	sock_stream_init(s, kind, type, loop, mux, fd);
	s->is_shared = s->is_held = true;
	r = socket_is(fd, domain, sock_stream_socket_type(type)) ?
		load(s, early, early_max, &section) : BACKEND_E_BAD_STATE;
	if (r)
		closer_close(&s->fd);		/* whatever it is */
	return r;
}

/* Neither AF_UNIX nor AF_VSOCK has a reset that close(2) could be asked for. */
static void sock_close(struct stream *base, bool is_orderly)
{
	struct sock_stream *s = sock_stream_of(base);

	(void)is_orderly;
	s->kind->close(s);
}

static void sock_save(const struct stream *base, struct blob *out)
{
	const struct sock_stream *s = container_of_const(base, struct sock_stream, base);

	s->kind->save(s, out);
}

static void sock_move(struct stream *base, struct loop_move *m)
{
	struct sock_stream *s = sock_stream_of(base);

	loop_move_source(m, &s->source, EVENTS_IN | (s->has_out ? EPOLLOUT : 0));
	loop_move_pointer(m, &s->loop);
}

static const struct stream_ops sock_stream_ops = {
	.read = sock_read,
	.write = sock_write,
	.shutdown = sock_shutdown,
	.accepted = sock_accepted,
	.wait_for = sock_wait_for,
	.close = sock_close,
	.save = sock_save,
	.move = sock_move,
};

static const struct stream_ops sock_message_ops = {
	.read_message = sock_read_message,
	.write_message = sock_write_message,
	.write_messages = sock_write_messages,
	.shutdown = sock_shutdown,
	.accepted = sock_accepted,
	.wait_for = sock_wait_for,
	.close = sock_close,
	.save = sock_save,
	.move = sock_move,
};
