/* SPDX-License-Identifier: BSD-3-Clause */
/* Set-up, time, and what must hold between any two steps. */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "util/blob.h"
#include "util/list.h"
#include "util/log.h"
#include "vsock/conn_internal.h"
#include "vsock/conn_snapshot.h"

#include "guest.h"
#include "host.h"
#include "siblings.h"

enum { SPILL_BYTES = 128 * 1024 };

/* What waits for the host is its whole messages, and the one that has begun. */
static void check_messages(const struct conn *c)
{
	struct iovec iov[2];
	size_t n = byte_ring_peek(&c->messages->ends, iov);
	uint64_t total = c->messages->begun;

	for (size_t i = 0; i < n; i++) {
		const struct conn_message *m = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len / sizeof *m; k++)
			total += m[k].len;
	}
	assert(total == c->to_host.len);
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
	assert(conn_type(c) == side->type);
	if (c->messages)
		check_messages(c);
	assert(side->is_deaf || under_way >= c->to_host.len);
	if (c->state == CONN_OPEN && !side->is_deaf)
		assert(under_way == c->to_host.len);
	if (side->waits_for & STREAM_OUT)
		assert(!(host_stream_ready(side) & STREAM_OUT));
	assert((conn_timer(c) != CONN_TIMER_NONE) == !list_is_empty(&c->mux.timer_node));
}

static void count(const struct byte_ring *ring, uint64_t *held, uint64_t *largest)
{
	*held += ring->room;
	if (ring->room > *largest)
		*largest = ring->room;
}

/* Bytes that the connections to host programs hold; *@largest: one buffer of theirs. */
static uint64_t held_for_hosts(const struct vm *vm, uint64_t *largest)
{
	const struct ledger *book = vm->book;
	uint64_t held = 0;

	*largest = 0;
	for (size_t i = 0; i < book->n_sides; i++) {
		const struct side *side = &book->sides[i];
		const struct conn *c = side->vm == vm && side->stream ? host_conn(side) : NULL;

		if (!c)
			continue;
		count(&c->to_host, &held, largest);
		if (c->messages) {
			count(&c->messages->ends, &held, largest);
			count(&c->messages->to_guest, &held, largest);
		}
	}
	return held;
}

/* Begun by siblings, accepted, and still known to the guest. */
static unsigned open_from_siblings(const struct vm *vm)
{
	const struct ledger *book = vm->book;
	unsigned n = 0;

	for (size_t i = 0; i < book->n_sides; i++) {
		const struct side *side = &book->sides[i];

		n += side->vm == vm && side->from_sibling && side->is_open && !side->is_gone;
	}
	return n;
}

static void check_budgets(struct vm *vm)
{
	const struct ledger *book = vm->book;
	uint64_t largest, held = held_for_hosts(vm, &largest), used = mux_budget(vm->mux)->used;
	struct mux_stats stats;

	mux_get_stats(vm->mux, &stats);
	assert(stats.conns <= MAX_CONNS);
	assert(open_from_siblings(vm) <= (MAX_CONNS + 1) / 2);
	/* The first to need memory gets it, whatever the budget says. */
	assert(used <= book->max_buffered || used == largest || vm->siblings);
	assert(vm->siblings ? held <= used : held == used);
	if (!stats.conns)
		assert((!used || vm->siblings) && mux_next_deadline(vm->mux) == UINT64_MAX);
}

/* What is kept as gauges is what a walk finds. */
static void check_counters(struct vm *vm)
{
	static struct conn_snapshot rows[CONN_SNAPSHOT_MIN];
	const struct vsock_counters *counters = mux_counters(vm->mux);
	uint64_t shown[CONN_NUM_ORIGINS * CONN_DEAD] = { 0 }, n_counted = 0;
	struct conn_cursor cursor = { .at = 0 };
	struct mux_stats stats;

	static_assert((int)MAX_CONNS <= (int)CONN_SNAPSHOT_ORPHANS, "all are shown");
	mux_get_stats(vm->mux, &stats);
	while (!cursor.is_over) {
		size_t n = mux_snapshot_conns(vm->mux, &cursor, rows, CONN_SNAPSHOT_MIN,
					      vm->book->now_ms);

		for (size_t i = 0; i < n; i++) {
			assert(rows[i].waits_for < CONN_NUM_WAITS && rows[i].end < CONN_NUM_ENDS);
			assert(rows[i].age_ms <= vm->book->now_ms);
			assert(rows[i].waits_ms <= rows[i].age_ms);
			shown[rows[i].origin * CONN_DEAD + rows[i].state]++;
		}
	}
	for (unsigned i = 0; i < CONN_NUM_ORIGINS * CONN_DEAD; i++) {
		assert(shown[i] <= counters->connections[i]);
		n_counted += counters->connections[i];
	}
	assert(n_counted == stats.conns);
}

static void check_vm(struct vm *vm)
{
	uint64_t deadline_ms = mux_next_deadline(vm->mux);

	check_budgets(vm);
	check_counters(vm);
	assert(deadline_ms > vm->book->now_ms);
	/* What a turn does not know of, one has been asked for. */
	assert(vm->is_woken || !mux_has_output(vm->mux));
	assert(vm->is_woken || deadline_ms >= vm->deadline_ms);
}

void world_check(struct ledger *book)
{
	for (size_t i = 0; i < book->n_sides; i++)
		check_host(&book->sides[i]);
	for (unsigned i = 0; i < book->n_vms; i++)
		check_vm(&book->vms[i]);
}

void world_time(struct ledger *book, uint64_t ms)
{
	book->now_ms += ms;
	for (unsigned i = 0; i < book->n_vms; i++)
		mux_expire(book->vms[i].mux, book->now_ms);
	world_check(book);
}

static void rx_init(struct ledger *book, size_t size, unsigned piece)
{
	size_t cut = piece * (size / 4) / 128 + 1;

	book->rx_size = size;
	book->rx_memory = malloc(size * RX_BORROW_MAX);
	if (!book->rx_memory)
		abort();
	for (size_t i = 0; i < RX_BORROW_MAX; i++) {
		uint8_t *at = book->rx_memory + i * size;

		book->rx_iovs[i][0] = (struct iovec){ at, cut };
		book->rx_iovs[i][1] = (struct iovec){ at + cut, cut };
		book->rx_iovs[i][2] = (struct iovec){ at + 2 * cut, size - 2 * cut };
		book->rx_bufs[i] = (struct rx_buf){ book->rx_iovs[i], 3, size };
		if (piece > 200) {
			book->rx_iovs[i][0] = (struct iovec){ at, size };
			book->rx_bufs[i].n = 1;
		}
	}
}

static void on_wake(void *ctx)
{
	struct vm *vm = ctx;

	vm->is_woken = true;
}

static void new_mux(struct vm *vm)
{
	const struct ledger *book = vm->book;
	struct mux_config config = {
		.guest_cid = vm->cid,
		.limits = {
			.tx_buffer_size = book->buf_alloc, .max_connections = MAX_CONNS,
			.max_buffered = book->max_buffered, .linger_ms = LINGER_MS,
		},
		.connect_ms = CONNECT_MS, .request_ms = REQUEST_MS, .closing_ms = CLOSING_MS,
		.hash_seed = 42, .first_port = 42,
		.tag = "fuzz",
		.scratch = &vm->book->scratch, .wake = on_wake,
		.open_rx = guest_open_rx, .close_rx = guest_close_rx, .ctx = vm,
	};

	if (mux_new(&vm->mux, &config))
		abort();
	mux_set_types(vm->mux, vm->types);
	mux_add_backend(vm->mux, &vm->host);
}

static void vm_init(struct vm *vm, struct ledger *book, uint64_t cid, unsigned types)
{
	vm->book = book;
	vm->cid = cid;
	vm->types = types;
	vm->deadline_ms = UINT64_MAX;
	vm->host.ops = &host_ops;
	vm->n_slots = 4;
	for (uint32_t i = 0; i < vm->n_slots; i++)
		vm->slots[i] = (struct slot){
			.guest_port = 1000 + i, .peer = { VSOCK_CID_HOST, 80 }, .buf_alloc = 65536,
		};
	new_mux(vm);
	mux_set_running(vm->mux, true);
}

void world_init(struct ledger *book, const struct world_config *config)
{
	log_level = LEVEL_ERR;
	memset(book, 0, sizeof *book);
	book->buf_alloc = config->buf_alloc;
	book->max_buffered = config->max_buffered;
	book->n_vms = config->n_vms;
	book->are_neighbours = config->are_neighbours;
	book->now_ms = 1;
	rx_init(book, config->rx_size, config->rx_piece);
	book->scratch.spill = (struct conn_spill){ malloc(SPILL_BYTES), SPILL_BYTES };
	if (!book->scratch.spill.bytes)
		abort();
	for (unsigned i = 0; i < book->n_vms; i++)
		vm_init(&book->vms[i], book, 3 + i, i == book->n_vms - 1 ? config->types :
			MUX_STREAMS | MUX_SEQPACKETS);
	if (book->n_vms > 1)
		siblings_init(book);
}

void world_flush(struct vm *vm)
{
	guest_flush(vm);
	world_check(vm->book);
}

void world_reset(struct vm *vm)
{
	guest_reset(vm);
	world_check(vm->book);
}

bool world_deliver(struct vm *vm, unsigned n_mails)
{
	bool any = siblings_deliver(vm, n_mails);

	world_check(vm->book);
	return any;
}

void world_move(struct vm *vm)
{
	uint64_t deadline_ms = mux_next_deadline(vm->mux), now_ms = vm->book->now_ms;
	uint64_t used = mux_budget(vm->mux)->used;
	bool is_running = mux_is_running(vm->mux);
	struct mux_stats before, after;
	struct blob_reader in;
	struct blob blob;

	mux_get_stats(vm->mux, &before);
	blob_init(&blob, SIZE_MAX, 0);
	mux_save(vm->mux, &blob);
	assert(!blob_error(&blob));
	host_leave(vm);
	mux_free(vm->mux);
	new_mux(vm);
	blob_read(&in, blob.bytes, blob.len, NULL);
	assert(mux_load(vm->mux, &in, now_ms) == 0 && blob_is_whole(&in));
	blob_deinit(&blob);
	mux_set_running(vm->mux, is_running);
	assert(mux_budget(vm->mux)->used <= used);
	assert(mux_next_deadline(vm->mux) == deadline_ms);
	mux_get_stats(vm->mux, &after);
	assert(memcmp(&before, &after, sizeof before) == 0);
	mux_resume(vm->mux, now_ms);
	world_check(vm->book);
}

/* No stream has anything that its connection has asked for. */
static void check_all_said(const struct vm *vm)
{
	const struct ledger *book = vm->book;

	for (size_t i = 0; i < book->n_sides; i++) {
		const struct side *side = &book->sides[i];

		if (side->vm == vm && side->stream && side->waits_for & STREAM_IN)
			assert(!(host_stream_ready(side) & STREAM_IN));
	}
}

void world_output(struct vm *vm, size_t n_bufs)
{
	bool all_said = guest_output(vm, n_bufs);

	world_check(vm->book);
	if (all_said)
		check_all_said(vm);
}

/* True if there was any mail. */
static bool deliver_round(struct ledger *book)
{
	bool any = false;

	for (unsigned i = 0; i < book->n_vms; i++)
		any |= world_deliver(&book->vms[i], UINT32_MAX);
	return any;
}

static void deliver_all(struct ledger *book)
{
	while (book->n_vms > 1 && deliver_round(book))
		;
}

void world_settle(struct ledger *book)
{
	do {
		for (unsigned i = 0; i < book->n_vms; i++)
			world_output(&book->vms[i], SIZE_MAX);
	} while (deliver_round(book));
	siblings_check_nothing_stuck(book);
}

/* Nothing survives guests that are gone and a linger without progress. */
void world_deinit(struct ledger *book)
{
	for (unsigned i = 0; i < book->n_vms; i++) {
		world_flush(&book->vms[i]);
		mux_set_running(book->vms[i].mux, false);
		world_reset(&book->vms[i]);
	}
	deliver_all(book);
	world_time(book, LINGER_MS);
	deliver_all(book);
	for (unsigned i = 0; i < book->n_vms; i++) {
		struct mux_stats stats;

		mux_get_stats(book->vms[i].mux, &stats);
		assert(stats.conns == 0);
	}
	for (size_t i = 0; i < book->n_sides; i++)
		assert(!book->sides[i].stream);
	if (book->n_vms > 1)
		siblings_deinit(book);
	for (unsigned i = 0; i < book->n_vms; i++)
		mux_free(book->vms[i].mux);
	for (size_t i = 0; i < 2 * book->n_sides; i++)
		free(book->flows[i].messages);
	free(book->scratch.spill.bytes);
	free(book->rx_memory);
}
