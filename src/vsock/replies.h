/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RSTs that answer packets of no connection, until the guest has buffers for
 * them. It can provoke as many as it likes and take none: so their pool has a
 * fixed size, and while it is full the device leaves the TX ring alone
 * (virtio 1.2, 5.10.6.1).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "vsock/pkt.h"
#include "vsock/rx.h"

enum { REPLIES_MAX = 256 };

struct replies {
	struct reply *pool;			/* NULL before the first */
	size_t first, n;
};

/* Adds an RST to the sender of @pkt; drops it if memory or room is lacking. */
void replies_add(struct replies *r, const struct pkt *pkt);

/* Sends as many as there are buffers for. False: some are left. */
bool replies_send(struct replies *r, const struct rx_sink *rx);

void replies_clear(struct replies *r);
void replies_deinit(struct replies *r);
