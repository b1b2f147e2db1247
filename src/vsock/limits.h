/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the connections of one guest may take. Each has the name by which the user sets
 * it; the struct goes whole from the plan to the mux, which alone applies it. So this is
 * the one header of the core that the configuration may include.
 */
#pragma once

#include <stdint.h>

struct vsock_limits {
	uint32_t tx_buffer_size;		/* bytes that a connection may have waiting for the
						   host: its buf_alloc */
	uint32_t max_connections;		/* at a time */
	uint64_t max_buffered;			/* bytes waiting, of all of them together */
	uint32_t linger_ms;			/* for a host that takes nothing of what is left when
						   the guest has closed */
};
