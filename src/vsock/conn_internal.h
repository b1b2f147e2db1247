/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two halves of a connection share: conn.c, conn_say.c. */
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
	return c->state == CONN_OPEN && !c->host_eof &&
		!(c->guest_shutdown & VSOCK_SHUTDOWN_RCV);
}

/* There is something for the guest, which has room for the bytes, but not for another
 * packet until it has told what it has consumed. */
static inline bool conn_has_too_many_packets(const struct conn *c)
{
	return conn_wants_to_read(c) && c->stream->ready & STREAM_IN &&
		credit_room(&c->credit) && !credit_packets(&c->credit);
}

/* Likewise, or the peer is a guest, whom that soon stops. */
static inline bool conn_lacks_news(const struct conn *c)
{
	uint32_t window = c->stream ? c->stream->peer_window : 0;

	if (window && c->state == CONN_OPEN && !c->host_eof &&
	    credit_unconsumed(&c->credit) >= window - window / 4)
		return true;
	return conn_has_too_many_packets(c);
}

/* What the peer, a guest too, has consumed counts as passed on. */
static inline void conn_count_consumed(struct conn *c)
{
	if (c->stream && c->stream->consumed && !c->host_deaf)
		c->credit.fwd_cnt = atomic_load_explicit(c->stream->consumed,
							 memory_order_relaxed);
}

/* Behind the last byte of the stream: @r is STREAM_E_EOF, STREAM_E_CLOSED or -errno. */
void conn_read_ended(struct conn *c, int r);
