/* SPDX-License-Identifier: BSD-3-Clause */
/* One vsock packet header: parse and build. */
#include "vsock/pkt.h"

#include <inttypes.h>
#include <stdio.h>

struct vsock_route vsock_route(const struct vsock_addr *from, const struct vsock_addr *to)
{
	struct vsock_route route;

	snprintf(route.text, sizeof route.text, "%" PRIu64 ":%" PRIu32 ">%" PRIu64 ":%" PRIu32,
		 from->cid, from->port, to->cid, to->port);
	return route;
}

int pkt_parse(struct pkt *out, struct iov_cur *chain)
{
	struct wire_vsock_hdr w;

	if (!iov_cur_get(chain, &w, sizeof w))	/* the only read of the header */
		return PKT_E_SHORT;
	*out = (struct pkt){
		.src = { le64_get(w.src_cid), le32_get(w.src_port) },
		.dst = { le64_get(w.dst_cid), le32_get(w.dst_port) },
		.type = le16_get(w.type), .op = le16_get(w.op), .len = le32_get(w.len),
		.flags = le32_get(w.flags), .buf_alloc = le32_get(w.buf_alloc),
		.fwd_cnt = le32_get(w.fwd_cnt),
	};
	return out->len > chain->left ? PKT_E_BODY : 0;
}

void pkt_build(const struct pkt *pkt, struct wire_vsock_hdr *out)
{
	*out = (struct wire_vsock_hdr){
		.src_cid = le64_of(pkt->src.cid), .src_port = le32_of(pkt->src.port),
		.dst_cid = le64_of(pkt->dst.cid), .dst_port = le32_of(pkt->dst.port),
		.type = le16_of(pkt->type), .op = le16_of(pkt->op), .len = le32_of(pkt->len),
		.flags = le32_of(pkt->flags), .buf_alloc = le32_of(pkt->buf_alloc),
		.fwd_cnt = le32_of(pkt->fwd_cnt),
	};
}

const char *pkt_str_error(int error)
{
	switch (error) {
	case PKT_E_SHORT:
		return "shorter than a header";
	case PKT_E_BODY:
		return "shorter than its header says";
	default:
		return "good";
	}
}

const char *pkt_str_op(uint16_t op)
{
	static const char *const name[] = {
		[VSOCK_OP_INVALID] = "INVALID", [VSOCK_OP_REQUEST] = "REQUEST",
		[VSOCK_OP_RESPONSE] = "RESPONSE", [VSOCK_OP_RST] = "RST",
		[VSOCK_OP_SHUTDOWN] = "SHUTDOWN", [VSOCK_OP_RW] = "RW",
		[VSOCK_OP_CREDIT_UPDATE] = "CREDIT_UPDATE",
		[VSOCK_OP_CREDIT_REQUEST] = "CREDIT_REQUEST",
	};

	return op < sizeof name / sizeof name[0] ? name[op] : "unknown operation";
}
