/* SPDX-License-Identifier: BSD-3-Clause */
/* Host programs: streams that give and take what the script says. */
#pragma once

#include "ledger.h"

#define HOST_STREAM_TAG 0x54534f48		/* "HOST": the side's index, is it pending? Its
						   version is the type. */

extern const struct backend_ops host_ops;

/* The mux of all its streams is going, and another will load them. */
void host_leave(struct vm *vm);

void host_connects(struct vm *vm, struct slot *slot, enum vsock_type type);
void host_connected(struct side *side, int error);
void host_ready(struct side *side, unsigned events);

/* Of a host's stream that is not closed: its connection in the mux. */
const struct conn *host_conn(const struct side *side);
unsigned host_stream_ready(const struct side *side);
