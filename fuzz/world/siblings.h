/* SPDX-License-Identifier: BSD-3-Clause */
/* The real backend of siblings, over mail that waits to be delivered. */
#pragma once

#include "ledger.h"

/* All VMs but the last two share a group with each. */
void siblings_init(struct ledger *book);
void siblings_deinit(struct ledger *book);
bool siblings_deliver(struct vm *vm, unsigned n_mails);	/* false: there was none */

/* All mail has been delivered, and all buffers given: nothing waits that would be taken. */
void siblings_check_nothing_stuck(const struct ledger *book);
