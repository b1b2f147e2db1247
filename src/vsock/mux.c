/* SPDX-License-Identifier: BSD-3-Clause */
/* All connections of one guest: table, routing, order, deadlines. */
#include "vsock/mux.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/error.h"
#include "util/log.h"
#include "vsock/gather.h"
#include "vsock/replies.h"
#include "vsock/shares.h"
#include "vsock/conn_table.h"

enum {
	TURNS_PER_OUTPUT = 256,			/* of connections, before the device's turn ends */
	BYTES_PER_OUTPUT = 1024 * 1024,		/* to the guest, likewise; more by a connection's turn */
	ENDS_PER_TURN = 16,			/* connections, of all that are to end */
	HOST_PORT_MIN = 1 << 30,		/* of host-initiated connections */
	HOST_PORT_COUNT = 1 << 30,
	ASK_SOON_MS = 10,			/* until a guest is asked for credit again */
	ASK_MS = 100,
	ASK_LATE_MS = 5000,
};

struct mux {
	struct mux_config config;
	struct backend *backends[MUX_BACKENDS_MAX];
	size_t n_backends;
	bool is_running;

	struct byte_budget *buffered;		/* for all connections together */
	struct conn_table table;
	size_t n_conns;				/* with orphaned ones */
	struct shares shares;			/* of those, begun by siblings */
	struct list ready;			/* conn::ready_node: has something to say */
	struct list timers[CONN_NUM_TIMERS];	/* conn::timer_node, first to expire first */
	struct list dead;			/* conn::ready_node: to be freed */
	struct list ending;			/* conn::ready_node: to be ended, as conn::ending says */
	uint32_t timer_ms[CONN_NUM_TIMERS];

	struct replies replies;			/* full: mux_is_clogged() */

	uint32_t next_port;			/* offset to HOST_PORT_MIN */
	bool ports_wrapped;

	struct gather gather;			/* payload for one connection */
	struct mux_stats stats;
	struct log_once from_guest, to_guest;	/* connects that failed, by errno */
};

int mux_new(struct mux **out, const struct mux_config *config)
{
	struct mux *mux = calloc(1, sizeof *mux);

	if (!mux)
		return -ENOMEM;
	mux->config = *config;
	mux->buffered = byte_budget_new(config->max_buffered);
	mux->gather = (struct gather){
		.scratch = &config->scratch->to_host, .is_lost = config->is_lost, .ctx = config->ctx,
	};
	list_init(&mux->ready);
	list_init(&mux->dead);
	list_init(&mux->ending);
	for (int i = 0; i < CONN_NUM_TIMERS; i++)
		list_init(&mux->timers[i]);
	shares_init(&mux->shares, (config->max_conns + 1) / 2);
	mux->timer_ms[CONN_TIMER_CONNECT] = config->connect_ms;
	mux->timer_ms[CONN_TIMER_REQUEST] = config->request_ms;
	mux->timer_ms[CONN_TIMER_LINGER] = config->linger_ms;
	mux->timer_ms[CONN_TIMER_CLOSING] = config->closing_ms;
	mux->timer_ms[CONN_TIMER_ASK_SOON] = ASK_SOON_MS;
	mux->timer_ms[CONN_TIMER_ASK] = ASK_MS;
	mux->timer_ms[CONN_TIMER_ASK_LATE] = ASK_LATE_MS;
	mux->next_port = (uint32_t)(config->first_port % HOST_PORT_COUNT);
	if (!mux->buffered || conn_table_init(&mux->table, config->hash_seed) < 0) {
		byte_budget_unref(mux->buffered);
		free(mux);
		return -ENOMEM;
	}
	*out = mux;
	return 0;
}

static void free_conn(struct mux *mux, struct conn *c)
{
	list_remove(&c->ready_node);
	list_remove(&c->timer_node);
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

uint32_t mux_window(const struct mux *mux)
{
	uint32_t size = mux->config.buf_alloc;

	return size <= UINT32_MAX / 4 ? 2 * size : size;
}

static struct conn *new_conn(struct mux *mux, const struct vsock_addr *guest,
			     const struct vsock_addr *peer, struct stream *stream)
{
	uint32_t window = stream->consumed ? mux_window(mux) : mux->config.buf_alloc;
	struct conn *c = conn_new(guest, peer, stream, window, mux->buffered);

	mux->n_conns += c != NULL;
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

void mux_get_stats(const struct mux *mux, struct mux_stats *out)
{
	*out = mux->stats;
	out->conns = mux->n_conns;
}

static bool is_named(const struct mux *mux, const struct conn *c)
{
	return conn_table_find(&mux->table, c->guest.port, &c->peer) == c;
}

static void arm(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	enum conn_timer timer = conn_timer(c);

	if (timer == c->armed && !c->timer_restart)
		return;
	c->armed = (uint8_t)timer;
	c->timer_restart = false;
	list_remove(&c->timer_node);
	if (timer == CONN_TIMER_NONE)
		return;
	c->deadline_ms = now_ms + mux->timer_ms[timer];
	list_append(&mux->timers[timer], &c->timer_node);
	mux->config.wake(mux->config.ctx);	/* it has to look at the deadlines */
}

static struct vsock_route route_of(const struct conn *c)
{
	return c->from_peer ? vsock_route(&c->peer, &c->guest) :
		vsock_route(&c->guest, &c->peer);
}

static void log_error(struct mux *mux, struct conn *c)
{
	log_limited(error_is_shortage(c->error) ? LEVEL_WARN : LEVEL_INFO, mux->config.tag,
		    "%s reset: %s", route_of(c).text, error_str(c->error));
	c->error = 0;
}

/* After every input of a connection: does what follows from its state. The
 * connection is freed by reap(), at the end of the function that got the input. */
static void settle(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	if (c->orphaned || c->state == CONN_DEAD) {
		if (is_named(mux, c))
			conn_table_remove(&mux->table, c);
	}
	arm(mux, c, now_ms);
	if (c->error)
		log_error(mux, c);
	if (c->state == CONN_DEAD) {
		list_remove(&c->ready_node);
		list_append(&mux->dead, &c->ready_node);
		return;
	}
	if (c->stream)
		c->stream->ops->wait_for(c->stream, conn_interest(c));
	if (!conn_has_output(c)) {
		list_remove(&c->ready_node);
	} else if (list_is_empty(&c->ready_node)) {
		list_append(&mux->ready, &c->ready_node);
		mux->config.wake(mux->config.ctx);
	}
}

static void reap(struct mux *mux)
{
	struct list *link;

	while ((link = list_take_first(&mux->dead)))
		free_conn(mux, container_of(link, struct conn, ready_node));
}

/* ---- ending all ---- */

enum ending { ENDING_NOT, ENDING_GUEST_GONE, ENDING_ABORT, ENDING_DROP };

static void end_one(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	static void (*const end[])(struct conn *c) = {
		[ENDING_GUEST_GONE] = conn_guest_gone, [ENDING_ABORT] = conn_abort,
		[ENDING_DROP] = conn_end,
	};
	uint8_t ending = c->ending;

	list_remove(&c->ready_node);
	c->ending = ENDING_NOT;
	end[ending](c);
	settle(mux, c, now_ms);
}

/* Whatever comes for a connection that is to end ends it. */
static void end_first(struct mux *mux, struct conn *c, uint64_t now_ms)
{
	if (c->ending)
		end_one(mux, c, now_ms);
}

bool mux_end_some(struct mux *mux, uint64_t now_ms)
{
	for (int n = 0; n < ENDS_PER_TURN && !list_is_empty(&mux->ending); n++)
		end_one(mux, container_of(mux->ending.next, struct conn, ready_node), now_ms);
	reap(mux);
	return !list_is_empty(&mux->ending);
}

/* Ends every connection that the guest knows, some of them at once. */
static void end_all(struct mux *mux, enum ending ending, uint64_t now_ms)
{
	for (struct conn *c = conn_table_next(&mux->table, NULL); c; c = conn_table_next(&mux->table, c)) {
		c->ending = (uint8_t)ending;
		list_remove(&c->ready_node);
		list_append(&mux->ending, &c->ready_node);
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

void mux_free(struct mux *mux)
{
	struct list *link;

	if (!mux)
		return;
	mux_reset(mux, 0);			/* leaves those that drain: they have a timer */
	while (mux_end_some(mux, 0))
		;
	while ((link = list_take_first(&mux->timers[CONN_TIMER_LINGER])))
		free_conn(mux, container_of(link, struct conn, timer_node));
	assert(mux->n_conns == 0);
	conn_table_deinit(&mux->table);
	replies_deinit(&mux->replies);
	byte_budget_unref(mux->buffered);
	free(mux);
}

static void reply_rst(struct mux *mux, const struct pkt *pkt)
{
	replies_add(&mux->replies, pkt);
	mux->config.wake(mux->config.ctx);
}

bool mux_is_clogged(const struct mux *mux)
{
	return mux->replies.n == REPLIES_MAX;
}

static struct backend *route(const struct mux *mux, uint64_t cid)
{
	for (size_t i = 0; i < mux->n_backends; i++)
		if (mux->backends[i]->ops->serves(mux->backends[i], cid))
			return mux->backends[i];
	return NULL;
}

static bool is_full(const struct mux *mux)
{
	return mux->n_conns >= mux->config.max_conns;
}

/* The guest's connect failed: says why, and the first time for each reason, what to do. */
static void log_refused(struct mux *mux, const struct vsock_addr *src,
			const struct vsock_addr *dst, int error)
{
	bool is_first = log_once_pass(&mux->from_guest, (unsigned)-error);
	struct backend *b = route(mux, dst->cid);
	char why[320];

	if (!is_first)
		snprintf(why, sizeof why, "%s", error_str(error));
	else if (!b)
		snprintf(why, sizeof why, "nobody has CID %llu: the host is CID 2, siblings "
			 "are VMs of this process", (unsigned long long)dst->cid);
	else if (error == -ENOBUFS && is_full(mux))
		snprintf(why, sizeof why, "the guest has %zu connections, as many as "
			 "max-connections lets it have", mux->n_conns);
	else
		b->ops->explain(b, dst, error, why, sizeof why);
	log_noted(is_first, mux->config.tag, "%s refused: %s", vsock_route(src, dst).text, why);
}

/* A guest wants to connect. 0 or -errno, which the guest sees as RST. */
static int on_request(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	struct backend *b = route(mux, pkt->dst.cid);
	struct stream *stream;
	struct conn *c;
	int r;

	if (!b)
		return -ENETUNREACH;
	if (is_full(mux))
		return -ENOBUFS;
	r = b->ops->connect(b, &pkt->src, &pkt->dst, &stream);
	if (r < 0)
		return r;
	c = new_conn(mux, &pkt->src, &pkt->dst, stream);
	if (!c) {
		stream->ops->close(stream, false);
		return -ENOMEM;
	}
	conn_table_add(&mux->table, c);
	conn_begin_connecting(c, pkt);
	if (r == 0)
		conn_connected(c, 0);
	settle(mux, c, now_ms);
	return 0;
}

/* A packet of no connection. */
static void on_stray(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	int r;

	if (pkt->op == VSOCK_OP_RST)
		return;
	if (pkt->op != VSOCK_OP_REQUEST || pkt->type != VSOCK_TYPE_STREAM) {
		mux->stats.stray++;
		reply_rst(mux, pkt);
		return;
	}
	r = on_request(mux, pkt, now_ms);
	if (r < 0) {
		mux->stats.refused++;
		log_refused(mux, &pkt->src, &pkt->dst, r);
		reply_rst(mux, pkt);
	}
}

void mux_flush(struct mux *mux, uint64_t now_ms)
{
	struct conn *c = gather_flush(&mux->gather);

	if (!c)
		return;
	settle(mux, c, now_ms);
	reap(mux);
}

static void trace(void *ctx, const struct pkt *pkt)
{
	const struct mux *mux = ctx;

	log_at(LEVEL_TRACE, mux->config.tag, "%s %s, len %u, type %u, flags %u, buf_alloc %u, "
	       "fwd_cnt %u", vsock_route(&pkt->src, &pkt->dst).text, pkt_str_op(pkt->op),
	       pkt->len, pkt->type, pkt->flags, pkt->buf_alloc, pkt->fwd_cnt);
}

/* The guest answers a connect with RST: mostly nobody listens there. */
static void log_guest_refuses(struct mux *mux, const struct conn *c)
{
	log_first(&mux->to_guest, ECONNREFUSED, mux->config.tag, "%s refused by the guest: "
		  "nobody in it listens on vsock port %u", route_of(c).text, c->guest.port);
}

void mux_input(struct mux *mux, const struct pkt *pkt, struct iov_cur *payload, uint64_t now_ms)
{
	struct conn *c;

	if (log_level >= LEVEL_TRACE)
		trace(mux, pkt);
	if (pkt->src.cid != mux->config.guest_cid) {
		mux->stats.bad_source++;
		log_guest(mux->config.tag, "packet from cid %llu dropped",
			  (unsigned long long)pkt->src.cid);
		return;
	}
	c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);
	if (mux->gather.conn && (mux->gather.conn != c || pkt->op != VSOCK_OP_RW)) {
		mux_flush(mux, now_ms);		/* may end c */
		c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);
	}
	if (c && c->ending) {
		end_one(mux, c, now_ms);
		reap(mux);
		c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);
	}
	if (!c) {
		on_stray(mux, pkt, now_ms);
		reap(mux);
		return;
	}
	if (pkt->op == VSOCK_OP_RST && c->state == CONN_REQUESTED)
		log_guest_refuses(mux, c);
	if (pkt->type != VSOCK_TYPE_STREAM && pkt->op != VSOCK_OP_RST)
		conn_reset(c);
	else if (conn_input(c, pkt))
		gather_add(&mux->gather, c, payload, pkt->len);
	if (mux->gather.conn == c) {
		if (c->state == CONN_OPEN)
			return;			/* settled by the flush */
		gather_clear(&mux->gather);
	}
	settle(mux, c, now_ms);
	reap(mux);
}

void mux_input_cut(struct mux *mux, const struct pkt *pkt, uint64_t now_ms)
{
	struct conn *c;

	if (pkt->src.cid != mux->config.guest_cid || pkt->op != VSOCK_OP_RW)
		return;
	mux_flush(mux, now_ms);			/* what came before is delivered */
	c = conn_table_find(&mux->table, pkt->src.port, &pkt->dst);
	if (!c)
		return;
	conn_reset(c);
	settle(mux, c, now_ms);
	reap(mux);
}

int mux_output(struct mux *mux, const struct rx_sink *rx, uint64_t now_ms)
{
	struct rx_sink traced = *rx;
	size_t moved = 0;

	if (log_level >= LEVEL_TRACE) {
		traced.trace = trace;
		traced.trace_ctx = mux;
		rx = &traced;
	}
	if (!replies_send(&mux->replies, rx))
		return MUX_E_STARVED;
	for (int turn = 0; turn < TURNS_PER_OUTPUT && moved < BYTES_PER_OUTPUT; turn++) {
		struct list *link = mux->ready.next;
		struct conn *c;
		int r;

		if (link == &mux->ready)
			return 0;
		c = container_of(link, struct conn, ready_node);
		r = conn_output(c, rx, mux->config.scratch->to_guest, MUX_IOVS, &moved);
		if (r)
			list_remove(link);	/* settle() puts it behind the others */
		settle(mux, c, now_ms);
		reap(mux);
		if (r == CONN_E_STARVED)
			return MUX_E_STARVED;
		if (r == CONN_E_MORE)
			return MUX_E_MORE;
	}
	return MUX_E_MORE;
}

bool mux_has_output(const struct mux *mux)
{
	return mux->replies.n || !list_is_empty(&mux->ready);
}

static void log_expired(struct mux *mux, const struct conn *c)
{
	if (c->state == CONN_LINGERING)
		log_limited(LEVEL_INFO, mux->config.tag,
			    "%s: %u bytes given up, the host does not read", route_of(c).text,
			    c->to_host.len);
	else if (c->state == CONN_CONNECTING)
		log_refused(mux, &c->guest, &c->peer, -ETIMEDOUT);
	else if (c->state == CONN_REQUESTED)
		log_first(&mux->to_guest, ETIMEDOUT, mux->config.tag, "%s refused: the guest "
			  "has not answered for %u ms; does it hang, or has it lost its vsock "
			  "driver?", route_of(c).text, mux->config.request_ms);
}

/* A guest that stands still is not asked: those timers come last, and rest then. */
static int count_timers(const struct mux *mux)
{
	return mux->is_running ? CONN_NUM_TIMERS : CONN_TIMER_ASK_SOON;
}

void mux_expire(struct mux *mux, uint64_t now_ms)
{
	for (int timer = 0; timer < count_timers(mux); timer++) {
		struct list *first;

		while ((first = mux->timers[timer].next) != &mux->timers[timer]) {
			struct conn *c = container_of(first, struct conn, timer_node);

			if (c->deadline_ms > now_ms)
				break;
			end_first(mux, c, now_ms);
			if (c->state == CONN_DEAD || (int)conn_timer(c) != timer)
				continue;
			log_expired(mux, c);
			conn_expired(c);
			settle(mux, c, now_ms);
		}
	}
	reap(mux);
}

uint64_t mux_next_deadline(const struct mux *mux)
{
	uint64_t next_ms = UINT64_MAX;

	for (int timer = 0; timer < count_timers(mux); timer++) {
		const struct list *head = &mux->timers[timer];

		if (!list_is_empty(head)) {
			uint64_t ms = container_of(head->next, struct conn, timer_node)->deadline_ms;

			if (ms < next_ms)
				next_ms = ms;
		}
	}
	return next_ms;
}

/* Never one that is in use: once the numbers have come round, each is looked up.
 * Before, the guest may have guessed it and taken just this name. */
static uint32_t take_port(struct mux *mux, uint64_t host_cid, uint32_t guest_port)
{
	for (;;) {
		struct vsock_addr host = { host_cid, HOST_PORT_MIN + mux->next_port };

		if (++mux->next_port == HOST_PORT_COUNT) {
			mux->next_port = 0;
			mux->ports_wrapped = true;
		}
		if (conn_table_find(&mux->table, guest_port, &host))
			continue;
		if (!mux->ports_wrapped || !conn_table_find_peer(&mux->table, &host))
			return host.port;
	}
}

/* @peer: who calls; 0 or -errno as for mux_connect_from_host(). */
static int connect_guest(struct mux *mux, struct stream *stream, const struct vsock_addr *peer,
			 enum share share, uint32_t port, uint64_t now_ms)
{
	struct vsock_addr guest = { mux->config.guest_cid, port };
	struct conn *c = new_conn(mux, &guest, peer, stream);

	if (!c)
		return -ENOMEM;
	shares_take(&mux->shares, c, share);
	conn_table_add(&mux->table, c);
	conn_begin_requested(c);
	settle(mux, c, now_ms);
	return 0;
}

static int can_be_called(const struct mux *mux)
{
	if (!mux->is_running)
		return -ENOTCONN;
	return is_full(mux) ? -ENOBUFS : 0;
}

/* A host program may well call again and again until the guest has booted. */
static void log_call_refused(struct mux *mux, uint64_t cid, uint32_t port, int error)
{
	if (error == -ENOTCONN)
		log_first(&mux->to_guest, ENOTCONN, mux->config.tag, "connect from CID %llu to "
			  "port %u refused: no guest is running, or its vsock driver has not "
			  "started the device yet", (unsigned long long)cid, port);
	else
		log_limited(error_is_shortage(error) ? LEVEL_WARN : LEVEL_DEBUG, mux->config.tag,
			    "connect from CID %llu to port %u refused: %s",
			    (unsigned long long)cid, port, error_str(error));
}

int mux_connect_from_host(struct mux *mux, struct stream *stream, uint64_t host_cid,
			  uint32_t port, uint64_t now_ms)
{
	struct vsock_addr peer = { .cid = host_cid };
	int r = can_be_called(mux);

	if (!r) {
		peer.port = take_port(mux, host_cid, port);
		r = connect_guest(mux, stream, &peer, SHARE_NONE, port, now_ms);
	}
	if (r < 0)
		log_call_refused(mux, host_cid, port, r);
	return r;
}

int mux_connect_from_sibling(struct mux *mux, struct stream *stream,
			     const struct vsock_addr *from, uint32_t port, uint64_t now_ms)
{
	enum share share = shares_find(&mux->shares, from->cid);
	int r = can_be_called(mux);

	if (!r && share == SHARE_NONE)
		r = -ENOBUFS;
	if (!r && conn_table_find(&mux->table, port, from))
		r = -EADDRINUSE;
	if (!r)
		r = connect_guest(mux, stream, from, share, port, now_ms);
	if (r < 0)
		log_call_refused(mux, from->cid, port, r);
	return r;
}

void mux_stream_ready(struct mux *mux, struct stream *s, uint64_t now_ms)
{
	struct conn *c = s->conn;

	end_first(mux, c, now_ms);
	conn_stream_ready(c);
	settle(mux, c, now_ms);
	reap(mux);
}

void mux_stream_connected(struct mux *mux, struct stream *s, int error, uint64_t now_ms)
{
	struct conn *c = s->conn;

	end_first(mux, c, now_ms);
	if (error < 0 && c->state == CONN_CONNECTING)
		log_refused(mux, &c->guest, &c->peer, error);
	conn_connected(c, error);
	settle(mux, c, now_ms);
	reap(mux);
}
