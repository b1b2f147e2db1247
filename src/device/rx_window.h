/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The RX ring as the packet core wants it: the next buffers, several at once,
 * and those that were not used handed back to the front of the ring.
 */
#pragma once

#include <stdbool.h>

#include "vhost/virtq.h"
#include "vsock/rx.h"

struct device_scratch;

struct rx_window {
	struct virtq *q;
	struct device_scratch *scratch;
	struct virtq_iovs iovs;
	size_t first, end;			/* popped and not used: chains[first..end) */
	size_t n_used;				/* packets, since it was opened */
	bool is_broken;
};

/* For one turn; rx_window_close() gives back what is left. */
void rx_window_open(struct rx_window *w, struct virtq *q, struct device_scratch *scratch);
void rx_window_close(struct rx_window *w);
struct rx_sink rx_window_sink(struct rx_window *w);
