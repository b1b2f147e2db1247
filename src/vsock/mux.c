/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: input, deadlines, what follows from each. */
#include "vsock/mux.h"

#include <stdlib.h>

#include "util/error.h"
#include "vsock/mux_internal.h"

enum {
	ASK_SOON_MS = 10,			/* until a guest is asked for credit again */
	ASK_MS = 100,
	ASK_LATE_MS = 5000,
};

int mux_new(struct mux **out, const struct mux_config *config)
{
	struct mux *mux = calloc(1, sizeof *mux);

	if (!mux)
		return -ENOMEM;
	mux->config = *config;
	mux->types = MUX_STREAMS;
	mux->buffered = byte_budget_new(config->limits.max_buffered);
	mux->gather = (struct gather){
		.scratch = &config->scratch->to_host, .is_lost = config->is_lost,
		.ctx = config->ctx,
	};
	list_init(&mux->ready);
	list_init(&mux->ending);
	for (int i = 0; i < CONN_NUM_TIMERS; i++)
		list_init(&mux->timers[i]);
	shares_init(&mux->shares, (config->limits.max_connections + 1) / 2);
	mux->timer_ms[CONN_TIMER_CONNECT] = config->connect_ms;
	mux->timer_ms[CONN_TIMER_REQUEST] = config->request_ms;
	mux->timer_ms[CONN_TIMER_LINGER] = config->limits.linger_ms;
	mux->timer_ms[CONN_TIMER_CLOSING] = config->closing_ms;
	mux->timer_ms[CONN_TIMER_ASK_SOON] = ASK_SOON_MS;
	mux->timer_ms[CONN_TIMER_ASK] = ASK_MS;
	mux->timer_ms[CONN_TIMER_ASK_LATE] = ASK_LATE_MS;
	mux->timer_ms[CONN_TIMER_RST] = config->rst_wait_ms;
	host_ports_init(&mux->ports, config->first_port);
	conn_names_init(&mux->names);
	replies_init(&mux->replies, &mux->names);
	if (!mux->buffered || conn_table_init(&mux->table, config->hash_seed) < 0) {
		byte_budget_unref(mux->buffered);
		free(mux);
		return -ENOMEM;
	}
	*out = mux;
	return 0;
}

void mux_conn_free(struct mux *mux, struct conn *c)
{
	list_remove(&c->mux.ready_node);
	list_remove(&c->mux.timer_node);
	mux_uncount_state(mux, c);
	shares_give(&mux->shares, c);
	mux->n_conns--;
	conn_free(c);
}

void mux_add_backend(struct mux *mux, struct backend *backend)
{
	assert(mux->n_backends < MUX_BACKENDS_MAX);
	mux->backends[mux->n_backends++] = backend;
}

void mux_set_running(struct mux *mux, bool is_running)
{
	mux->is_running = is_running;
}

void mux_set_types(struct mux *mux, unsigned types)
{
	mux->types = (uint8_t)types;
}

uint32_t mux_window(const struct mux *mux)
{
	uint32_t size = mux->config.limits.tx_buffer_size;

	return size <= UINT32_MAX / 4 ? 2 * size : size;
}

struct conn *mux_conn_new(struct mux *mux, const struct vsock_addr *guest,
			  const struct vsock_addr *peer, struct stream *stream)
{
	uint32_t window = stream->consumed ? mux_window(mux) : mux->config.limits.tx_buffer_size;
	struct conn *c = conn_new(guest, peer, stream, window, mux->buffered);

	if (!c)
		return NULL;
	c->mux.logged_state = CONN_NUM_STATES;
	mux->n_conns++;
	return c;
}

struct byte_budget *mux_budget(struct mux *mux)
{
	return mux->buffered;
}

void mux_set_siblings(struct mux *mux, size_t n)
{
	shares_set_siblings(&mux->shares, n);
}

bool mux_is_running(const struct mux *mux)
{
	return mux->is_running;
}

void mux_conn_enter(struct mux *mux, struct conn *c)
{
	c->mux.name = conn_names_add(&mux->names, conn_type(c), c->guest.port, &c->peer);
	conn_table_add(&mux->table, c);
}

void mux_conn_leave(struct mux *mux, struct conn *c)
{
	conn_names_drop(&mux->names, c->mux.name);
	conn_table_remove(&mux->table, c);
}

/* All of a kind run equally long, so they stay in order. */
static void set_linger(struct mux *mux, uint32_t ms)
{
	list_for_each(node, &mux->timers[CONN_TIMER_LINGER]) {
		struct conn *c = container_of(node, struct conn, mux.timer_node);

		c->mux.deadline_ms += (uint64_t)ms - mux->timer_ms[CONN_TIMER_LINGER];
	}
	mux->timer_ms[CONN_TIMER_LINGER] = ms;
	mux->config.wake(mux->config.ctx);	/* to look at the deadlines */
}

void mux_set_limits(struct mux *mux, const struct vsock_limits *limits)
{
	mux->config.limits = *limits;
	mux->buffered->max = limits->max_buffered;
	shares_set_max(&mux->shares, (limits->max_connections + 1) / 2);
	if (limits->linger_ms != mux->timer_ms[CONN_TIMER_LINGER])
		set_linger(mux, limits->linger_ms);
}

static bool is_named(const struct mux *mux, const struct conn *c)
{
	return conn_table_find(&mux->table, c->guest.port, &c->peer) == c;
}

static void arm(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	enum conn_timer timer = conn_timer(c);

	if (timer == c->mux.armed && !c->timer_restart)
		return;
	c->mux.armed = (uint8_t)timer;
	c->timer_restart = false;
	list_remove(&c->mux.timer_node);
	if (timer == CONN_TIMER_NONE)
		return;
	c->mux.deadline_ms = now_ms + mux->timer_ms[timer];
	list_append(&mux->timers[timer], &c->mux.timer_node);
	mux->config.wake(mux->config.ctx);	/* to look at the deadlines */
}

struct vsock_route mux_path(const struct conn *c)
{
	return c->from_peer ? vsock_route(&c->peer, &c->guest) :
		vsock_route(&c->guest, &c->peer);
}

static bool is_too_long(enum conn_end why)
{
	return why == CONN_END_TOO_LONG || why == CONN_END_TOO_LONG_FOR_HOST ||
		why == CONN_END_TOO_LONG_FOR_GUEST;
}

static void note_state(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	if (c->error)
		log_limited(error_is_shortage(c->error) ? LEVEL_WARN : LEVEL_INFO,
			    mux->config.tag, "%s reset: %s", mux_path(c).text,
			    error_str(c->error));
	c->error = 0;
	if (c->state == c->mux.logged_state)
		return;
	mux_count_state(mux, c, now_ms);
	c->mux.logged_state = c->state;
	if (c->state == CONN_RESET)
		mux_let_rst_wait(mux, c);
	if (c->state == CONN_RESET && is_too_long(c->end))
		log_limited(LEVEL_WARN, mux->config.tag, "%s reset: %s", mux_path(c).text,
			    conn_str_end(c->end));
	if (c->state == CONN_DEAD)
		log_debug(mux->config.tag, "%s has ended: %s", mux_path(c).text,
			  conn_str_end(c->end));
	else
		log_debug(mux->config.tag, "%s is %s", mux_path(c).text, conn_str_state(c->state));
}

void mux_finish(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	if ((c->orphaned || c->state == CONN_DEAD) && is_named(mux, c))
		mux_conn_leave(mux, c);
	if (c->error || c->state != c->mux.logged_state)
		note_state(mux, c, now_ms);
	if (c->state == CONN_DEAD) {
		mux_conn_free(mux, c);
		return;
	}
	mux_count_wait(mux, c, now_ms);
	arm(mux, c, now_ms);
	if (c->stream)
		c->stream->ops->wait_for(c->stream, conn_interest(c));
	if (!conn_has_output(c)) {
		list_remove(&c->mux.ready_node);
	} else if (list_is_empty(&c->mux.ready_node)) {
		list_append(&mux->ready, &c->mux.ready_node);
		mux->config.wake(mux->config.ctx);
	}
}

void mux_free(struct mux *mux)
{
	if (!mux)
		return;
	if (mux->is_held)
		mux_unload(mux);
	mux_reset(mux, 0);			/* leaves those that drain: they have a timer */
	while (mux_give_up_some(mux, 0))
		;
	conn_table_deinit(&mux->table);
	replies_deinit(&mux->replies);
	conn_names_deinit(&mux->names);
	byte_budget_unref(mux->buffered);
	free(mux);
}

static void reply_rst(struct mux *mux, const struct pkt *pkt)
{
	replies_add(&mux->replies, pkt->type, &pkt->src, &pkt->dst);
	mux->config.wake(mux->config.ctx);
}

bool mux_is_clogged(const struct mux *mux)
{
	return mux->replies.n == REPLIES_MAX;
}

/* A packet of no connection. */
static void on_stray(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	int r;

	if (pkt->op == VSOCK_OP_RST)
		return;
	if (pkt->op != VSOCK_OP_REQUEST || !mux_knows_type(mux, pkt->type)) {
		mux->counters.packets_dropped[DROP_STRAY]++;
		reply_rst(mux, pkt);
		return;
	}
	r = mux_on_request(mux, pkt, now_ms);
	if (r) {
		mux_log_refused(mux, &pkt->src, &pkt->dst, r);
		reply_rst(mux, pkt);
	}
}

void mux_flush(struct mux *mux, uint64_t now_ms)
{
	struct conn *c = gather_flush(&mux->gather);

	if (!c)
		return;
	mux_finish(mux, c, now_ms);
}

void mux_trace(const struct mux *mux, const struct pkt *pkt)
{
	log_at(LEVEL_TRACE, mux->config.tag, "%s %s, len %u, type %u, flags %u, buf_alloc %u, "
	       "fwd_cnt %u", vsock_route(&pkt->src, &pkt->dst).text, pkt_str_op(pkt->op),
	       pkt->len, pkt->type, pkt->flags, pkt->buf_alloc, pkt->fwd_cnt);
}

/* A guest that connects anew has forgotten what it has closed, and would take that one's RST for the
 * answer. */
static bool is_begun_anew(const struct conn *c, const struct pkt *pkt)
{
	return pkt->op == VSOCK_OP_REQUEST && c->state == CONN_RESET && c->end == CONN_END_GUEST;
}

/* Finds a packet's connection; one that is due to end, or forgotten, is ended first. */
static struct conn *find(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	struct conn *c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);

	if (c && mux_end_pending(c)) {
		mux_finish(mux, c, now_ms);
		c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);
	}
	if (!c || !is_begun_anew(c, pkt))
		return c;
	conn_end(c, CONN_END_GUEST);
	mux_finish(mux, c, now_ms);
	return NULL;
}

void mux_input(struct mux *mux, const struct pkt *pkt, struct iov_cur *payload, uint64_t now_ms)
{
	struct conn *c;
	uint32_t received;

	if (log_level >= LEVEL_TRACE)
		mux_trace(mux, pkt);
	if (pkt->src.cid != mux->config.guest_cid) {
		mux->counters.packets_dropped[DROP_SOURCE]++;
		log_guest(mux->config.tag, "packet from cid %llu dropped",
			  (unsigned long long)pkt->src.cid);
		return;
	}
	c = find(mux, pkt, now_ms);
	if (mux->gather.conn && (mux->gather.conn != c || pkt->op != VSOCK_OP_RW)) {
		mux_flush(mux, now_ms);		/* may end c */
		c = find(mux, pkt, now_ms);
	}
	if (!c) {
		on_stray(mux, pkt, now_ms);
		return;
	}
	if (pkt->op == VSOCK_OP_RST && c->state == CONN_REQUESTED)
		mux_log_guest_refuses(mux, c);
	received = c->credit.received;
	conn_input(c, pkt, payload, &mux->gather);
	mux_count_to_host(mux, c, received);
	if (mux->gather.conn == c) {
		if (c->state == CONN_OPEN)
			return;			/* finished by the flush */
		gather_clear(&mux->gather);
	}
	mux_finish(mux, c, now_ms);
}

void mux_input_cut(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	struct conn *c;

	if (pkt->src.cid != mux->config.guest_cid || pkt->op != VSOCK_OP_RW)
		return;
	mux_flush(mux, now_ms);			/* what came before is delivered */
	c = find(mux, pkt, now_ms);
	if (!c)
		return;
	conn_reset(c, CONN_END_PROTOCOL);
	mux_finish(mux, c, now_ms);
}

/* A guest that stands still is not asked for credit, and is sent no RST: those timers, the last,
 * rest. */
static int count_timers(const struct mux *mux)
{
	return mux->is_running ? CONN_NUM_TIMERS : CONN_TIMER_ASK_SOON;
}

void mux_expire(struct mux *mux, uint64_t now_ms)
{
	for (int timer = 0; timer < count_timers(mux); timer++) {
		struct list *first;

		while ((first = mux->timers[timer].next) != &mux->timers[timer]) {
			struct conn *c = container_of(first, struct conn, mux.timer_node);

			if (c->mux.deadline_ms > now_ms)
				break;
			if (!mux_end_pending(c)) {
				mux_log_expired(mux, c);
				conn_expired(c);
				if (timer == CONN_TIMER_RST)
					mux_note_rst_alone(mux);
			}
			mux_finish(mux, c, now_ms);
		}
	}
}

uint64_t mux_next_deadline(const struct mux *mux)
{
	uint64_t next_ms = UINT64_MAX;

	for (int timer = 0; timer < count_timers(mux); timer++) {
		const struct list *head = &mux->timers[timer];

		if (!list_is_empty(head)) {
			const struct conn *c =
				container_of(head->next, struct conn, mux.timer_node);

			if (c->mux.deadline_ms < next_ms)
				next_ms = c->mux.deadline_ms;
		}
	}
	return next_ms;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	struct conn *c = s->conn;

	mux_end_pending(c);
	conn_stream_ready(c);
	mux_finish(mux, c, now_ms);
}

void mux_stream_connected(struct mux *mux, struct stream *s, struct stream *live, int error,
			  uint64_t now_ms)
{
	struct conn *c = s->conn;

	mux_end_pending(c);
	if (c->state == CONN_CONNECTING) {
		if (error)
			mux_log_refused(mux, &c->guest, &c->peer, error);
		conn_connected(c, error ? NULL : live);
	} else if (!error && live != s) {
		live->ops->close(live, false);
	}
	mux_finish(mux, c, now_ms);
}
