/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a connection share: conn.c (its states), conn_to_host.c,
 * conn_to_guest.c, conn_messages.c, conn_save.c. */
#pragma once

#include <stdatomic.h>

#include "vsock/conn.h"

enum { READ_HINT_MIN = 1024 };			/* bytes, or one buffer: conn::read_hint, at first */

/* A guest may send as many empty messages as it likes: so many wait for the host besides those
 * that its credit pays for. */
enum { CONN_EMPTY_MESSAGES_MAX = 256 };

/*
 * What a connection of type SEQPACKET has besides: the boundaries of its messages.
 *
 * A message passes whole or not at all. One from the guest comes in packets, the last of
 * which has VSOCK_SEQ_EOM; what the host cannot take at once waits in conn::to_host, where
 * only whole messages count as something to write. One for the guest is read whole and
 * goes out in as many packets as its buffers and its credit ask for. What cannot pass for
 * its length ends the connection.
 */
struct conn_messages {
	struct byte_ring ends;			/* a conn_message of each whole one in to_host */
	uint32_t begun;				/* bytes at the end of to_host, of one that is not */
	struct byte_ring to_guest;		/* the rest of one whose beginning has been sent */
	uint32_t to_guest_flags;		/* VSOCK_SEQ_*, of its last packet */
	uint32_t to_guest_sent;			/* bytes of it that have been sent */
};

struct conn_message {				/* in conn_messages::ends */
	uint32_t len;				/* bytes */
	uint32_t flags;				/* VSOCK_SEQ_EOR */
};

/* Something for the host waits until it is taken; what has begun and is not whole does not. */
static inline bool conn_has_for_host(const struct conn *c)
{
	return c->messages ? c->messages->ends.len : c->to_host.len;
}

/* Anything that the guest has sent would be lost if the stream ended now. */
static inline bool conn_holds_any(const struct conn *c)
{
	return c->to_host.len || conn_has_for_host(c);
}

/* A message has been read, but the guest has not got all of it. */
static inline bool conn_has_rest(const struct conn *c)
{
	return c->messages && c->messages->to_guest.len;
}

/* The guest can take all of it at a time. It could when it began, but may have less room now. */
static inline bool conn_rest_fits(const struct conn *c)
{
	return !conn_has_rest(c) || (uint64_t)c->messages->to_guest_sent +
		c->messages->to_guest.len <= c->credit.guest_buf_alloc;
}

/* The guest can consume nothing before the rest has come: so it comes in as many packets as it
 * takes. */
static inline bool conn_must_finish(const struct conn *c)
{
	return conn_has_rest(c) &&
		credit_unconsumed(&c->credit) <= c->messages->to_guest_sent;
}

/* How many packets may be sent now. */
static inline uint32_t conn_packets(const struct conn *c)
{
	return conn_must_finish(c) ? RX_BORROW_MAX : credit_packets(&c->credit);
}

/* The host may have something for the guest, which wants it. */
static inline bool conn_wants_to_read(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->host_write_closed &&
		!(c->guest_shutdown & VSOCK_SHUTDOWN_RCV);
}

static inline bool conn_may_read(const struct conn *c)
{
	return c->stream->ready & STREAM_IN || conn_has_rest(c);
}

/* There is something for the guest, but it has no room. */
static inline bool conn_lacks_credit(const struct conn *c)
{
	return conn_wants_to_read(c) && conn_may_read(c) && !credit_room(&c->credit);
}

/* There are bytes for the guest, which has room for them, but not for another packet until
 * it tells what it has consumed. */
static inline bool conn_has_too_many_packets(const struct conn *c)
{
	return conn_wants_to_read(c) && conn_may_read(c) &&
		credit_room(&c->credit) && !conn_packets(c);
}

/* The same, or the peer is a guest that will soon lack credit. */
static inline bool conn_lacks_news(const struct conn *c)
{
	uint32_t window = c->stream ? c->stream->peer_window : 0;

	if (window && c->state == CONN_OPEN && !c->host_write_closed &&
	    credit_unconsumed(&c->credit) >= window - window / 4)
		return true;
	return conn_has_too_many_packets(c);
}

/* Where the peer is a guest, what that has consumed counts as passed on. It cannot be more
 * than that has got; but what was saved may say so. */
static inline void conn_count_consumed(struct conn *c)
{
	uint32_t total, given = c->credit.received - c->to_host.len;

	if (!c->stream || !c->stream->consumed || c->host_read_closed)
		return;
	total = atomic_load_explicit(c->stream->consumed, memory_order_relaxed);
	if (total - c->credit.fwd_cnt <= given - c->credit.fwd_cnt)
		c->credit.fwd_cnt = total;
}

/* ---- conn.c ---- */

/* As conn_new(), without a stream, and without messages. */
struct conn *conn_alloc(const struct vsock_addr *guest, const struct vsock_addr *peer,
			uint32_t buf_alloc, struct byte_budget *budget);

/* Closes the stream, if there still is one, and drops what is buffered for it. */
void conn_close_stream(struct conn *c);

/* ---- conn_to_host.c ---- */

/* The stream's read has returned @r: its end, or an error. */
void conn_read_ended(struct conn *c, int r);

/* The host has all that the guest sent; if that is the end, it is told so. */
void conn_host_has_all(struct conn *c);

/* Writing to the stream has failed with @r; the host may still have something to say. */
void conn_host_stops_reading(struct conn *c, int r);

/* ---- conn_to_guest.c: what conn_messages.c sends by ---- */

/* Where to read @limit bytes to: the body parts of @n_bufs buffers; *@described of them. */
size_t conn_slice_bodies(const struct rx_buf *bufs, size_t n_bufs, size_t limit,
			 struct iovec *scratch, size_t n_scratch, size_t *described);

/* Puts headers before @got bytes that lie in the bodies of the first buffers, @flags into the
 * last of them. Returns how many packets that makes; a message has at least one. */
size_t conn_fill_headers(struct conn *c, const struct rx_sink *rx, const struct rx_buf *bufs,
			 size_t got, uint32_t flags);

/* Uses up a buffer without room for data. False: starved. */
bool conn_send_credit_update(struct conn *c, const struct rx_sink *rx, size_t *moved);

/* ---- conn_messages.c ---- */

/* NULL: no memory. @buf_alloc: as of the connection. */
struct conn_messages *conn_messages_new(uint32_t buf_alloc, struct byte_budget *budget);
void conn_messages_free(struct conn_messages *m);	/* NULL: nothing */

/* The first @len bytes of a packet's payload, or of several packets'; and with @flags that has
 * VSOCK_SEQ_EOM, the end of the message. To the stream if it takes it, else it waits. */
void conn_forward_message(struct conn *c, const struct iovec *iov, size_t n, size_t len,
			  uint32_t flags);

/* Moves whole messages that wait to the stream: not all, if they are many. Then the stream is
 * still ready, and is waited for nevertheless, which tells so again. */
void conn_drain_messages(struct conn *c);

/* No more comes of a message that has begun: it is lost. */
void conn_drop_begun(struct conn *c);

/* Forgets all messages for the host. */
void conn_clear_messages(struct conn *c);

/* One step towards the guest: the next message, or more of the last one. Where the stream gives
 * nothing, or its end, that is noted. @spill: room for what the guest's buffers do not
 * hold. Adds to *@moved bytes, with headers. False: starved. */
bool conn_message_to_guest(struct conn *c, const struct rx_sink *rx, struct iovec *scratch,
			   size_t n_scratch, const struct conn_spill *spill, size_t *moved);

/* Of conn_save.c: the fields after those of each connection. conn_messages_load: false: they
 * cannot be believed; *@r: 0 or -ENOMEM. */
void conn_messages_save(const struct conn *c, struct blob *out);
bool conn_messages_load(struct conn *c, struct blob_reader *in, uint32_t buffered, int *r);
