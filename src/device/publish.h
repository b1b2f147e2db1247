/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of a batch of one ring. */
#pragma once

#include "vhost/vring.h"
#include "vsock/counters.h"

/* Shows the driver what was pushed, @n chains that mean something to it, and calls it if it wants
 * that. */
static inline void device_publish(struct virtq *q, struct vring *v, size_t n,
				  struct vsock_counters *counters)
{
	if (virtq_publish(q)) {
		counters->ring_calls[v->index]++;
		vring_call(v);
	} else if (n) {
		counters->ring_calls_suppressed[v->index]++;
	}
}
