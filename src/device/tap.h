/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who looks on at the packets of a device, each way, as they pass: in the device's thread,
 * and only at what it needs, since the guest waits.
 */
#pragma once

struct iov_cur;
struct pkt;

struct device_tap {
	/* A packet from the guest that has a header, whatever is in it, or one that was built
	 * for it. @payload: what lies behind the header, of which pkt->len bytes, or all, are
	 * the packet's; memory of the guest. NULL: nobody looks on. */
	void (*packet)(void *ctx, const struct pkt *pkt, const struct iov_cur *payload);
	void *ctx;
};
