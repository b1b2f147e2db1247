/* SPDX-License-Identifier: BSD-3-Clause */
/* One VM's vsock device, as others see it. */
#include <stdio.h>

#include "device/device_internal.h"
#include "device/snapshot.h"

static enum front_end_state find_state(const struct frontend *fe)
{
	if (fe->session)
		return FRONT_END_IN_SESSION;
	for (unsigned i = 0; i < FRONTEND_CANDIDATES_MAX; i++)
		if (fe->candidates[i].fd >= 0)
			return FRONT_END_SILENT;
	return FRONT_END_NONE;
}

static void take_ring(const struct frontend *fe, unsigned ring, struct ring_snapshot *out)
{
	const struct vring *v = session_look_at_vring(fe->session, ring);
	const struct virtq *q = &v->q;

	*out = (struct ring_snapshot){
		.is_started = v->started,
		.is_enabled = vring_is_enabled(v, session_features(fe->session)),
		.broken = v->failed ? q->broken : NULL,
		.size = q->config.num, .avail_index = q->avail_idx, .next_avail = q->last_avail,
		.used_index = q->published, .is_polled = fe->kicks[ring].is_polled,
	};
	out->runs = out->is_started && out->is_enabled && !v->failed && q->mem;
}

void device_snapshot(const struct device *dev, struct device_snapshot *out)
{
	const struct frontend *fe = &dev->frontend;
	struct mux_snapshot mux;

	*out = (struct device_snapshot){
		.cid = dev->config.guest_cid, .now_ms = loop_now_ms(dev->config.loop),
		.front_end = find_state(fe),
	};
	memcpy(out->tag, dev->tag, sizeof out->tag);
	mux_snapshot(dev->mux, &mux, &out->counters);
	if (mux.path)
		snprintf(out->uds_path, sizeof out->uds_path, "%s", mux.path);
	out->guest_types = mux.guest_types;
	out->n_connections = (uint32_t)mux.n_connections;
	out->n_replies = (uint32_t)mux.n_replies;
	out->counters.front_end_connected[0] = fe->session != NULL;
	if (!fe->session)
		return;
	out->is_memory_missing = session_lacks_memory(fe->session);
	out->says_reset = session_says_reset(fe->session);
	out->virtio_features = session_features(fe->session);
	out->protocol_features = session_protocol_features(fe->session);
	for (unsigned i = 0; i < VSOCK_NUM_QUEUES; i++)
		take_ring(fe, i, &out->rings[i]);
	/* The core learns of a ring that has broken in the next turn. */
	out->is_guest_running = mux.is_running && out->rings[VSOCK_RXQ].runs &&
		out->rings[VSOCK_TXQ].runs;
	out->counters.guest_running[0] = out->is_guest_running;
}

size_t device_snapshot_conns(const struct device *dev, struct conn_cursor *cursor,
			     struct conn_snapshot *rows, size_t max)
{
	return mux_snapshot_conns(dev->mux, cursor, rows, max, loop_now_ms(dev->config.loop));
}

bool device_reset_conn(struct device *dev, enum vsock_type type, uint32_t guest_port,
		       const struct vsock_addr *peer)
{
	return mux_reset_conn(dev->mux, type, guest_port, peer, loop_now_ms(dev->config.loop));
}

bool device_is_ending(const struct device *dev)
{
	return dev->ended != NULL;
}

uint64_t device_cid(const struct device *dev)
{
	return dev->config.guest_cid;
}
