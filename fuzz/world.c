/* SPDX-License-Identifier: BSD-3-Clause */
/* Set-up, time, and what must hold between any two steps. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "util/list.h"
#include "util/log.h"
#include "vsock/conn.h"

uint8_t flow_byte(const struct world *w, const struct flow *flow, uint64_t at)
{
	uint64_t h = (uint64_t)(flow - w->flows) * 0x9e3779b9 + at;

	return (uint8_t)(h ^ h >> 8 ^ h >> 16);
}

struct side *side_new(struct vm *vm, uint32_t guest_port, const struct vsock_addr *peer)
{
	struct world *w = vm->world;
	struct side *side = &w->sides[w->n_sides];

	if (w->n_sides == SIDES)
		return NULL;
	*side = (struct side){
		.vm = vm, .guest_port = guest_port, .peer = *peer,
		.out = &w->flows[2 * w->n_sides], .in = &w->flows[2 * w->n_sides + 1],
	};
	w->n_sides++;
	return side;
}

struct side *side_find(struct vm *vm, uint32_t guest_port, const struct vsock_addr *peer)
{
	struct world *w = vm->world;

	for (size_t i = w->n_sides; i > 0; i--) {
		struct side *side = &w->sides[i - 1];

		if (side->vm == vm && side->guest_port == guest_port &&
		    side->peer.cid == peer->cid && side->peer.port == peer->port)
			return side;
	}
	return NULL;
}

/* A host's stream and the connection that has it. */
static void check_host(const struct side *side)
{
	const struct conn *c = side->stream ? host_conn(side) : NULL;
	uint64_t under_way = side->out->sent - side->out->arrived;

	if (!c || side->is_pending)
		return;
	assert(side->waits_for == conn_interest(c));
	assert(c->to_host.len <= c->credit.buf_alloc);
	assert(side->is_deaf || under_way >= c->to_host.len);
	if (c->state == CONN_OPEN && !side->is_deaf)
		assert(under_way == c->to_host.len);
	if (side->waits_for & STREAM_OUT)
		assert(!(host_stream_ready(side) & STREAM_OUT));
	assert((conn_timer(c) != CONN_TIMER_NONE) == !list_is_empty(&c->mux.timer_node));
}

/* Bytes that the connections to host programs hold for them. */
static uint64_t held_for_hosts(const struct vm *vm)
{
	const struct world *w = vm->world;
	uint64_t held = 0;

	for (size_t i = 0; i < w->n_sides; i++) {
		const struct side *side = &w->sides[i];
		const struct conn *c = side->vm == vm && side->stream ? host_conn(side) : NULL;

		held += c ? c->to_host.room : 0;
	}
	return held;
}

/* Begun by siblings, accepted, and still known to the guest. */
static unsigned open_from_siblings(const struct vm *vm)
{
	const struct world *w = vm->world;
	unsigned n = 0;

	for (size_t i = 0; i < w->n_sides; i++) {
		const struct side *side = &w->sides[i];

		n += side->vm == vm && side->from_sibling && side->is_open && !side->is_gone;
	}
	return n;
}

static void check_budgets(struct vm *vm)
{
	const struct world *w = vm->world;
	uint64_t held = held_for_hosts(vm), used = mux_budget(vm->mux)->used;
	struct mux_stats stats;

	mux_get_stats(vm->mux, &stats);
	assert(stats.conns <= MAX_CONNS);
	assert(open_from_siblings(vm) <= (MAX_CONNS + 1) / 2);
	/* The first to need memory gets it, whatever the budget says. */
	assert(used <= w->max_buffered || used <= w->buf_alloc || vm->siblings);
	assert(vm->siblings ? held <= used : held == used);
	if (!stats.conns)
		assert((!used || vm->siblings) && mux_next_deadline(vm->mux) == UINT64_MAX);
}

static void check_vm(struct vm *vm)
{
	uint64_t deadline_ms = mux_next_deadline(vm->mux);

	check_budgets(vm);
	assert(deadline_ms > vm->world->now_ms);
	/* What a turn does not know of, one has been asked for. */
	assert(vm->is_woken || !mux_has_output(vm->mux));
	assert(vm->is_woken || deadline_ms >= vm->deadline_ms);
}

void world_check(struct world *w)
{
	for (size_t i = 0; i < w->n_sides; i++)
		check_host(&w->sides[i]);
	for (unsigned i = 0; i < w->n_vms; i++)
		check_vm(&w->vms[i]);
}

void world_time(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	for (unsigned i = 0; i < w->n_vms; i++)
		mux_expire(w->vms[i].mux, w->now_ms);
	world_check(w);
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

static void on_wake(void *ctx)
{
	struct vm *vm = ctx;

	vm->is_woken = true;
}

static void vm_init(struct vm *vm, struct world *w, uint64_t cid)
{
	struct mux_config config = {
		.guest_cid = cid,
		.limits = {
			.tx_buffer_size = w->buf_alloc, .max_connections = MAX_CONNS,
			.max_buffered = w->max_buffered, .linger_ms = LINGER_MS,
		},
		.connect_ms = CONNECT_MS, .request_ms = REQUEST_MS, .closing_ms = CLOSING_MS,
		.hash_seed = 42, .first_port = 42,
		.tag = "fuzz",
		.scratch = &w->scratch, .wake = on_wake, .ctx = vm,
	};

	vm->world = w;
	vm->cid = cid;
	vm->deadline_ms = UINT64_MAX;
	vm->host.ops = &host_ops;
	vm->n_slots = 4;
	for (uint32_t i = 0; i < vm->n_slots; i++)
		vm->slots[i] = (struct slot){
			.guest_port = 1000 + i, .peer = { VSOCK_CID_HOST, 80 }, .buf_alloc = 65536,
		};
	if (mux_new(&vm->mux, &config))
		abort();
	mux_add_backend(vm->mux, &vm->host);
	mux_set_running(vm->mux, true);
}

void world_init(struct world *w, const struct world_config *config)
{
	log_level = LEVEL_ERR;
	memset(w, 0, sizeof *w);
	w->buf_alloc = config->buf_alloc;
	w->max_buffered = config->max_buffered;
	w->n_vms = config->n_vms;
	w->now_ms = 1;
	rx_init(w, config->rx_size, config->rx_piece);
	for (unsigned i = 0; i < w->n_vms; i++)
		vm_init(&w->vms[i], w, 3 + i);
	if (w->n_vms > 1)
		siblings_init(w);
}

static void deliver_all(struct world *w)
{
	bool any;

	if (w->n_vms == 1)
		return;
	do {
		any = false;
		for (unsigned i = 0; i < w->n_vms; i++)
			any |= siblings_deliver(&w->vms[i], UINT32_MAX);
	} while (any);
}

/* Nothing survives guests that are gone and a linger without progress. */
void world_deinit(struct world *w)
{
	for (unsigned i = 0; i < w->n_vms; i++) {
		guest_flush(&w->vms[i]);
		mux_set_running(w->vms[i].mux, false);
		guest_reset(&w->vms[i]);
	}
	deliver_all(w);
	world_time(w, LINGER_MS);
	deliver_all(w);
	for (unsigned i = 0; i < w->n_vms; i++) {
		struct mux_stats stats;

		mux_get_stats(w->vms[i].mux, &stats);
		assert(stats.conns == 0);
	}
	for (size_t i = 0; i < w->n_sides; i++)
		assert(!w->sides[i].stream);
	if (w->n_vms > 1)
		siblings_deinit(w);
	for (unsigned i = 0; i < w->n_vms; i++)
		mux_free(w->vms[i].mux);
	free(w->rx_memory);
}
