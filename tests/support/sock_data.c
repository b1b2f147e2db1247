/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs of the scripted guest send and receive: see sock.h.
 */
#include <string.h>

#include "support/deadline.h"
#include "support/must.h"
#include "support/sock_internal.h"

uint32_t sock_window(const struct sock *s)
{
	bool is_capped = s->buf_alloc < s->peer_buf_alloc && !s->d->opt.sends_ahead;

	return is_capped ? s->buf_alloc : s->peer_buf_alloc;
}

uint32_t sock_room(const struct sock *s)
{
	uint32_t in_flight = s->sent - s->peer_fwd_cnt, window = sock_window(s);

	return in_flight < window ? window - in_flight : 0;
}

/* The flags of the packet with the last byte of what is sent. */
static uint32_t last_flags(const struct sock *s)
{
	return s->type == VSOCK_TYPE_SEQPACKET ? VSOCK_SEQ_EOM : 0;
}

static size_t send_some(struct sock *s, const void *bytes, size_t len, uint32_t last)
{
	const uint8_t *p = bytes;
	size_t done = 0;
	uint32_t n;

	while (done < len && s->state == SOCK_OPEN && driver_can_send(s->d)) {
		n = sock_room(s);
		n = n < s->packet_max ? n : s->packet_max;
		n = n < len - done ? n : (uint32_t)(len - done);
		if (!n)
			break;
		s->sent += n;
		sock_send_op(s, VSOCK_OP_RW, done + n == len ? last : 0, p ? p + done : NULL, n);
		done += n;
	}
	return done;
}

size_t sock_send_some(struct sock *s, const void *bytes, size_t len)
{
	return send_some(s, bytes, len, last_flags(s));
}

static bool send_all(struct sock *s, const void *bytes, size_t len, uint32_t last)
{
	int64_t deadline = deadline_in(DEADLINE_MS);
	const uint8_t *p = bytes;
	size_t n;

	while (len) {
		n = send_some(s, p, len, last);
		p = p ? p + n : NULL;
		len -= n;
		if (n || !len)
			continue;
		if (s->state != SOCK_OPEN || !driver_wait(s->d, deadline, !driver_can_send(s->d)))
			return false;
	}
	return true;
}

bool sock_send(struct sock *s, const void *bytes, size_t len)
{
	return send_all(s, bytes, len, last_flags(s));
}

bool sock_send_msg(struct sock *s, const void *bytes, size_t len, uint32_t flags)
{
	must(s->type == VSOCK_TYPE_SEQPACKET);
	if (len)
		return send_all(s, bytes, len, VSOCK_SEQ_EOM | flags);
	if (s->state != SOCK_OPEN)
		return false;
	sock_send_op(s, VSOCK_OP_RW, VSOCK_SEQ_EOM | flags, NULL, 0);
	return true;
}

size_t sock_send_part(struct sock *s, const void *bytes, size_t len, uint32_t flags)
{
	must(s->type == VSOCK_TYPE_SEQPACKET);
	if (!len && s->state == SOCK_OPEN && driver_can_send(s->d))
		sock_send_op(s, VSOCK_OP_RW, flags, NULL, 0);
	return send_some(s, bytes, len, flags);
}

static void dequeue(struct sock *s, uint8_t *to, uint32_t n)
{
	uint32_t first = s->buf_alloc - s->queue_first;

	first = first < n ? first : n;
	memcpy(to, s->queue + s->queue_first, first);
	memcpy(to + first, s->queue, n - first);
	s->queue_first = (s->queue_first + n) % s->buf_alloc;
	s->n_queue -= n;
	s->fwd_cnt += n;
}

/* Nothing comes any more, and credit is of no use to the peer. */
static bool is_over(const struct sock *s)
{
	return s->state == SOCK_RESET || s->peer_shutdown & VSOCK_SHUTDOWN_SEND;
}

ssize_t sock_recv(struct sock *s, void *bytes, size_t len, int ms)
{
	int64_t deadline = deadline_in(ms);
	ssize_t r;
	uint32_t n;

	if (s->type == VSOCK_TYPE_SEQPACKET) {
		r = sock_recv_msg(s, bytes, len, NULL, ms);
		return r == SOCK_END ? 0 : r;
	}
	while (!s->n_queue) {
		if (is_over(s))
			return 0;
		if (!driver_wait(s->d, deadline, false))
			return -1;
	}
	n = s->n_queue < len ? s->n_queue : (uint32_t)len;
	dequeue(s, bytes, n);
	if (!is_over(s) && (!s->n_queue ||
			    s->buf_alloc - (s->fwd_cnt - s->reported_fwd_cnt) < SOCK_PACKET_MAX))
		sock_tell_credit(s);
	return n;
}

ssize_t sock_recv_msg(struct sock *s, void *bytes, size_t len, uint32_t *flags, int ms)
{
	int64_t deadline = deadline_in(ms);
	struct mark m;

	must(s->type == VSOCK_TYPE_SEQPACKET);
	while (!s->marks.n) {
		if (is_over(s))
			return SOCK_END;
		if (!driver_wait(s->d, deadline, false))
			return SOCK_LATE;
	}
	m = marks_take(&s->marks);
	if (m.len > len)
		die("a message of %u bytes where %zu fit", (unsigned)m.len, len);
	if (m.len)
		dequeue(s, bytes, m.len);
	if (flags)
		*flags = m.flags;
	if (!is_over(s))
		sock_tell_credit(s);
	return m.len;
}

size_t sock_recv_full(struct sock *s, void *bytes, size_t len)
{
	uint8_t *p = bytes;
	size_t done = 0;
	ssize_t n;

	while (done < len && (n = sock_recv(s, p + done, len - done, DEADLINE_MS)) > 0)
		done += (size_t)n;
	return done;
}
