/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: output, and whose turn it is. */
#include "vsock/mux_internal.h"

enum { BYTES_PER_OUTPUT = 1024 * 1024 };	/* to the guest, and up to CONN_TURN_MAX more */

struct traced {
	const struct mux *mux;
	const struct rx_sink *rx;		/* who else looks on */
	struct rx_sink sink;
};

static void trace_output(void *ctx, const struct pkt *pkt, const struct rx_buf *buf)
{
	const struct traced *t = ctx;

	mux_trace(t->mux, pkt);
	if (t->rx->trace)
		t->rx->trace(t->rx->trace_ctx, pkt, buf);
}

/* @rx; where packets are logged, *@t in front of it. */
static const struct rx_sink *trace_by(struct traced *t, const struct mux *mux,
				      const struct rx_sink *rx)
{
	if (log_level < LEVEL_TRACE)
		return rx;
	*t = (struct traced){ .mux = mux, .rx = rx, .sink = *rx };
	t->sink.trace = trace_output;
	t->sink.trace_ctx = t;
	return &t->sink;
}

/* A connection's turn. May free it. As conn_output(). */
static int take_turn(struct mux *mux, struct conn *c, const struct rx_sink *rx, size_t *moved,
		     uint64_t now_ms)
{
	uint32_t sent = c->credit.sent_to_guest;
	int r = conn_output(c, rx, mux->config.scratch->to_guest, MUX_IOVS,
			    &mux->config.scratch->spill, moved);

	mux_count_to_guest(mux, c, sent);
	if (r)					/* mux_finish() puts it after the others */
		list_remove(&c->mux.ready_node);
	mux_finish(mux, c, now_ms);
	return r;
}

static int output(struct mux *mux, const struct rx_sink *rx, uint64_t now_ms)
{
	struct traced t;
	size_t moved = 0;

	mux_end_rst_waits(mux, now_ms);
	rx = trace_by(&t, mux, rx);
	if (!replies_send(&mux->replies, rx))
		return MUX_E_STARVED;
	for (int turn = 0; turn < TURNS_PER_OUTPUT && moved < BYTES_PER_OUTPUT; turn++) {
		struct list *node = mux->ready.next;
		int r;

		if (node == &mux->ready)
			return 0;
		r = take_turn(mux, container_of(node, struct conn, mux.ready_node), rx, &moved,
			      now_ms);
		if (r == CONN_E_STARVED)
			return MUX_E_STARVED;
		if (r == CONN_E_MORE)
			return MUX_E_MORE;
	}
	return MUX_E_MORE;
}

int mux_output(struct mux *mux, const struct rx_sink *rx, uint64_t now_ms)
{
	int r = output(mux, rx, now_ms);

	if (r != MUX_E_STARVED)
		mux->starved_since_ms = 0;
	else if (!mux->starved_since_ms)
		mux->starved_since_ms = now_ms;
	return r;
}

bool mux_has_output(const struct mux *mux)
{
	return mux->replies.n || !list_is_empty(&mux->ready);
}

void mux_push(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	struct conn *c = s->conn;
	struct traced t;
	struct rx_sink rx;
	size_t moved = 0;

	if (c->mux.ending || !conn_has_output(c))
		return;
	mux_end_rst_waits(mux, now_ms);		/* they go with it, in a turn */
	if (mux_has_output(mux) || !mux->config.open_rx ||
	    !mux->config.open_rx(mux->config.ctx, &rx))
		return;
	take_turn(mux, c, trace_by(&t, mux, &rx), &moved, now_ms);
	mux->config.close_rx(mux->config.ctx);
}

bool mux_is_lost(const struct mux *mux)
{
	return mux->config.is_lost && mux->config.is_lost(mux->config.ctx);
}
