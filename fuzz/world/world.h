/* SPDX-License-Identifier: BSD-3-Clause */
/* Set-up, time, and what must hold between any two steps. */
#pragma once

#include "ledger.h"

struct world_config {
	unsigned n_vms;
	uint32_t buf_alloc;
	uint64_t max_buffered;
	size_t rx_size;
	unsigned rx_piece;			/* how RX buffers are cut */
	unsigned types;				/* MUX_*: that the last guest knows; the others all */
	bool are_neighbours;			/* the first two have one worker: they push */
};

void world_init(struct ledger *book, const struct world_config *config);
void world_deinit(struct ledger *book);		/* all must have come to its end */

void world_check(struct ledger *book);

/* What may happen between two checks; each ends with one. */
void world_time(struct ledger *book, uint64_t ms);
void world_flush(struct vm *vm);
void world_output(struct vm *vm, size_t n_bufs);
void world_reset(struct vm *vm);
void world_move(struct vm *vm);		/* to a new mux; not of one that has siblings */
bool world_deliver(struct vm *vm, unsigned n_mails);	/* false: there was none */

/* Delivers mail and gives buffers for as long as that moves anything. */
void world_settle(struct ledger *book);
