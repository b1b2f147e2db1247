/* SPDX-License-Identifier: BSD-3-Clause */
/* What one turn of a device works in, and with that how much a turn does. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vhost/virtq.h"
#include "vsock/mux.h"

enum {
	DEVICE_TX_BATCH = 64,			/* packets per publish: half a small ring */
	DEVICE_TX_BYTES = 256 * 1024,
	DEVICE_TX_IOVS = 2 * VIRTQ_CHAIN_MAX,
	DEVICE_RX_IOVS = 2 * VIRTQ_CHAIN_MAX,
};

/* Memory for one turn, shared by the devices of a worker. */
struct device_scratch {
	struct mux_scratch mux;
	uint64_t turned_us;			/* when the last turn of any device has ended */
	_Atomic uint32_t busy_us;		/* of all turns so far, modulo 2^32; for any thread */
	struct iovec tx[DEVICE_TX_IOVS], rx[DEVICE_RX_IOVS];
	struct virtq_chain chains[RX_BORROW_MAX];	/* RX, popped and not used yet */
	struct rx_buf bufs[RX_BORROW_MAX];	/* the same as the core sees them */
};
