/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who looks on at the packets of a device, each way, as they pass: in the device's thread,
 * and only at what it needs, since the guest waits.
 */
#pragma once

#include "util/list.h"

struct device;
struct iov_cur;
struct pkt;

struct device_tap {
	/* A packet from the guest that has a header, whatever is in it, or one that was built
	 * for it. @payload: what lies behind the header, of which pkt->len bytes, or all, are
	 * the packet's; memory of the guest. */
	void (*packet)(void *ctx, const struct pkt *pkt, const struct iov_cur *payload);
	/* The device goes: nothing passes any more, and it has forgotten this. NULL: nobody asks. */
	void (*gone)(void *ctx);
	void *ctx;
	struct list node;			/* device::taps */
};

/* In the device's thread. @tap: the caller's, until it is removed or gone. */
void device_add_tap(struct device *dev, struct device_tap *tap);
void device_remove_tap(struct device_tap *tap);		/* also one that was not added */

/* ---- device_taps.c, for the device itself ---- */

void device_show(const struct device *dev, const struct pkt *pkt, const struct iov_cur *payload);
void device_end_taps(struct device *dev);
