/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest speaks, and is spoken to. */
#pragma once

#include "ledger.h"

void guest_says(struct vm *vm, struct slot *slot, uint16_t type, uint16_t op, uint32_t flags);

/* Data; no more than PAYLOADS of these between two flushes. */
void guest_rw(struct vm *vm, struct slot *slot, uint32_t len, bool is_honest);

/* The end of a batch of these two; before anything else. */
void guest_flush(struct vm *vm);

/* Gives buffers. True: all has been said; false: it would take more of them. */
bool guest_output(struct vm *vm, size_t n_bufs);
void guest_reset(struct vm *vm);
void guest_abort(struct vm *vm);
