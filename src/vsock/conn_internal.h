/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of a connection share: conn.c (its states), conn_to_host.c,
 * conn_to_guest.c, conn_save.c. */
#pragma once

#include <stdatomic.h>

#include "vsock/conn.h"

enum {						/* bytes: conn::read_hint */
	READ_HINT_MIN = 1024,			/* or one buffer */
	READ_HINT_FIRST = 16 * 1024,
};

/* The host may have something for the guest, which wants it. */
static inline bool conn_wants_to_read(const struct conn *c)
{
	return c->state == CONN_OPEN && !c->host_write_closed &&
		!(c->guest_shutdown & VSOCK_SHUTDOWN_RCV);
}

/* There are bytes for the guest, which has room for them, but not for another packet until
 * it tells what it has consumed. */
static inline bool conn_has_too_many_packets(const struct conn *c)
{
	return conn_wants_to_read(c) && c->stream->ready & STREAM_IN &&
		credit_room(&c->credit) && !credit_packets(&c->credit);
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

/* As conn_new(), without a stream. */
struct conn *conn_alloc(const struct vsock_addr *guest, const struct vsock_addr *peer,
			uint32_t buf_alloc, struct byte_budget *budget);

/* Closes the stream, if there still is one, and drops what is buffered for it. */
void conn_close_stream(struct conn *c);

/* ---- conn_to_host.c ---- */

/* The stream's read has returned @r: its end, or an error. */
void conn_read_ended(struct conn *c, int r);

/* The host has all that the guest sent; if that is the end, it is told so. */
void conn_host_has_all(struct conn *c);
