/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mux is told and what it says, checked against each other: a guest that
 * may lie, host programs behind streams, RX buffers, and a clock. Each side of a
 * connection has its own endless pattern of bytes, so that any byte lost,
 * doubled, moved or delivered to another is seen. Every function asserts.
 */
#pragma once

#include "vsock/mux.h"

enum { SLOTS = 4, SIDES = 256, MAX_CONNS = 6 };

/* One stream, kept when it is closed. */
struct side {
	struct fuzz_stream *stream;		/* NULL once closed */
	uint32_t guest_port, peer_port;		/* peer 0: not yet asked for */
	bool is_live;				/* the mux has it, and it is connected */
	bool is_pending;			/* BACKEND_E_PENDING */
	bool is_open;				/* RESPONSE was said, one way or the other */
	bool is_gone;				/* the guest forgot it, or was told RST */
	uint8_t said;				/* VSOCK_SHUTDOWN_* */
	/* Guest to host, bytes. */
	uint64_t sent, written;
	bool guest_is_done;			/* it said that it sends no more */
	uint32_t told_fwd_cnt;
	uint64_t takes;
	int write_error;
	bool is_deaf;
	/* Host to guest, bytes. */
	uint64_t to_give, given, received;
	int end;
	bool has_ended;
	uint32_t buf_alloc, fwd_cnt;		/* as the guest last said */
	unsigned waits_for;
};

/* A port of the guest, and what it talks to there. */
struct slot {
	uint32_t guest_port, peer_port;
	uint32_t buf_alloc, lie;		/* lie: added to its true fwd_cnt */
};

struct world {
	struct mux *mux;
	struct mux_scratch scratch;
	struct backend backend;
	int connect_result;
	struct slot slots[SLOTS];
	struct side sides[SIDES];
	size_t n_sides;
	uint32_t buf_alloc;
	uint64_t now_ms;
	uint64_t strays_due;			/* RSTs to packets of no connection */
	void *payload[64];			/* gathered, until the flush */
	size_t n_payload;
	/* RX buffers. */
	size_t rx_size, rx_left, rx_lent;
	uint8_t *rx_memory;
	struct iovec rx_iovs[RX_BORROW_MAX][3];
	struct rx_buf rx_bufs[RX_BORROW_MAX];
};

void world_init(struct world *w, uint32_t buf_alloc, size_t rx_size, unsigned rx_piece);
void world_deinit(struct world *w);

void world_guest_says(struct world *w, struct slot *slot, uint16_t type, uint16_t op,
		      uint32_t flags);
void world_guest_rw(struct world *w, struct slot *slot, uint32_t len, bool is_honest);
void world_flush(struct world *w);

void world_host_connects(struct world *w, struct slot *slot);
void world_connected(struct world *w, struct side *side, int error);
void world_output(struct world *w, size_t n_bufs);
void world_time(struct world *w, uint64_t ms);
void world_reset(struct world *w);
void world_abort(struct world *w);

/* The last side of the slot's name; NULL: none. */
struct side *world_side_of(struct world *w, const struct slot *slot);
void side_ready(struct world *w, struct side *side, unsigned events);
