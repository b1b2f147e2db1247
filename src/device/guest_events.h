/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event queue: the guest is told that its connections are void (virtio 1.2, 5.10.6.7,
 * VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) where it cannot know.
 */
#pragma once

#include <stdbool.h>

#include "device/turn.h"
#include "vhost/vring.h"

struct device_scratch;
struct vsock_counters;

struct guest_events {
	bool reset_pending;			/* it has not been told yet */
};

/* Sends what is pending into the queue @q of @v, which runs, or NULL: it does not. */
enum turn guest_events_send(struct guest_events *e, struct virtq *q, struct vring *v,
			    struct device_scratch *scratch, struct vsock_counters *counters);
