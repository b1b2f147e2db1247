/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: who looks on. */
#include "device/device_internal.h"

void device_add_tap(struct device *dev, struct device_tap *tap)
{
	list_append(&dev->taps, &tap->node);
}

void device_remove_tap(struct device_tap *tap)
{
	list_remove(&tap->node);
}

void device_show(const struct device *dev, const struct pkt *pkt, const struct iov_cur *payload)
{
	list_for_each(node, &dev->taps) {
		const struct device_tap *tap = container_of(node, struct device_tap, node);

		tap->packet(tap->ctx, pkt, payload);
	}
}

void device_end_taps(struct device *dev)
{
	struct list *node;

	while ((node = list_take_first(&dev->taps))) {
		struct device_tap *tap = container_of(node, struct device_tap, node);

		if (tap->gone)
			tap->gone(tap->ctx);
	}
}
