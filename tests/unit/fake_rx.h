/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RX buffers of a guest that does not exist: the port on which the core says
 * what it has to say, and the packets that came of it.
 */
#pragma once

#include "fake_stream.h"
#include "vsock/rx.h"

enum { FAKE_RX_SIZE_MAX = PKT_HDR_SIZE + VSOCK_BODY_MAX + 64 };

struct fake_rx {
	size_t size;				/* of each buffer */
	size_t left;				/* that the guest still gives */
	size_t piece;				/* bytes per iovec; 0: one iovec */
	struct trace *trace;			/* or NULL */
	const char *(*prefix)(uint32_t guest_port);
	/* Seen so far. */
	struct pkt last;
	size_t n_pkts, n_bytes;
	size_t n_ops[VSOCK_OP_CREDIT_REQUEST + 1];
	size_t port_bytes[8];			/* by guest port modulo 8 */
	size_t largest_borrow;

	uint8_t *memory;			/* of the buffers lent, RX_BORROW_MAX * size */
	struct iovec *iovs;
	struct rx_buf bufs[RX_BORROW_MAX];
	size_t lent;
};

void fake_rx_init(struct fake_rx *rx, size_t size, size_t left, size_t piece);
void fake_rx_deinit(struct fake_rx *rx);
struct rx_sink fake_rx_port(struct fake_rx *rx);
