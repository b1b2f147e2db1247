/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vsock packet header: virtio 1.2, 5.10.6.
 *
 * The attacker is the guest: the chain under the cursor changes while we read,
 * is of any shape, and its numbers lie. pkt_parse() reads the header exactly
 * once and afterwards only the copy counts; a packet that passes has all of its
 * payload after the cursor, of any length that the chain holds: credit bounds it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "protocol/virtio_vsock.h"
#include "util/iov.h"

enum {
	PKT_E_SHORT = 1,			/* no whole header */
	PKT_E_BODY,				/* payload longer than the chain */
};

/* As long as what is in it: each connection has two. */
struct vsock_addr {
	uint64_t cid;
	uint32_t port;
} __attribute__((packed, aligned(4)));

/*
 * A connection in a log line: "3:1024>2:80". CID and port of both ends; the one that
 * began is on the left.
 */
struct vsock_route {
	char text[64];
};

struct vsock_route vsock_route(const struct vsock_addr *from, const struct vsock_addr *to);

struct pkt {
	struct vsock_addr src, dst;
	uint16_t type, op;			/* enum vsock_type, vsock_op, or anything */
	uint32_t len;				/* bytes of payload */
	uint32_t flags, buf_alloc, fwd_cnt;
};

enum { PKT_HDR_SIZE = sizeof(struct wire_vsock_hdr) };

/* 0 with the cursor at the payload; PKT_E_SHORT; PKT_E_BODY: *out is the header all
 * the same. */
int pkt_parse(struct pkt *out, struct iov_cur *chain);
void pkt_build(const struct pkt *pkt, struct wire_vsock_hdr *out);

const char *pkt_str_error(int error);
const char *pkt_str_op(uint16_t op);
