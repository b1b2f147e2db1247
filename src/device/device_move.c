/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device: from one thread to another. */
#include "device/device_internal.h"

/* Who looks on for a while has noted the worker that it leaves by. */
static bool has_visitor(const struct device *dev)
{
	list_for_each(node, &dev->taps)
		if (container_of(node, struct device_tap, node)->gone)
			return true;
	return false;
}

bool device_can_move(const struct device *dev, uint64_t max_conns)
{
	struct mux_stats stats;

	if (dev->ended || dev->is_held || recovery_is_due(&dev->recovery) ||
	    !list_is_empty(&dev->resume.node) || has_visitor(dev))
		return false;
	mux_get_stats(dev->mux, &stats);
	return stats.conns <= max_conns;
}

struct moved {
	struct device *dev;
	const struct device_place *place;
};

static void visit(struct loop_move *m, void *ctx)
{
	const struct moved *moved = ctx;
	struct device *dev = moved->dev;

	frontend_move(&dev->frontend, m);
	recovery_move(&dev->recovery, m);
	mux_move(dev->mux, m, &moved->place->scratch->mux);
	loop_move_work(m, &dev->work);
	loop_move_timer(m, &dev->timer);
	loop_move_pointer(m, &dev->config.loop);
}

int device_move(struct device *dev, const struct device_place *place)
{
	struct loop_move m = {
		.from = dev->config.loop, .to = place->loop, .mailbox = place->mailbox,
	};
	int r = loop_move(&m, visit, &(struct moved){ dev, place });

	if (r)
		return r;
	dev->config.scratch = place->scratch;
	dev->config.poller = place->poller;
	dev->config.handling = place->handling;
	poller_vm_move(&dev->polled, place->poller);
	dev->is_moved = true;
	return 0;
}

void device_enter_thread(struct device *dev)
{
	if (!dev->is_moved)
		return;
	dev->is_moved = false;
	frontend_enter_thread(&dev->frontend);
}
