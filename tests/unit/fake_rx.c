/* SPDX-License-Identifier: BSD-3-Clause */
/* RX buffers of a guest that does not exist. */
#include "fake_rx.h"

#include <stdlib.h>

#include "util/error.h"

void fake_rx_init(struct fake_rx *rx, size_t size, size_t left, size_t piece)
{
	size_t per_buf;

	*rx = (struct fake_rx){ .size = size, .left = left, .piece = piece ? piece : size };
	per_buf = (size + rx->piece - 1) / rx->piece;
	rx->memory = malloc(size * RX_BORROW_MAX);
	rx->iovs = calloc(per_buf * RX_BORROW_MAX, sizeof *rx->iovs);
	assert(rx->memory && rx->iovs);
	for (size_t i = 0; i < RX_BORROW_MAX; i++) {
		struct iovec *iov = rx->iovs + i * per_buf;

		for (size_t k = 0, at = 0; k < per_buf; k++, at += rx->piece)
			iov[k] = (struct iovec){
				rx->memory + i * size + at,
				size - at < rx->piece ? size - at : rx->piece,
			};
		rx->bufs[i] = (struct rx_buf){ iov, per_buf, size };
	}
}

void fake_rx_deinit(struct fake_rx *rx)
{
	free(rx->memory);
	free(rx->iovs);
	rx->memory = NULL;
	rx->iovs = NULL;
}

static size_t borrow(void *ctx, size_t want, const struct rx_buf **bufs)
{
	struct fake_rx *rx = ctx;

	assert(want > 0 && want <= RX_BORROW_MAX);
	if (want > rx->largest_borrow)
		rx->largest_borrow = want;
	rx->lent = want < rx->left ? want : rx->left;
	*bufs = rx->bufs;
	return rx->lent;
}

static void note(struct fake_rx *rx, const struct pkt *pkt, struct iov_cur *cur)
{
	static const char *const flags[] = { "", "(r)", "(s)", "(b)" };
	static const char *const ends[] = { "", "eom", "eor without eom", "eor" };
	const char *prefix = rx->prefix ? rx->prefix(pkt->dst.port) : "";
	char text[64] = "";

	if (pkt->op == VSOCK_OP_RW) {
		iov_cur_get(cur, text, pkt->len < sizeof text ? pkt->len : sizeof text - 1);
		trace_add(rx->trace, "%sRW(%s)%s", prefix, text, ends[pkt->flags & 3]);
	} else {
		trace_add(rx->trace, "%s%s%s", prefix, pkt_str_op(pkt->op), flags[pkt->flags & 3]);
	}
}

static void used(void *ctx, const uint32_t *lens, size_t n)
{
	struct fake_rx *rx = ctx;

	assert(n > 0 && n <= rx->lent);
	for (size_t i = 0; i < n; i++) {
		struct iov_cur cur;
		struct pkt pkt;
		int bad;

		assert(lens[i] <= rx->size);
		iov_cur_init(&cur, rx->bufs[i].iov, rx->bufs[i].n);
		bad = pkt_parse(&pkt, &cur);
		assert(!bad);
		assert(lens[i] == PKT_HDR_SIZE + pkt.len);
		assert(pkt.op > VSOCK_OP_INVALID && pkt.op <= VSOCK_OP_CREDIT_REQUEST);
		assert(pkt.flags <= VSOCK_SHUTDOWN_BOTH);
		assert(pkt.op != VSOCK_OP_RW || pkt.type == VSOCK_TYPE_SEQPACKET || !pkt.flags);
		rx->last = pkt;
		rx->n_pkts++;
		rx->n_bytes += pkt.len;
		rx->n_ops[pkt.op]++;
		rx->port_bytes[pkt.dst.port % 8] += pkt.len;
		note(rx, &pkt, &cur);
	}
	rx->left -= n;
	rx->lent = 0;
}

struct rx_sink fake_rx_port(struct fake_rx *rx)
{
	return (struct rx_sink){ .borrow = borrow, .used = used, .ctx = rx };
}
