/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: the end of all of them, a portion at a time; and RSTs that wait. */
#include "util/error.h"
#include "vsock/mux_internal.h"

enum {
	ENDS_PER_TURN = 16,
	RSTS_AT_ONCE_MIN = 64,			/* after one that waited in vain, and twice that
						   after the next, up to */
	RSTS_AT_ONCE_MAX = 4096,
};

bool mux_end_pending(struct conn *c)
{
	enum ending ending = c->mux.ending;

	if (!ending)
		return false;
	c->mux.ending = ENDING_NOT;
	list_remove(&c->mux.ready_node);
	switch (ending) {
	case ENDING_GUEST_GONE:
		conn_guest_gone(c, CONN_END_GUEST_GONE);
		break;
	case ENDING_ABORT:
		conn_abort(c, CONN_END_GUEST_STOPPED);
		break;
	case ENDING_DROP:
		conn_end(c, CONN_END_MEMORY_LOST);
		break;
	case ENDING_NOT:
	case NUM_ENDINGS:
		break;
	}
	return true;
}

bool mux_end_some(struct mux *mux, uint64_t now_ms)
{
	for (int n = 0; n < ENDS_PER_TURN && !list_is_empty(&mux->ending); n++) {
		struct conn *c = container_of(mux->ending.next, struct conn, mux.ready_node);

		mux_end_pending(c);
		mux_finish(mux, c, now_ms);
	}
	return !list_is_empty(&mux->ending);
}

bool mux_give_up_some(struct mux *mux, uint64_t now_ms)
{
	struct list *node;

	if (mux_end_some(mux, now_ms))
		return true;
	for (int n = 0; n < ENDS_PER_TURN && mux->n_conns; n++) {
		struct conn *c;

		node = list_take_first(&mux->timers[CONN_TIMER_LINGER]);
		assert(node);
		c = container_of(node, struct conn, mux.timer_node);
		conn_end(c, CONN_END_GUEST_GONE);
		mux_tell_changed(mux, c, now_ms);
		mux_conn_free(mux, c);
	}
	return mux->n_conns > 0;
}

bool mux_reset_conn(struct mux *mux, enum vsock_type type, uint32_t guest_port,
		    const struct vsock_addr *peer, uint64_t now_ms)
{
	struct conn *c = conn_table_find(&mux->table, guest_port, peer);

	if (!c || conn_type(c) != type || c->mux.ending || c->state == CONN_RESET)
		return false;
	conn_reset(c, CONN_END_OPERATOR);
	mux_finish(mux, c, now_ms);
	return true;
}

/* Ends every connection that the guest knows: a portion now, the rest in later turns. */
static void end_all(struct mux *mux, enum ending ending, uint64_t now_ms)
{
	for (struct conn *c = conn_table_next(&mux->table, NULL); c;
	     c = conn_table_next(&mux->table, c)) {
		c->mux.ending = (uint8_t)ending;
		list_remove(&c->mux.ready_node);
		list_append(&mux->ending, &c->mux.ready_node);
		if (ending != ENDING_ABORT)
			conn_names_drop(&mux->names, c->mux.name);
	}
	if (ending != ENDING_ABORT)		/* the guest has forgotten them */
		conn_table_clear(&mux->table);
	if (mux_end_some(mux, now_ms))
		mux->config.wake(mux->config.ctx);
}

bool mux_reset(struct mux *mux, uint64_t now_ms)
{
	bool had_any = mux->table.n > 0;

	gather_clear(&mux->gather);
	replies_clear(&mux->replies);
	end_all(mux, ENDING_GUEST_GONE, now_ms);
	return had_any;
}

bool mux_abort(struct mux *mux, uint64_t now_ms)
{
	bool had_any = mux->table.n > 0;

	end_all(mux, ENDING_ABORT, now_ms);
	return had_any;
}

void mux_drop(struct mux *mux, uint64_t now_ms)
{
	gather_clear(&mux->gather);
	replies_clear(&mux->replies);
	end_all(mux, ENDING_DROP, now_ms);
}

void mux_let_rst_wait(struct mux *mux, struct conn *c)
{
	if (c->end != CONN_END_GUEST || !mux->config.rst_wait_ms || !mux->is_running ||
	    mux->n_conns > mux->config.limits.max_connections / 2)
		return;
	if (mux->rsts_at_once)
		mux->rsts_at_once--;
	else
		c->rst_waits = true;
}

void mux_note_rst_alone(struct mux *mux)
{
	mux->rst_is_alone = true;
	if (mux->rsts_at_once)			/* one that began to wait with another */
		return;
	if (!mux->rsts_after_vain)
		mux->rsts_after_vain = RSTS_AT_ONCE_MIN;
	else if (mux->rsts_after_vain < RSTS_AT_ONCE_MAX)
		mux->rsts_after_vain *= 2;
	mux->rsts_at_once = mux->rsts_after_vain;
}

void mux_end_rst_waits(struct mux *mux, uint64_t now_ms)
{
	struct list *waiting = &mux->timers[CONN_TIMER_RST];

	if (!mux->rst_is_alone && !list_is_empty(waiting))
		mux->rsts_after_vain = 0;
	mux->rst_is_alone = false;
	for (int n = 0; n < RSTS_PER_OUTPUT && !list_is_empty(waiting); n++) {
		struct conn *c = container_of(waiting->next, struct conn, mux.timer_node);

		c->rst_waits = false;
		mux_end_pending(c);
		mux_finish(mux, c, now_ms);
	}
}

/* The last place among the replies is left for the answer to the packet that it makes room for. */
bool mux_free_waiting(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	if (!c->rst_waits || c->mux.ending || mux->replies.n >= REPLIES_MAX - 1 ||
	    !replies_add(&mux->replies, conn_type(c), &c->guest, &c->peer))
		return false;
	mux->config.wake(mux->config.ctx);
	conn_end(c, CONN_END_GUEST);
	mux_finish(mux, c, now_ms);
	return true;
}

bool mux_free_first_waiting(struct mux *mux, uint64_t now_ms)
{
	struct list *waiting = &mux->timers[CONN_TIMER_RST];

	return !list_is_empty(waiting) &&
		mux_free_waiting(mux, container_of(waiting->next, struct conn, mux.timer_node),
				 now_ms);
}
