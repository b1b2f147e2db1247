/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Socket device: virtio 1.2, 5.10. Layouts and numbers only.
 */
#pragma once

#include <assert.h>

#include "protocol/wire.h"

enum {						/* virtqueues: 5.10.2 */
	VSOCK_RXQ,				/* device to driver */
	VSOCK_TXQ,				/* driver to device */
	VSOCK_EVENTQ,
	VSOCK_NUM_QUEUES,
};

enum {
	VSOCK_CID_HYPERVISOR = 0,
	VSOCK_CID_LOCAL = 1,
	VSOCK_CID_HOST = 2,
};

enum { VSOCK_BODY_MAX = 64 * 1024 };		/* what Linux sends and takes at most */

enum {						/* feature bits: 1.3, 5.10.3 */
	VIRTIO_VSOCK_F_STREAM,
	VIRTIO_VSOCK_F_SEQPACKET,
	VIRTIO_VSOCK_F_NO_IMPLIED_STREAM,
};

enum vsock_type {
	VSOCK_TYPE_STREAM = 1,
	VSOCK_TYPE_SEQPACKET = 2,
};

enum vsock_op {					/* 5.10.6 */
	VSOCK_OP_INVALID,
	VSOCK_OP_REQUEST,
	VSOCK_OP_RESPONSE,
	VSOCK_OP_RST,
	VSOCK_OP_SHUTDOWN,
	VSOCK_OP_RW,
	VSOCK_OP_CREDIT_UPDATE,
	VSOCK_OP_CREDIT_REQUEST,
};

enum {						/* flags of RW in SEQPACKET: 5.10.6.6.2 */
	VSOCK_SEQ_EOM = 1,			/* the message ends with this packet */
	VSOCK_SEQ_EOR = 2,			/* and so does the record: MSG_EOR */
};

enum {						/* flags of SHUTDOWN: 5.10.6.6 */
	VSOCK_SHUTDOWN_RCV = 1,			/* the sender will not receive more */
	VSOCK_SHUTDOWN_SEND = 2,		/* the sender will not send more */
	VSOCK_SHUTDOWN_BOTH = 3,
};

struct wire_vsock_hdr {				/* 5.10.6 */
	le64 src_cid, dst_cid;
	le32 src_port, dst_port, len;
	le16 type, op;
	le32 flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
static_assert(sizeof(struct wire_vsock_hdr) == 44, "fixed by the spec");

struct wire_vsock_config {			/* 5.10.4 */
	le64 guest_cid;
};
static_assert(sizeof(struct wire_vsock_config) == 8, "fixed by the spec");

enum { VSOCK_EVENT_TRANSPORT_RESET = 0 };

struct wire_vsock_event {			/* 5.10.6.7 */
	le32 id;
};
static_assert(sizeof(struct wire_vsock_event) == 4, "fixed by the spec");
