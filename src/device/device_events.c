/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: what it tells of itself. */
#include "device/device_internal.h"
#include "vsock/conn_snapshot.h"

bool device_is_watched(const void *ctx)
{
	const struct device *dev = ctx;
	const struct device_hooks *hooks = dev->config.hooks;

	return hooks->event && (!hooks->wants_events || hooks->wants_events());
}

static void tell(const struct device *dev, struct device_event *e)
{
	if (!device_is_watched(dev))
		return;
	e->cid = dev->config.guest_cid;
	dev->config.hooks->event(e);
}

void device_tell(const struct device *dev, enum device_event_kind kind)
{
	tell(dev, &(struct device_event){ .kind = kind });
}

void device_tell_conn(void *ctx, const struct conn_snapshot *conn)
{
	bool is_opened = conn->state == CONN_OPEN;

	tell(ctx, &(struct device_event){
		.kind = is_opened ? DEVICE_CONNECTION_OPENED : DEVICE_CONNECTION_ENDED,
		.conn = conn,
	});
}

/* Counted where it happens, in a layer that knows of no events; also while nobody wants to
 * know, so that it is no news to who does later. */
void device_tell_broken(struct device *dev)
{
	for (unsigned ring = 0; ring < VSOCK_NUM_QUEUES; ring++) {
		uint64_t n = dev->counters->ring_stops[ring];
		const char *why;

		if (n == dev->ring_stops_told[ring])
			continue;
		dev->ring_stops_told[ring] = n;
		why = dev->frontend.session ? device_vring(dev, ring)->q.broken : NULL;
		tell(dev, &(struct device_event){
			.kind = DEVICE_RING_BROKEN, .ring = ring,
			.reason = why ? why : "unknown reason",
		});
	}
}

void device_tell_ends(struct device *dev)
{
	uint64_t now_ms = loop_now_ms(dev->config.loop);

	if (!dev->mux || dev->is_held || !device_is_watched(dev))
		return;
	mux_reset(dev->mux, now_ms);
	while (mux_give_up_some(dev->mux, now_ms))
		;
}
