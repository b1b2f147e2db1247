/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: each, wherever it stands; and from one thread to another. */
#include "util/loop_move.h"
#include "vsock/mux_internal.h"

/* Returns how many. */
static size_t visit_listed(const struct list *list, void (*visit)(struct conn *c, void *ctx),
			   void *ctx)
{
	size_t n = 0;

	list_for_each(node, list) {
		visit(container_of(node, struct conn, mux.ready_node), ctx);
		n++;
	}
	return n;
}

/* Each is on one of four ways: those that the guest has forgotten are either to end, or drain and
 * have a timer. */
void mux_visit_conns(const struct mux *mux, void (*visit)(struct conn *c, void *ctx), void *ctx)
{
	size_t n = visit_listed(&mux->ready, visit, ctx) + visit_listed(&mux->ending, visit, ctx);

	for (struct conn *c = conn_table_next(&mux->table, NULL); c;
	     c = conn_table_next(&mux->table, c)) {
		if (list_is_empty(&c->mux.ready_node)) {
			visit(c, ctx);
			n++;
		}
	}
	list_for_each(node, &mux->timers[CONN_TIMER_LINGER]) {
		struct conn *c = container_of(node, struct conn, mux.timer_node);

		if (c->orphaned && list_is_empty(&c->mux.ready_node)) {
			visit(c, ctx);
			n++;
		}
	}
	assert(n == mux->n_conns);
}

static void move_stream(struct conn *c, void *m)
{
	if (c->stream)
		c->stream->ops->move(c->stream, m);
}

void mux_move(struct mux *mux, struct loop_move *m, struct mux_scratch *scratch)
{
	assert(!mux->gather.conn && !mux->is_held);
	mux_visit_conns(mux, move_stream, m);
	for (size_t i = 0; i < mux->n_backends; i++)
		mux->backends[i]->ops->move(mux->backends[i], m);
	if (!loop_move_is_done(m))
		return;
	mux->config.scratch = scratch;
	mux->gather.scratch = &scratch->to_host;
}
