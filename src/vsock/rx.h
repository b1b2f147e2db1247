/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where packets to the guest are written: the RX buffers that the guest has
 * given, borrowed in order, used up one by one. Declared by the core,
 * implemented by the device on its RX ring.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vsock/pkt.h"

struct rx_buf {
	const struct iovec *iov;
	size_t n;
	size_t len;				/* bytes, header included: >= PKT_HDR_SIZE */
};

struct rx_sink {
	/* Makes the next up to @want buffers available in *bufs; returns how many
	 * are, 0: the guest has given none. Valid until the next call. */
	size_t (*borrow)(void *ctx, size_t want, const struct rx_buf **bufs);
	/* The first @n buffers are filled, with lens[] bytes each. */
	void (*used)(void *ctx, const uint32_t *lens, size_t n);
	void *ctx;
	/* Each packet as it is written, and the buffer that it is in; NULL: nobody wants to
	 * know. */
	void (*trace)(void *ctx, const struct pkt *pkt, const struct rx_buf *buf);
	void *trace_ctx;
};

/* Most buffers that one borrow() asks for. */
enum { RX_BORROW_MAX = 128 };

/* Writes a packet without payload into the next buffer; false: there is none. */
static inline bool rx_send(const struct rx_sink *rx, const struct pkt *pkt)
{
	const uint32_t len = PKT_HDR_SIZE;
	struct wire_vsock_hdr hdr;
	const struct rx_buf *buf;

	if (!rx->borrow(rx->ctx, 1, &buf))
		return false;
	pkt_build(pkt, &hdr);
	iov_copy_to(buf->iov, buf->n, &hdr, sizeof hdr);
	if (rx->trace)
		rx->trace(rx->trace_ctx, pkt, buf);
	rx->used(rx->ctx, &len, 1);
	return true;
}
