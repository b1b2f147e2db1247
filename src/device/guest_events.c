/* SPDX-License-Identifier: BSD-3-Clause */
/* The event queue. */
#include "device/guest_events.h"

#include "device/publish.h"
#include "device/scratch.h"
#include "protocol/virtio_vsock.h"
#include "util/iov.h"

enum turn guest_events_send(struct guest_events *e, struct virtq *q, struct vring *v,
			    struct device_scratch *scratch, struct vsock_counters *counters)
{
	struct wire_vsock_event event = { .id = le32_of(VSOCK_EVENT_TRANSPORT_RESET) };
	struct virtq_iovs iovs = { .iov = scratch->rx, .max = DEVICE_RX_IOVS };
	struct virtq_chain chain;
	uint32_t written = 0;
	int r;

	if (!q || !e->reset_pending)
		return TURN_DONE;
	do
		r = virtq_pop(q, &iovs, &chain);
	while (r == VIRTQ_E_EMPTY && virtq_enable_notify(q));
	if (r == VIRTQ_E_BROKEN)
		vring_fail(v);
	if (r)
		return TURN_DONE;
	if (chain.in_len >= sizeof event) {
		iov_copy_to(chain.iov + chain.n_out, chain.n_in, &event, sizeof event);
		written = sizeof event;
		e->reset_pending = false;
	}
	virtq_push(q, &chain, written);
	device_publish(q, v, 1, counters);
	return e->reset_pending ? TURN_MORE : TURN_DONE;	/* the next may be large enough */
}
