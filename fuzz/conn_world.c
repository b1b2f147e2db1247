/* SPDX-License-Identifier: BSD-3-Clause */
/* What a mux is told and what it says, checked against each other. */
#include "conn_world.h"

#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/list.h"
#include "vsock/conn.h"

struct fuzz_stream {
	struct stream base;
	struct world *world;
	struct side *side;
};

static uint8_t pattern(const struct world *w, const struct side *side, uint64_t at, int way)
{
	uint64_t h = ((uint64_t)(side - w->sides) * 2 + (uint64_t)way) * 0x9e3779b9 + at;

	return (uint8_t)(h ^ h >> 8 ^ h >> 16);
}

/* ---- streams ---- */

static const struct stream_ops fuzz_ops;

static struct fuzz_stream *stream_of(struct stream *base)
{
	assert(base->ops == &fuzz_ops);
	return container_of(base, struct fuzz_stream, base);
}

static int fuzz_read(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	size_t total = 0;

	assert(nv > 0 && !side->has_ended);
	for (int i = 0; i < nv; i++) {
		assert(v[i].iov_len > 0);
		for (size_t k = 0; k < v[i].iov_len && side->to_give; k++, side->to_give--) {
			((uint8_t *)v[i].iov_base)[k] = pattern(s->world, side, side->given++, 0);
			total++;
		}
	}
	*n = total;
	if (total)
		return 0;
	base->ready &= ~(unsigned)STREAM_IN;
	side->has_ended = side->end != 0;
	return side->end ? side->end : STREAM_E_AGAIN;
}

static int fuzz_write(struct stream *base, const struct iovec *v, int nv, size_t *n)
{
	struct fuzz_stream *s = stream_of(base);
	struct side *side = s->side;
	size_t total = 0;

	assert(nv > 0 && nv <= MUX_IOVS);
	if (side->write_error) {
		side->is_deaf = true;
		return side->write_error;
	}
	for (int i = 0; i < nv; i++)
		for (size_t k = 0; k < v[i].iov_len && side->takes; k++, side->takes--) {
			assert(((uint8_t *)v[i].iov_base)[k] ==
			       pattern(s->world, side, side->written, 1));
			side->written++;
			total++;
		}
	assert(side->written <= side->sent);
	*n = total;
	if (!side->takes)			/* a short write tells that it is full */
		base->ready &= ~(unsigned)STREAM_OUT;
	return total ? 0 : STREAM_E_AGAIN;
}

static int fuzz_shutdown(struct stream *base, int how)
{
	(void)stream_of(base);
	(void)how;
	return 0;
}

static void fuzz_accepted(struct stream *base, const struct vsock_addr *guest)
{
	struct side *side = stream_of(base)->side;

	assert(!side->is_open && guest->port == side->guest_port);
	side->is_open = true;
}

static void fuzz_wait_for(struct stream *base, unsigned events)
{
	stream_of(base)->side->waits_for = events;
}

static void fuzz_close(struct stream *base, bool is_orderly)
{
	struct fuzz_stream *s = stream_of(base);

	assert(!is_orderly || s->side->is_deaf || s->side->written == s->side->sent);
	s->side->stream = NULL;
	free(s);
}

static const struct stream_ops fuzz_ops = {
	.name = "fuzz", .read = fuzz_read, .write = fuzz_write, .shutdown = fuzz_shutdown,
	.accepted = fuzz_accepted, .wait_for = fuzz_wait_for, .close = fuzz_close,
};

/* NULL: there were enough. */
static struct side *new_side(struct world *w, uint32_t guest_port, uint32_t peer_port)
{
	struct side *side = &w->sides[w->n_sides];
	struct fuzz_stream *s;

	if (w->n_sides == SIDES)
		return NULL;
	s = calloc(1, sizeof *s);
	if (!s)
		abort();
	w->n_sides++;
	*side = (struct side){ .guest_port = guest_port, .peer_port = peer_port, .stream = s };
	*s = (struct fuzz_stream){ .base.ops = &fuzz_ops, .base.ready = STREAM_OUT,
		.world = w, .side = side };
	return side;
}

struct side *world_side_of(struct world *w, const struct slot *slot)
{
	for (size_t i = w->n_sides; i > 0; i--) {
		struct side *side = &w->sides[i - 1];

		if (side->guest_port == slot->guest_port && side->peer_port == slot->peer_port)
			return side;
	}
	return NULL;
}

/* ---- what must hold between any two steps ---- */

static void check_side(const struct side *side)
{
	const struct conn *c = side->stream ? side->stream->base.conn : NULL;

	if (!c || side->is_pending)
		return;
	assert(side->waits_for == conn_interest(c));
	assert(c->to_host.len <= c->credit.buf_alloc);
	assert(side->is_deaf || side->sent - side->written >= c->to_host.len);
	if (c->state == CONN_OPEN && !side->is_deaf)
		assert(side->sent - side->written == c->to_host.len);
	if (side->waits_for & STREAM_OUT)
		assert(!(side->stream->base.ready & STREAM_OUT));
	assert((conn_timer(c) != CONN_TIMER_NONE) == !list_is_empty(&c->timer_link));
}

static void check_world(struct world *w)
{
	struct mux_stats stats;

	for (size_t i = 0; i < w->n_sides; i++)
		check_side(&w->sides[i]);
	mux_get_stats(w->mux, &stats);
	assert(stats.conns <= MAX_CONNS);
	if (!stats.conns)
		assert(mux_next_deadline(w->mux) == UINT64_MAX);
	assert(mux_next_deadline(w->mux) > w->now_ms);
}

/* ---- the guest speaks ---- */

static void input(struct world *w, const struct slot *slot, struct pkt *pkt, struct iovec *iov)
{
	struct side *side = world_side_of(w, slot);
	struct mux_stats before, after;
	struct iov_cur cur;

	pkt->src = (struct vsock_addr){ 3, slot->guest_port };
	pkt->dst = (struct vsock_addr){ VSOCK_CID_HOST, slot->peer_port };
	pkt->buf_alloc = slot->buf_alloc;
	pkt->fwd_cnt = (side ? (uint32_t)side->received : 0) + slot->lie;
	if (side && pkt->op != VSOCK_OP_RST && pkt->type == VSOCK_TYPE_STREAM && !side->is_gone) {
		side->buf_alloc = pkt->buf_alloc;
		side->fwd_cnt = pkt->fwd_cnt;
	}
	if (side && pkt->op == VSOCK_OP_RST)
		side->is_gone = true;
	if (side && pkt->op == VSOCK_OP_SHUTDOWN && pkt->type == VSOCK_TYPE_STREAM)
		side->guest_is_done |= pkt->flags & VSOCK_SHUTDOWN_SEND;
	iov_cur_init(&cur, iov, 1);
	mux_get_stats(w->mux, &before);
	mux_input(w->mux, pkt, &cur, w->now_ms);
	mux_get_stats(w->mux, &after);
	w->strays_due += after.stray + after.refused - before.stray - before.refused;
	assert(pkt->op != VSOCK_OP_RST || after.stray == before.stray);
}

void world_guest_says(struct world *w, struct slot *slot, uint16_t type, uint16_t op,
		      uint32_t flags)
{
	struct pkt pkt = { .type = type, .op = op, .flags = flags };
	struct iovec none = { "", 0 };

	input(w, slot, &pkt, &none);
}

/* Bytes that the guest may still send, as it was told. */
static uint32_t guest_room(const struct world *w, const struct side *side)
{
	uint32_t in_flight = (uint32_t)side->sent - side->told_fwd_cnt;

	return in_flight < w->buf_alloc ? w->buf_alloc - in_flight : 0;
}

void world_guest_rw(struct world *w, struct slot *slot, uint32_t len, bool is_honest)
{
	struct side *side = world_side_of(w, slot);
	struct pkt pkt = { .type = VSOCK_TYPE_STREAM, .op = VSOCK_OP_RW };
	uint8_t *bytes;

	if (side && is_honest && len > guest_room(w, side))
		len = guest_room(w, side);
	bytes = malloc(len ? len : 1);
	if (!bytes)
		abort();
	if (w->n_payload == sizeof w->payload / sizeof w->payload[0])
		world_flush(w);
	w->payload[w->n_payload++] = bytes;
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = side ? pattern(w, side, side->sent + i, 1) : 0;
	if (side && !side->guest_is_done)	/* else they must never arrive */
		side->sent += len;
	pkt.len = len;
	input(w, slot, &pkt, &(struct iovec){ bytes, len });
}

void world_flush(struct world *w)
{
	mux_flush(w->mux, w->now_ms);
	while (w->n_payload)
		free(w->payload[--w->n_payload]);
	check_world(w);
}

/* ---- the mux speaks ---- */

/* The connection that a packet to the guest is of. */
static struct side *side_of_pkt(struct world *w, const struct pkt *pkt)
{
	struct slot name = { .guest_port = pkt->dst.port, .peer_port = pkt->src.port };
	struct slot unnamed = { .guest_port = pkt->dst.port, .peer_port = 0 };
	struct side *side;

	if (pkt->op != VSOCK_OP_REQUEST)
		return world_side_of(w, &name);
	side = world_side_of(w, &unnamed);
	assert(side);
	side->peer_port = pkt->src.port;
	for (int i = 0; i < SLOTS; i++)
		if (w->slots[i].guest_port == side->guest_port)
			w->slots[i].peer_port = side->peer_port;
	return side;
}

static void on_data(struct world *w, struct side *side, const struct pkt *pkt,
		    struct iov_cur *cur)
{
	uint8_t byte;

	assert(!(side->said & VSOCK_SHUTDOWN_SEND));
	assert(side->received + pkt->len <= side->given);
	for (uint32_t i = 0; i < pkt->len; i++) {
		assert(iov_cur_get(cur, &byte, 1));
		assert(byte == pattern(w, side, side->received++, 0));
	}
	assert((uint32_t)side->received - side->fwd_cnt <= side->buf_alloc);
}

static void on_packet(struct world *w, const struct pkt *pkt, struct iov_cur *cur)
{
	struct side *side;

	assert(pkt->src.cid == VSOCK_CID_HOST && pkt->dst.cid == 3);
	if (!pkt->buf_alloc) {			/* to a packet of no connection */
		assert(pkt->op == VSOCK_OP_RST && !pkt->len && w->strays_due);
		w->strays_due--;
		return;
	}
	side = side_of_pkt(w, pkt);
	assert(side && !side->is_gone);
	assert(pkt->type == VSOCK_TYPE_STREAM && pkt->buf_alloc == w->buf_alloc);
	if (side->stream && !side->is_deaf)
		assert(pkt->fwd_cnt == (uint32_t)side->written);
	assert(pkt->fwd_cnt <= side->sent);
	side->told_fwd_cnt = pkt->fwd_cnt;
	assert(pkt->op == VSOCK_OP_RW || !pkt->len);
	switch (pkt->op) {
	case VSOCK_OP_REQUEST:
		assert(!side->is_open);
		return;
	case VSOCK_OP_RESPONSE:
		assert(!side->is_open);
		side->is_open = true;
		return;
	case VSOCK_OP_RST:
		side->is_gone = true;
		return;
	case VSOCK_OP_SHUTDOWN:
		assert(side->is_open && pkt->flags & ~(uint32_t)side->said);
		assert(!(pkt->flags & VSOCK_SHUTDOWN_SEND) || side->received == side->given);
		side->said |= (uint8_t)pkt->flags;
		return;
	case VSOCK_OP_RW:
		assert(side->is_open);
		on_data(w, side, pkt, cur);
		return;
	default:
		assert(side->is_open && pkt->op >= VSOCK_OP_CREDIT_UPDATE &&
		       pkt->op <= VSOCK_OP_CREDIT_REQUEST);
	}
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	struct world *w = ctx;

	assert(want > 0 && want <= RX_BORROW_MAX);
	w->rx_lent = want < w->rx_left ? want : w->rx_left;
	*bufs = w->rx_bufs;
	return w->rx_lent;
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	struct world *w = ctx;

	assert(n > 0 && n <= w->rx_lent);
	for (size_t i = 0; i < n; i++) {
		struct iov_cur cur;
		struct pkt pkt;

		iov_cur_init(&cur, w->rx_bufs[i].iov, w->rx_bufs[i].n);
		if (pkt_parse(&pkt, &cur))
			abort();
		assert(lens[i] == PKT_HDR_SIZE + pkt.len);
		on_packet(w, &pkt, &cur);
	}
	w->rx_left -= n;
	w->rx_lent = 0;
}

void world_output(struct world *w, size_t n_bufs)
{
	struct rx_port port = { .borrow = borrow, .used = used, .ctx = w };
	int r;

	w->rx_left = n_bufs;
	while ((r = mux_output(w->mux, &port, w->now_ms)) == MUX_E_MORE)
		;
	check_world(w);
	if (r == MUX_E_STARVED) {
		assert(!w->rx_left && mux_has_output(w->mux));
		return;
	}
	assert(!mux_has_output(w->mux) && !w->strays_due);
	for (size_t i = 0; i < w->n_sides; i++)
		if (w->sides[i].stream && w->sides[i].waits_for & STREAM_IN)
			assert(!(w->sides[i].stream->base.ready & STREAM_IN));
}

/* ---- the host, and time ---- */

void side_ready(struct world *w, struct side *side, unsigned events)
{
	side->stream->base.ready |= events;
	mux_stream_ready(w->mux, &side->stream->base, w->now_ms);
	check_world(w);
}

void world_host_connects(struct world *w, struct slot *slot)
{
	struct slot unnamed = { .guest_port = slot->guest_port, .peer_port = 0 };
	struct side *side = world_side_of(w, &unnamed);

	if (side && side->stream)		/* REQUEST not said yet: one at a time */
		return;
	if (side)
		side->guest_port = 0;		/* never will be */
	side = new_side(w, slot->guest_port, 0);
	if (!side)
		return;
	side->is_live = true;
	if (mux_connect_guest(w->mux, &side->stream->base, NULL, slot->guest_port,
			      w->now_ms)) {
		side->stream->base.ops->close(&side->stream->base, false);
		side->guest_port = 0;
	}
	check_world(w);
}

void world_connected(struct world *w, struct side *side, int error)
{
	if (!side || !side->stream || !side->is_pending)
		return;
	side->is_pending = false;
	side->is_live = true;
	mux_stream_connected(w->mux, &side->stream->base, error, w->now_ms);
	assert(!error || !side->stream);
	check_world(w);
}

void world_time(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	mux_expire(w->mux, w->now_ms);
	check_world(w);
}

void world_reset(struct world *w)
{
	mux_reset(w->mux, w->now_ms);
	w->strays_due = 0;
	for (size_t i = 0; i < w->n_sides; i++)
		w->sides[i].is_gone = true;
	check_world(w);
}

void world_abort(struct world *w)
{
	mux_abort(w->mux, w->now_ms);
	check_world(w);
}

static bool fuzz_serves(struct backend *b, uint64_t cid)
{
	(void)b;
	return cid == VSOCK_CID_HOST;
}

static int fuzz_connect(struct backend *b, const struct vsock_addr *src,
			const struct vsock_addr *dst, struct stream **out)
{
	struct world *w = container_of(b, struct world, backend);
	struct side *side;

	if (w->connect_result < 0)
		return w->connect_result;
	side = new_side(w, src->port, dst->port);
	if (!side)
		return -EMFILE;
	side->is_pending = w->connect_result == BACKEND_E_PENDING;
	side->is_live = !side->is_pending;
	for (int i = 0; i < SLOTS; i++)
		if (w->slots[i].guest_port == src->port)
			side->buf_alloc = w->slots[i].buf_alloc;
	*out = &side->stream->base;
	return w->connect_result;
}

static const struct backend_ops fuzz_backend_ops = {
	.name = "fuzz", .serves = fuzz_serves, .connect = fuzz_connect,
};

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void rx_init(struct world *w, size_t size, unsigned piece)
{
	size_t cut = piece * (size / 4) / 128 + 1;

	w->rx_size = size;
	w->rx_memory = malloc(size * RX_BORROW_MAX);
	if (!w->rx_memory)
		abort();
	for (size_t i = 0; i < RX_BORROW_MAX; i++) {
		uint8_t *at = w->rx_memory + i * size;

		w->rx_iovs[i][0] = (struct iovec){ at, cut };
		w->rx_iovs[i][1] = (struct iovec){ at + cut, cut };
		w->rx_iovs[i][2] = (struct iovec){ at + 2 * cut, size - 2 * cut };
		w->rx_bufs[i] = (struct rx_buf){ w->rx_iovs[i], 3, size };
		if (piece > 200) {
			w->rx_iovs[i][0] = (struct iovec){ at, size };
			w->rx_bufs[i].n = 1;
		}
	}
}

void world_init(struct world *w, uint32_t buf_alloc, size_t rx_size, unsigned rx_piece)
{
	struct mux_config config = {
		.guest_cid = 3, .buf_alloc = buf_alloc, .max_conns = MAX_CONNS, .max_buffered = 1 << 26,
		.request_ms = 2000, .linger_ms = 30000, .closing_ms = 10000, .hash_seed = 42,
		.tag = "fuzz", .scratch = &w->scratch, .wake = on_wake,
	};

	memset(w, 0, sizeof *w);
	w->backend.ops = &fuzz_backend_ops;
	w->buf_alloc = buf_alloc;
	w->now_ms = 1;
	for (uint32_t i = 0; i < SLOTS; i++)
		w->slots[i] = (struct slot){
			.guest_port = 1000 + i, .peer_port = 80, .buf_alloc = 65536,
		};
	if (mux_new(&w->mux, &config))
		abort();
	mux_add_backend(w->mux, &w->backend);
	mux_set_running(w->mux, true);
	rx_init(w, rx_size, rx_piece);
}

/* Nothing survives a guest that is gone and a linger without progress. */
void world_deinit(struct world *w)
{
	struct mux_stats stats;

	world_flush(w);
	world_reset(w);
	world_time(w, 30000);
	mux_get_stats(w->mux, &stats);
	assert(stats.conns == 0);
	for (size_t i = 0; i < w->n_sides; i++)
		assert(!w->sides[i].stream);
	mux_free(w->mux);
	free(w->rx_memory);
}
