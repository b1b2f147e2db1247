/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest speaks, and is spoken to. */
#include "guest.h"

#include <stdlib.h>

/* What a connection learns from the packet: the guest's credit. */
static void note_credit(struct side *side, const struct pkt *pkt)
{
	side->buf_alloc = pkt->buf_alloc;
	side->fwd_cnt = pkt->fwd_cnt;
	if (side->fwd_cnt == (uint32_t)side_consumed(side))
		side->owes_credit = false;
}

/* What has begun and has not ended by then never arrives. */
static void note_shutdown(struct side *side, uint32_t flags)
{
	side->guest_said |= flags & VSOCK_SHUTDOWN_BOTH;
	if (!(flags & VSOCK_SHUTDOWN_SEND))
		return;
	side->out->sent -= side->out->begun;
	side->out->begun = 0;
}

static void input(struct vm *vm, const struct slot *slot, struct pkt *pkt, struct iovec *iov)
{
	struct side *side = side_find(vm, slot->guest_port, &slot->peer);
	struct mux_stats before, after;
	struct iov_cur cur;

	pkt->src = (struct vsock_addr){ vm->cid, slot->guest_port };
	pkt->dst = slot->peer;
	pkt->buf_alloc = slot->buf_alloc;
	pkt->fwd_cnt = (side ? (uint32_t)side_consumed(side) : 0) + slot->lie;
	if (side && pkt->op != VSOCK_OP_RST && pkt->type == side->type && !side->is_gone)
		note_credit(side, pkt);
	if (side && pkt->op == VSOCK_OP_RST)
		side->is_gone = true;
	if (side && pkt->op == VSOCK_OP_SHUTDOWN && pkt->type == side->type)
		note_shutdown(side, pkt->flags);
	if (side && pkt->op == VSOCK_OP_RESPONSE && side->is_asked && !side->is_gone)
		side->is_open = true;
	iov_cur_init(&cur, iov, 1);
	mux_get_stats(vm->mux, &before);
	mux_input(vm->mux, pkt, &cur, vm->book->now_ms);
	mux_get_stats(vm->mux, &after);
	vm->strays_due += after.stray + after.refused - before.stray - before.refused;
	assert(pkt->op != VSOCK_OP_RST || after.stray == before.stray);
	/* One that the guest has closed, and has now forgotten. */
	if (side && side->guest_said == VSOCK_SHUTDOWN_BOTH && pkt->op == VSOCK_OP_REQUEST &&
	    (after.refused != before.refused || side_find(vm, slot->guest_port, &slot->peer) != side))
		side->is_gone = true;
	if (side_find(vm, slot->guest_port, &slot->peer) != side)
		note_credit(side_find(vm, slot->guest_port, &slot->peer), pkt);
}

enum vsock_type guest_type(struct vm *vm, const struct slot *slot)
{
	const struct side *side = side_find(vm, slot->guest_port, &slot->peer);

	return side ? side->type : VSOCK_TYPE_STREAM;
}

void guest_says(struct vm *vm, struct slot *slot, unsigned type, uint16_t op, uint32_t flags)
{
	struct pkt pkt = { .type = (uint16_t)type, .op = op, .flags = flags };
	struct iovec none = { "", 0 };

	input(vm, slot, &pkt, &none);
}

/* Bytes that the guest may have on the way. */
static uint32_t window_of(const struct side *side)
{
	return side->peer.cid == VSOCK_CID_HOST ? side->vm->book->buf_alloc :
		mux_window(side->vm->mux);
}

uint32_t guest_room(const struct side *side)
{
	uint32_t in_flight = (uint32_t)side->out->sent - side->reported_fwd_cnt;
	uint32_t window = window_of(side);

	return in_flight < window ? window - in_flight : 0;
}

static void note_sent(struct side *side, uint32_t len, uint32_t flags)
{
	struct flow *out = side->out;

	out->sent += len;
	if (side->type != VSOCK_TYPE_SEQPACKET)
		return;
	out->begun += len;
	if (!(flags & VSOCK_SEQ_EOM))
		return;
	flow_add_message(out, out->begun, flags & VSOCK_SEQ_EOR);
	out->n_sent++;
	out->begun = 0;
}

void guest_rw(struct vm *vm, struct slot *slot, uint32_t len, bool is_honest, uint32_t flags)
{
	struct side *side = side_find(vm, slot->guest_port, &slot->peer);
	struct pkt pkt = {
		.type = (uint16_t)guest_type(vm, slot), .op = VSOCK_OP_RW, .flags = flags,
	};
	uint8_t *bytes;

	if (side && is_honest && len > guest_room(side)) {
		len = guest_room(side);
		pkt.flags = 0;
	}
	bytes = malloc(len ? len : 1);
	if (!bytes)
		abort();
	assert(vm->n_payload < PAYLOADS);
	vm->payload[vm->n_payload++] = bytes;
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = side ? flow_byte(vm->book, side->out, side->out->sent + i) : 0;
	if (side && !side->is_gone && !(side->guest_said & VSOCK_SHUTDOWN_SEND))
		note_sent(side, len, pkt.flags);	/* else they must never arrive */
	pkt.len = len;
	input(vm, slot, &pkt, &(struct iovec){ bytes, len });
}

void guest_flush(struct vm *vm)
{
	mux_flush(vm->mux, vm->book->now_ms);
	while (vm->n_payload)
		free(vm->payload[--vm->n_payload]);
}

void guest_reset(struct vm *vm)
{
	struct ledger *book = vm->book;

	mux_reset(vm->mux, book->now_ms);
	vm->strays_due = 0;
	for (size_t i = 0; i < book->n_sides; i++)
		book->sides[i].is_gone |= book->sides[i].vm == vm;
}

void guest_abort(struct vm *vm)
{
	mux_abort(vm->mux, vm->book->now_ms);
}

/* ---- the mux speaks ---- */

/* The connection that a packet to the guest is of. The port of a host program is
 * first heard of in its REQUEST. */
static struct side *side_of(struct vm *vm, const struct pkt *pkt)
{
	const struct vsock_addr unnamed = { VSOCK_CID_HOST, 0 };
	struct side *side;

	if (pkt->op != VSOCK_OP_REQUEST || pkt->src.cid != VSOCK_CID_HOST)
		return side_find(vm, pkt->dst.port, &pkt->src);
	side = side_find(vm, pkt->dst.port, &unnamed);
	assert(side);
	side->peer = pkt->src;
	for (unsigned i = 0; i < vm->n_slots; i++)
		if (vm->slots[i].guest_port == side->guest_port)
			vm->slots[i].peer = side->peer;
	return side;
}

/* A message arrives as it was sent, in whatever many packets. */
static void on_part(struct side *side, const struct pkt *pkt)
{
	const struct message *m = flow_next(side->in);
	uint64_t part = side->in->arrived - side->in->whole;

	assert(m && part <= m->len && (pkt->len || !m->len));
	if (part < m->len) {
		assert(!pkt->flags);
		return;
	}
	assert(pkt->flags == (VSOCK_SEQ_EOM | (m->is_record ? VSOCK_SEQ_EOR : 0u)));
	flow_message_arrived(side->in);
}

static void on_data(struct side *side, const struct pkt *pkt, struct iov_cur *cur)
{
	struct flow *in = side->in;
	uint8_t byte;

	assert(!(side->said & VSOCK_SHUTDOWN_SEND));
	assert(in->arrived + pkt->len <= in->sent);
	for (uint32_t i = 0; i < pkt->len; i++) {
		assert(iov_cur_get(cur, &byte, 1));
		assert(byte == flow_byte(side->vm->book, in, in->arrived++));
	}
	assert((uint32_t)in->arrived - side->fwd_cnt <= side->buf_alloc);
	if (side->type == VSOCK_TYPE_SEQPACKET)
		on_part(side, pkt);
	else
		assert(pkt->len && !pkt->flags);
}

/* A sibling that has ended in order, and has not said that it listens no more, has got all. */
static void check_all_taken(const struct side *side)
{
	const struct side *other = side_other(side);

	if (!other || other->guest_said & VSOCK_SHUTDOWN_RCV)
		return;
	assert(side->out->arrived == side->out->sent - side->out->begun && !flow_next(side->out));
}

/* What a guest that listens is told to have ended has ended behind the last byte, and the last
 * message. */
static void on_shutdown(struct side *side, uint32_t flags)
{
	assert(side->is_open && flags & ~(uint32_t)side->said);
	if (flags & VSOCK_SHUTDOWN_SEND && !(side->guest_said & VSOCK_SHUTDOWN_RCV))
		assert(side->in->arrived == side->in->sent && !flow_next(side->in));
	side->said |= (uint8_t)flags;
	if (side->said == VSOCK_SHUTDOWN_BOTH)
		check_all_taken(side);
}

/* The credit that it carries is true: what a host program has taken, or another guest
 * has consumed; all of it where that one wants no more. */
static void check_credit(struct side *side, const struct pkt *pkt)
{
	const struct side *other = side_other(side);

	assert(pkt->buf_alloc == window_of(side));
	if (side->stream && !side->is_deaf)
		assert(pkt->fwd_cnt == (uint32_t)side->out->arrived);
	if (other && !other->is_gone && !(other->guest_said & VSOCK_SHUTDOWN_RCV))
		assert(pkt->fwd_cnt <= side->out->arrived);
	assert(pkt->fwd_cnt >= side->reported_fwd_cnt && pkt->fwd_cnt <= side->out->sent);
	side->reported_fwd_cnt = pkt->fwd_cnt;
}

static void on_packet(struct vm *vm, const struct pkt *pkt, struct iov_cur *cur)
{
	struct side *side;

	assert(pkt->dst.cid == vm->cid);
	if (!pkt->buf_alloc) {			/* to a packet of no connection */
		assert(pkt->op == VSOCK_OP_RST && !pkt->len && vm->strays_due);
		vm->strays_due--;
		return;
	}
	side = side_of(vm, pkt);
	assert(side && !side->is_gone);
	assert(pkt->type == side->type && (pkt->op == VSOCK_OP_RW || !pkt->len));
	assert(pkt->op == VSOCK_OP_RW || pkt->op == VSOCK_OP_SHUTDOWN || !pkt->flags);
	check_credit(side, pkt);
	switch (pkt->op) {
	case VSOCK_OP_REQUEST:
		assert(!side->is_open);
		side->is_asked = side->from_sibling;
		return;
	case VSOCK_OP_RESPONSE:
		assert(!side->is_open);
		side->is_open = true;
		return;
	case VSOCK_OP_RST:
		side->is_gone = true;
		return;
	case VSOCK_OP_SHUTDOWN:
		on_shutdown(side, pkt->flags);
		return;
	case VSOCK_OP_RW:
		assert(side->is_open);
		on_data(side, pkt, cur);
		return;
	default:
		assert(side->is_open && pkt->op >= VSOCK_OP_CREDIT_UPDATE &&
		       pkt->op <= VSOCK_OP_CREDIT_REQUEST);
		side->owes_credit |= pkt->op == VSOCK_OP_CREDIT_REQUEST;
	}
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	struct ledger *book = ((struct vm *)ctx)->book;

	assert(want > 0 && want <= RX_BORROW_MAX);
	book->rx_lent = want < book->rx_left ? want : book->rx_left;
	*bufs = book->rx_bufs;
	return book->rx_lent;
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	struct vm *vm = ctx;
	struct ledger *book = vm->book;

	assert(n > 0 && n <= book->rx_lent);
	for (size_t i = 0; i < n; i++) {
		struct iov_cur cur;
		struct pkt pkt;

		iov_cur_init(&cur, book->rx_bufs[i].iov, book->rx_bufs[i].n);
		if (pkt_parse(&pkt, &cur))
			abort();
		assert(lens[i] == PKT_HDR_SIZE + pkt.len);
		on_packet(vm, &pkt, &cur);
	}
	book->rx_left -= n;
	book->rx_lent = 0;
}

static struct rx_sink sink_of(struct vm *vm)
{
	return (struct rx_sink){ .borrow = borrow, .used = used, .ctx = vm };
}

bool guest_open_rx(void *ctx, struct rx_sink *rx)
{
	struct vm *vm = ctx;

	assert(vm->book->are_neighbours && !mux_has_output(vm->mux));
	if (!mux_is_running(vm->mux))
		return false;
	vm->book->rx_left = vm->book->n_pushes++ % 5;
	*rx = sink_of(vm);
	return true;
}

void guest_close_rx(void *ctx)
{
	struct vm *vm = ctx;

	vm->book->rx_left = 0;
}

bool guest_output(struct vm *vm, size_t n_bufs)
{
	struct rx_sink port = sink_of(vm);
	struct ledger *book = vm->book;
	int r;

	vm->is_woken = false;
	book->rx_left = n_bufs;
	while ((r = mux_output(vm->mux, &port, book->now_ms)) == MUX_E_MORE)
		;
	if (r == MUX_E_STARVED) {		/* buffers will bring about a turn */
		assert(!book->rx_left && mux_has_output(vm->mux));
		vm->is_woken = true;
	}
	vm->deadline_ms = mux_next_deadline(vm->mux);
	if (r == MUX_E_STARVED)
		return false;
	assert(!mux_has_output(vm->mux) && !vm->strays_due);
	return true;
}
