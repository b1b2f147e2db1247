/* SPDX-License-Identifier: BSD-3-Clause */
/* What an end of a connection of messages does: see link.h. */
#include <errno.h>
#include <stdio.h>

#include "soak/link.h"
#include "support/host_messages.h"
#include "support/must.h"
#include "support/pattern.h"
#include "support/sock.h"

enum {
	PACKET_MAX = 64 * 1024,			/* of a guest */
	HOST_MAX = 200000,			/* bytes that a host's socket takes for sure */
	GUEST_MAX = 262144,			/* ... and a guest, at most */
	EMPTY_MAX = 100,			/* fewer under way than the device keeps */
	TOO_LONG_SELDOM = 500,			/* one in so many, where it can be ... */
	TOO_LONG_BY = 100,			/* ... by so many bytes at most */
};

static uint8_t chunk[GUEST_MAX + 256];

/* Bytes of the longest that the other end can receive from this one. */
static uint32_t longest(const struct end *e)
{
	const struct end *o = &e->link->ends[e == e->link->ends];
	uint32_t max = o->vm ? o->vm->d.opt.buf_alloc : GUEST_MAX;
	uint32_t own = e->vm ? sock_window(e->sock) : HOST_MAX;

	return own < max ? own : max;
}

/* @len bytes may be sent, all of them, though the other end cannot receive so many: Linux refuses
 * to begin a message that is longer than its own buffer. */
static bool can_send(const struct end *e, uint32_t len)
{
	if (!e->vm)
		return len <= HOST_MAX;
	return e->vm->d.opt.sends_ahead || len <= e->sock->buf_alloc;
}

/* Has one to send, maybe the rest of one. */
static bool begin_message(struct end *e)
{
	struct rng *r = &e->link->rng;
	uint32_t max;

	if (e->has_message)
		return true;
	if (!e->to_send)
		return false;
	max = longest(e);
	e->flags = VSOCK_SEQ_EOM | (rng_one_in(r, 4) ? VSOCK_SEQ_EOR : 0);
	e->len = rng_one_in(r, 8) ? max : rng_size(r, max);
	if (e->len > e->to_send)
		e->len = (uint32_t)e->to_send;
	if (rng_one_in(r, 8) && e->under_way.n < EMPTY_MAX)
		e->len = 0;
	if (rng_one_in(r, TOO_LONG_SELDOM) && can_send(e, max + TOO_LONG_BY)) {
		e->len = max + rng_range(r, 1, TOO_LONG_BY);
		if (e->to_send < e->len)
			e->to_send = e->len;
		e->link->reasons |= WHY_TOO_LONG;
		link_note(e->link, "end %d: a message of %u bytes, too long",
			  (int)(e - e->link->ends), (unsigned)e->len);
	}
	e->left = e->len;
	e->has_message = true;
	return true;
}

static void count_sent(struct end *e, uint32_t n)
{
	e->sent += n;
	e->to_send -= n;
	e->left -= n;
	if (e->left)
		return;
	marks_add(&e->under_way, e->len, e->flags);
	e->has_message = false;
}

/* In packets of any size. */
bool message_guest_push(struct end *e)
{
	struct rng *r = &e->link->rng;
	uint32_t n, room;

	if (!vm_can_send(e->vm))
		return false;
	if (e->sock->state != SOCK_OPEN || e->sock->peer_shutdown & VSOCK_SHUTDOWN_RCV) {
		link_saw_write_fail(e);
		return true;
	}
	if (!begin_message(e))
		return false;
	room = sock_room(e->sock);
	n = e->left;
	if (n > PACKET_MAX || (n && rng_one_in(r, 3)))
		n = rng_size(r, n < PACKET_MAX ? n : PACKET_MAX);
	if (n > room)
		n = room;
	if (!n && e->left)
		return false;
	pattern_fill(chunk, n, e->sent, end_seed(e));
	must(sock_send_part(e->sock, chunk, n, n == e->left ? e->flags : 0) == n);
	vm_note_tx(e->vm, e->link->id, (unsigned)(e - e->link->ends), e->sent);
	count_sent(e, n);
	return true;
}

/* The CONNECT line is a message, too. */
static bool send_now(struct end *e, const void *bytes, size_t n)
{
	if (host_send_message_now(e->fd, bytes, n))
		return true;
	if (errno != EAGAIN)
		link_saw_write_fail(e);
	return false;
}

bool message_host_push(struct end *e)
{
	if (e->line_sent < e->line_len) {
		if (!send_now(e, e->line, e->line_len))
			return e->write_failed;
		e->line_sent = e->line_len;
		return true;
	}
	if (!begin_message(e))
		return false;
	pattern_fill(chunk, e->len, e->sent, end_seed(e));
	if (!send_now(e, chunk, e->len))
		return e->write_failed;
	count_sent(e, e->len);
	return true;
}

bool message_guest_pull(struct end *e)
{
	struct sock *s = e->sock;
	bool is_orderly = s->peer_shutdown & VSOCK_SHUTDOWN_SEND;
	uint32_t flags;
	ssize_t n;

	if (s->marks.n) {
		n = sock_recv_msg(s, chunk, sizeof chunk, &flags, 0);
		must(n >= 0);
		link_saw_message(e, chunk, (size_t)n, flags);
		return true;
	}
	if (e->saw_end || (!is_orderly && s->state != SOCK_RESET))
		return false;
	link_saw_end(e, is_orderly);
	return true;
}

/* The kernel tells a SOCK_SEQPACKET socket first that its peer has closed without having read
 * all, and then gives it the messages that wait. */
bool message_host_pull(struct end *e)
{
	ssize_t n;

	errno = 0;
	n = host_recv_message(e->fd, chunk, sizeof chunk, 0);
	if (n == HOST_LATE)
		return false;
	if (n == HOST_END && errno == ECONNRESET && !e->saw_reset)
		e->saw_reset = true;
	else if (n == HOST_END)
		link_saw_end(e, !e->saw_reset && errno == 0);
	else
		link_saw_message(e, chunk, (size_t)n, 0);
	return true;
}
