/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RSTs that answer packets of no connection, until the guest has buffers for
 * them. It can provoke as many as it likes and take none: so there is a fixed
 * number of them, and whoever sees the pool full leaves the TX ring alone until
 * it is not (virtio 1.2, 5.10.6.1).
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

/* An RST to the sender of @pkt. Lost if there is no memory, or the pool is full. */
void replies_add(struct replies *r, const struct pkt *pkt);

/* As many as there are buffers for; false: some are left. */
bool replies_send(struct replies *r, const struct rx_sink *rx);

void replies_clear(struct replies *r);
void replies_deinit(struct replies *r);
