/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest speaks, and is spoken to. */
#pragma once

#include "ledger.h"

void guest_says(struct vm *vm, struct slot *slot, unsigned type, uint16_t op, uint32_t flags);

/* Bytes that the guest may still send, as it was told. */
uint32_t guest_room(const struct side *side);

/* Of what is said at the slot's port now. */
enum vsock_type guest_type(struct vm *vm, const struct slot *slot);

/* Data; no more than PAYLOADS of these between two flushes. @flags: VSOCK_SEQ_*; the message
 * does not end with a packet that its credit has cut. */
void guest_rw(struct vm *vm, struct slot *slot, uint32_t len, bool is_honest, uint32_t flags);

/* The end of a batch of these two; before anything else. */
void guest_flush(struct vm *vm);

/* Gives buffers. True: all has been said; false: it would take more of them. */
bool guest_output(struct vm *vm, size_t n_bufs);

/* Out of turn, as mux_config::open_rx: none at times, or few. */
bool guest_open_rx(void *vm, struct rx_sink *rx);
void guest_close_rx(void *vm);

void guest_reset(struct vm *vm);
void guest_abort(struct vm *vm);
