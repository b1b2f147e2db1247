/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection of type SEQPACKET: its messages, both ways. */
#include <stdlib.h>

#include "util/blob.h"
#include "util/error.h"
#include "vsock/conn_internal.h"

/* Bytes: a multiple of what one takes, so that each lies in one piece. */
#define ENDS_MAX (UINT32_MAX / 2 + 1)

enum { WRITES_MAX = 64 };			/* messages that waited, in one step */

struct conn_messages *conn_messages_new(uint32_t buf_alloc, struct byte_budget *budget)
{
	struct conn_messages *m = malloc(sizeof *m);
	uint64_t room = ((uint64_t)buf_alloc + CONN_EMPTY_MESSAGES_MAX) *
		sizeof(struct conn_message);

	if (!m)
		return NULL;
	*m = (struct conn_messages){ .begun = 0 };
	byte_ring_init(&m->ends, room < ENDS_MAX ? (uint32_t)room : ENDS_MAX, budget);
	byte_ring_init(&m->to_guest, 0, budget);
	return m;
}

void conn_messages_free(struct conn_messages *m)
{
	if (!m)
		return;
	byte_ring_deinit(&m->ends);
	byte_ring_deinit(&m->to_guest);
	free(m);
}

/* ---- to the host ---- */

void conn_clear_messages(struct conn *c)
{
	byte_ring_deinit(&c->messages->ends);
	c->messages->begun = 0;
}

void conn_drop_begun(struct conn *c)
{
	struct conn_messages *m = c->messages;

	if (!m || !m->begun)
		return;
	byte_ring_cut(&c->to_host, m->begun);
	m->begun = 0;
	c->host_lost_data = true;
}

/* Writes a whole message. False: not now, or never. */
static bool write_message(struct conn *c, const struct iovec *iov, size_t n, size_t len,
			  uint32_t flags)
{
	int r = c->stream->ops->write_message(c->stream, iov, (int)n, flags & VSOCK_SEQ_EOR);

	if (r == STREAM_E_AGAIN)
		c->stream->ready &= ~(unsigned)STREAM_OUT;
	else if (r == STREAM_E_TOO_LONG)
		conn_reset(c, CONN_END_TOO_LONG_FOR_HOST);
	else if (r)
		conn_host_stops_reading(c, r);
	if (r)
		return false;
	if (!c->stream->consumed)
		c->credit.fwd_cnt += (uint32_t)len;
	return true;
}

static void no_memory(struct conn *c, int error)
{
	c->error = error;
	conn_reset(c, CONN_END_NO_MEMORY);
}

/* The message that has begun is whole: it waits. */
static void end_message(struct conn *c, uint32_t flags)
{
	struct conn_messages *m = c->messages;
	struct conn_message end = { m->begun, flags & VSOCK_SEQ_EOR };
	const struct iovec iov = { &end, sizeof end };
	int r;

	if (m->ends.len > m->ends.size - sizeof end) {
		conn_reset(c, CONN_END_CREDIT);
		return;
	}
	r = byte_ring_append(&m->ends, &iov, 1, 0);
	if (r < 0) {
		no_memory(c, r);
		return;
	}
	m->begun = 0;
	conn_drain_messages(c);
}

/* Nothing has to be written before, and the stream may take something. */
static bool may_pass_on(const struct conn *c)
{
	const struct conn_messages *m = c->messages;

	return c->state == CONN_OPEN && !m->begun && !m->ends.len && !c->host_read_closed &&
		c->stream->ready & STREAM_OUT;
}

/* True: it need not wait, whatever has become of it. */
static bool pass_on(struct conn *c, const struct iovec *iov, size_t n, size_t len, uint32_t flags)
{
	if (!(flags & VSOCK_SEQ_EOM) || !may_pass_on(c))
		return false;
	return write_message(c, iov, n, len, flags) || c->state != CONN_OPEN;
}

void conn_forward_message(struct conn *c, const struct iovec *iov, size_t n, size_t len,
			  uint32_t flags)
{
	struct conn_messages *m = c->messages;
	int r;

	if (c->state != CONN_OPEN || pass_on(c, iov, n, len, flags))
		return;
	if (c->host_read_closed) {
		c->host_failed = true;
		return;
	}
	r = byte_ring_append(&c->to_host, iov, n, 0);
	if (r < 0) {
		no_memory(c, r);
		return;
	}
	m->begun += (uint32_t)len;
	if (flags & VSOCK_SEQ_EOM)
		end_message(c, flags);
	else if (m->begun == c->credit.buf_alloc)
		conn_reset(c, CONN_END_TOO_LONG);
}

/* How many of them the stream has taken together. */
static size_t pass_on_several(struct conn *c, const struct iovec *iov,
			      const struct stream_message *m, size_t n)
{
	size_t taken;

	if (n < 2 || !c->stream->ops->write_messages || !may_pass_on(c))
		return 0;
	taken = c->stream->ops->write_messages(c->stream, iov, m, n);
	for (size_t i = 0; i < taken && !c->stream->consumed; i++)
		c->credit.fwd_cnt += (uint32_t)m[i].len;
	return taken;
}

void conn_forward_messages(struct conn *c, const struct iovec *iov, const struct stream_message *m,
			   size_t n)
{
	size_t taken = c->state == CONN_OPEN ? pass_on_several(c, iov, m, n) : 0;

	for (size_t i = 0; i < n; iov += m[i++].n)
		if (i >= taken)
			conn_forward_message(c, iov, m[i].n, m[i].len, VSOCK_SEQ_EOM | m[i].flags);
}

/* The first @len bytes that wait, in one or two iovecs; returns how many. */
static size_t peek(const struct byte_ring *ring, size_t len, struct iovec out[2])
{
	size_t n = byte_ring_peek(ring, out);

	if (n && out[0].iov_len >= len) {
		out[0].iov_len = len;
		return 1;
	}
	if (n == 2)
		out[1].iov_len = len - out[0].iov_len;
	return n;
}

static struct conn_message first_message(const struct conn_messages *m)
{
	struct conn_message first;
	struct iovec iov[2];

	byte_ring_peek(&m->ends, iov);
	memcpy(&first, iov[0].iov_base, sizeof first);
	return first;
}

void conn_drain_messages(struct conn *c)
{
	struct conn_messages *m = c->messages;
	struct iovec iov[2];

	/* Each costs a system call: others have their turn in between. */
	for (int done = 0; done < WRITES_MAX && m->ends.len && c->stream->ready & STREAM_OUT;
	     done++) {
		struct conn_message first = first_message(m);
		size_t n = peek(&c->to_host, first.len, iov);

		if (!write_message(c, iov, n, first.len, first.flags))
			return;
		byte_ring_drop(&m->ends, sizeof first);
		if (first.len)
			byte_ring_drop(&c->to_host, first.len);
		c->timer_restart = true;
	}
	if (!m->ends.len)
		conn_host_has_all(c);
}

/* ---- to the guest ---- */

/* Buffers for up to @hint bytes of payload. How many; 0: starved. */
static size_t borrow(struct conn *c, const struct rx_sink *rx, size_t hint,
		     const struct rx_buf **bufs)
{
	size_t limit = credit_room(&c->credit), body, want;

	if (!rx->borrow(rx->ctx, 1, bufs))
		return 0;
	body = (*bufs)[0].len - PKT_HDR_SIZE;
	if (limit > hint)
		limit = hint;
	if (limit <= body)			/* most often: no more than one is asked for */
		return 1;
	want = body ? (limit + body - 1) / body : 1;
	if (want > conn_packets(c))
		want = conn_packets(c);
	return rx->borrow(rx->ctx, want < RX_BORROW_MAX ? want : RX_BORROW_MAX, bufs);
}

/* The last @len bytes of a message have to wait, until the guest has buffers for them; @sent are
 * in those that it has given. False: no memory. */
static bool keep_rest(struct conn *c, const char *rest, size_t len, size_t sent, uint32_t flags)
{
	struct conn_messages *m = c->messages;
	struct iovec iov = { .iov_len = len };
	int r;

	memcpy(&iov.iov_base, &rest, sizeof rest);
	m->to_guest.size = (uint32_t)len;
	m->to_guest_flags = flags;
	m->to_guest_sent = (uint32_t)sent;
	r = byte_ring_append(&m->to_guest, &iov, 1, 0);
	if (r < 0)
		no_memory(c, r);
	return r == 0;
}

/* What does not fit into the guest's buffers goes to @spill, or to *@more, which the caller frees:
 * between guests messages may be of any length. As read_message(). */
static int read_message(struct conn *c, struct iovec *v, size_t n, size_t asked,
			const struct conn_spill *spill, char **more, size_t *got, uint32_t *flags)
{
	size_t most = c->credit.guest_buf_alloc - asked;
	int r;

	v[n] = (struct iovec){ spill->bytes, most < spill->size ? most : spill->size };
	r = c->stream->ops->read_message(c->stream, v, (int)n + 1, got, flags);
	if (r != STREAM_E_TOO_LONG || *got <= asked || *got - asked > most)
		return r;
	*more = malloc(*got - asked);
	if (!*more)
		return -ENOMEM;
	v[n] = (struct iovec){ *more, *got - asked };
	return c->stream->ops->read_message(c->stream, v, (int)n + 1, got, flags);
}

static void read_next(struct conn *c, const struct rx_sink *rx, const struct rx_buf *bufs,
		      size_t n_bufs, struct iovec *scratch, size_t n_scratch,
		      const struct conn_spill *spill, size_t *moved)
{
	size_t room = credit_room(&c->credit), asked, got = 0, n;
	char *more = NULL;
	uint32_t flags = 0;
	int r;

	n = conn_slice_bodies(bufs, n_bufs, room, scratch, n_scratch - 1, &asked);
	r = read_message(c, scratch, n, asked, spill, &more, &got, &flags);
	if (r == STREAM_E_AGAIN) {
		c->stream->ready &= ~(unsigned)STREAM_IN;
	} else if (r == STREAM_E_TOO_LONG) {
		conn_reset(c, CONN_END_TOO_LONG_FOR_GUEST);
	} else if (r) {
		conn_read_ended(c, r);
	} else {
		bool is_whole = got <= asked;

		c->read_hint = (uint32_t)got;
		flags = VSOCK_SEQ_EOM | (flags & VSOCK_SEQ_EOR);
		if (is_whole || keep_rest(c, more ? more : spill->bytes, got - asked, asked, flags)) {
			got = is_whole ? got : asked;
			*moved += got + PKT_HDR_SIZE *
				conn_fill_headers(c, rx, bufs, got, is_whole ? flags : 0);
		}
	}
	free(more);
}

static void copy_rest(struct byte_ring *ring, const struct iovec *to, size_t n, size_t len)
{
	struct iovec from[2];
	struct iov_cur cur;

	iov_cur_init(&cur, from, peek(ring, len, from));
	for (size_t i = 0; i < n && cur.left; i++) {
		size_t here = to[i].iov_len < cur.left ? to[i].iov_len : cur.left;

		iov_cur_get(&cur, to[i].iov_base, here);
	}
	byte_ring_drop(ring, len);
}

static void send_rest(struct conn *c, const struct rx_sink *rx, const struct rx_buf *bufs,
		      size_t n_bufs, struct iovec *scratch, size_t n_scratch, size_t *moved)
{
	struct conn_messages *m = c->messages;
	size_t len = m->to_guest.len, room = credit_room(&c->credit), here, n;

	n = conn_slice_bodies(bufs, n_bufs, room < len ? room : len, scratch, n_scratch, &here);
	copy_rest(&m->to_guest, scratch, n, here);
	m->to_guest_sent += (uint32_t)here;
	*moved += here + PKT_HDR_SIZE *
		conn_fill_headers(c, rx, bufs, here, here == len ? m->to_guest_flags : 0);
}

bool conn_message_to_guest(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
			   size_t n_scratch, const struct conn_spill *spill, size_t *moved)
{
	struct conn_messages *m = c->messages;
	bool has_rest = m->to_guest.len;
	const struct rx_buf *bufs;
	size_t n = borrow(c, rx, has_rest ? m->to_guest.len : c->read_hint, &bufs);

	if (!n)
		return false;
	if (bufs[0].len == PKT_HDR_SIZE)	/* no room for data: use it up all the same */
		return conn_send_credit_update(c, rx, moved);
	if (has_rest)
		send_rest(c, rx, bufs, n, scratch, n_scratch, moved);
	else
		read_next(c, rx, bufs, n, scratch, n_scratch, spill, moved);
	return true;
}

/* ---- state ---- */

static void save_ring(const struct byte_ring *ring, struct blob *out)
{
	struct iovec iov[2];

	blob_put_iov(out, iov, byte_ring_peek(ring, iov));
}

void conn_messages_save(const struct conn *c, struct blob *out)
{
	const struct conn_messages *m = c->messages;

	save_ring(&m->ends, out);
	blob_put_u32(out, m->begun);
	save_ring(&m->to_guest, out);
	blob_put_u32(out, m->to_guest_flags);
	blob_put_u32(out, m->to_guest_sent);
}

/* Do the messages make up the bytes that wait? */
static bool add_up(const uint8_t *ends, uint32_t len, uint32_t begun, uint32_t buffered)
{
	uint64_t total = begun;

	for (uint32_t at = 0; at < len; at += (uint32_t)sizeof(struct conn_message)) {
		struct conn_message m;

		memcpy(&m, ends + at, sizeof m);
		if (m.flags & ~(uint32_t)VSOCK_SEQ_EOR)
			return false;
		total += m.len;
	}
	return total == buffered;
}

bool conn_messages_load(struct conn *c, struct blob_reader *in, uint32_t buffered, int *r)
{
	uint32_t n_ends = blob_get_u32(in), begun, n_rest, flags, sent;
	const void *ends = blob_get_bytes(in, n_ends), *rest;
	struct conn_messages *m;

	begun = blob_get_u32(in);
	n_rest = blob_get_u32(in);
	rest = blob_get_bytes(in, n_rest);
	flags = blob_get_u32(in);
	sent = blob_get_u32(in);
	*r = 0;
	if (!blob_is_whole(in) || n_ends % sizeof(struct conn_message) ||
	    flags & ~(uint32_t)(VSOCK_SEQ_EOM | VSOCK_SEQ_EOR) ||
	    (n_rest && !(flags & VSOCK_SEQ_EOM)) || !add_up(ends, n_ends, begun, buffered))
		return false;
	m = c->messages = conn_messages_new(c->credit.buf_alloc, c->to_host.budget);
	if (!m) {
		*r = -ENOMEM;
		return true;
	}
	if (n_ends > m->ends.size)
		return false;
	m->begun = begun;
	m->to_guest_flags = flags;
	m->to_guest_sent = sent;
	m->to_guest.size = n_rest;
	*r = byte_ring_fill(&m->ends, ends, n_ends);
	if (!*r)
		*r = byte_ring_fill(&m->to_guest, rest, n_rest);
	return true;
}
