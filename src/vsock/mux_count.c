/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: what is counted of them, and how they look to others. */
#include "vsock/conn_internal.h"
#include "vsock/conn_snapshot.h"
#include "vsock/mux_internal.h"

enum { BUCKETS_PER_ROW = 8 };			/* empty ones are cheap, but there may be many */

struct vsock_counters *mux_counters(struct mux *mux)
{
	return &mux->counters;
}

void mux_count_handshake(struct mux *mux, enum backend_handshake how)
{
	mux->counters.handshakes[how]++;
}

void mux_count_refused(struct mux *mux, enum counters_direction direction, int error)
{
	mux->counters.connects_refused[direction * COUNTERS_REFUSALS + counters_refusal(error)]++;
}

void mux_get_stats(const struct mux *mux, struct mux_stats *out)
{
	*out = (struct mux_stats){
		.bad_source = mux->counters.packets_dropped[DROP_SOURCE],
		.stray = mux->counters.packets_dropped[DROP_STRAY],
		.conns = mux->n_conns,
	};
	for (unsigned i = 0; i < COUNTERS_REFUSALS; i++)
		out->refused += mux->counters.connects_refused[
			COUNTERS_TO_HOST * COUNTERS_REFUSALS + i];
}

static enum conn_origin origin_of(const struct conn *c)
{
	if (!c->from_peer)
		return CONN_FROM_GUEST;
	return c->mux.share == SHARE_NONE ? CONN_FROM_HOST : CONN_FROM_SIBLING;
}

/* NULL: in no state that there is a gauge for. */
static uint64_t *gauge_of(struct mux *mux, const struct conn *c, unsigned state)
{
	return state < CONN_DEAD ?
		&mux->counters.connections[origin_of(c) * CONN_DEAD + state] : NULL;
}

void mux_uncount_state(struct mux *mux, const struct conn *c)
{
	uint64_t *gauge = gauge_of(mux, c, c->mux.logged_state);

	if (gauge)
		--*gauge;
}

static bool was_open(const struct conn *c)
{
	return c->mux.logged_state > CONN_REQUESTED && c->mux.logged_state < CONN_NUM_STATES;
}

void mux_count_state(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	uint64_t *gauge = gauge_of(mux, c, c->state);

	if (c->mux.logged_state == CONN_NUM_STATES)
		c->mux.begun_ms = c->mux.waits_since_ms = now_ms;
	mux_uncount_state(mux, c);
	if (gauge)
		++*gauge;
	if (c->state == CONN_OPEN && !was_open(c)) {
		mux->counters.connections_opened[
			origin_of(c) * COUNTERS_TYPES + conn_type(c) - VSOCK_TYPE_STREAM]++;
		c->mux.was_open = true;
		mux_tell_changed(mux, c, now_ms);
	}
	if (c->state == CONN_DEAD) {
		mux->counters.connections_ended[c->end]++;
		if (c->mux.waits_for)
			mux->counters.stalled[c->mux.waits_for] += now_ms - c->mux.waits_since_ms;
		mux_tell_changed(mux, c, now_ms);
	}
}

void mux_count_loaded(struct mux *mux, struct conn *c)
{
	uint64_t *gauge = gauge_of(mux, c, c->state);

	if (gauge)
		++*gauge;
	c->mux.logged_state = c->state;
	c->mux.was_open = c->state >= CONN_OPEN;
}

/* But for CONN_WAITS_FOR_BUFFERS, in which all that have something to send are. */
static enum conn_wait waits_for(const struct conn *c)
{
	switch ((enum conn_state)c->state) {
	case CONN_CONNECTING:
		return CONN_WAITS_FOR_CONNECT;
	case CONN_REQUESTED:
	case CONN_CLOSING:
		return CONN_WAITS_FOR_ANSWER;
	case CONN_OPEN:
		/* First, since a host program that cannot write often does not read. */
		if (conn_lacks_credit(c) || conn_has_too_many_packets(c))
			return CONN_WAITS_FOR_CREDIT;
		return conn_has_for_host(c) ? CONN_WAITS_FOR_READER : CONN_WAITS_FOR_NOTHING;
	case CONN_LINGERING:
		return CONN_WAITS_FOR_READER;
	case CONN_RESET:
	case CONN_DEAD:
		return CONN_WAITS_FOR_NOTHING;
	}
	return CONN_WAITS_FOR_NOTHING;
}

void mux_count_wait(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	enum conn_wait wait = waits_for(c);

	if (wait == c->mux.waits_for)
		return;
	if (c->mux.waits_for)
		mux->counters.stalled[c->mux.waits_for] += now_ms - c->mux.waits_since_ms;
	mux->counters.stalls[wait]++;
	c->mux.waits_for = wait & 15;
	c->mux.waits_since_ms = now_ms;
}

/* ---- snapshots ---- */

void mux_snapshot(const struct mux *mux, struct mux_snapshot *out,
		  struct vsock_counters *counters)
{
	*counters = mux->counters;
	counters->connections_limit[0] = mux->config.limits.max_connections;
	counters->buffered[0] = mux->buffered->used;
	counters->buffered_limit[0] = mux->buffered->max;
	*out = (struct mux_snapshot){
		.is_running = mux->is_running, .guest_types = mux->types,
		.n_connections = mux->n_conns, .n_replies = mux->replies.n,
	};
	for (size_t i = 0; i < mux->n_backends && !out->path; i++)
		out->path = mux->backends[i]->path;
}

const char *conn_str_wait(enum conn_wait wait)
{
	static const char *const text[] = {
		[CONN_WAITS_FOR_NOTHING] = "nothing",
		[CONN_WAITS_FOR_CONNECT] = "the host's side to accept",
		[CONN_WAITS_FOR_ANSWER] = "the guest to answer",
		[CONN_WAITS_FOR_CREDIT] = "the guest to read",
		[CONN_WAITS_FOR_BUFFERS] = "the guest to give receive buffers",
		[CONN_WAITS_FOR_READER] = "the host's side to read",
	};
	static_assert(sizeof text / sizeof *text == CONN_NUM_WAITS, "each has a text");

	return text[wait];
}

const char *conn_wait_name(enum conn_wait wait)
{
	if (wait == CONN_WAITS_FOR_BUFFERS)	/* is not counted */
		return "guest_buffers";
	return wait == CONN_WAITS_FOR_NOTHING ? "nothing" : counters_label_value(LABEL_WAIT, wait);
}

static void take_row(const struct mux *mux, const struct conn *c, uint64_t now_ms,
		     struct conn_snapshot *row)
{
	const struct credit *credit = &c->credit;
	uint64_t since_ms = c->mux.waits_since_ms;

	*row = (struct conn_snapshot){
		.guest = c->guest, .peer = c->peer,
		.type = (uint8_t)conn_type(c), .state = c->state, .origin = (uint8_t)origin_of(c),
		.waits_for = c->mux.waits_for, .end = c->end, .is_orphaned = c->orphaned,
		.age_ms = now_ms - c->mux.begun_ms,
		.to_guest = (uint64_t)c->mux.to_guest_high << 32 | credit->sent_to_guest,
		.to_host = (uint64_t)c->mux.to_host_high << 32 | credit->received,
		.room_at_guest = credit_room(credit), .guest_buf_alloc = credit->guest_buf_alloc,
		.room_for_guest = credit->buf_alloc - (credit->received - credit->reported_fwd_cnt),
		.buf_alloc = credit->buf_alloc, .unread_by_guest = credit_unconsumed(credit),
		.buffered = c->to_host.len,
	};
	if (!row->waits_for && mux->starved_since_ms && !list_is_empty(&c->mux.ready_node) &&
	    !c->mux.ending) {
		row->waits_for = CONN_WAITS_FOR_BUFFERS;
		if (since_ms < mux->starved_since_ms)
			since_ms = mux->starved_since_ms;
	}
	row->waits_ms = now_ms - since_ms;
}

void mux_tell_changed(const struct mux *mux, const struct conn *c, uint64_t now_ms)
{
	struct conn_snapshot row;

	if (!mux->config.changed || !c->mux.was_open)
		return;
	if (mux->config.is_watched && !mux->config.is_watched(mux->config.ctx))
		return;
	take_row(mux, c, now_ms, &row);
	mux->config.changed(mux->config.ctx, &row);
}

/* Those that drain are on the list of their timer, or due to end. */
static size_t take_orphans(const struct mux *mux, struct conn_snapshot *rows, size_t max,
			   uint64_t now_ms)
{
	size_t n = 0, n_seen = 0;

	list_for_each(node, &mux->timers[CONN_TIMER_LINGER]) {
		const struct conn *c = container_of(node, struct conn, mux.timer_node);

		if (n == max || n_seen++ == CONN_SNAPSHOT_DRAINING)
			break;
		if (c->orphaned)
			take_row(mux, c, now_ms, &rows[n++]);
	}
	return n;
}

/* A chain that does not fit is left for the next portion, unless it is longer than one. */
static size_t take_named(const struct mux *mux, struct conn_cursor *cursor,
			 struct conn_snapshot *rows, size_t max, uint64_t now_ms)
{
	size_t n = 0;

	for (size_t step = 0; step < BUCKETS_PER_ROW * max && !cursor->is_walked; step++) {
		uint64_t next = cursor->at;
		const struct conn *c = conn_table_scan(&mux->table, &next);
		size_t begin = n;

		for (; c && n < max; c = c->mux.hash_next)
			take_row(mux, c, now_ms, &rows[n++]);
		if (c && begin)
			return begin;
		cursor->at = next;
		cursor->is_walked = !next;
	}
	return n;
}

size_t mux_snapshot_conns(const struct mux *mux, struct conn_cursor *cursor,
			  struct conn_snapshot *rows, size_t max, uint64_t now_ms)
{
	size_t n = take_named(mux, cursor, rows, max, now_ms);

	if (cursor->is_walked && n + CONN_SNAPSHOT_ORPHANS <= max) {
		n += take_orphans(mux, rows + n, CONN_SNAPSHOT_ORPHANS, now_ms);
		cursor->is_over = true;
	}
	return n;
}
