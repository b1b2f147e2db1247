/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two halves of a connection share: conn.c, conn_say.c. */
#pragma once

#include <stdatomic.h>

#include "vsock/conn.h"

enum {						/* bytes: conn::read_hint */
	READ_HINT_MIN = 1024,			/* or one buffer */
	READ_HINT_FIRST = 16 * 1024,
};

/* The peer is a guest, and what ours has not consumed, or not told, soon stops it. */
static inline bool conn_lacks_news(const struct conn *c)
{
	uint32_t window = c->stream ? c->stream->peer_window : 0;

	return window && c->state == CONN_OPEN && !c->host_eof &&
		credit_unconsumed(&c->credit) >= window - window / 4;
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
