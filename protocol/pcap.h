/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture files: pcap with LINKTYPE_VSOCK, whose packets begin as those that the kernel's
 * vsockmon device gives out (<linux/vsockmon.h>). Layouts and numbers only.
 *
 * Numbers of the file are in the byte order of whoever writes it, of which the magic tells;
 * those of a packet are little-endian.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "protocol/virtio_vsock.h"
#include "protocol/wire.h"

enum {
	PCAP_VERSION_MAJOR = 2, PCAP_VERSION_MINOR = 4,
	PCAP_LINKTYPE_VSOCK = 271,
	PCAP_SNAPLEN_MAX = 262144,		/* more is refused by those who read */
};

#define PCAP_MAGIC_NS	UINT32_C(0xa1b23c4d)	/* time stamps with nanoseconds */

struct pcap_file {				/* once, at the beginning */
	uint32_t magic;
	uint16_t version_major, version_minor;
	int32_t this_zone;			/* 0: UTC */
	uint32_t sig_figs;			/* 0 */
	uint32_t snaplen;			/* bytes that a packet has at most */
	uint32_t linktype;
};
static_assert(sizeof(struct pcap_file) == 24, "fixed by the format");

struct pcap_record {				/* then its bytes */
	uint32_t secs, nanos;
	uint32_t len;				/* bytes that are there */
	uint32_t orig_len;			/* that there were */
};
static_assert(sizeof(struct pcap_record) == 16, "fixed by the format");

enum vsockmon_op {
	VSOCKMON_OP_UNKNOWN,
	VSOCKMON_OP_CONNECT,
	VSOCKMON_OP_DISCONNECT,
	VSOCKMON_OP_CONTROL,
	VSOCKMON_OP_PAYLOAD,
};

enum { VSOCKMON_TRANSPORT_VIRTIO = 2 };		/* a struct wire_vsock_hdr follows */

struct wire_vsockmon_hdr {			/* struct af_vsockmon_hdr */
	le64 src_cid, dst_cid;
	le32 src_port, dst_port;
	le16 op, transport;
	le16 len;				/* of the transport's header */
	uint8_t reserved[2];
};
static_assert(sizeof(struct wire_vsockmon_hdr) == 32, "fixed by Linux");

struct pcap_packet {				/* as each begins here; then payload */
	struct pcap_record record;
	struct wire_vsockmon_hdr mon;
	struct wire_vsock_hdr hdr;
} __attribute__((packed));
static_assert(sizeof(struct pcap_packet) == 92, "no gaps");

enum {						/* bytes of a packet before its payload */
	PCAP_PACKET_HEADERS = sizeof(struct wire_vsockmon_hdr) + sizeof(struct wire_vsock_hdr),
};
