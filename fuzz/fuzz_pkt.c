/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Input: the number of buffers of a chain, their lengths (one byte each, times
 * a byte for all), then their content.
 *
 * Asserted: a packet is taken if and only if its header is there and its payload
 * is within the chain; built again it is the same bytes; what
 * is left of the chain begins with the payload.
 */
#include <assert.h>

#include "input.h"
#include "vsock/pkt.h"

enum { BUFS_MAX = 64 };

static void check_good(const struct pkt *pkt, struct iov_cur *cur, const struct iov_cur *begin)
{
	uint8_t wire[PKT_HDR_SIZE], built[PKT_HDR_SIZE];
	struct iovec out[BUFS_MAX];
	struct iov_cur again = *begin;
	struct wire_vsock_hdr hdr;
	size_t described;

	assert(pkt->len <= cur->left);
	assert(cur->left == begin->left - PKT_HDR_SIZE);
	pkt_build(pkt, &hdr);
	memcpy(built, &hdr, sizeof built);
	assert(iov_cur_get(&again, wire, sizeof wire));
	assert(memcmp(wire, built, sizeof wire) == 0);
	assert(iov_cur_slice(cur, pkt->len, out, BUFS_MAX, &described) <= BUFS_MAX);
	assert(described == pkt->len);
	for (size_t i = 0, at = 0; at < described; at += out[i++].iov_len)
		assert(out[i].iov_len > 0 && out[i].iov_len <= described - at);
}

/* What parsing must say, according to the bytes laid out flat. */
static int expected(const struct iov_cur *begin)
{
	struct iov_cur cur = *begin;
	struct wire_vsock_hdr hdr;

	if (cur.left < sizeof hdr || !iov_cur_get(&cur, &hdr, sizeof hdr))
		return PKT_E_SHORT;
	return le32_get(hdr.len) > begin->left - sizeof hdr ? PKT_E_BODY : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t n = input_u8(&in) % (BUFS_MAX + 1), factor = input_u8(&in) + 1u;
	struct iovec iov[BUFS_MAX] = { { NULL, 0 } };
	struct iov_cur begin, cur;
	struct pkt pkt;
	int r;

	for (size_t i = 0; i < n; i++)
		iov[i].iov_len = input_u8(&in) * factor;
	for (size_t i = 0; i < n; i++) {
		iov[i].iov_base = malloc(iov[i].iov_len ? iov[i].iov_len : 1);
		if (!iov[i].iov_base)
			abort();
		input_take(&in, iov[i].iov_base, iov[i].iov_len);
	}
	iov_cur_init(&begin, iov, n);
	cur = begin;
	r = pkt_parse(&pkt, &cur);
	assert(r == expected(&begin) && pkt_str_error(r));
	if (r == 0) {
		assert(pkt_str_op(pkt.op));
		check_good(&pkt, &cur, &begin);
	}
	for (size_t i = 0; i < n; i++)
		free(iov[i].iov_base);
	return 0;
}
